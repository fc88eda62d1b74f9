//! Timers on the node's own clock: [`Sleep`], and [`Timeout`] built from it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::{Instant, source::Alarm};

/// Completes once the node's clock has reached a deadline. Returned by [`sleep`] and
/// [`sleep_until`].
#[must_use = "a sleep does nothing unless awaited"]
pub struct Sleep {
    deadline: Instant,
    alarm: Alarm,
}

impl Sleep {
    /// The moment it waits for.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.alarm.poll(cx).is_pending() {
                return Poll::Pending;
            }
            // The alarm counts true time; the node's clock may have been slowed meanwhile.
            let left = self.deadline - Instant::now();
            if left.is_zero() {
                return Poll::Ready(());
            }
            self.alarm = Alarm::after(left);
        }
    }
}

/// Waits for `duration` on this node's clock.
pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(Instant::now() + duration)
}

/// Waits until `deadline` on this node's clock.
pub fn sleep_until(deadline: Instant) -> Sleep {
    crate::trace::note(3, deadline.0, 0);
    Sleep { deadline, alarm: Alarm::after(deadline - Instant::now()) }
}

/// The deadline of a [`Timeout`] passed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the deadline has passed")]
pub struct Elapsed;

pin_project_lite::pin_project! {
    /// A future with a deadline. Returned by [`timeout`] and [`timeout_at`].
    #[must_use = "a timeout does nothing unless awaited"]
    pub struct Timeout<F> {
        #[pin]
        future: F,
        sleep: Sleep,
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(value) = this.future.poll(cx) {
            return Poll::Ready(Ok(value));
        }
        Pin::new(this.sleep).poll(cx).map(|()| Err(Elapsed))
    }
}

/// Awaits `future` for at most `duration`. A future that is ready at once wins even over a
/// duration of zero.
pub fn timeout<F: Future>(duration: Duration, future: F) -> Timeout<F> {
    Timeout { future, sleep: sleep(duration) }
}

/// Awaits `future` until `deadline` at most.
pub fn timeout_at<F: Future>(deadline: Instant, future: F) -> Timeout<F> {
    Timeout { future, sleep: sleep_until(deadline) }
}
