//! Figures of a database that take long to count.
//!
//! Invariants: `FIG-2` where counting took a second or more it is not done again before twenty times as long has passed, and
//! whoever asks meanwhile is told what was counted last; what somebody began to count is counted to its end even if he does
//! not wait for it, and whoever comes meanwhile waits for the same.
//!
//! Not here: counting (`figures`).

use std::{future::Future, sync::Arc, time::Duration};

use runtime::{clock::Instant, task};
use tokio::sync::Mutex;
use types::{Reason, Reject};

use crate::{answer::StoreStats, error::StoreError};

/// From which on counting took long.
const LONG: Duration = Duration::from_secs(1);
/// How long what took long is good, in times of what it took.
const REST: u32 = 20;

struct Last {
    stats: StoreStats,
    at: Instant,
    took: Duration,
}

impl Last {
    fn is_good(&self, now: Instant) -> bool {
        self.took >= LONG && now - self.at < self.took * REST
    }
}

/// What was counted last.
#[derive(Default)]
pub(crate) struct Tally {
    last: Mutex<Option<Last>>,
}

impl Tally {
    /// The figures, counted by `count` if need be.
    pub(crate) async fn of(
        self: Arc<Self>,
        count: impl Future<Output = Result<StoreStats, StoreError>> + Send + 'static,
    ) -> Result<StoreStats, StoreError> {
        let counting = task::spawn_named("store-figures", async move {
            // Held while it is counted.
            let mut last = self.last.lock().await;
            let began = Instant::now();
            if let Some(last) = last.as_ref().filter(|last| last.is_good(began)) {
                return Ok(last.stats.clone());
            }
            let stats = count.await?;
            let at = Instant::now();
            *last = Some(Last { stats: stats.clone(), at, took: at - began });
            Ok(stats)
        });
        counting.await.unwrap_or_else(|_| Err(Reject::new(Reason::Stopping, "stopping").into()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    #[test]
    fn what_took_long_is_good_for_twenty_times_as_long() {
        let at = Instant::now();
        let last = |took_ms| {
            let took = Duration::from_millis(took_ms);
            Last { stats: StoreStats::default(), at, took }
        };
        assert!(!last(999).is_good(at));
        assert!(last(1_000).is_good(at + Duration::from_millis(19_999)));
        assert!(!last(1_000).is_good(at + Duration::from_secs(20)));
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_counted_to_its_end() {
        let (tally, counted) = (Arc::new(Tally::default()), Arc::new(AtomicU64::new(0)));
        let go = Arc::new(Semaphore::new(0));
        let count = || {
            let (counted, go) = (counted.clone(), go.clone());
            async move {
                let memories = counted.fetch_add(1, Ordering::Relaxed) + 1;
                let _permit = go.acquire().await;
                Ok(StoreStats { memories, ..StoreStats::default() })
            }
        };
        let mut first = Box::pin(tally.clone().of(count()));
        // It begins, and its caller goes away.
        while counted.load(Ordering::Relaxed) == 0 {
            assert!(futures::poll!(&mut first).is_pending());
            task::yield_now().await;
        }
        drop(first);
        go.add_permits(1);
        // As if it had taken longer.
        tally.last.lock().await.as_mut().unwrap().took = LONG;
        assert_eq!(tally.clone().of(count()).await.unwrap().memories, 1);
        tally.last.lock().await.as_mut().unwrap().took = Duration::ZERO;
        assert_eq!(tally.of(count()).await.unwrap().memories, 2);
    }
}
