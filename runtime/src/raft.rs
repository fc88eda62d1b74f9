//! The ground as the Raft library wants it: its clock, timers, tasks and randomness are ours, in both
//! worlds.
//!
//! Invariants: the library reads no clock but [`crate::clock`] and no chance but [`crate::random`], so
//! a node's skewed clock skews its elections and leases, and one seed replays them. Its channels are
//! tokio's, which read neither.
//!
//! Not here: what the library decides (`consensus`).

use std::{convert::Infallible, future::Future, io, time::Duration};

use openraft_rt::{AsyncRuntime, OptionalSend};
use rand_core::TryRng;

use crate::{blocking, clock, random, task};

/// Our ground under the Raft library. Building one starts a runtime of its own, which only tests of
/// the library do: a node runs inside the one it has.
pub struct RaftRuntime {
    #[cfg(not(madsim))]
    own: tokio::runtime::Runtime,
    #[cfg(madsim)]
    own: madsim::runtime::Runtime,
}

impl std::fmt::Debug for RaftRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RaftRuntime").finish_non_exhaustive()
    }
}

/// Draws from [`crate::random`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Chance;

impl TryRng for Chance {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        // The high half: as good as the low one, and no truncation to explain.
        Ok((random::u64() >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(random::u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        random::fill(bytes);
        Ok(())
    }
}

impl openraft_rt::Instant for clock::Instant {
    fn now() -> Self {
        clock::Instant::now()
    }

    fn elapsed(&self) -> Duration {
        clock::Instant::elapsed(*self)
    }
}

impl AsyncRuntime for RaftRuntime {
    type JoinError = task::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = task::JoinHandle<T>;
    type Sleep = clock::Sleep;
    type Instant = clock::Instant;
    type TimeoutError = clock::Elapsed;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = clock::Timeout<T>;
    type ThreadLocalRng = Chance;
    type Mpsc = openraft_rt_tokio::TokioMpsc;
    type Watch = openraft_rt_tokio::TokioWatch;
    type Oneshot = openraft_rt_tokio::TokioOneshot;
    type Mutex<T: OptionalSend + 'static> = openraft_rt_tokio::TokioMutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        task::spawn(future)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        clock::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        clock::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        clock::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        clock::timeout_at(deadline, future)
    }

    fn is_panic(error: &Self::JoinError) -> bool {
        *error == task::JoinError::Panicked
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        Chance
    }

    #[cfg(not(madsim))]
    fn new(threads: usize) -> Self {
        let own = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .enable_all()
            .build()
            .expect("only tests build one, and they have nothing else to do without it");
        Self { own }
    }

    #[cfg(madsim)]
    fn new(_: usize) -> Self {
        Self { own: madsim::runtime::Runtime::new() }
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.own.block_on(future)
    }

    async fn spawn_blocking<F, T>(work: F) -> Result<T, io::Error>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        Ok(blocking::run(work).await)
    }
}

#[cfg(all(test, not(madsim)))]
mod tests {
    use super::*;

    #[test]
    fn the_librarys_own_suite_passes() {
        openraft_rt::testing::Suite::<RaftRuntime>::test_all();
    }

    #[test]
    fn chance_fills_and_differs() {
        let (mut a, mut b) = ([0; 32], [0; 32]);
        let Ok(()) = Chance.try_fill_bytes(&mut a);
        let Ok(()) = Chance.try_fill_bytes(&mut b);
        assert_ne!(a, b);
        assert_ne!(Chance.try_next_u64(), Chance.try_next_u64());
    }
}
