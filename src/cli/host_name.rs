//! `host_name` is this machine's name, as far as it may stand in a record and in a file name.

/// What stands in records and metrics where nothing is configured.
pub(super) fn host_name() -> String {
    fitting(&own())
}

/// What to say where the machine's own name is sent in another spelling.
pub(super) fn respelt() -> Option<String> {
    respelt_of(&own())
}

fn own() -> String {
    gethostname::gethostname().to_string_lossy().into_owned()
}

fn fitting(name: &str) -> String {
    let fits = |c: char| c.is_ascii_graphic() && c != ':' && c != '/';
    let name = name.chars().map(|c| if fits(c) { c } else { '-' });
    let name: String = name.collect();
    match name.chars().all(|c| c == '-') {
        true => "localhost".to_owned(),
        false => name,
    }
}

fn respelt_of(name: &str) -> Option<String> {
    let sent = fitting(name);
    (sent != name).then(|| {
        let name = crate::human::one_line(name);
        format!(
            "the name of this machine, {name}, cannot stand in a record: {sent} is sent; [devo] \
             hostname sets another one"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_cannot_stand_in_a_record_is_respelt_and_that_is_said() {
        let table = [
            ("collector-1.example", "collector-1.example"),
            ("bücher", "b-cher"),
            ("fe80::1", "fe80--1"),
            ("a b/c", "a-b-c"),
            ("a\u{202e}b\n", "a-b-"),
            ("\u{fffd}x", "-x"),
            ("日本", "localhost"),
            ("", "localhost"),
        ];
        for (name, sent) in table {
            assert_eq!(fitting(name), sent, "{name}");
            let said = respelt_of(name);
            assert_eq!(said.is_some(), name != sent, "{name}");
            assert!(
                said.is_none_or(|said| said.contains(sent) && !said.contains(['\n', '\u{202e}']))
            );
            // what is sent is what the configuration takes
            let text = format!("[devo]\naddress = \"x:1\"\nhostname = \"{sent}\"\n");
            let (_, errors) = crate::config::file::look(
                &text,
                std::path::Path::new("/"),
                time::OffsetDateTime::UNIX_EPOCH,
            );
            assert_eq!(errors.len(), 0, "{sent}");
        }
    }
}
