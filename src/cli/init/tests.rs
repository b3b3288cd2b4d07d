//! What is asked, and what is made of the answers.

use std::cell::RefCell;

use clap::Parser;
use time::OffsetDateTime;

use super::answers::{Answers, Ask, CertificateAnswer, Questions, SignInAnswer};
use crate::cli::args::{Cli, Command};
use crate::error::{Exit, Failure, Result, fail};
use crate::secret::{Echo, Secret};

/// The answers to these options, typed lines and piped lines, and what was told.
pub(super) fn answered(
    options: &[&str],
    typed: Option<&[&str]>,
    piped: &str,
) -> (Result<Answers>, Vec<String>) {
    let words = ["proofpull", "init"]
        .into_iter()
        .chain(options.iter().copied());
    let Command::Init(args) = Cli::try_parse_from(words).unwrap().command else {
        panic!("another command")
    };
    let told = RefCell::new(Vec::new());
    let mut lines = typed.unwrap_or_default().iter();
    let mut ask = |question: &str, echo: Echo| {
        told.borrow_mut().push(format!("{question} {echo:?}"));
        let line = lines.next();
        let line = line.ok_or_else(|| Failure::new(format!("no answer to {question}")))?;
        Ok((*line).to_owned())
    };
    let questions = Questions {
        args: &args,
        ask: typed.is_some().then_some(&mut ask as Ask),
        tell: &|line| told.borrow_mut().push(line.to_owned()),
        read: &|path| match path.starts_with("/none") {
            true => fail(Exit::Config, "it is not there"),
            false => Ok(path.display().to_string().into_bytes()),
        },
        now: OffsetDateTime::UNIX_EPOCH,
    };
    let answers = questions.answers(piped);
    (answers, told.into_inner())
}

/// In one line, secrets too.
fn shown(answers: &Answers) -> String {
    let names: Vec<&str> = answers
        .services
        .iter()
        .map(|service| service.name)
        .collect();
    let mut shown = format!("{} {}", names.join(","), answers.devo_address);
    for SignInAnswer { form, user, secret } in &answers.sign_ins {
        let secret = secret.as_ref().map(Secret::reveal);
        shown += &format!(" {}={user:?}/{secret:?}", form.table);
    }
    for CertificateAnswer { form, copy } in &answers.certificates {
        if let Some((path, _)) = copy {
            shown += &format!(" {}={}", form.key, path.display());
        }
    }
    shown
}

#[test]
fn options_and_piped_secrets_are_answers_without_a_question() {
    for (options, piped, wanted) in [
        (
            "--services pod-audit,tap-clicks-* --devo-address devo:1 --tap-principal p --pod-cluster-id c",
            "pod.key=k=2=\r\n\ntap.secret=s\n",
            "tap-clicks-blocked,tap-clicks-permitted,pod-audit devo:1 tap=Some(\"p\")/Some(\"s\") \
             pod=Some(\"c\")/Some(\"k=2=\")",
        ),
        (
            "--services isolation-url --devo-address devo:1 --devo-key /a/key",
            "",
            "isolation-url devo:1 isolation=None/None key=/a/key",
        ),
    ] {
        let options: Vec<&str> = options.split(' ').collect();
        let (answers, told) = answered(&options, None, piped);
        assert_eq!(shown(&answers.unwrap()), wanted);
        assert!(told.is_empty());
    }
}

#[test]
fn what_is_missing_or_wrong_is_named_without_a_secret() {
    let isolation = "--services isolation-url --devo-address devo:1";
    for (options, piped, said) in [
        ("--devo-address devo:1", "", "--services is missing"),
        ("--services pod-audit", "", "--pod-cluster-id is missing"),
        ("--services isolation-url", "", "--devo-address is missing"),
        (
            "--services isolation-url --devo-address devo",
            "",
            "--devo-address: [devo] address must end with a colon and a port",
        ),
        (
            "--services tap-threats --tap-principal a:b",
            "",
            "--tap-principal: [tap] principal must not have a colon",
        ),
        (
            isolation,
            "hunter2",
            "standard input, line 1: does not begin",
        ),
        (
            isolation,
            "\nhunter2=x",
            "standard input, line 2: does not begin",
        ),
        (
            isolation,
            "isolation.key=",
            "standard input, line 1: it is empty",
        ),
        (
            isolation,
            "tap.secret=hunter2",
            "standard input has tap.secret, which none",
        ),
        (
            isolation,
            "isolation.key=hunter2\nisolation.key=x",
            "standard input, line 2: names a secret for the second time",
        ),
        (
            "--services isolation-url --devo-address devo:1 --devo-key /none/key",
            "",
            "--devo-key: it is not there",
        ),
    ] {
        let options: Vec<&str> = options.split(' ').collect();
        let failure = answered(&options, None, piped).0.err().unwrap();
        let shown = format!("{failure} {}", failure.hint().unwrap_or_default());
        assert!(shown.contains(said), "{said}: {shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn a_person_is_asked_for_what_is_missing_until_it_is_right() {
    let typed = [
        "",
        "nothing",
        "'tap-threats', pod-audit",
        "a:b",
        "the principal",
        "the secret",
        "c 1",
        "c1",
        "",
        "devo",
        "devo:443",
        "/none/chain",
        "/a/chain",
        "",
        "/a/key",
    ];
    let (answers, told) = answered(&[], Some(&typed), "");
    let wanted = "tap-threats,pod-audit devo:443 tap=Some(\"the principal\")/Some(\"the secret\") \
                  pod=Some(\"c1\")/None chain=/a/chain key=/a/key";
    assert_eq!(shown(&answers.unwrap()), wanted);
    let hidden: Vec<&String> = told
        .iter()
        .filter(|line| line.ends_with("Hidden"))
        .collect();
    assert_eq!(hidden.len(), 2);
    assert!(hidden[0].starts_with("Secret of the service principal"));
    for said in [
        "name at least one",
        "there is no service nothing",
        "colon",
        "it is not there",
    ] {
        assert!(
            told.iter().any(|line| line.contains(said)),
            "{said}: {told:?}"
        );
    }
    assert!(!told.concat().contains("the secret"));
}

#[test]
fn what_an_option_says_is_not_asked() {
    let options = [
        "--services",
        "tap-threats",
        "--devo-address",
        "devo:1",
        "--tap-principal",
        "p",
    ];
    let (answers, told) = answered(&options, Some(&["s", "", "", ""]), "");
    assert!(answers.is_ok());
    assert_eq!(told.len(), 4, "{told:?}");
}
