//! `WindowSettings` are the keys of every service that is read in windows.

use std::time::Duration as Wait;

use time::Duration;

use crate::config::service_keys::{DAY, MINUTE, duration, max_duration, url};
use crate::config::{TableReader, Url};
use crate::pipeline::checkpoint::Retention;

/// How a service is read in windows.
#[derive(Debug, Clone)]
pub(in crate::source) struct WindowSettings {
    /// Used instead of the built-in address.
    pub(in crate::source) url: Option<Url>,
    /// How much each run reads again for events that became visible late.
    look_back: Wait,
    /// How much later each hour is read once more; zero for never.
    recheck_after: Wait,
    /// Longest time of a run.
    pub(in crate::source) max_duration: Wait,
}

impl WindowSettings {
    /// Reads the keys; `look_back` is the default in minutes.
    pub(in crate::source) fn read(table: &mut TableReader, look_back: u64) -> WindowSettings {
        let minutes = |minutes| Wait::from_secs(minutes * MINUTE);
        WindowSettings {
            url: url(table),
            look_back: table.text_or("look_back", minutes(look_back), duration(0..=DAY)),
            recheck_after: table.text_or("recheck_after", minutes(720), duration(0..=6 * DAY)),
            max_duration: max_duration(table),
        }
    }

    /// How far back runs read again; delivered events are remembered for `memory` at least.
    pub(in crate::source) fn retention(&self, memory: Duration) -> Retention {
        // the configuration accepts nothing too long
        let time = |time| Duration::try_from(time).unwrap_or(Duration::DAY);
        Retention {
            look_back: time(self.look_back),
            recheck: time(self.recheck_after),
            memory,
        }
    }
}
