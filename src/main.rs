//! `main` starts the library, so that benches and examples run the same code.

fn main() -> std::process::ExitCode {
    proofpull::main()
}
