//! Hybrid logical clock: timestamps that respect causality and stay close to wall time.
//!
//! Source: Kulkarni et al., "Logical Physical Clocks" (2014), with the bound on remote drift that
//! CockroachDB calls `max_offset`.
//!
//! Invariants: `HLC-1` a clock never issues the same or a smaller stamp twice, whatever the wall
//! clock does; `HLC-2` after observing a remote stamp, every later local stamp is greater.
//!
//! Not here: reading the wall clock (the caller passes `now_ms`) and persisting the clock (storage
//! restores it from the greatest stamp it holds).

use std::fmt;

use crate::{Reason, Reject, limits::CLOCK_SKEW_MAX_MS};

/// A stamp: 48 bits of Unix milliseconds and a 16-bit counter, ordered as one integer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hlc(u64);

impl Hlc {
    /// Greatest wall part that fits, in Unix milliseconds (the year 10889).
    pub const WALL_MS_MAX: u64 = (1 << 48) - 1;

    /// Builds a stamp; `wall_ms` beyond [`Self::WALL_MS_MAX`] saturates.
    pub fn new(wall_ms: u64, counter: u16) -> Self {
        Self((wall_ms.min(Self::WALL_MS_MAX) << 16) | u64::from(counter))
    }

    /// Wall part, in Unix milliseconds.
    pub fn wall_ms(self) -> u64 {
        self.0 >> 16
    }

    /// Logical part.
    pub fn counter(self) -> u16 {
        (self.0 & 0xffff) as u16
    }

    /// The stamp as one ordered integer, the form that is stored.
    pub fn as_u64(self) -> u64 {
        self.0
    }

    /// The inverse of [`Self::as_u64`].
    pub fn from_u64(raw: u64) -> Self {
        Self(raw)
    }
}

impl fmt::Display for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.wall_ms(), self.counter())
    }
}

/// The clock of one node.
#[derive(Clone, Debug, Default)]
pub struct HlcClock {
    last: Hlc,
}

impl HlcClock {
    /// A clock that continues after `last`, the greatest stamp known to be durable.
    pub fn resume(last: Hlc) -> Self {
        Self { last }
    }

    /// The greatest stamp issued or observed.
    pub fn last(&self) -> Hlc {
        self.last
    }

    /// Issues the next stamp at wall time `now_ms`.
    pub fn tick(&mut self, now_ms: u64) -> Hlc {
        let wall = Hlc::new(now_ms, 0);
        // Adding one carries from the counter into the milliseconds, which keeps HLC-1 even when a
        // frozen wall clock exhausts the counter.
        self.last = if wall > self.last { wall } else { Hlc(self.last.0 + 1) };
        self.last
    }

    /// Takes note of a stamp that was admitted before, however far ahead it is by now.
    pub fn pass(&mut self, stamp: Hlc) {
        self.last = self.last.max(stamp);
    }

    /// Takes note of a remote stamp.
    ///
    /// # Errors
    /// [`Reason::ClockSkew`] when the stamp is more than [`CLOCK_SKEW_MAX_MS`] ahead of `now_ms`;
    /// the clock is left unchanged, so that one wrong peer cannot drag it into the future.
    pub fn observe(&mut self, remote: Hlc, now_ms: u64) -> Result<(), Reject> {
        let ahead_ms = remote.wall_ms().saturating_sub(now_ms);
        if ahead_ms > CLOCK_SKEW_MAX_MS {
            return Err(Reject::new(
                Reason::ClockSkew,
                format!("stamp is {ahead_ms} ms ahead; at most {CLOCK_SKEW_MAX_MS} ms is accepted: check the sender's clock"),
            )
            .with("ahead_ms", ahead_ms));
        }
        self.last = self.last.max(remote);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn stamps_grow_whatever_the_wall_clock_does(walls in prop::collection::vec(0u64..1 << 49, 1..50)) {
            let mut clock = HlcClock::default();
            let mut last = Hlc::default();
            for now_ms in walls {
                let next = clock.tick(now_ms);
                prop_assert!(next > last, "HLC-1");
                last = next;
            }
        }

        #[test]
        fn observed_stamps_are_passed(remote_ms in 0u64..1000, now_ms in 0u64..1000, counter: u16) {
            let mut clock = HlcClock::default();
            let remote = Hlc::new(remote_ms, counter);
            clock.observe(remote, now_ms).expect("within the bound");
            prop_assert!(clock.tick(now_ms) > remote, "HLC-2");
        }
    }

    #[test]
    fn a_future_stamp_is_refused_and_leaves_no_trace() {
        let mut clock = HlcClock::default();
        let refusal =
            clock.observe(Hlc::new(CLOCK_SKEW_MAX_MS + 11, 0), 10).expect_err("too far ahead");
        assert_eq!(refusal.reason, Reason::ClockSkew);
        assert_eq!(clock.last(), Hlc::default());
    }

    #[test]
    fn a_frozen_clock_carries_into_the_milliseconds() {
        let mut clock = HlcClock::resume(Hlc::new(7, u16::MAX));
        assert_eq!(clock.tick(7), Hlc::new(8, 0));
    }
}
