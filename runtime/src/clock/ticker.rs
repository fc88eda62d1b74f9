//! A steady beat for periodic work.

use std::time::Duration;

use super::{Instant, sleep_until};

/// Ticks once at the start and then every `period`. Beats missed while the owner was busy are
/// skipped, not made up for.
#[derive(Debug)]
pub struct Ticker {
    period: Duration,
    next: Instant,
}

impl Ticker {
    /// A ticker whose first tick is due now. A period of zero counts as one millisecond.
    pub fn new(period: Duration) -> Self {
        Self::starting_at(Instant::now(), period)
    }

    /// A ticker whose first tick is due at `first`.
    pub fn starting_at(first: Instant, period: Duration) -> Self {
        Ticker { period: period.max(Duration::from_millis(1)), next: first }
    }

    /// Waits for the next beat and returns the moment it was noticed. Dropping the future before
    /// it completes loses no beat.
    pub async fn tick(&mut self) -> Instant {
        sleep_until(self.next).await;
        let now = Instant::now();
        self.next += self.period;
        if self.next <= now {
            self.next = now + self.period;
        }
        now
    }
}
