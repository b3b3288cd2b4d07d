//! Sessions of the log stream: others hold the token, the run's time ends, clocks differ.

use crate::pod::{Hours, NOW, STREAM, unfinished};
use crate::simulator::Trouble;

#[test]
fn a_token_that_is_held_beyond_the_end_of_a_run_is_not_asked_for_all_the_time() {
    for held in [true, false] {
        let hours = Hours::new().archive_mode();
        unfinished(&hours);
        let before = hours.world.pod.asked().len();
        if held {
            hours.world.pod.hold(STREAM);
        } else {
            let busy = Trouble::Status(503, "busy");
            hours.world.pod.script(move |_, _| Some(busy.clone()));
        }
        let run = hours.start(NOW, &["--max-duration", "5s"]).wait();
        let why = if held { "HTTP 409" } else { "HTTP 503" };
        run.assert_error(69, &[why], "");
        // at once, after two seconds and a little, and not once more before its time was over
        let asked = hours.world.pod.asked().len() - before;
        assert!((1..=3).contains(&asked), "{asked}: {}", run.stderr);
    }
}
