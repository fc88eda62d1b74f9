//! Forgetting what every member has seen, in small steps beside the node's work.
//!
//! Invariants: `DRV-13` one round is under way at a time; `DRV-14` what is younger than
//! [`super::Keep::for_ms`] stays, stable or not.
//!
//! Not here: what is stable (the engine), what a step does (`storage`).

use runtime::clock;
use storage::{
    answer::Applied,
    request::Intent,
    state::{Forget, Forgot},
};
use types::{Reject, VersionVector};

use super::Federation;

/// Rows that one step looks at.
const ROWS_MAX: u32 = 500;

/// Forgets all that can be.
pub(super) async fn run(federation: Federation, stable: VersionVector) {
    match steps(&federation, stable).await {
        Ok(forgot) if forgot.operations + forgot.tombstones > 0 => {
            let Forgot { operations, tombstones, .. } = forgot;
            tracing::debug!(operations, tombstones, "forgotten");
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "what all have seen cannot be forgotten"),
    }
    federation.0.forgetting.store(false, std::sync::atomic::Ordering::Release);
}

async fn steps(federation: &Federation, stable: VersionVector) -> Result<Forgot, Reject> {
    let before_ms = clock::now_unix_ms().saturating_sub(federation.0.keep.for_ms);
    let (mut all, mut after) = (Forgot::default(), 0);
    loop {
        let forget = Forget { stable: stable.clone(), before_ms, after, rows_max: ROWS_MAX };
        let results = federation.0.exchange.done(vec![Intent::Forget(Box::new(forget))]).await?;
        let Some(Ok(Applied::Forgot(forgot))) = results.first() else { return Ok(all) };
        all.operations += forgot.operations;
        all.tombstones += forgot.tombstones;
        match forgot.next {
            Some(next) => after = next,
            None => return Ok(all),
        }
    }
}
