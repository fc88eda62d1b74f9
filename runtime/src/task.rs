//! Tasks: futures that run on their own, and the token that asks them to stop.
//!
//! Invariants: dropping a [`JoinHandle`] leaves the task running; aborting one drops its future at
//! its next suspension. In the simulator a task belongs to the node that spawned it and dies with
//! it.
//!
//! Deliberately not here: supervision. Whoever spawns a task decides what its end means.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::watch;

/// Starts a task.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    #[cfg(madsim)]
    let future = crate::fatal::sim::contain(future);
    JoinHandle(tokio::spawn(future))
}

/// Starts a task inside a tracing span called `task` whose field `name` is the given one, so that
/// what it logs tells where it comes from.
pub fn spawn_named<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    use tracing::Instrument;
    spawn(future.instrument(tracing::debug_span!("task", name)))
}

/// Lets other tasks run.
pub async fn yield_now() {
    tokio::task::yield_now().await;
}

/// Awaits or aborts a task.
#[derive(Debug)]
pub struct JoinHandle<T>(tokio::task::JoinHandle<T>);

impl<T> JoinHandle<T> {
    /// Asks the task to end: its future is dropped at its next suspension.
    pub fn abort(&self) {
        self.0.abort();
    }

    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|ended| {
            ended.map_err(
                |error| {
                    if error.is_panic() { JoinError::Panicked } else { JoinError::Aborted }
                },
            )
        })
    }
}

/// Why a task ended without a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// It was aborted, or its node or runtime went away.
    #[error("the task was aborted")]
    Aborted,
    /// It panicked; the panic has been reported where it happened.
    #[error("the task panicked")]
    Panicked,
}

/// The wish to stop, shared by everyone who must hear it. Clones are one and the same; the wish is
/// never withdrawn.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Sender<bool>);

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// A wish nobody has uttered yet.
    pub fn new() -> Self {
        Shutdown(watch::Sender::new(false))
    }

    /// Tells everyone. Saying it twice changes nothing.
    pub fn trigger(&self) {
        self.0.send_replace(true);
    }

    /// Whether it has been said.
    pub fn is_cancelled(&self) -> bool {
        *self.0.borrow()
    }

    /// Completes when it is said, at once if it already was. Safe to drop and call again.
    pub async fn cancelled(&self) {
        // The sender lives in `self`, so the channel cannot close while we wait.
        let _ = self.0.subscribe().wait_for(|said| *said).await;
    }
}

#[cfg(all(test, not(madsim)))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_gives_its_value_or_the_reason_why_not() {
        assert_eq!(spawn(async { 1 }).await, Ok(1));
        let stuck = spawn(std::future::pending::<()>());
        assert!(!stuck.is_finished());
        stuck.abort();
        assert_eq!(stuck.await, Err(JoinError::Aborted));
    }

    #[tokio::test]
    async fn a_shutdown_reaches_those_who_wait_and_those_who_come_late() {
        let shutdown = Shutdown::new();
        assert!(!shutdown.is_cancelled());
        let early = spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.cancelled().await }
        });
        shutdown.trigger();
        assert_eq!(early.await, Ok(()));
        shutdown.cancelled().await;
        assert!(shutdown.clone().is_cancelled());
    }
}
