//! Blocking calls from async code.
//!
//! In the simulator the call happens inline, in one step; the time the disk owes for it is paid by
//! [`run_on`], or by the caller through [`crate::disk::settle_latency`].

use crate::disk::{DiskRef, settle_latency};

/// Runs `work` where blocking is allowed and gives its value. A panic in `work` continues in the
/// caller. The work runs to its end even if the future is dropped after its first poll.
pub async fn run<T, F>(work: F) -> T
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    #[cfg(madsim)]
    {
        work()
    }
    #[cfg(not(madsim))]
    {
        match tokio::task::spawn_blocking(work).await {
            Ok(value) => value,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // Only a runtime that is being torn down cancels blocking work; nobody is left to
            // poll this future then.
            Err(_) => std::future::pending().await,
        }
    }
}

/// [`run`], then waits for the simulated time that `disk` owes for it.
pub async fn run_on<T, F>(disk: DiskRef, work: F) -> T
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let value = run(work).await;
    settle_latency(&*disk).await;
    value
}

#[cfg(all(test, not(madsim)))]
mod tests {
    #[tokio::test]
    async fn gives_the_value_and_passes_a_panic_on() {
        assert_eq!(super::run(|| 5).await, 5);
        let panicked = tokio::spawn(super::run(|| {
            std::panic::resume_unwind(Box::new("boom"));
        }));
        assert!(panicked.await.unwrap_err().is_panic());
    }
}
