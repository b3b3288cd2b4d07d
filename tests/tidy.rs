//! The rules of the tree: layers, one crate a file, one place that prints.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The layers, from the lowest; within one, a module may use those before it.
const LAYERS: [&[&str]; 6] = [
    &[
        "world",
        "error",
        "clock",
        "human",
        "shutdown",
        "quota",
        "pipeline::checkpoint",
        "pipeline::batch",
        "digest",
        "json_stream",
        "transform",
        "config",
    ],
    &[
        "files",
        "new_files",
        "secret",
        "net",
        "net::http",
        "net::websocket",
    ],
    &[
        "output",
        "state",
        "sink",
        "output::prometheus",
        "devo_query",
    ],
    &["source", "service", "config::file"],
    &["pipeline::cycle", "import"],
    &["cli"],
];

/// Outside crates, and the file or folder that names each.
const CRATES: &[(&str, &[&str])] = &[
    ("base64", &["secret"]),
    ("clap", &["cli", "lib", "output"]),
    ("clap_complete", &["cli"]),
    ("console", &["output"]),
    ("crc32fast", &["digest", "state"]),
    ("der", &["net"]),
    ("env_logger", &["output"]),
    ("flate2", &["net", "sink"]),
    ("fs2", &["files"]),
    ("gethostname", &["cli"]),
    ("hmac", &["digest"]),
    ("http", &["config"]),
    ("native_tls", &["net"]),
    ("openssl_probe", &["net"]),
    ("percent_encoding", &["net"]),
    ("regex", &["transform"]),
    // what the system offers and std does not: each uses another part of it
    ("rustix", &["net", "files", "secret", "sink"]),
    ("rustls", &["net"]),
    ("rustls_native_certs", &["net"]),
    ("saphyr_parser", &["import"]),
    ("sha2", &["digest"]),
    ("signal_hook", &["shutdown"]),
    ("toml", &["config"]),
    ("tungstenite", &["net"]),
    ("ureq", &["net"]),
    ("wide", &["json_stream"]),
];

struct Source {
    /// The module as LAYERS names it: `sink` for `sink/devo.rs`, `net::http` for `net/http.rs`.
    module: String,
    path: PathBuf,
    /// Without comments and tests.
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && !path.ends_with("tests.rs")
            {
                let text = std::fs::read_to_string(&path).unwrap();
                let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
                let code: Vec<&str> = text
                    .lines()
                    .filter(|line| !line.trim_start().starts_with("//"))
                    .collect();
                let inside = path.strip_prefix(&root).unwrap();
                let module = inside.with_extension("");
                let module = module.to_str().unwrap().replace('/', "::");
                let module = layered(&module).to_owned();
                sources.push(Source {
                    module,
                    code: code.join("\n"),
                    path: inside.to_owned(),
                });
            }
        }
    }
    assert!(sources.len() > 20, "the sources were not found");
    sources
}

/// The module of LAYERS to which a path belongs: the longest that it begins with; else its first name.
fn layered(path: &str) -> &str {
    let names: Vec<usize> = path.match_indices("::").map(|(at, _)| at).collect();
    let prefixes = names.iter().rev().map(|end| &path[..*end]);
    let mut prefixes = [path].into_iter().chain(prefixes);
    let known = prefixes.find(|prefix| LAYERS.concat().contains(prefix));
    known.unwrap_or(path.split("::").next().unwrap())
}

/// The paths that follow `crate::` anywhere in the code.
fn uses(code: &str) -> BTreeSet<&str> {
    code.split("crate::")
        .skip(1)
        .map(|rest| {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
            layered(rest[..end.unwrap_or(rest.len())].trim_end_matches(':'))
        })
        .collect()
}

#[test]
fn a_module_uses_lower_layers_and_its_own_only_where_the_other_comes_first() {
    let order: Vec<&str> = LAYERS.concat();
    for source in sources()
        .iter()
        .filter(|source| !matches!(source.module.as_str(), "lib" | "main" | "pipeline"))
    {
        let own = order.iter().position(|module| *module == source.module);
        let own = own.unwrap_or_else(|| panic!("{} is in no layer", source.path.display()));
        for used in uses(&source.code) {
            let Some(used_at) = order.iter().position(|module| *module == used) else {
                continue;
            };
            assert!(
                used_at <= own,
                "{} must not use {used}",
                source.path.display()
            );
        }
    }
}

#[test]
fn the_layers_are_those_that_the_documentation_shows() {
    let lib = std::fs::read_to_string("src/lib.rs").unwrap();
    for (layer, modules) in LAYERS.iter().enumerate() {
        let shown = lib
            .lines()
            .find_map(|line| line.strip_prefix(&format!("//! {layer}  ")))
            .expect("a layer");
        assert_eq!(
            shown.split_whitespace().collect::<BTreeSet<_>>(),
            modules.iter().copied().collect()
        );
    }
}

#[test]
fn an_outside_crate_is_named_in_one_place() {
    for source in sources() {
        for (name, homes) in CRATES {
            let named = source
                .code
                .match_indices(&format!("{name}::"))
                .any(|(at, _)| {
                    let before = source.code[..at].chars().next_back();
                    !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
                });
            // our own module of that name is another thing
            let ours = *name == "http" && source.module.starts_with("net");
            assert!(
                !named || ours || homes.contains(&source.module.split("::").next().unwrap()),
                "{} names {name}",
                source.path.display()
            );
        }
    }
}

#[test]
fn one_place_prints_and_nothing_ends_the_process() {
    for source in sources() {
        let place = source.path.display();
        for word in [
            "println!",
            "eprintln!",
            "print!(",
            "eprint!(",
            "dbg!",
            "process::exit",
            "process::abort",
        ] {
            assert!(!source.code.contains(word), "{place} has {word}");
        }
        let speaks = source.code.contains("io::stderr") || source.code.contains("io::stdout");
        let may = source.module.starts_with("output") || source.path == Path::new("sink/stdout.rs");
        assert!(!speaks || may, "{place} speaks");
    }
}

#[test]
fn the_wall_clock_is_read_in_one_place() {
    for source in sources().iter().filter(|source| source.module != "clock") {
        for word in ["now_utc", "SystemTime::now", "now_local"] {
            assert!(
                !source.code.contains(word),
                "{} asks for the time",
                source.path.display()
            );
        }
    }
}

/// Otherwise a simulation would wait for the clock of the machine. What waits for a person or a command is
/// never simulated.
#[test]
fn waits_are_measured_by_one_clock_and_the_world_is_asked_for_in_three_modules() {
    let asks = ["world", "clock", "files", "net"];
    for source in sources() {
        let place = source.path.display();
        let lines = source.code.lines();
        let instants = lines.filter(|line| line.contains("std::time") && line.contains("Instant"));
        assert_eq!(instants.count(), 0, "{place} has an Instant of its own");
        let sleeps = source.code.contains("thread::sleep");
        let may = source.module == "clock"
            || source.path == Path::new("secret/command.rs")
            || source.path == Path::new("cli/status/mod.rs");
        assert!(!sleeps || may, "{place} sleeps");
        let asked = source.code.contains("simulated()");
        let may = asks.iter().any(|module| {
            source.module == *module || source.module.starts_with(&format!("{module}::"))
        });
        assert!(!asked || may, "{place} asks for the world");
    }
}

#[test]
fn a_source_sees_no_state_no_sink_and_no_lock() {
    for source in sources().iter().filter(|source| source.module == "source") {
        for used in ["state", "sink", "files", "cli"] {
            assert!(
                !uses(&source.code).contains(used),
                "{} uses {used}",
                source.path.display()
            );
        }
    }
}

#[test]
fn the_cycle_names_no_service() {
    for source in sources()
        .iter()
        .filter(|source| source.module == "pipeline::cycle")
    {
        assert!(!source.code.contains("service") && !source.code.contains("tap"));
    }
}

#[test]
fn nothing_unwraps_and_no_lint_is_silenced_for_ever() {
    for source in sources() {
        for word in [
            ".unwrap()",
            ".expect(",
            "panic!(",
            "todo!",
            "unimplemented!",
            "unreachable!",
            "#[allow(",
        ] {
            assert!(
                !source.code.contains(word),
                "{} has {word}",
                source.path.display()
            );
        }
    }
}
