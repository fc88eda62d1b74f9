//! Time as one node sees it: a monotonic [`Instant`], the wall clock, and timers on the former.
//!
//! Invariants:
//! * [`Instant`] never goes back within one process, whatever happens to the wall clock.
//! * Timers run on the node's own monotonic clock: a node whose clock is slow sleeps long.
//! * Nothing correct may depend on two nodes' wall clocks agreeing; the simulator sees to it that
//!   they don't.
//!
//! In the simulator every node has a warped clock of its own (`clock::sim::ClockSim`), and a sleep
//! takes at least one simulated millisecond, so that no loop can spin without time passing.
//!
//! Deliberately not here: calendars, time zones, hybrid logical clocks (`types`).

#[cfg(madsim)]
pub mod sim;
mod sleep;
mod std_time;
mod ticker;

use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::time::Duration;

#[cfg(madsim)]
use sim as source;
#[cfg(not(madsim))]
use system as source;

pub use sleep::{Elapsed, Sleep, Timeout, sleep, sleep_until, timeout, timeout_at};
pub use std_time::now_std;
pub use ticker::Ticker;

/// Where every monotonic clock starts, so that `now - an hour` does not saturate at start-up.
const START_NS: u64 = 3_600_000_000_000;

/// A moment on this node's monotonic clock, in nanoseconds since an arbitrary start. Only
/// meaningful within the process that read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// Reads the clock.
    pub fn now() -> Self {
        Instant(source::monotonic_ns())
    }

    /// Time since this instant; zero if it lies in the future.
    pub fn elapsed(self) -> Duration {
        Instant::now() - self
    }

    /// Time from `earlier` to this instant; zero if `earlier` is later.
    pub fn saturating_duration_since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A duration in nanoseconds, at most about 584 years.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, duration: Duration) -> Instant {
        Instant(self.0.saturating_add(nanos(duration)))
    }
}

impl Sub<Duration> for Instant {
    type Output = Instant;

    fn sub(self, duration: Duration) -> Instant {
        Instant(self.0.saturating_sub(nanos(duration)))
    }
}

impl Sub<Instant> for Instant {
    type Output = Duration;

    fn sub(self, earlier: Instant) -> Duration {
        self.saturating_duration_since(earlier)
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl SubAssign<Duration> for Instant {
    fn sub_assign(&mut self, duration: Duration) {
        *self = *self - duration;
    }
}

/// This node's wall clock: milliseconds since the Unix epoch. May jump either way.
pub fn now_unix_ms() -> u64 {
    now_unix_ns() / 1_000_000
}

/// This node's wall clock: nanoseconds since the Unix epoch (until the year 2554). May jump either
/// way.
pub fn now_unix_ns() -> u64 {
    source::unix_ns()
}

#[cfg(not(madsim))]
mod system {
    //! The clocks of the operating system.

    use std::future::Future;
    use std::pin::Pin;
    use std::sync::OnceLock;
    use std::task::{Context, Poll};
    use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

    pub(super) fn monotonic_ns() -> u64 {
        static BASE: OnceLock<Instant> = OnceLock::new();
        super::START_NS + super::nanos(BASE.get_or_init(Instant::now).elapsed())
    }

    pub(super) fn unix_ns() -> u64 {
        // A clock set before 1970 reads as 1970: callers compare, they never subtract blindly.
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, super::nanos)
    }

    /// One timer of tokio.
    pub(super) struct Alarm(Pin<Box<tokio::time::Sleep>>);

    impl Alarm {
        pub(super) fn after(delay: Duration) -> Self {
            Alarm(Box::pin(tokio::time::sleep(delay)))
        }

        pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
            self.0.as_mut().poll(cx)
        }
    }
}

#[cfg(all(test, not(madsim)))]
mod tests {
    use super::*;

    #[test]
    fn instants_saturate_instead_of_wrapping() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        assert_eq!(later - now, Duration::from_secs(1));
        assert_eq!(now - later, Duration::ZERO);
        assert_eq!(now - Duration::MAX, Instant(0));
        assert!(now + Duration::MAX > later);
        assert!(now.0 >= START_NS);
    }

    #[test]
    fn the_wall_clock_is_in_this_century() {
        let ms = now_unix_ms();
        assert!((1_600_000_000_000..4_102_444_800_000).contains(&ms), "{ms}");
    }

    #[tokio::test]
    async fn a_timeout_keeps_the_value_or_says_elapsed() {
        assert_eq!(timeout(Duration::from_secs(60), async { 7 }).await, Ok(7));
        let never = std::future::pending::<()>();
        assert_eq!(timeout(Duration::from_millis(1), never).await, Err(Elapsed));
    }

    #[tokio::test]
    async fn a_sleep_is_never_short() {
        let start = Instant::now();
        sleep(Duration::from_millis(3)).await;
        assert!(start.elapsed() >= Duration::from_millis(3));
    }

    #[tokio::test]
    async fn a_ticker_skips_what_it_missed_and_keeps_its_rhythm() {
        let mut ticker = Ticker::new(Duration::from_millis(2));
        let first = ticker.tick().await;
        sleep(Duration::from_millis(9)).await;
        let late = ticker.tick().await;
        let next = ticker.tick().await;
        assert!(late - first >= Duration::from_millis(9));
        assert!(next > late);
        assert!(next - late <= Duration::from_secs(1));
    }
}
