//! The program: a thin start of the library, which benches and examples can reach too.

fn main() -> std::process::ExitCode {
    proofpull::main()
}
