//! The documents are true: what they link to is there, the README has every service and status, and pictures need nothing
//! from outside.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proofpull::service::SERVICES;

/// The files below a folder with this ending, without those that are built or hidden.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.starts_with('.') || name == "target" {
            continue;
        }
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
    found
}

/// The lines of a document outside blocks of code.
fn prose(text: &str) -> Vec<&str> {
    let mut is_code = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            lines.push(line);
        }
    }
    lines
}

/// What a document links to, and the pictures that it shows.
fn links(text: &str) -> Vec<String> {
    let text = prose(text).join("\n");
    let ends = [("](", ')'), ("src=\"", '"'), ("srcset=\"", '"')];
    let of = |(start, end): (&str, char)| {
        let rests = text.split(start).skip(1);
        let found: Vec<String> = rests
            .filter_map(|rest| rest.split(end).next())
            .map(str::to_owned)
            .collect();
        found
    };
    ends.into_iter().flat_map(of).collect()
}

/// The anchors of the headings of a document, as code hosts make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).into_iter().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = heading
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn what_the_documents_link_to_is_there() {
    let mut count = 0;
    for document in files(Path::new("."), ".md") {
        let text = fs::read_to_string(&document).unwrap();
        for link in links(&text) {
            if link.starts_with("https://") {
                continue;
            }
            count += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = match file {
                "" => document.clone(),
                _ => document.parent().unwrap().join(file),
            };
            assert!(target.exists(), "{} links to {link}", document.display());
            if !anchor.is_empty() {
                let headings = anchors(&fs::read_to_string(&target).unwrap());
                assert!(
                    headings.contains(anchor),
                    "{} links to {link}: {headings:?}",
                    document.display()
                );
            }
        }
    }
    assert!(count > 100, "{count}");
}

#[test]
fn the_readme_has_every_service_and_status() {
    let readme = include_str!("../README.md");
    let troubleshooting = anchors(include_str!("../docs/troubleshooting.md"));
    for service in SERVICES {
        let row = format!("| `{}` |", service.name);
        assert!(readme.contains(&row), "{}", service.name);
        assert!(readme.contains(service.tag), "{}", service.tag);
    }
    for status in [
        "0 | ok",
        "2 | usage",
        "3 | gap",
        "65 | data",
        "69 | unavailable",
        "70 | software",
        "73 | cantcreat",
        "74 | io",
        "75 | tempfail",
        "77 | noperm",
        "78 | config",
    ] {
        assert!(readme.contains(&format!("\n| {status} |")), "{status}");
        let section = status.replace(" | ", "-");
        assert!(troubleshooting.contains(&section), "{section}");
    }
}

#[test]
fn pictures_need_nothing_from_outside() {
    let pictures = files(Path::new("docs"), ".svg");
    assert!(pictures.len() >= 5, "{pictures:?}");
    for picture in pictures {
        let svg = fs::read_to_string(&picture).unwrap();
        for outside in [
            "<script",
            "<image",
            "<foreignObject",
            "@import",
            "href=\"http",
            "href='http",
            "url(http",
        ] {
            assert!(!svg.contains(outside), "{}: {outside}", picture.display());
        }
    }
}
