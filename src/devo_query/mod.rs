//! `DevoQuery` asks Devo, by its Query API, how many events of each run a table has.
//!
//! The wire format is that of Devo's own client, devo-sdk 7.0.2 (`devo.api`). Knows nothing of services, and
//! not what was delivered.

mod answer;
mod linq;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;

use self::answer::{QueryError, counts, refusal};
pub(crate) use self::linq::table_of;
use self::linq::{AnswerMode, Request, count_runs};
use crate::clock::Instant;
use crate::config::{QueryConfig, Url};
use crate::error::{Because, Exit, Failure, Result};
use crate::net::http::{Answer, Bytes, Client};
use crate::net::{NetError, Network};
use crate::secret::{self, Secret};
use crate::shutdown::Shutdown;

/// Largest answer, in bytes: 150,000 runs, in a table and a day.
const MAX_ANSWER: usize = 4 * 1024 * 1024;
/// Longest answer: until it has the result, Devo sends blanks for as long as it takes.
const LONGEST: Duration = Duration::from_secs(600);
/// The columns that have an event as it was sent, in one table or the other.
const RAW: [&str; 3] = ["rawMessage", "raw", "rawSource"];

const CUT: &str = "check the network and proxies on the way if this repeats; try a shorter --since";

/// A client of the Query API.
#[derive(Debug)]
pub(crate) struct DevoQuery {
    client: Client,
    url: Url,
    authorization: Secret,
    token: Secret,
    /// The columns to try, the one that was last right first.
    columns: Vec<String>,
    shutdown: Shutdown,
}

impl DevoQuery {
    /// Creates a client that ends its waits at `shutdown`.
    ///
    /// # Errors
    /// When the token or the trusted roots cannot be read.
    pub(crate) fn new(
        network: &Arc<Network>,
        config: &QueryConfig,
        shutdown: &Shutdown,
    ) -> Result<DevoQuery> {
        let token = secret::read(&config.token, "[devo.query] token")?;
        let authorization = token.bearer().ok_or_else(|| {
            Failure::new("[devo.query] token must be printable ASCII, without spaces")
                .with_exit(Exit::Config)
                .with_hint("copy the token from Devo as it is")
        })?;
        let columns = match &config.column {
            Some(column) => vec![column.clone()],
            None => RAW.map(str::to_owned).to_vec(),
        };
        Ok(DevoQuery {
            client: Client::new(Arc::clone(network), &config.url, shutdown)?,
            url: config.url.clone(),
            authorization,
            token,
            columns,
            shutdown: shutdown.clone(),
        })
    }

    /// The number of events of each run, by its pulling id, among those that the table got from `from` to `to`.
    ///
    /// # Errors
    /// When Devo does not answer, refuses, or answers something else.
    pub(crate) fn counts(
        &mut self,
        table: &str,
        (from, to): (OffsetDateTime, OffsetDateTime),
        now: OffsetDateTime,
    ) -> Result<BTreeMap<u64, u64>> {
        let mut refused = None;
        for at in 0..self.columns.len() {
            let query = count_runs(table, &self.columns[at]);
            match self.ask(&query, table, (from, to), now) {
                Ok(counts) => {
                    self.columns.swap(0, at);
                    return Ok(counts);
                }
                Err(QueryError::NoColumn(failure)) => refused = Some(failure),
                Err(QueryError::Other(failure)) => {
                    return Err(failure).with_context(|| format!("asking Devo for {table}"));
                }
            }
        }
        let tried = self.columns.join(", ");
        let refused = refused.unwrap_or_else(|| Failure::new("no column"));
        Err(refused).with_context(|| format!("asking Devo for {table} by the columns {tried}"))
    }

    fn ask(
        &self,
        query: &str,
        table: &str,
        (from, to): (OffsetDateTime, OffsetDateTime),
        now: OffsetDateTime,
    ) -> Result<BTreeMap<u64, u64>, QueryError> {
        let request = Request {
            from: from.unix_timestamp(),
            to: to.unix_timestamp(),
            mode: AnswerMode {
                r#type: "json/compact",
            },
            query,
        };
        let json =
            serde_json::to_string(&request).map_err(|error| QueryError::Other(error.into()))?;
        let millis = (now.unix_timestamp() * 1000).to_string();
        log::debug!("POST {}: {json}", self.url);
        let headers = [("x-logtrust-timestamp", millis.as_str())];
        let answer = self
            .client
            .post(&self.url, &headers, &json, &self.authorization);
        let mut answer = answer.map_err(|error| on_the_way(error.error))?;
        if answer.status != 200 {
            let body = answer.beginning();
            let shown = secret::excerpt(&body, &[&self.token, &self.authorization]);
            return Err(refusal(answer.status, &body, &shown, table));
        }
        let text = self.read(&mut answer)?;
        counts(&text).map_err(|said| {
            let said = secret::excerpt(&said, &[&self.token, &self.authorization]);
            let failure = Failure::new(format!("the answer cannot be used: {said}"));
            let hint = "try a shorter --since; check [devo] query url, and [http] proxy";
            QueryError::Other(failure.with_exit(Exit::Data).with_hint(hint))
        })
    }

    /// Reads a whole answer, without the blanks before it.
    fn read(&self, answer: &mut Answer) -> Result<Vec<u8>, QueryError> {
        let unavailable = |said: &str| {
            let failure = Failure::new(said).with_exit(Exit::Unavailable);
            QueryError::Other(failure.with_hint("try a shorter --since"))
        };
        let started = Instant::now();
        let (mut text, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
        loop {
            if self.shutdown.reason().is_some() {
                return Err(on_the_way(NetError::stopped()));
            }
            if started.elapsed() > LONGEST {
                return Err(unavailable("no whole answer came in 10 minutes"));
            }
            match answer.read(&mut buffer).map_err(on_the_way)? {
                Bytes::Some(count) if text.is_empty() => {
                    text.extend_from_slice(buffer[..count].trim_ascii_start());
                }
                Bytes::Some(count) => text.extend_from_slice(&buffer[..count]),
                Bytes::Waiting => {}
                Bytes::End => return Ok(text),
            }
            if text.len() > MAX_ANSWER {
                return Err(unavailable("the answer has more than 4 MiB"));
            }
        }
    }
}

/// A connection that failed: its usual hints speak of windows, which a query has not.
fn on_the_way(error: NetError) -> QueryError {
    let failure = match error {
        NetError::Silent(failure) | NetError::Cut(failure) => failure.with_hint(CUT),
        other => Failure::from(other),
    };
    QueryError::Other(failure.or_exit(Exit::Unavailable))
}
