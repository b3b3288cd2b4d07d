//! The live stream: it goes on by itself where it was left, for an hour, and what it has sent is
//! never sent again. Each of its batches is kept by the cycle until it is confirmed.

use std::time::{Duration as Wait, Instant};

use anyhow::Result;
use time::{Duration, OffsetDateTime};

use super::api::Mode;
use super::archive::hour_end;
use super::archive_policy::HOUR;
use super::session::{ReadLimits, ReadOutcome, read_batch};
use super::{Pod, PodPhase};
use crate::net::websocket::WebSocket;
use crate::pipeline::batch::{Batch, EventId, Pass, RequestId};
use crate::pipeline::checkpoint::{Gap, LiveStream};
use crate::shutdown::Shutdown;
use crate::source::PollContext;

/// A batch is handed over at about this size.
const BATCH: usize = 4 * 1024 * 1024;
/// When nothing comes, it is noted this often that nothing came.
const NOTE: Wait = Wait::from_secs(60);
/// While it was open, the state was saved at least this often, waits for a receiver included.
const NOTED: Duration = Duration::minutes(5);
/// After our close frame the server may be silent for so long before it is left,
const SILENCE: Wait = Wait::from_secs(2);
/// and send for so long.
const GOODBYE: Wait = Wait::from_secs(10);
/// A session that lasted so long is no failure when it ends.
const LASTED: Wait = Wait::from_secs(60);

/// The live stream while it is open.
#[derive(Debug)]
pub(super) struct Live {
    socket: WebSocket,
    number: u32,
    opened: Instant,
    /// When an event last came.
    heard: Instant,
    noted: Instant,
    /// Since when we say that we go.
    closing: Option<Instant>,
}

impl Pod {
    pub(super) fn open_live(&mut self, context: &mut PollContext) -> Result<Batch> {
        let Some(socket) = self.session.open(&[], context)? else {
            return Ok(Batch::default());
        };
        log::debug!("the live stream is open");
        context.counters.windows += 1;
        let opened = Instant::now();
        self.reading = Some(PodPhase::Live(Live {
            socket,
            number: self.session.requests,
            opened,
            heard: opened,
            noted: opened,
            closing: None,
        }));
        let now = self.now(context);
        self.come_back_from_the_future(now);
        let live = self.position.live.filter(|_| self.mode == Mode::Live);
        let gap = live.and_then(|live| missed(live, now));
        let since = self.position.live.and_then(|live| unbroken(live, now));
        self.note(now, true);
        if let Some(live) = &mut self.position.live {
            live.since = since.or(Some(live.until));
        }
        Ok(gap.map_or_else(|| self.commit_position(), |gap| self.commit_gap(gap)))
    }

    /// What came up to now is in the batch that is about to be handed over, or was before.
    fn note(&mut self, now: OffsetDateTime, open: bool) {
        let since = self.position.live.and_then(|live| live.since);
        self.position.live = Some(LiveStream {
            until: now,
            open,
            since,
        });
        if self.mode == Mode::Live {
            self.position.until = now;
        }
    }

    pub(super) fn read_live(&mut self, mut live: Live, context: &mut PollContext) -> Result<Batch> {
        let started = Instant::now();
        let mut batch = Batch {
            request: RequestId {
                number: live.number,
                end_hour: hour_end(self.now(context)),
                pass: Pass::Recent,
            },
            once: true,
            ..Batch::default()
        };
        // once we go, what still comes is read in spite of the stop
        let never = Shutdown::never();
        let limits_of_read = ReadLimits {
            most: BATCH,
            shutdown: live.closing.map_or(context.shutdown, |_| &never),
            recognise,
        };
        let filled = read_batch(
            &mut live.socket,
            &mut batch,
            &limits_of_read,
            context.counters,
        );
        let came = !batch.records.is_empty();
        if came {
            live.heard = Instant::now();
        }
        let mut is_over = false;
        match filled {
            ReadOutcome::Enough => {
                is_over = self.go_or_stay(&mut live, context);
                if is_over {
                    self.lose_track();
                }
            }
            ReadOutcome::Stopped => live.go(),
            ReadOutcome::Ended(ending) if live.closing.is_some() => {
                log::debug!("the live stream is closed: {ending}");
                if !ending.is_normal() {
                    self.lose_track();
                }
                is_over = true;
            }
            ReadOutcome::Ended(ending) => {
                // one that is said to be in good order comes behind all that was said before
                if !ending.is_normal() {
                    self.lose_track();
                }
                self.broken(&live, &ending.to_string(), context);
                return Ok(self.hand_over(batch, &live, self.now(context) + started.elapsed()));
            }
            ReadOutcome::TooLong(error) => {
                self.failed = Some(error);
                self.lose_track();
                is_over = true;
            }
        }
        let open = !is_over;
        if came || is_over || live.noted.elapsed() >= NOTE {
            live.noted = Instant::now();
            self.note(self.now(context) + started.elapsed(), open);
            batch.commit = Some(self.commit(None));
        }
        self.over = is_over;
        if open {
            self.reading = Some(PodPhase::Live(live));
        }
        Ok(batch)
    }

    /// Whether it is over, after a while in which it may have been silent.
    fn go_or_stay(&self, live: &mut Live, context: &PollContext) -> bool {
        match live.closing {
            Some(since) => since.elapsed() >= GOODBYE || live.heard.max(since).elapsed() >= SILENCE,
            None => {
                let silent = live.heard.elapsed();
                if context.shutdown.reason().is_some()
                    || self.idle_exit.is_some_and(|idle| silent >= idle)
                {
                    live.go();
                }
                false
            }
        }
    }

    /// The connection broke, or the server ended it: it is opened again after a wait.
    fn broken(&mut self, live: &Live, why: &str, context: &PollContext) {
        if live.opened.elapsed() >= LASTED {
            self.session.is_good();
        }
        if context.shutdown.reason().is_some() {
            self.over = true;
            return;
        }
        let wait = self.session.wait(context).as_secs_f64();
        match self.mode {
            Mode::Live => log::warn!(
                "the live stream: {why}; opening it again in {wait:.0} s. What was on its way is lost; mode = \
                 \"complete\" would find it in the archive"
            ),
            Mode::Complete | Mode::Archive => {
                log::info!("the live stream: {why}; opening it again in {wait:.0} s");
            }
        }
    }

    /// Something that the live stream has said may not have come.
    fn lose_track(&mut self) {
        if let Some(live) = &mut self.position.live {
            live.since = None;
        }
    }

    fn hand_over(&mut self, mut batch: Batch, live: &Live, now: OffsetDateTime) -> Batch {
        log::debug!("the live stream was open for {:?}", live.opened.elapsed());
        self.note(now, false);
        batch.commit = Some(self.commit(None));
        batch
    }
}

impl Live {
    fn go(&mut self) {
        self.socket.close();
        self.closing = Some(Instant::now());
    }
}

/// An event that the stream has shown within its own hour must be in the archive of that hour,
/// whether the archive goes by the event's time or by that of its arrival.
fn recognise(found: &super::event::PodEvent, hour: u32) -> EventId {
    match found.time.is_some_and(|time| hour_end(time) == hour) {
        true => EventId::ArchivedKey(found.digest),
        false => EventId::Key(found.digest),
    }
}

/// What the live stream has lost by `now`, when nothing but the live stream is read: what a run
/// that died had not yet had confirmed, and what is older than the hour that the server keeps.
fn missed(live: LiveStream, now: OffsetDateTime) -> Option<Gap> {
    let kept = now - HOUR;
    let to = match live.open {
        true => kept.max(now.min(live.until + NOTED)),
        false => kept,
    };
    (live.until < to).then_some(Gap {
        from: live.until,
        to,
    })
}

/// Since when the live stream has brought all that it had to say, if it goes on by `now` where it was
/// left.
fn unbroken(live: LiveStream, now: OffsetDateTime) -> Option<OffsetDateTime> {
    let goes_on = !live.open && missed(live, now).is_none();
    live.since.filter(|_| goes_on)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::utc;
    use time::macros::datetime;

    fn check(minutes_ago: i64, open: bool, expected: Option<&str>) {
        let now = datetime!(2026-01-10 12:00 UTC);
        let until = now - Duration::minutes(minutes_ago);
        let since = Some(until - HOUR);
        let live = LiveStream { until, open, since };
        let gap = missed(live, now);
        let is_whole = unbroken(live, now).is_some();
        assert_eq!(is_whole, gap.is_none() && !open);
        assert!(gap.is_none_or(|gap| gap.from == until));
        assert_eq!(gap.map(|gap| utc(gap.to)).as_deref(), expected);
    }

    #[test]
    fn an_hour_without_a_good_end_is_a_gap_and_so_is_a_run_that_died() {
        check(59, false, None);
        check(60, false, None);
        check(61, false, Some("2026-01-10T11:00:00Z"));
        check(1, true, Some("2026-01-10T12:00:00Z"));
        check(30, true, Some("2026-01-10T11:35:00Z"));
        check(90, true, Some("2026-01-10T11:00:00Z"));
    }
}
