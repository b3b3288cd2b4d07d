//! `PodApi` configures a type of the PoD log stream: its keys, sign-in, session and probe.

use std::fmt;
use std::time::Duration as Wait;

use time::{Duration, OffsetDateTime};

use super::Pod;
use super::archive;
use super::archive_policy::HOUR;
use super::plan::PodPlan;
use super::session::Session;
use crate::clock::{Instant, whole_seconds};
use crate::config::service_keys::{DAY, MINUTE, WEEK, duration, number, web_socket_address};
use crate::config::{PodConfig, SignIn, TableReader, ToToml, Url, quoted};
use crate::digest::{Hasher, hex};
use crate::error::{Because, Exit, Result, fail};
use crate::net::websocket::StreamEvent;
use crate::pipeline::checkpoint::{Checkpoint, Retention};
use crate::quota::Pool;
use crate::secret;
use crate::source::api::{
    Api, ConfiguredApi, OpenContext, Probe, ProbeContext, QuotaAccount, Start,
};
use crate::source::{Source, WindowLimits};

/// Example address of a service.
const EXAMPLE: &str = "wss://logstream.proofpoint.com:443/v1/stream";

/// Name of the API key in errors.
const KEY: &str = "[pod] api_key";

/// Proofpoint publishes no quota of sessions; none is counted.
static POOL: Pool = Pool {
    name: "log stream",
    limits: &[],
};

/// A type of the log stream.
#[derive(Debug)]
pub(crate) struct PodApi {
    /// The value of the parameter `type`.
    pub(crate) stream: &'static str,
}

impl Api for PodApi {
    fn sign_in_table(&self) -> &'static str {
        "pod"
    }

    fn configure(
        &self,
        name: &'static str,
        table: &mut TableReader,
        sign_in: &SignIn,
    ) -> Box<dyn ConfiguredApi> {
        let minutes = |minutes| Wait::from_secs(minutes * MINUTE);
        let bytes = number("a whole number of bytes", 1 << 10..=1 << 30);
        Box::new(ConfiguredPod {
            service: name,
            stream: self.stream,
            sign_in: sign_in.pod.clone(),
            url: table.text("url", EXAMPLE, web_socket_address),
            max_duration: table.text_or("max_duration", minutes(50), duration(1..=WEEK)),
            mode: table.text_or("mode", Mode::Complete, mode),
            archive_lag: table.text_or("archive_lag", minutes(45), duration(0..=DAY)),
            max_frame_bytes: table.value_or("max_frame_bytes", 64 << 20, bytes),
            idle_exit: table.text("idle_exit", "30s", duration(1..=DAY)),
        })
    }
}

/// How a PoD service is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// The live stream, and the archive hour by hour.
    Complete,
    /// Only the live stream.
    Live,
    /// Only the archive.
    Archive,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Complete => "complete",
            Mode::Live => "live",
            Mode::Archive => "archive",
        })
    }
}

impl ToToml for Mode {
    fn to_toml(&self) -> String {
        quoted(self)
    }
}

fn mode(text: &str) -> Result<Mode, &'static str> {
    match text {
        "complete" => Ok(Mode::Complete),
        "live" => Ok(Mode::Live),
        "archive" => Ok(Mode::Archive),
        _ => Err("must be \"complete\", \"live\" or \"archive\""),
    }
}

/// A configured type of the log stream.
#[derive(Debug)]
struct ConfiguredPod {
    service: &'static str,
    stream: &'static str,
    sign_in: Option<PodConfig>,
    /// Used instead of the address below the base URL.
    url: Option<Url>,
    /// Longest time of a run.
    max_duration: Wait,
    /// What is read.
    mode: Mode,
    /// How long after its end an hour of the archive is read.
    archive_lag: Wait,
    /// Largest message, in bytes.
    max_frame_bytes: usize,
    /// Silence of the live stream that ends a run.
    idle_exit: Option<Wait>,
}

impl ConfiguredPod {
    fn sign_in(&self) -> Result<&PodConfig> {
        match &self.sign_in {
            Some(sign_in) => Ok(sign_in),
            None => fail(
                Exit::Config,
                format!(
                    "running {}: the configuration has no table [pod]",
                    self.service
                ),
            )
            .hint(
                "set [pod] cluster_id and api_key; create the key in the PoD admin console under API \
                 Key Management, PoD Logging",
            ),
        }
    }

    fn session(&self, context: &OpenContext<'_>) -> Result<Session> {
        let sign_in = self.sign_in()?;
        let key = secret::read(&sign_in.api_key, KEY)?;
        let Some(bearer) = key.bearer() else {
            return fail(
                Exit::Config,
                format!("reading {KEY}: it is not a valid key"),
            )
            .hint("store only the key: ASCII letters, digits and signs, without spaces");
        };
        let built_in = || sign_in.base_url.join("/v1/stream");
        let url = self.url.clone().unwrap_or_else(built_in);
        let cluster = sign_in.cluster_id.clone();
        Ok(Session::new(
            context,
            url,
            cluster,
            self.stream,
            (bearer, key),
            self.max_frame_bytes,
        ))
    }

    /// Opens a session for an archive hour of a day ago, and closes it: the smallest request that
    /// proves the sign-in, and takes nothing from the live stream. Drops what the archive sends.
    fn try_an_old_hour(
        &self,
        context: &ProbeContext<'_>,
        ahead: &mut Option<Duration>,
    ) -> Result<()> {
        /// Longest time for which a server may go on sending.
        const MOMENT: Wait = Wait::from_secs(5);
        let now = context.clock.now();
        let from = self.limits().floor(now - Duration::DAY);
        let mut session = self.session(&OpenContext {
            network: context.network,
            shutdown: context.shutdown,
            start: Start {
                checkpoint: self.checkpoint_at(from),
                begun: None,
                is_counted_back: false,
                since: from,
                end: Some(from + HOUR),
                look_back: Duration::ZERO,
                recheck_after: None,
            },
            attempts: 1,
        })?;
        let (since_time, to_time) = (archive::stamp(from), archive::stamp(from + HOUR));
        let times = [
            ("sinceTime", since_time.as_str()),
            ("toTime", to_time.as_str()),
        ];
        let opened = session.try_to_open(&times, None, context.shutdown, now);
        *ahead = session.clocks.ahead();
        let mut socket = opened?;
        socket.close();
        let (mut dropped, until) = (Vec::new(), Instant::now() + MOMENT);
        while Instant::now() < until && context.shutdown.reason().is_none() {
            dropped.clear();
            // how it ends proves nothing more
            if !matches!(
                socket.read(&mut dropped),
                Ok(StreamEvent::Message | StreamEvent::Nothing)
            ) {
                break;
            }
        }
        Ok(())
    }
}

impl ConfiguredApi for ConfiguredPod {
    fn max_duration(&self) -> Wait {
        self.max_duration
    }

    /// Whole hours. The service keeps 30 days; two hours of headroom are taken off, since the edge
    /// moves while we work. An hour is in the archive `archive_lag` after its end.
    fn limits(&self) -> WindowLimits {
        WindowLimits {
            shortest: HOUR,
            longest: HOUR,
            keep: Duration::days(30) - HOUR * 2,
            margin: Duration::try_from(self.archive_lag).unwrap_or(HOUR),
            grain: HOUR,
        }
    }

    fn retention(&self) -> Retention {
        Retention {
            look_back: Duration::ZERO,
            recheck: Duration::ZERO,
            memory: Duration::ZERO,
        }
    }

    fn quota(&self) -> Result<QuotaAccount<'_>> {
        Ok(QuotaAccount {
            name: &self.sign_in()?.cluster_id,
            pool: &POOL,
            lookups: None,
            own: &[],
        })
    }

    fn endpoints(&self) -> Vec<Url> {
        let base = self.sign_in.as_ref().map(|pod| pod.base_url.clone());
        self.url.clone().into_iter().chain(base).collect()
    }

    fn open(&self, context: &OpenContext<'_>) -> Result<Box<dyn Source>> {
        let session = self.session(context)?;
        let plan = PodPlan::new(self.mode, self.limits(), &context.start);
        Ok(Box::new(Pod::new(
            session,
            plan,
            self.idle_exit,
            context.shutdown,
        )))
    }

    fn probe(&self, context: &mut ProbeContext<'_>) -> Probe {
        let mut ahead = None;
        let tried = self.try_an_old_hour(context, &mut ahead);
        Probe {
            asked: "the archive hour of a day ago".to_owned(),
            cost: "1 session".to_owned(),
            ahead,
            result: tried.map(|()| {
                "the API accepted the key and opened a session; no event was delivered".to_owned()
            }),
        }
    }

    fn preview(&self, start: &Start, now: OffsetDateTime) -> Vec<String> {
        PodPlan::new(self.mode, self.limits(), start).preview(now)
    }

    /// With the current hour, or with the last one that the archive has.
    fn first_start(&self, now: OffsetDateTime) -> OffsetDateTime {
        let limits = self.limits();
        match self.mode {
            Mode::Complete | Mode::Live => limits.floor(now),
            Mode::Archive => limits.limit(now) - HOUR,
        }
    }

    fn checkpoint_at(&self, from: OffsetDateTime) -> Checkpoint {
        Checkpoint::stream_at(whole_seconds(from))
    }

    /// A token has one session for each type. The name does not reveal the token.
    fn exclusive_session(&self) -> Result<Option<String>> {
        let key = secret::read(&self.sign_in()?.api_key, KEY)?;
        let mut hasher = Hasher::of("pod session");
        hasher.part(key.reveal().as_bytes());
        hasher.part(self.stream.as_bytes());
        Ok(Some(format!("pod-{}", hex(&hasher.finish()[..8]))))
    }

    fn replay_only(&mut self) {
        self.mode = Mode::Archive;
    }
}
