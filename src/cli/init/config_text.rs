//! `config_text` is the text of a new configuration, with the tables that are needed.

use std::fmt::Write as _;

use super::answers::{Answers, CERTIFICATE_FORMS, SignInAnswer};
use super::layout::Layout;
use crate::config::quoted;

const HEAD: &str = "# Made by proofpull init. proofpull.toml(5) has every key; \"proofpull check --show\" prints what takes effect.\n\
                    # A relative path counts from the folder of this file.\n";

/// The configuration that these answers mean.
pub(super) fn config_text(answers: &Answers, layout: &Layout) -> String {
    let mut text = HEAD.to_owned();
    match layout {
        Layout::Own => {
            text += "\n# Where positions and known events are kept.\nstate_dir = \"state\"\n";
        }
        Layout::Units { tenant } => {
            // the default of the other keys is right for the first tenant alone
            if let Some(name) = tenant.strip_prefix("proofpull-") {
                let _ = write!(
                    text,
                    "\n# The tenant, as reports and metrics call it, and where its state is kept.\n\
                     name = {}\nstate_dir = {}\n",
                    quoted(name),
                    quoted(format!("/var/lib/{tenant}"))
                );
            }
        }
    }
    let _ = write!(
        text,
        "\n# The receiver. The files are those of the domain: Devo, Administration, Credentials, X.509.\n\
         [devo]\naddress = {}\n",
        quoted(&answers.devo_address)
    );
    for form in &CERTIFICATE_FORMS {
        let _ = writeln!(text, "{} = \"certs/{}\"", form.key, form.file);
    }
    for SignInAnswer { form, user, .. } in &answers.sign_ins {
        let _ = write!(text, "\n# {}\n[{}]\n", form.comment, form.table);
        if let (Some(form), Some(user)) = (&form.user, user) {
            let _ = writeln!(text, "{} = {}", form.key, quoted(user));
        }
        let file = form.secret_file;
        let place = match layout {
            Layout::Own => format!("{{ file = \"{file}\" }}"),
            // the name that LoadCredential= of the unit gives it
            Layout::Units { .. } => format!("{{ credential = \"proofpull_{file}\" }}"),
        };
        let _ = writeln!(text, "{} = {place}", form.secret_key);
    }
    text += "\n# One table for each service: start_time, tag, max_duration, rules for obfuscation; without keys, the defaults.\n";
    for service in &answers.services {
        let _ = writeln!(text, "[services.{}]", service.name);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::init::tests::answered;
    use std::path::Path;

    use time::OffsetDateTime;

    use crate::config::SecretRef;
    use crate::config::file;

    #[test]
    fn the_text_has_the_tables_that_are_needed_and_is_a_configuration() {
        let all = "--services * --devo-address [::1]:1 --tap-principal p\"\\ --pod-cluster-id c";
        let one = "--services isolation-url --devo-address devo:1";
        for (dir, options, tables) in [
            ("/etc/proofpull", all, "devo tap pod isolation"),
            ("/etc/proofpull-acme", one, "devo isolation"),
            ("/home/me/a b", one, "devo isolation"),
        ] {
            let options: Vec<&str> = options.split(' ').collect();
            let answers = answered(&options, None, "").0.unwrap();
            let (dir, layout) = (Path::new(dir), Layout::of(Path::new(dir)));
            let text = config_text(&answers, &layout);
            let config = file::check(&text, dir, OffsetDateTime::UNIX_EPOCH);
            let config = config.unwrap_or_else(|faults| panic!("{faults:?}\n{text}"));
            let headers = text.lines().filter_map(|line| line.strip_prefix('['));
            let headers: Vec<&str> = headers.map(|line| line.trim_end_matches(']')).collect();
            let services = answers.services.iter();
            let services = services.map(|service| format!("services.{}", service.name));
            let wanted = tables.split(' ').map(str::to_owned).chain(services);
            assert_eq!(headers, wanted.collect::<Vec<_>>());
            let key = &config.sign_in.isolation.as_ref().unwrap().api_key;
            let state_dir = config.state_dir.as_ref().map(|dir| dir.to_str().unwrap());
            match &layout {
                Layout::Own => {
                    assert!(
                        matches!(key, SecretRef::File(path) if *path == dir.join("isolation.key"))
                    );
                    assert_eq!(state_dir, Some("/home/me/a b/state"));
                }
                Layout::Units { tenant } => {
                    assert!(
                        matches!(key, SecretRef::Credential(name) if name == "proofpull_isolation.key")
                    );
                    let is_first = tenant == "proofpull";
                    assert_eq!(state_dir, (!is_first).then_some("/var/lib/proofpull-acme"));
                    assert_eq!(config.name.as_deref(), (!is_first).then_some("acme"));
                }
            }
        }
    }
}
