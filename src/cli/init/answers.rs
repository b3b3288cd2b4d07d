//! `Answers` is what a person was asked, or gave with options: what to collect, and how to sign in.
//!
//! Each answer is judged by the reader of the configuration. How a line is asked for and a file is read is
//! handed in.

use std::path::{Path, PathBuf};

use time::OffsetDateTime;

use crate::cli::args::InitArgs;
use crate::cli::select::{ServicePattern, among_all};
use crate::config::{file, quoted};
use crate::error::{Because, Exit, Failure, Result, fail};
use crate::secret::{self, Echo, Secret};
use crate::service::{SERVICES, Service};

/// What is asked about the sign-in of an API.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SignInForm {
    /// The table of the configuration.
    pub(super) table: &'static str,
    pub(super) comment: &'static str,
    pub(super) user: Option<UserForm>,
    pub(super) secret_key: &'static str,
    /// The file of the secret, which is also its name on standard input.
    pub(super) secret_file: &'static str,
    secret_question: &'static str,
}

/// The key beside the secret.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UserForm {
    pub(super) key: &'static str,
    question: &'static str,
    option: &'static str,
}

/// The sign-ins, in the order of the configuration.
pub(super) const SIGN_IN_FORMS: [SignInForm; 3] = [
    SignInForm {
        table: "tap",
        comment: "Sign-in for TAP. Principal and secret: TAP Dashboard, Settings, Connected Applications.",
        user: Some(UserForm {
            key: "principal",
            question: "Service principal of TAP:",
            option: "--tap-principal",
        }),
        secret_key: "secret",
        secret_file: "tap.secret",
        secret_question: "Secret of the service principal",
    },
    SignInForm {
        table: "pod",
        comment: "Sign-in for PoD. Cluster: top right in the admin console, without the release number. Key: API Key\n\
                  # Management, PoD Logging; it has one session for each service.",
        user: Some(UserForm {
            key: "cluster_id",
            question: "Cluster of PoD, top right in the admin console:",
            option: "--pod-cluster-id",
        }),
        secret_key: "api_key",
        secret_file: "pod.key",
        secret_question: "API key of PoD",
    },
    SignInForm {
        table: "isolation",
        comment: "Sign-in for Isolation. Key: Isolation console, Product Settings, Reporting API.",
        user: None,
        secret_key: "api_key",
        secret_file: "isolation.key",
        secret_question: "API key of Isolation",
    },
];

/// A file of Devo.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CertificateForm {
    /// The key of `[devo]`.
    pub(super) key: &'static str,
    pub(super) file: &'static str,
    pub(super) what: &'static str,
    option: &'static str,
}

/// The files of Devo, in the order of the configuration.
pub(super) const CERTIFICATE_FORMS: [CertificateForm; 3] = [
    CertificateForm {
        key: "chain",
        file: "chain.crt",
        what: "CA of Devo",
        option: "--devo-chain",
    },
    CertificateForm {
        key: "cert",
        file: "domain.crt",
        what: "Certificate of the Devo domain",
        option: "--devo-cert",
    },
    CertificateForm {
        key: "key",
        file: "domain.key",
        what: "Key of that certificate",
        option: "--devo-key",
    },
];

/// Everything that a configuration is made from.
pub(super) struct Answers {
    /// In the order of the table of services.
    pub(super) services: Vec<&'static Service>,
    pub(super) devo_address: String,
    pub(super) certificates: Vec<CertificateAnswer>,
    pub(super) sign_ins: Vec<SignInAnswer>,
}

/// One file of Devo, and its content if it was given.
pub(super) struct CertificateAnswer {
    pub(super) form: &'static CertificateForm,
    pub(super) copy: Option<(PathBuf, Vec<u8>)>,
}

/// How to sign in to one API.
pub(super) struct SignInAnswer {
    pub(super) form: &'static SignInForm,
    /// The value of the key beside the secret.
    pub(super) user: Option<String>,
    pub(super) secret: Option<Secret>,
}

/// Asks a question and returns the line that was typed.
pub(super) type Ask<'a> = &'a mut dyn FnMut(&str, Echo) -> Result<String>;

/// Where answers come from: options first, then a person, or standard input.
pub(super) struct Questions<'a> {
    pub(super) args: &'a InitArgs,
    /// Absent: nobody is asked.
    pub(super) ask: Option<Ask<'a>>,
    /// Prints a line for the person who is asked.
    pub(super) tell: &'a dyn Fn(&str),
    pub(super) read: &'a dyn Fn(&Path) -> Result<Vec<u8>>,
    pub(super) now: OffsetDateTime,
}

impl Questions<'_> {
    /// Collects all answers; `piped` is what standard input holds.
    ///
    /// # Errors
    /// Status 2 for an answer that is missing or wrong, 78 for a secret or file that cannot be one.
    pub(super) fn answers(mut self, piped: &str) -> Result<Answers> {
        let mut piped = secrets_in(piped)?;
        let services = self.services()?;
        let needs = |form: &&SignInForm| services.iter().any(|s| s.sign_in_table() == form.table);
        let forms: Vec<&'static SignInForm> = SIGN_IN_FORMS.iter().filter(needs).collect();
        let mut sign_ins = Vec::new();
        for form in forms {
            let user = match &form.user {
                Some(user) => Some(self.user(form.table, user)?),
                None => None,
            };
            let at = piped.iter().position(|(name, _)| *name == form.secret_file);
            let secret = match at {
                Some(at) => Some(piped.remove(at).1),
                None => self.secret(form)?,
            };
            sign_ins.push(SignInAnswer { form, user, secret });
        }
        if let Some((name, _)) = piped.first() {
            let said = format!("standard input has {name}, which none of these services needs");
            return fail(Exit::Usage, said).hint("leave its line out, or add a service");
        }
        let devo_address = self.devo_address()?;
        let certificates = CERTIFICATE_FORMS.iter().map(|form| self.certificate(form));
        let certificates = certificates.collect::<Result<_>>()?;
        Ok(Answers {
            services,
            devo_address,
            certificates,
            sign_ins,
        })
    }

    fn services(&mut self) -> Result<Vec<&'static Service>> {
        if !self.args.services.is_empty() {
            return Ok(among_all(&self.args.services));
        }
        if self.ask.is_some() {
            (self.tell)("The services are:");
            for service in SERVICES {
                (self.tell)(&format!("  {}", service.name));
            }
        }
        let question = "Services to collect, such as tap-messages-blocked,'pod-*':";
        self.until_right(question, "--services", |line| {
            let words = line.split([',', ' ']);
            let words = words.map(|word| word.trim_matches(['\'', '"']));
            let words = words.filter(|word| !word.is_empty());
            let patterns: Vec<ServicePattern> =
                words.map(ServicePattern::parse).collect::<Result<_, _>>()?;
            match patterns.is_empty() {
                true => Err("name at least one service".to_owned()),
                false => Ok(among_all(&patterns)),
            }
        })
    }

    fn user(&mut self, table: &str, form: &UserForm) -> Result<String> {
        let args = self.args;
        let given = match table {
            "tap" => &args.tap_principal,
            _ => &args.pod_cluster_id,
        };
        self.key(
            given.as_deref(),
            (table, form.key),
            form.question,
            form.option,
        )
    }

    fn devo_address(&mut self) -> Result<String> {
        let question = "Host and port of Devo, such as collector-us.devo.io:443:";
        let given = self.args.devo_address.as_deref();
        self.key(given, ("devo", "address"), question, "--devo-address")
    }

    /// The value of a key, which the reader of the configuration accepts.
    fn key(
        &mut self,
        given: Option<&str>,
        (table, key): (&str, &str),
        question: &str,
        option: &str,
    ) -> Result<String> {
        let now = self.now;
        let judge = |value: &str| judged(table, key, value, now);
        match given {
            Some(value) => judge(value)
                .map_err(|said| Failure::new(format!("{option}: {said}")).with_exit(Exit::Usage)),
            None => self.until_right(question, option, judge),
        }
    }

    /// The answer to a question, which is asked until it is right.
    fn until_right<T>(
        &mut self,
        question: &str,
        option: &str,
        judge: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T> {
        let Some(ask) = &mut self.ask else {
            return fail(Exit::Usage, format!("{option} is missing"))
                .hint("set it, or run init on a terminal, where it asks");
        };
        loop {
            match judge(ask(question, Echo::Shown)?.trim()) {
                Ok(answer) => return Ok(answer),
                Err(said) => (self.tell)(&said),
            }
        }
    }

    /// A secret that is typed; none if nobody is asked, or it is to come later.
    fn secret(&mut self, form: &SignInForm) -> Result<Option<Secret>> {
        let Some(ask) = &mut self.ask else {
            return Ok(None);
        };
        let question = format!("{} (not shown; empty: later):", form.secret_question);
        loop {
            let line = ask(&question, Echo::Hidden)?;
            if line.trim().is_empty() {
                return Ok(None);
            }
            match secret::parse(&line) {
                Ok(secret) => return Ok(Some(secret)),
                Err(failure) => (self.tell)(&failure.to_string()),
            }
        }
    }

    fn certificate(&mut self, form: &'static CertificateForm) -> Result<CertificateAnswer> {
        let given = match form.key {
            "chain" => &self.args.devo_chain,
            "cert" => &self.args.devo_cert,
            _ => &self.args.devo_key,
        };
        let copy = match (given, &mut self.ask) {
            (Some(path), _) => {
                let bytes = (self.read)(path).with_context(|| form.option.to_owned())?;
                Some((path.clone(), bytes))
            }
            (None, None) => None,
            (None, Some(ask)) => loop {
                let question = format!("{}, a file to copy (empty: later):", form.what);
                let line = ask(&question, Echo::Shown)?;
                if line.trim().is_empty() {
                    break None;
                }
                let path = PathBuf::from(line.trim());
                match (self.read)(&path) {
                    Ok(bytes) => break Some((path, bytes)),
                    Err(failure) => (self.tell)(&failure.to_string()),
                }
            },
        };
        Ok(CertificateAnswer { form, copy })
    }
}

/// The value of a key, if the reader of the configuration accepts it; else what it says.
fn judged(table: &str, key: &str, value: &str, now: OffsetDateTime) -> Result<String, String> {
    if value.trim().is_empty() {
        return Err("must not be empty".to_owned());
    }
    let text = format!("[{table}]\n{key} = {}\n", quoted(value));
    let (_, faults) = file::look(&text, Path::new("/"), now);
    // the other keys of the table, which are missing, are faults of its header
    match faults.into_iter().find(|fault| fault.line == 2) {
        Some(fault) => Err(format!("{} ({})", fault.message, fault.hint)),
        None => Ok(value.to_owned()),
    }
}

/// The secrets on standard input, one `NAME=SECRET` on each line. No error shows any of a line.
fn secrets_in(text: &str) -> Result<Vec<(&'static str, Secret)>> {
    let hint =
        "write one NAME=SECRET on each line; the names are tap.secret, pod.key and isolation.key";
    let mut secrets: Vec<(&'static str, Secret)> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let place = format!("standard input, line {}", at + 1);
        let refused = |said: &str| fail(Exit::Usage, format!("{place}: {said}")).hint(hint);
        let parts = line.split_once('=');
        let found = parts.and_then(|(name, secret)| {
            let mut forms = SIGN_IN_FORMS.iter();
            let form = forms.find(|form| form.secret_file == name.trim())?;
            Some((form.secret_file, secret))
        });
        let Some((name, secret)) = found else {
            return refused("does not begin with the name of a secret and =");
        };
        if secrets.iter().any(|(known, _)| *known == name) {
            return refused("names a secret for the second time");
        }
        secrets.push((name, secret::parse(secret).context(place)?));
    }
    Ok(secrets)
}
