//! A guard for what a lock protects: it refuses whoever lost the lock to somebody later.
//!
//! A lock alone cannot stop a holder that was paused for longer than its lease. What it writes to can: it
//! remembers the greatest fencing token it has seen for each resource, and refuses smaller ones.
//!
//! Invariant: `FENCE-1` after a token was admitted for a resource, no smaller one is admitted for it.
//!
//! Not here: keeping the tokens across a restart. What outlives the process must be stored with the
//! resource and given back with [`FenceGuard::remember`].

use std::collections::BTreeMap;

use crate::{Reason, Reject, lock::Fence};

/// The greatest token seen of each resource.
///
/// ```
/// use types::{FenceGuard, lock::Fence};
///
/// let mut guard = FenceGuard::default();
/// // The first holder writes, loses its lease, and the second one writes.
/// assert!(guard.admit("deploy", Fence(33)).is_ok());
/// assert!(guard.admit("deploy", Fence(34)).is_ok());
/// // The first one wakes up and does not know yet.
/// assert!(guard.admit("deploy", Fence(33)).is_err());
/// // Another resource has another guard.
/// assert!(guard.admit("backup", Fence(33)).is_ok());
/// ```
#[derive(Clone, Debug)]
pub struct FenceGuard<R> {
    greatest: BTreeMap<R, Fence>,
}

impl<R> Default for FenceGuard<R> {
    fn default() -> Self {
        Self { greatest: BTreeMap::new() }
    }
}

impl<R: Ord> FenceGuard<R> {
    /// Admits a write that carries `fence`, or refuses it.
    ///
    /// # Errors
    /// [`Reason::FenceTooSmall`] with the greatest token in `current_fence`; also for
    /// [`Fence`] 0, which is no token.
    pub fn admit(&mut self, resource: R, fence: Fence) -> Result<(), Reject> {
        let greatest = self.greatest(&resource);
        if fence == Fence(0) || fence < greatest {
            let detail =
                format!("fence {fence} is not enough: {greatest} was seen; take the lock again");
            return Err(Reject::new(Reason::FenceTooSmall, detail).with("current_fence", greatest));
        }
        self.remember(resource, fence);
        Ok(())
    }

    /// Takes over a token that was kept elsewhere; a smaller one changes nothing.
    pub fn remember(&mut self, resource: R, fence: Fence) {
        let greatest = self.greatest.entry(resource).or_default();
        *greatest = fence.max(*greatest);
    }

    /// The greatest token seen; 0 when none was.
    pub fn greatest(&self, resource: &R) -> Fence {
        self.greatest.get(resource).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smaller_tokens_are_refused_for_good() {
        let mut guard = FenceGuard::default();
        assert_eq!(guard.admit("k", Fence(0)).expect_err("none").reason, Reason::FenceTooSmall);
        for (fence, admitted) in
            [(5, true), (5, true), (4, false), (9, true), (5, false), (9, true)]
        {
            assert_eq!(guard.admit("k", Fence(fence)).is_ok(), admitted, "FENCE-1: {fence}");
        }
        assert_eq!(guard.admit("k", Fence(8)).expect_err("old").fact("current_fence"), Some("9"));
        guard.remember("k", Fence(3));
        assert_eq!(guard.greatest(&"k"), Fence(9));
        guard.remember("other", Fence(3));
        assert!(guard.admit("other", Fence(2)).is_err() && guard.admit("other", Fence(3)).is_ok());
    }
}
