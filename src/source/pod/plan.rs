//! `PodPlan` says what a run reads next, and what becomes complete by what it has read.
//!
//! Pure: it is told the time and how the run stands. Hours of the archive come first, the one in which
//! the last run ended before all others, then the live stream, then the end. `archive_policy` says when
//! an hour counts as read.

use time::OffsetDateTime;

use super::api::Mode;
use super::archive_policy::{self, AnswerEnd, GIVE_UP, HOUR, HourReading};
use super::live_policy::{missed, unbroken};
use crate::clock::utc;
use crate::pipeline::batch::AnswerTotals;
use crate::pipeline::checkpoint::{
    Checkpoint, Commit, Gap, LiveStream, OpenHour, OpenReason, StreamCheckpoint, Window,
};
use crate::source::api::Start;
use crate::source::windows::clock::ClockReading;
use crate::source::{WindowLimits, warn_of_a_late_start};

/// What a run does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PodPhase {
    /// It gives up what the service no longer keeps.
    GiveUp(Gap),
    /// It reads the hour of the archive that begins here.
    Archive(OffsetDateTime),
    /// It reads the live stream.
    Live,
    /// It ends: nothing is left to read now, or the run is to stop.
    End,
}

/// How a run stands when the next phase is chosen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// Our clock and the server's.
    pub(super) clocks: ClockReading,
    /// Whether the run is to stop.
    pub(super) is_stopping: bool,
    /// Whether half of the run's time is over.
    pub(super) is_half_over: bool,
    /// Whether the live stream was read to its end.
    pub(super) is_drained: bool,
}

/// An hour of the archive whose session was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BegunHour {
    /// Whether the last run ended in this hour.
    pub(super) is_unfinished: bool,
}

/// Which hours of the archive a run reads, and how far the reading has come.
#[derive(Debug)]
pub(super) struct PodPlan {
    pub(super) mode: Mode,
    limits: WindowLimits,
    /// A backfill's end.
    end: Option<OffsetDateTime>,
    /// When the state was begun, as long as nothing was read.
    begun: Option<OffsetDateTime>,
    /// Whether the start was counted from our clock, which may be ahead.
    is_counted_back: bool,
    /// Whether a session was opened, and the server did not tell its time.
    is_undated: bool,
    /// How far the reading has come.
    position: StreamCheckpoint,
    /// The hours that this run has requested.
    requested: Vec<OffsetDateTime>,
}

/// Where the reading stands at the start of a run.
fn position(mode: Mode, limits: &WindowLimits, start: &Start) -> StreamCheckpoint {
    let mut position = start.checkpoint.stream();
    position.until = match mode {
        Mode::Live => position.until,
        // after another mode, from the hour in which the stream was left
        Mode::Complete | Mode::Archive => limits.floor(position.until),
    };
    position
}

impl PodPlan {
    /// Of a run in this mode that has requested nothing yet; a backfill reads the archive alone.
    pub(super) fn new(mode: Mode, limits: WindowLimits, start: &Start) -> PodPlan {
        let position = position(mode, &limits, start);
        PodPlan {
            mode: match start.end {
                Some(_) => Mode::Archive,
                None => mode,
            },
            limits,
            end: start.end,
            // what the live stream has brought is a beginning, too
            begun: start.begun,
            is_counted_back: start.is_counted_back,
            is_undated: false,
            position,
            requested: Vec::new(),
        }
    }

    /// What a run asks for when it is `now`, if all goes well, in words.
    pub(super) fn preview(mut self, now: OffsetDateTime) -> Vec<String> {
        let moment = Moment {
            clocks: ClockReading::of_both(now),
            is_stopping: false,
            is_half_over: false,
            is_drained: false,
        };
        let mut steps = Vec::new();
        loop {
            match self.next(&moment) {
                PodPhase::GiveUp(_) => {}
                PodPhase::Archive(from) => {
                    let to = from + HOUR;
                    steps.push(Window { from, to }.to_string());
                    let _ = self.begin_hour(from, &moment);
                    let _ = self.record_hour(from, Some(0), None, moment.clocks);
                }
                PodPhase::Live => {
                    steps.push("the live stream".to_owned());
                    return steps;
                }
                PodPhase::End => return steps,
            }
        }
    }

    /// Chooses what comes next.
    pub(super) fn next(&mut self, moment: &Moment) -> PodPhase {
        if let Some(gap) = self.give_up_what_is_too_old(moment.clocks) {
            return PodPhase::GiveUp(gap);
        }
        if moment.is_drained {
            return PodPhase::End;
        }
        if let Some(hour) = self.next_hour(moment) {
            return PodPhase::Archive(hour);
        }
        match self.mode {
            _ if moment.is_stopping => PodPhase::End,
            Mode::Archive => PodPhase::End,
            Mode::Complete | Mode::Live => PodPhase::Live,
        }
    }

    /// Whether hours are left that the first half of the run's time was too short for.
    pub(super) fn is_left(&self, moment: &Moment) -> bool {
        let with_time = Moment {
            is_half_over: false,
            ..*moment
        };
        moment.is_half_over && self.next_hour(&with_time).is_some()
    }

    /// The next hour to request, if one is left for this run.
    fn next_hour(&self, moment: &Moment) -> Option<OffsetDateTime> {
        if self.mode == Mode::Live || moment.is_stopping {
            return None;
        }
        let is_there = |hour: &OffsetDateTime| self.is_there(*hour, moment);
        // what did not fit into a run must not meet the same end again and again
        if let Some(hour) = self.unfinished().filter(is_there) {
            return Some(hour);
        }
        // the live stream gets the other half
        if self.mode == Mode::Complete && moment.is_half_over {
            return None;
        }
        let due = |hour: &&OpenHour| {
            let is_new = !self.requested.contains(&hour.from);
            is_new
                && archive_policy::is_due(hour, moment.clocks.earlier(), self.limits.margin)
                && is_there(&hour.from)
        };
        if let Some(hour) = self.position.open_hours.iter().find(due) {
            return Some(hour.from);
        }
        let (next, end) = (self.next_unread(moment.clocks), self.end);
        let is_in_range = end.is_none_or(|end| next + HOUR <= end);
        // the session of an hour that is not wanted tells the server's time
        let is_wanted = match moment.clocks.server {
            None if self.is_undated => is_in_range && next == self.position.until,
            None => is_in_range || end.is_some_and(|end| self.position.until < end),
            Some(_) => is_in_range,
        };
        (is_wanted && self.is_over_and_kept(next, moment.clocks)).then_some(next)
    }

    /// The first hour that was never read. Until the server has told its time, it is one that the
    /// service keeps by ours.
    fn next_unread(&self, clocks: ClockReading) -> OffsetDateTime {
        match clocks.server {
            None => self.position.until.max(self.limits.oldest(clocks.ours)),
            Some(_) => self.position.until,
        }
    }

    /// Whether the archive has an hour that is open or the next, as far as clocks are known.
    fn is_there(&self, from: OffsetDateTime, moment: &Moment) -> bool {
        let mut open = self.position.open_hours.iter();
        let is_left = from == self.position.until || open.any(|hour| hour.from == from);
        is_left && self.is_over_and_kept(from, moment.clocks)
    }

    fn is_over_and_kept(&self, from: OffsetDateTime, clocks: ClockReading) -> bool {
        let now = clocks.earlier();
        from >= self.limits.oldest(now) && from + HOUR <= self.limits.limit(now)
    }

    /// The position, if it is too old, and the clocks do not agree on that: nothing moves it.
    pub(super) fn undecided(&self, clocks: ClockReading) -> Option<OffsetDateTime> {
        let is_too_old = self.position.until < self.limits.oldest(clocks.earlier());
        let is_asked = clocks.server.is_some() || self.is_undated;
        let is_undecided = clocks.agreed().is_none() && is_asked && is_too_old;
        (is_undecided && self.mode != Mode::Live).then_some(self.position.until)
    }

    /// The hour in which the last run ended, until this one has requested it.
    fn unfinished(&self) -> Option<OffsetDateTime> {
        let open = self.position.open_hours.iter();
        let mut unfinished = open.filter(|hour| hour.why == OpenReason::Unfinished);
        let hour = unfinished.find(|hour| !self.requested.contains(&hour.from));
        hour.map(|hour| hour.from)
    }

    /// The session of an hour was opened, and the server has told its time. `None` if by that time the
    /// archive does not have the hour.
    pub(super) fn begin_hour(
        &mut self,
        from: OffsetDateTime,
        moment: &Moment,
    ) -> Option<BegunHour> {
        self.is_undated = moment.clocks.server.is_none();
        if !self.is_there(from, moment) {
            self.correct_start(moment.clocks);
            return None;
        }
        let is_unfinished = self.unfinished() == Some(from);
        self.requested.push(from);
        Some(BegunHour { is_unfinished })
    }

    /// Whether another hour is read behind this one, as far as is known by now.
    pub(super) fn goes_on_behind(&self, from: OffsetDateTime, moment: &Moment) -> bool {
        let next = self.position.until.max(from + HOUR);
        let is_in_range = self.end.is_none_or(|end| next + HOUR <= end);
        is_in_range && self.is_over_and_kept(next, moment.clocks)
    }

    /// What an answer for an hour is judged by: what it held, how many events of the hour were shown
    /// by now, and whether the server ended it in good order.
    pub(super) fn reading(
        &self,
        from: OffsetDateTime,
        (answered, shown): (AnswerTotals, u64),
        end: AnswerEnd,
        clocks: ClockReading,
    ) -> HourReading {
        let now = clocks.earlier();
        let is_next = from == self.position.until;
        let mut open = self.position.open_hours.iter();
        let open = open.find(|hour| hour.from == from);
        HourReading {
            answered,
            shown,
            is_covered: archive_policy::is_covered(self.position.live, from),
            before: self.position.hour_before.filter(|_| is_next),
            was: open.map(|hour| hour.why),
            last: open.and_then(|hour| Some((hour.events?, now - hour.asked))),
            end,
            age: now - from - HOUR,
        }
    }

    /// An hour was read, of so many events if its answer is known to have come to its end; `why` it is
    /// not taken for whole, if it is not.
    #[must_use]
    pub(super) fn record_hour(
        &mut self,
        from: OffsetDateTime,
        events: Option<u64>,
        why: Option<OpenReason>,
        clocks: ClockReading,
    ) -> Commit {
        self.begun = None;
        if from == self.position.until {
            if archive_policy::is_sound(why) {
                self.position.hour_before = events;
            }
            self.position.until += HOUR;
        }
        let open = &mut self.position.open_hours;
        // what it was open for before, if that was no loss, gives it no less time
        let was = open.iter().find(|hour| hour.from == from);
        let was = was.filter(|hour| {
            why.is_none_or(|why| archive_policy::is_loss(why) == archive_policy::is_loss(hour.why))
        });
        // a clock that is wrong must not make it older than it is
        let now = clocks.later();
        let since = was.map_or(now, |hour| hour.since.min(now));
        open.retain(|hour| hour.from != from);
        let Some(why) = why else {
            return self.commit(None);
        };
        let is_old = |now: OffsetDateTime| now - since >= GIVE_UP;
        if archive_policy::is_loss(why) && clocks.agreed().is_some_and(is_old) {
            let (name, words) = (utc(from), why.in_words());
            log::warn!(
                "giving up the archive hour of {name}, first requested at {}: {words}",
                utc(since)
            );
            let to = from + HOUR;
            return self.commit(Some(Gap { from, to }));
        }
        let at = open.partition_point(|hour| hour.from < from);
        let hour = OpenHour {
            from,
            since,
            asked: now,
            events,
            why,
        };
        open.insert(at, hour);
        self.commit(None)
    }

    /// Gives up what the service no longer keeps, one gap at a time, if both clocks agree.
    fn give_up_what_is_too_old(&mut self, clocks: ClockReading) -> Option<Gap> {
        let oldest = self.limits.oldest(clocks.agreed()?);
        let to = self.end.map_or(oldest, |end| end.min(oldest));
        if self.mode != Mode::Live && self.position.until < to {
            let from = std::mem::replace(&mut self.position.until, to);
            self.position.hour_before = None;
            match self.limits.lost(from, to, self.begun) {
                None => warn_of_a_late_start(from, to),
                lost => return lost,
            }
        }
        let live_alone = self.mode == Mode::Live;
        let mut open = self.position.open_hours.iter();
        let lost = open.position(|hour| live_alone || hour.from < oldest)?;
        let from = self.position.open_hours.remove(lost).from;
        let to = from + HOUR;
        Some(Gap { from, to })
    }

    /// A start that was counted from our clock goes back to where the server is. No other position ever
    /// goes back, and none by more than the service keeps: no clock is to bring all of the archive.
    fn correct_start(&mut self, clocks: ClockReading) {
        if clocks.server.is_none() || !std::mem::take(&mut self.is_counted_back) {
            return;
        }
        let start = self.limits.floor(clocks.earlier());
        let is_near = self.position.until - start <= self.limits.keep;
        if self.position.live.is_none() && self.position.until > start && is_near {
            (self.position.until, self.position.hour_before) = (start, None);
        }
        let until = self.position.until;
        self.begun = self.limits.begun_by_right_clock(self.begun, until, clocks);
    }

    /// The live stream was opened.
    #[must_use]
    pub(super) fn begin_live(&mut self, clocks: ClockReading) -> Commit {
        self.correct_start(clocks);
        let live = self.position.live;
        let lost = live.filter(|_| self.mode == Mode::Live);
        let gap = lost.and_then(|live| missed(live, clocks.earlier()));
        let since = live.and_then(|live| unbroken(live, clocks.later()));
        self.note_live(clocks, true);
        if let Some(live) = &mut self.position.live {
            live.since = since.or(Some(clocks.later()));
        }
        self.commit(gap).at_once()
    }

    /// What the live stream brought up to now is in the batch that is handed over next, or was before.
    #[must_use]
    pub(super) fn record_live(&mut self, clocks: ClockReading, open: bool) -> Commit {
        self.note_live(clocks, open);
        self.commit(None).at_once()
    }

    fn note_live(&mut self, clocks: ClockReading, open: bool) {
        let before = self
            .position
            .live
            .filter(|live| live.until <= clocks.later());
        let since = self.position.live.and_then(|live| live.since);
        let until = clocks.earlier();
        self.position.live = Some(LiveStream {
            until: before.map_or(until, |live| live.until.max(until)),
            open,
            since,
        });
        if self.mode == Mode::Live {
            self.position.until = self.position.until.max(until);
        }
    }

    /// Something that the live stream has said may not have come.
    pub(super) fn lose_track(&mut self) {
        if let Some(live) = &mut self.position.live {
            live.since = None;
        }
    }

    /// The hours that later runs request again, oldest first.
    pub(super) fn open_hours(&self) -> &[OpenHour] {
        &self.position.open_hours
    }

    /// What makes durable how far the reading has come, and what is given up with it.
    #[must_use]
    pub(super) fn commit(&self, gap: Option<Gap>) -> Commit {
        Commit {
            checkpoint: Some(Checkpoint::Stream(self.position.clone())),
            gap,
            at_once: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::Duration;
    use time::macros::datetime;

    use OpenReason::{Cut, Empty, Growing, Lacking, Unfinished, Unproven};

    const LIMITS: WindowLimits = WindowLimits {
        shortest: HOUR,
        longest: HOUR,
        keep: Duration::hours(30 * 24 - 2),
        margin: Duration::minutes(45),
        grain: HOUR,
    };
    /// At this time hours up to 09:00 are in the archive.
    const NOW: OffsetDateTime = datetime!(2026-11-20 10:20 UTC);

    /// A whole hour of that day.
    fn at(hour: i64) -> OffsetDateTime {
        NOW.replace_time(time::Time::MIDNIGHT) + HOUR * i32::try_from(hour).unwrap()
    }

    fn hours(gap: Gap) -> String {
        let hour = |time: OffsetDateTime| (time - at(0)).whole_hours();
        format!("gap {}-{}", hour(gap.from), hour(gap.to))
    }

    /// An hour that was requested first and last so many minutes ago.
    fn open(hour: i64, why: OpenReason, (since, asked): (i64, i64)) -> OpenHour {
        OpenHour {
            from: at(hour),
            since: NOW - Duration::minutes(since),
            asked: NOW - Duration::minutes(asked),
            events: None,
            why,
        }
    }

    /// A run that goes on at 05:00.
    fn plan(mode: Mode, open_hours: &[OpenHour]) -> PodPlan {
        let start = Start {
            checkpoint: Checkpoint::stream_at(at(5)),
            begun: None,
            is_counted_back: false,
            since: at(0),
            end: None,
            look_back: Duration::ZERO,
            recheck_after: None,
        };
        let mut plan = PodPlan::new(mode, LIMITS, &start);
        plan.position.open_hours = open_hours.to_vec();
        plan
    }

    const CONNECTED: Moment = Moment {
        clocks: ClockReading {
            ours: NOW,
            server: Some(NOW),
        },
        is_stopping: false,
        is_half_over: false,
        is_drained: false,
    };

    /// Before the server has told its time.
    const UNHEARD: ClockReading = ClockReading {
        ours: NOW,
        server: None,
    };

    /// Both clocks say that it is so late.
    fn both(now: OffsetDateTime) -> ClockReading {
        ClockReading::of_both(now)
    }

    /// Goes through the phases of a run, in which each hour is whole; names them.
    fn phases(plan: &mut PodPlan, mut moment: Moment) -> String {
        let mut phases = Vec::new();
        loop {
            match plan.next(&moment) {
                PodPhase::GiveUp(gap) => phases.push(hours(gap)),
                PodPhase::Archive(hour) => {
                    phases.push((hour - at(0)).whole_hours().to_string());
                    let server = moment.clocks.server.unwrap_or(moment.clocks.ours);
                    moment.clocks.server = Some(server);
                    if plan.begin_hour(hour, &moment).is_none() {
                        phases.push("not there".into());
                        continue;
                    }
                    let _ = plan.record_hour(hour, Some(9), None, moment.clocks);
                }
                PodPhase::Live => {
                    phases.push("live".into());
                    break;
                }
                PodPhase::End => {
                    phases.push("end".into());
                    break;
                }
            }
        }
        phases.join(", ")
    }

    #[track_caller]
    fn check(mut plan: PodPlan, moment: Moment, expected: &str) {
        assert_eq!(phases(&mut plan, moment), expected, "{plan:?} {moment:?}");
    }

    #[test]
    fn it_is_known_whether_another_hour_follows() {
        // up to 09:00 the archive has them; from 05:00 on they are new, before that open
        let table = [
            (8, None, false),
            (7, None, true),
            (5, None, true),
            (2, None, true),
            (5, Some(6), false),
            (5, Some(7), true),
            (2, Some(5), false),
        ];
        for (from, end, goes_on) in table {
            let mut plan = plan(Mode::Complete, &[]);
            plan.end = end.map(at);
            assert_eq!(
                plan.goes_on_behind(at(from), &CONNECTED),
                goes_on,
                "{from} {end:?}"
            );
        }
    }

    #[test]
    fn the_archive_comes_first_then_the_live_stream_then_the_end() {
        let all = [Mode::Complete, Mode::Archive, Mode::Live];
        let each = |moment: Moment, expected: [&str; 3]| {
            for (mode, expected) in all.into_iter().zip(expected) {
                check(plan(mode, &[]), moment, expected);
            }
        };
        each(CONNECTED, ["5, 6, 7, 8, live", "5, 6, 7, 8, end", "live"]);
        let before = Moment {
            clocks: UNHEARD,
            ..CONNECTED
        };
        each(before, ["5, 6, 7, 8, live", "5, 6, 7, 8, end", "live"]);
        let half = Moment {
            is_half_over: true,
            ..CONNECTED
        };
        each(half, ["live", "5, 6, 7, 8, end", "live"]);
        let stopping = Moment {
            is_stopping: true,
            ..CONNECTED
        };
        each(stopping, ["end", "end", "end"]);
        let drained = Moment {
            is_drained: true,
            ..CONNECTED
        };
        each(drained, ["end", "end", "end"]);
        // an hour is there 45 minutes after its end
        let just = |minutes| Moment {
            clocks: both(at(9) + Duration::minutes(minutes)),
            ..CONNECTED
        };
        each(just(44), ["5, 6, 7, live", "5, 6, 7, end", "live"]);
        each(just(45), ["5, 6, 7, 8, live", "5, 6, 7, 8, end", "live"]);
        let nothing_new = Moment {
            clocks: both(at(5) + Duration::minutes(50)),
            ..CONNECTED
        };
        each(nothing_new, ["live", "end", "live"]);
    }

    #[test]
    fn open_hours_that_are_due_come_before_new_ones_and_an_unfinished_one_before_all() {
        const DUE: (i64, i64) = (600, 300);
        let table: [(&[OpenHour], &str); 6] = [
            (
                &[open(2, Empty, DUE), open(3, Cut, DUE)],
                "2, 3, 5, 6, 7, 8",
            ),
            (
                &[open(2, Lacking, DUE), open(3, Unfinished, (9, 9))],
                "3, 2, 5, 6, 7, 8",
            ),
            (
                &[open(2, Growing, (44, 44)), open(3, Unproven, (45, 45))],
                "3, 5, 6, 7, 8",
            ),
            (&[open(2, Cut, (0, 0))], "5, 6, 7, 8"),
            (
                &[open(2, Unfinished, DUE), open(3, Unfinished, DUE)],
                "2, 3, 5, 6, 7, 8",
            ),
            // the archive does not have it yet, as far as clocks are known
            (&[open(9, Unfinished, DUE)], "5, 6, 7, 8"),
        ];
        for (open, expected) in table {
            let with = |end| format!("{expected}, {end}");
            check(plan(Mode::Complete, open), CONNECTED, &with("live"));
            check(plan(Mode::Archive, open), CONNECTED, &with("end"));
        }
        // when half of the time is over, nothing but what did not fit into the last run
        let half = Moment {
            is_half_over: true,
            ..CONNECTED
        };
        let open = [open(2, Empty, DUE), open(3, Unfinished, DUE)];
        check(plan(Mode::Complete, &open), half, "3, live");
    }

    #[test]
    fn hours_are_left_where_half_of_the_time_was_too_short_for_them() {
        let half = Moment {
            is_half_over: true,
            ..CONNECTED
        };
        let drained = Moment {
            is_drained: true,
            ..half
        };
        let caught_up = Moment {
            clocks: both(at(5) + Duration::minutes(50)),
            ..drained
        };
        for (mode, moment, expected) in [
            (Mode::Complete, half, true),
            (Mode::Complete, drained, true),
            (Mode::Complete, CONNECTED, false),
            (Mode::Complete, caught_up, false),
            (Mode::Live, drained, false),
        ] {
            let is_left = plan(mode, &[]).is_left(&moment);
            assert_eq!(is_left, expected, "{mode:?} {moment:?}");
        }
    }

    #[test]
    fn an_hour_is_requested_once_in_a_run() {
        let mut plan = plan(Mode::Complete, &[open(2, Empty, (600, 300))]);
        for hour in [2, 5] {
            assert_eq!(plan.next(&CONNECTED), PodPhase::Archive(at(hour)));
            assert!(plan.begin_hour(at(hour), &CONNECTED).is_some());
            // however long ago it was requested, by a clock that jumped
            let _ = plan.record_hour(at(hour), Some(9), Some(Cut), both(NOW - HOUR * 9));
        }
        assert_eq!(plan.next(&CONNECTED), PodPhase::Archive(at(6)));
    }

    #[test]
    fn an_hour_in_which_the_last_run_ended_is_told_from_others() {
        let mut plan = plan(Mode::Complete, &[open(3, Unfinished, (9, 9))]);
        let is_unfinished = |plan: &mut PodPlan| {
            let begun = plan.begin_hour(at(3), &CONNECTED);
            begun.unwrap().is_unfinished
        };
        assert!(is_unfinished(&mut plan));
        assert!(!is_unfinished(&mut plan));
        let begun = plan.begin_hour(at(5), &CONNECTED).unwrap();
        assert!(!begun.is_unfinished);
    }

    #[test]
    fn a_backfill_reads_the_archive_alone_and_ends_with_its_range() {
        let backfill = |end: i64, open: &[OpenHour]| {
            let mut plan = plan(Mode::Archive, open);
            plan.end = Some(at(end));
            plan
        };
        let half = Moment {
            is_half_over: true,
            ..CONNECTED
        };
        for moment in [CONNECTED, half] {
            check(backfill(7, &[]), moment, "5, 6, end");
            check(backfill(5, &[]), moment, "end");
            // as far as the archive has come
            check(backfill(12, &[]), moment, "5, 6, 7, 8, end");
            let open = [open(4, Cut, (60, 60))];
            check(backfill(6, &open), moment, "4, 5, end");
        }
        let start = Start {
            checkpoint: Checkpoint::stream_at(at(5)),
            begun: Some(NOW),
            is_counted_back: false,
            since: at(0),
            end: Some(at(7)),
            look_back: Duration::ZERO,
            recheck_after: None,
        };
        for mode in [Mode::Complete, Mode::Archive, Mode::Live] {
            check(PodPlan::new(mode, LIMITS, &start), CONNECTED, "5, 6, end");
        }
    }

    /// The service keeps three hours: from 08:00 on.
    fn short(mut plan: PodPlan) -> PodPlan {
        plan.limits.keep = HOUR * 3;
        plan
    }

    #[test]
    fn what_the_service_no_longer_keeps_is_given_up_one_gap_at_a_time() {
        let before = Moment {
            clocks: UNHEARD,
            ..CONNECTED
        };
        let old = [open(2, Empty, (600, 300)), open(3, Cut, (600, 300))];
        let with = |mode, old: &[OpenHour]| short(plan(mode, old));
        check(with(Mode::Complete, &[]), CONNECTED, "gap 5-8, 8, live");
        check(
            with(Mode::Complete, &old),
            CONNECTED,
            "gap 5-8, gap 2-3, gap 3-4, 8, live",
        );
        // the server's clock is known only once a session is open
        check(
            with(Mode::Complete, &old),
            before,
            "8, not there, gap 5-8, gap 2-3, gap 3-4, 8, live",
        );
        let mut backfill = with(Mode::Archive, &[]);
        backfill.end = Some(at(7));
        check(backfill, before, "8, not there, gap 5-7, end");
        // a start that is too old is no gap
        let mut fresh = with(Mode::Archive, &[]);
        fresh.begun = Some(NOW);
        check(fresh, CONNECTED, "8, end");
        // no single clock counts
        for (ours, server, expected) in [
            (3, 0, "end"),
            (0, -3, "5, end"),
            (0, 960, "end"),
            (960, -3, "5, end"),
            (0, -490_000, "end"),
        ] {
            let [ours, server] = [ours, server].map(|hours| NOW + Duration::hours(hours));
            let clocks = ClockReading {
                ours,
                server: Some(server),
            };
            let moment = Moment {
                clocks,
                ..CONNECTED
            };
            check(with(Mode::Archive, &[]), moment, expected);
            let is_undecided = with(Mode::Archive, &[]).undecided(clocks).is_some();
            assert_eq!(is_undecided, ours.min(server) >= NOW, "{clocks:?}");
        }
        let stopping = Moment {
            is_stopping: true,
            ..CONNECTED
        };
        check(with(Mode::Complete, &[]), stopping, "gap 5-8, end");
    }

    #[test]
    fn the_live_stream_alone_reads_no_hour_that_another_mode_left_open() {
        let open = [open(2, Empty, (9, 9)), open(8, Unfinished, (9, 9))];
        check(plan(Mode::Live, &open), CONNECTED, "gap 2-3, gap 8-9, live");
    }

    #[test]
    fn what_the_server_s_clock_says_is_not_there_yet_is_not_read() {
        // by our clock hours up to 09:00 were there
        let mut plan = plan(Mode::Complete, &[]);
        plan.position.until = at(8);
        plan.position.hour_before = Some(70);
        assert_eq!(plan.next(&CONNECTED), PodPhase::Archive(at(8)));
        let behind = Moment {
            clocks: both(at(6) + Duration::minutes(50)),
            ..CONNECTED
        };
        assert_eq!(plan.begin_hour(at(8), &behind), None);
        assert_eq!(plan.position.until, at(8));
        assert_eq!(plan.position.hour_before, Some(70));
        assert_eq!(plan.next(&behind), PodPhase::Live);
    }

    /// An hour, open before for this reason since so many hours, is read with this verdict: what becomes
    /// of it, and since how many hours it is open then.
    #[track_caller]
    fn check_hour(
        was: Option<(OpenReason, i64)>,
        why: Option<OpenReason>,
        expected: (&str, Option<i64>),
    ) {
        let open_before = was.map(|(why, hours)| open(3, why, (hours * 60, 60)));
        let mut plan = plan(Mode::Complete, open_before.as_slice());
        let commit = plan.record_hour(at(3), Some(9), why, both(NOW));
        let Some(Checkpoint::Stream(position)) = commit.checkpoint else {
            panic!("nothing becomes durable");
        };
        assert_eq!(position, plan.position);
        assert_eq!(position.until, at(5));
        let open = plan.open_hours().first();
        assert!(open.is_none_or(|open| Some(open.why) == why && open.asked == NOW));
        let what = match (commit.gap, open) {
            (Some(gap), None) => hours(gap),
            (None, Some(_)) => "open".into(),
            (None, None) => "read".into(),
            both => panic!("{both:?}"),
        };
        let since = open.map(|open| (NOW - open.since).whole_hours());
        assert_eq!((what.as_str(), since), expected, "{was:?} {why:?}");
    }

    #[test]
    fn an_hour_that_stays_a_loss_for_a_day_is_a_gap_and_one_that_is_only_doubted_never_is() {
        for was in [None, Some((Unfinished, 30)), Some((Lacking, 30))] {
            check_hour(was, None, ("read", None));
        }
        for why in [Cut, Lacking] {
            check_hour(None, Some(why), ("open", Some(0)));
            for was in [Cut, Lacking] {
                check_hour(Some((was, 23)), Some(why), ("open", Some(23)));
                check_hour(Some((was, 24)), Some(why), ("gap 3-4", None));
            }
            // what it was open for before was no loss: its day begins now
            for was in [Unfinished, Empty, Growing, Unproven] {
                check_hour(Some((was, 30)), Some(why), ("open", Some(0)));
            }
        }
        for why in [Unfinished, Empty, Growing, Unproven] {
            check_hour(None, Some(why), ("open", Some(0)));
            for was in [Unfinished, Empty, Growing, Unproven] {
                check_hour(Some((was, 100)), Some(why), ("open", Some(100)));
            }
            for was in [Cut, Lacking] {
                check_hour(Some((was, 100)), Some(why), ("open", Some(0)));
            }
        }
    }

    #[test]
    fn the_position_moves_on_by_the_next_hour_whatever_its_verdict_and_open_ones_are_sorted() {
        let mut plan = plan(Mode::Complete, &[open(2, Empty, (9, 9))]);
        let _ = plan.record_hour(at(5), Some(60), Some(Growing), both(NOW));
        assert_eq!(plan.position.until, at(6));
        assert_eq!(plan.position.hour_before, Some(60));
        // how many events a bad answer held is not known
        let _ = plan.record_hour(at(6), Some(3), Some(Cut), both(NOW));
        assert_eq!(plan.position.until, at(7));
        assert_eq!(plan.position.hour_before, Some(60));
        let _ = plan.record_hour(at(3), Some(7), Some(Cut), both(NOW));
        assert_eq!(plan.position.hour_before, Some(60));
        let _ = plan.record_hour(at(7), Some(80), None, both(NOW));
        assert_eq!(plan.position.hour_before, Some(80));
        let open: Vec<OffsetDateTime> = plan.open_hours().iter().map(|hour| hour.from).collect();
        assert_eq!(open, [at(2), at(3), at(5), at(6)]);
    }

    #[test]
    fn an_answer_is_judged_by_what_is_known_of_its_hour() {
        let mut plan = plan(Mode::Complete, &[open(3, Lacking, (9, 9))]);
        plan.position.hour_before = Some(70);
        plan.position.live = Some(LiveStream {
            until: at(5),
            open: false,
            since: Some(at(2)),
        });
        let shown = (AnswerTotals::default(), 4);
        let old = plan.reading(at(3), shown, AnswerEnd::Normal, both(NOW));
        assert_eq!(
            (old.was, old.before, old.is_covered),
            (Some(Lacking), None, true)
        );
        assert_eq!((old.shown, old.age), (4, Duration::minutes(380)));
        let next = plan.reading(at(5), shown, AnswerEnd::Normal, both(NOW));
        assert_eq!(
            (next.was, next.before, next.is_covered),
            (None, Some(70), false)
        );
    }

    /// The live stream is opened, after it was left so many minutes ago, or not left at all: the gap in
    /// minutes, and how many minutes ago its unbroken time began.
    #[track_caller]
    fn check_live(mode: Mode, left: Option<(i64, bool)>, expected: (Option<i64>, i64)) {
        let mut plan = plan(mode, &[]);
        plan.position.live = left.map(|(minutes, open)| LiveStream {
            until: NOW - Duration::minutes(minutes),
            open,
            since: Some(NOW - Duration::minutes(300)),
        });
        let gap = plan.begin_live(both(NOW)).gap;
        let live = plan.position.live.unwrap();
        assert!(live.open && live.until == NOW);
        let since = (NOW - live.since.unwrap()).whole_minutes();
        let gap = gap.map(|gap| (gap.to - gap.from).whole_minutes());
        assert_eq!((gap, since), expected, "{mode:?} {left:?}");
        let until = if mode == Mode::Live { NOW } else { at(5) };
        assert_eq!(plan.position.until, until);

        let later = NOW + Duration::minutes(3);
        let commit = plan.record_live(both(later), false);
        assert_eq!(
            (commit.gap, plan.position.live.unwrap().until),
            (None, later)
        );
        assert_eq!(plan.position.live.unwrap().since, live.since);
        plan.lose_track();
        assert_eq!(plan.position.live.unwrap().since, None);
    }

    #[test]
    fn what_the_live_stream_lost_is_a_gap_where_no_archive_makes_up_for_it() {
        for mode in [Mode::Complete, Mode::Live] {
            check_live(mode, None, (None, 0));
            check_live(mode, Some((60, false)), (None, 300));
        }
        check_live(Mode::Complete, Some((61, false)), (None, 0));
        check_live(Mode::Complete, Some((3, true)), (None, 0));
        check_live(Mode::Live, Some((61, false)), (Some(1), 0));
        check_live(Mode::Live, Some((3, true)), (Some(3), 0));
        check_live(Mode::Live, Some((30, true)), (Some(5), 0));
    }

    #[test]
    fn a_preview_names_what_the_run_reads() {
        let hour = |hour| Window {
            from: at(hour),
            to: at(hour + 1),
        };
        let open = [open(2, Empty, (600, 300)), open(3, Unfinished, (9, 9))];
        let [first, second, third] = [3, 2, 8].map(|number| hour(number).to_string());
        let mut plan = plan(Mode::Complete, &open);
        plan.position.until = at(8);
        let live = "the live stream".to_owned();
        assert_eq!(plan.preview(NOW), [first, second, third, live]);
        assert_eq!(
            short(self::plan(Mode::Archive, &open)).preview(NOW),
            [hour(8).to_string()]
        );
    }

    #[test]
    fn times_are_whole_hours_unless_the_live_stream_alone_is_read() {
        let odd = at(5) + Duration::minutes(20);
        let start = Start {
            checkpoint: Checkpoint::stream_at(odd),
            begun: Some(NOW),
            is_counted_back: false,
            since: odd,
            end: None,
            look_back: Duration::ZERO,
            recheck_after: None,
        };
        for (mode, until) in [
            (Mode::Complete, at(5)),
            (Mode::Archive, at(5)),
            (Mode::Live, odd),
        ] {
            assert_eq!(position(mode, &LIMITS, &start).until, until);
        }
    }

    /// The live stream is opened and read for a while with such clocks, hours ahead of now: how many hours before
    /// now the position is then.
    #[track_caller]
    fn check_live_clocks(plan: &mut PodPlan, (ours, server): (i64, i64), expected: i64) {
        let [ours, server] = [ours, server].map(|hours| NOW + Duration::hours(hours));
        let clocks = ClockReading {
            ours,
            server: Some(server),
        };
        let commit = plan.begin_live(clocks);
        assert_eq!(commit.gap, None, "{clocks:?}");
        let _ = plan.record_live(clocks, false);
        let live = plan.position.live.unwrap();
        assert!(live.until <= clocks.earlier().max(NOW));
        assert!(live.since.is_none_or(|since| since >= NOW - HOUR * 9));
        let hours = (at(10) - plan.position.until).whole_hours();
        assert_eq!(hours, expected, "{clocks:?}");
    }

    fn copy(plan: &PodPlan) -> PodPlan {
        PodPlan {
            position: plan.position.clone(),
            requested: Vec::new(),
            ..*plan
        }
    }

    #[test]
    fn no_clock_moves_a_position_back_except_a_start_that_was_counted_from_ours() {
        const WRONG: [(i64, i64); 6] = [
            (0, -490_000),
            (0, -24),
            (0, 960),
            (-24, 0),
            (960, 0),
            (-490_000, 960),
        ];
        for wrong in WRONG {
            let mut known = plan(Mode::Complete, &[]);
            known.position.live = Some(LiveStream {
                until: NOW - Duration::MINUTE,
                open: false,
                since: Some(NOW - HOUR * 9),
            });
            check_live_clocks(&mut copy(&known), wrong, 5);
            let mut alone = copy(&known);
            alone.mode = Mode::Live;
            alone.position.until = NOW - Duration::MINUTE;
            check_live_clocks(&mut alone, wrong, 0);
            let mut configured = plan(Mode::Complete, &[]);
            configured.begun = Some(NOW);
            check_live_clocks(&mut configured, wrong, 5);
        }
        // where our clock was when the state was begun, in hours, and where the server is
        for (ours, server, expected) in [
            (0, 0, 0),
            (5, 0, 0),
            (0, -24, 24),
            (0, 960, 0),
            // one of them is so wrong that nothing is decided
            (0, -490_000, 0),
            (960, 0, -960),
        ] {
            let mut first = plan(Mode::Complete, &[]);
            (first.begun, first.is_counted_back) = (Some(NOW), true);
            first.position.until = at(10) + Duration::hours(ours);
            check_live_clocks(&mut first, (ours, server), expected);
            // only once
            check_live_clocks(&mut first, (0, -48), expected);
        }
    }

    #[test]
    fn an_hour_is_given_up_after_a_day_by_both_clocks() {
        for (ours, server, expected) in [
            (24, 24, true),
            (23, 23, false),
            (24, 960, false),
            (960, 24, false),
            (24, 0, false),
        ] {
            let mut plan = plan(Mode::Complete, &[open(3, Lacking, (0, 0))]);
            let [ours, server] = [ours, server].map(|hours| NOW + Duration::hours(hours));
            let clocks = ClockReading {
                ours,
                server: Some(server),
            };
            let gap = plan.record_hour(at(3), Some(9), Some(Lacking), clocks).gap;
            assert_eq!(gap.is_some(), expected, "{clocks:?}");
        }
        // requested first when the server's clock was in 1970, or far ahead
        for wrong in [-490_000, 960] {
            let mut plan = plan(Mode::Complete, &[]);
            let clocks = ClockReading {
                ours: NOW,
                server: Some(NOW + Duration::hours(wrong)),
            };
            let _ = plan.record_hour(at(5), Some(9), Some(Cut), clocks);
            let day = NOW + HOUR * 24;
            for (later, is_gap) in [
                (NOW + HOUR, false),
                (day, wrong < 0),
                (day + HOUR * 2, true),
            ] {
                let commit = plan.record_hour(at(5), Some(9), Some(Cut), both(later));
                let since = plan.position.open_hours.first().map(|hour| hour.since);
                assert_eq!(commit.gap.is_some(), is_gap, "{wrong} {later} {since:?}");
                if is_gap {
                    break;
                }
            }
        }
    }
}
