//! `Try` is something that was tried over the network, and what became of it.

use serde::{Serialize, Serializer};

use crate::clock::Instant;
use crate::error::{Exit, Result};
use crate::output;

/// Something that was tried, or not.
#[derive(Debug, Serialize)]
pub(super) struct Try {
    /// A service, `devo` or `clock`.
    pub(super) what: &'static str,
    /// What was tried, and what it costs.
    pub(super) tried: String,
    pub(super) outcome: Verdict,
    pub(super) said: String,
    /// How long it took.
    pub(super) seconds: Option<f64>,
    pub(super) remedy: Option<String>,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Well,
    /// A run would go on, with a warning.
    Doubtful,
    /// A run would end with this.
    Failed(Exit),
    NotTried,
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Verdict::Well => serializer.serialize_str("ok"),
            Verdict::Doubtful => serializer.serialize_str("warning"),
            Verdict::Failed(exit) => serializer.serialize_str(exit.name()),
            Verdict::NotTried => serializer.serialize_str("not tested"),
        }
    }
}

impl Try {
    /// What a run would end with.
    pub(super) fn failure(&self) -> Option<Exit> {
        match self.outcome {
            Verdict::Failed(exit) => Some(exit),
            _ => None,
        }
    }

    /// Whether it was tried and went well.
    pub(super) fn is_well(&self) -> bool {
        self.outcome == Verdict::Well
    }

    /// The same where a run would go on with a warning.
    pub(super) fn doubted(self, remedy: &str) -> Try {
        Try {
            outcome: Verdict::Doubtful,
            remedy: Some(remedy.to_owned()),
            ..self
        }
    }

    pub(super) fn not_tried(what: &'static str, why: impl Into<String>) -> Try {
        Try {
            what,
            tried: "nothing".into(),
            outcome: Verdict::NotTried,
            said: why.into(),
            seconds: None,
            remedy: None,
        }
    }

    /// What came of trying it since `started`.
    pub(super) fn done(
        what: &'static str,
        tried: String,
        started: Instant,
        result: Result<String>,
    ) -> Try {
        let (outcome, said, remedy) = match result {
            Ok(said) => (Verdict::Well, said, None),
            Err(error) => {
                let remedy = error.hint().unwrap_or("see proofpull(1)").to_owned();
                (
                    Verdict::Failed(error.exit()),
                    error.to_string(),
                    Some(remedy),
                )
            }
        };
        Try {
            what,
            tried,
            outcome,
            said,
            seconds: Some(started.elapsed().as_secs_f64()),
            remedy,
        }
    }
}

/// A table, and below it what can be done.
pub(super) fn text(tries: &[Try]) -> String {
    if tries.is_empty() {
        return String::new();
    }
    let head = ["SERVICE", "TEST", "OUTCOME", "TIME"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(tries.iter().map(|one| {
        let outcome = match one.outcome {
            Verdict::Well => "ok".to_owned(),
            Verdict::Doubtful => "warning".to_owned(),
            Verdict::Failed(exit) => format!("{} {}", exit as u8, exit.name()),
            Verdict::NotTried => "not tested".to_owned(),
        };
        let time = one
            .seconds
            .map_or_else(|| "-".into(), |time| format!("{time:.2} s"));
        vec![one.what.to_owned(), one.tried.clone(), outcome, time]
    }));
    let mut text = output::table(&rows);
    for Try {
        what, said, remedy, ..
    } in tries
    {
        text += &format!("{what}: {said}\n");
        let remedy = remedy.as_ref().map(|remedy| format!("  hint: {remedy}\n"));
        text += &remedy.unwrap_or_default();
    }
    text
}
