//! `Pages` decides what follows a page of a report: another page, or the end.
//!
//! Pure. A page that is full may be followed by another one, whatever the number of people says; a page
//! without anybody new ends the report.

use std::collections::HashSet;

use crate::pipeline::batch::{Digest, EventId};

/// How pages are requested.
#[derive(Debug, Clone, Copy)]
pub(super) struct PageLimits {
    /// People on a page.
    pub(super) size: u32,
    /// The most pages of a report.
    pub(super) most: u32,
}

/// The pages of a report, as far as they have come.
#[derive(Debug)]
pub(super) struct Pages {
    /// The number of the page that is requested or read, from 1.
    pub(super) next: u32,
    /// That of the first page.
    interval: Option<String>,
    met: HashSet<Digest>,
    /// How many people the pages before this one had.
    before: usize,
}

/// What follows a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterPage {
    /// The next page.
    Next,
    /// Nothing: the report is whole.
    Whole,
}

impl Default for Pages {
    fn default() -> Pages {
        Pages {
            next: 1,
            interval: None,
            met: HashSet::new(),
            before: 0,
        }
    }
}

impl Pages {
    /// Whether a page with this interval is of the same report as those before.
    pub(super) fn is_of(&mut self, interval: &str) -> bool {
        self.interval.get_or_insert_with(|| interval.to_owned()) == interval
    }

    /// Notes a person of the page.
    pub(super) fn add(&mut self, person: EventId) {
        self.met.insert(person.digest());
    }

    /// Ends a page with `count` people, of a report that says that it has `total`.
    ///
    /// # Errors
    /// With what is wrong, if people are missing and no page will bring them.
    pub(super) fn end(
        &mut self,
        limits: PageLimits,
        count: usize,
        total: Option<usize>,
    ) -> Result<AfterPage, String> {
        let (have, is_full) = (self.met.len(), count >= limits.size as usize);
        let has_new = have > self.before;
        let is_lacking = total.is_some_and(|total| have < total);
        if self.next >= limits.most {
            return Ok(AfterPage::Whole);
        }
        match (has_new, is_full, is_lacking) {
            (true, true, _) | (true, _, true) => {
                self.next += 1;
                self.before = have;
                Ok(AfterPage::Next)
            }
            (false, _, true) => Err(format!(
                "the report says that it has {} people, but its pages have {have}",
                total.unwrap_or_default()
            )),
            (_, _, false) => Ok(AfterPage::Whole),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use AfterPage::{Next, Whole};

    /// Pages of at most 3 people, each a letter; what follows each page.
    fn check(total: Option<usize>, pages: &[(&str, Result<AfterPage, &str>)]) {
        let mut read = Pages::default();
        let limits = PageLimits { size: 3, most: 9 };
        for (number, (people, expected)) in (1..).zip(pages) {
            assert_eq!(read.next, number, "{pages:?}");
            for person in people.bytes() {
                read.add(EventId::Key([person; 16]));
            }
            let found = read.end(limits, people.len(), total);
            assert_eq!(found, expected.map_err(str::to_owned), "{number} {pages:?}");
        }
    }

    #[test]
    fn a_report_ends_with_a_page_that_is_not_full_once_everybody_has_come() {
        check(Some(2), &[("ab", Ok(Whole))]);
        check(Some(5), &[("abc", Ok(Next)), ("de", Ok(Whole))]);
        check(Some(0), &[("", Ok(Whole))]);
        // the number may be missing, or be that of a page
        check(None, &[("abc", Ok(Next)), ("de", Ok(Whole))]);
        check(Some(3), &[("abc", Ok(Next)), ("de", Ok(Whole))]);
        check(Some(3), &[("abc", Ok(Next)), ("", Ok(Whole))]);
    }

    #[test]
    fn a_server_whose_pages_are_smaller_is_asked_on() {
        check(
            Some(3),
            &[("a", Ok(Next)), ("b", Ok(Next)), ("c", Ok(Whole))],
        );
    }

    #[test]
    fn people_that_no_page_has_are_an_error() {
        let said = "the report says that it has 5 people, but its pages have 3";
        check(Some(5), &[("abc", Ok(Next)), ("", Err(said))]);
        // a server that does not know pages repeats the first one
        check(Some(5), &[("abc", Ok(Next)), ("abc", Err(said))]);
        check(Some(3), &[("abc", Ok(Next)), ("abc", Ok(Whole))]);
    }

    #[test]
    fn a_probe_reads_one_page() {
        let mut read = Pages::default();
        read.add(EventId::Key([1; 16]));
        let limits = PageLimits { size: 1, most: 1 };
        assert_eq!(read.end(limits, 1, Some(7)), Ok(Whole));
    }

    #[test]
    fn pages_of_another_interval_are_of_another_report() {
        let mut read = Pages::default();
        assert!(read.is_of("a") && read.is_of("a"));
        assert!(!read.is_of("b"));
        assert!(read.is_of("a"));
    }
}
