//! Admission: how many requests at once, and for how long.
//!
//! Invariants: every guarded request has a place and a deadline (`wire::admission`), and is answered
//! by then, with a little grace so that the service's own words win; a stream has a slot for as long
//! as it flows.
//!
//! Not here: probes, which are always admitted.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use runtime::clock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use types::{Reason, Reject};
use wire::admission::Deadline;

use super::{App, problem::Answer, who::timeout_ms};

/// How much later than the service this door gives up.
const GRACE: Duration = Duration::from_millis(100);

/// Takes a slot for a stream, or refuses.
pub(super) fn slot(of: &Arc<Semaphore>) -> Answer<OwnedSemaphorePermit> {
    of.clone().try_acquire_owned().map_err(|_| {
        Reject::new(Reason::Overloaded, "too many streams at once; try again later")
            .with("retry_after_ms", 1000)
            .into()
    })
}

/// Admits a request, or refuses it.
pub(super) async fn admit(
    State(app): State<App>,
    mut request: Request,
    next: Next,
) -> Answer<Response> {
    let max_ms = u64::try_from(app.limits.timeout_max.as_millis()).unwrap_or(u64::MAX);
    let allowed = match timeout_ms(request.headers(), max_ms)? {
        Some(ms) => Duration::from_millis(ms),
        None => app.limits.timeout,
    };
    let deadline = Deadline::after(allowed);
    let _place = app.admission.enter(&deadline).await?;
    request.extensions_mut().insert(deadline);
    match clock::timeout_at(deadline.at() + GRACE, next.run(request)).await {
        Ok(response) => Ok(response),
        Err(_) => Err(Reject::new(
            Reason::DeadlineExceeded,
            format!(
                "not finished within {} ms; if this was a write, its outcome is unknown: retry with the same Idempotency-Key",
                allowed.as_millis()
            ),
        )
        .into()),
    }
}
