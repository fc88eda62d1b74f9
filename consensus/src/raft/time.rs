//! The root's time, as the member that leads reads it.
//!
//! A wall clock can be stepped, and the machine's time never goes back: one reading that is an hour
//! ahead would stop every lease for an hour once the clock is right again. So a leader reads its wall
//! clock once, when it takes office, and counts on from there by its monotonic clock.
//!
//! Invariants: `RFT-18` within a term, readings grow with the leader's monotonic clock, or to the
//! time of an earlier leader's entry that is applied late, and never with the wall clock. `RFT-19` a term begins at the wall clock or at the time of the newest entry, whichever is later:
//! time that has been given out does not stand still until a clock has caught up with it.
//!
//! Not here: what the time means (the machine). Sessions get their full TTL again at the first reading of
//! a new leader, so a step between two terms ends none of them.

use parking_lot::Mutex;
use runtime::clock::{self, Instant};

/// Where a term's readings begin.
#[derive(Clone, Copy, Debug)]
struct Base {
    term: u64,
    at_ms: u64,
    since: Instant,
}

impl Base {
    fn reading_ms(&self) -> u64 {
        let passed_ms = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.at_ms.saturating_add(passed_ms)
    }
}

/// The clock of a member, for the terms that it leads.
#[derive(Debug, Default)]
pub(super) struct LeaderClock(Mutex<Option<Base>>);

impl LeaderClock {
    /// The reading of `term`, in milliseconds since the Unix epoch. `newest_ms` is the newest reading
    /// among the entries that this member has applied.
    pub(super) fn read_ms(&self, term: u64, newest_ms: u64) -> u64 {
        let mut base = self.0.lock();
        let reading_ms = match *base {
            Some(known) if known.term == term => known.reading_ms(),
            _ => 0,
        };
        // Its own entries never say more than its clock; one that does is an earlier leader's, applied
        // only now.
        if reading_ms > 0 && reading_ms >= newest_ms {
            return reading_ms;
        }
        let at_ms = match reading_ms {
            0 => clock::now_unix_ms().max(newest_ms),
            _ => newest_ms,
        };
        *base = Some(Base { term, at_ms, since: Instant::now() });
        at_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_begins_where_time_is_and_goes_on_from_there() {
        let clock = LeaderClock::default();
        let ahead_ms = clock::now_unix_ms() + 3_600_000;
        let first = clock.read_ms(3, ahead_ms);
        assert_eq!(first, ahead_ms, "RFT-19");
        assert!((first..first + 600_000).contains(&clock.read_ms(3, 0)), "RFT-18");
        let late_ms = first + 9_000_000;
        assert_eq!(clock.read_ms(3, late_ms), late_ms, "an earlier leader's entry, applied late");
        assert!((late_ms..late_ms + 600_000).contains(&clock.read_ms(3, first)));
        let next = clock.read_ms(4, 0);
        assert!(next < first && next >= ahead_ms - 3_600_000, "{next}");
    }
}
