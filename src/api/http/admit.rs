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

/// What a request gets that was begun and not finished; `safe` if it changes nothing by its method.
fn late(safe: bool, allowed: Duration) -> Reject {
    let ms = allowed.as_millis();
    match safe {
        true => Reject::new(Reason::DeadlineExceeded, format!("not finished within {ms} ms")),
        false => Reject::new(
            Reason::OutcomeUnknown,
            format!(
                "not finished within {ms} ms, and what became of it is unknown: the same request \
                 with the same Idempotency-Key, or session and number, finds out"
            ),
        ),
    }
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
    let safe = request.method().is_safe();
    request.extensions_mut().insert(deadline);
    match clock::timeout_at(deadline.at() + GRACE, next.run(request)).await {
        Ok(response) => Ok(response),
        Err(_) => Err(late(safe, allowed).into()),
    }
}
