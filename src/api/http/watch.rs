//! The change stream as server-sent events.
//!
//! `event: change` carries one change, its `id` the position. `event: covered` says how far the
//! stream has come although nothing visible happened, and is the heartbeat. A client that reconnects
//! with the last `id` it saw misses nothing and sees nothing twice. `event: problem` is the last one.
//!
//! Invariants: ids only grow within a stream; the caller's right to watch is asked again before
//! every batch, so that a revoked agent stops hearing.
//!
//! Not here: finding changes (`node::service::watch`).

use std::{convert::Infallible, time::Duration};

use axum::{body::Body, extract::State, response::Response};
use futures::stream;
use http::{HeaderMap, HeaderValue, header};
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use types::{Reason, Reject};

use super::{
    App, admit,
    params::Params,
    problem::{Answer, Refusal},
    routes::Routes,
    who::Who,
};
use crate::node::service::{Caller, Credentials, watch::ChangeBatch};

/// A watch that goes on.
struct Running {
    app: App,
    caller: Caller,
    credentials: Credentials,
    after: u64,
    first: Option<ChangeBatch>,
    _slot: OwnedSemaphorePermit,
}

fn event(out: &mut String, name: &str, id: u64, data: &serde_json::Value) {
    // JSON on one line contains no line break, so it is one `data` field.
    out.push_str(&format!("event: {name}\nid: {id}\ndata: {data}\n\n"));
}

/// The events of a batch.
fn frames(batch: &ChangeBatch) -> String {
    let mut out = String::new();
    for change in &batch.changes {
        let data = serde_json::to_value(change).unwrap_or_default();
        event(&mut out, "change", change.position, &data);
    }
    if batch.changes.last().is_none_or(|last| last.position < batch.covered) {
        event(&mut out, "covered", batch.covered, &json!({"covered": batch.covered}));
    }
    out
}

async fn next_frames(mut running: Running) -> (String, Option<Running>) {
    if let Some(batch) = running.first.take() {
        running.after = batch.covered;
        return (frames(&batch), Some(running));
    }
    let again = running.app.service.authenticate(&running.credentials);
    let batch = match again {
        Ok(viewer) => {
            running.caller.viewer = viewer;
            let wait = running.app.limits.heartbeat;
            running.app.service.next_changes(&running.caller, running.after, wait).await
        }
        Err(reject) => Err(reject),
    };
    match batch {
        Ok(batch) => {
            running.after = batch.covered;
            (frames(&batch), Some(running))
        }
        Err(reject) => {
            let document = Refusal::from(reject).document("/api/v1/watch");
            let mut out = String::new();
            event(&mut out, "problem", running.after, &document);
            (out, None)
        }
    }
}

/// Where to start: `Last-Event-ID` of a reconnecting client, else `after`, else now.
fn start(headers: &HeaderMap, after: Option<u64>, now: u64) -> Answer<u64> {
    let Some(last) = headers.get("last-event-id") else { return Ok(after.unwrap_or(now)) };
    last.to_str().ok().and_then(|text| text.parse().ok()).ok_or_else(|| {
        Refusal::of(
            Reason::InvalidArgument,
            "last-event-id",
            "needs the id of an event of this stream, a whole number",
        )
    })
}

#[utoipa::path(
    get, path = "/api/v1/watch", tag = "watch",
    summary = "Watch changes as they happen",
    description = "Server-sent events: `change` (a ChangeOut), `covered` (`{\"covered\": position}`, also the heartbeat) and `problem` (the last one). The id of each is the position to resume after.",
    params(
        ("after" = Option<u64>, Query, description = "Start after this position. Default: now.", minimum = 0),
        ("Last-Event-ID" = Option<u64>, Header, description = "Id of the last event seen; wins over `after`.", minimum = 0),
    ),
    responses((status = 200, description = "The stream.", body = String, content_type = "text/event-stream")),
)]
async fn watch(
    State(app): State<App>,
    who: Who,
    Params(mut query): Params,
    headers: HeaderMap,
) -> Answer<Response> {
    let after = query.take("after")?;
    query.done()?;
    let now = app.service.watch_start();
    let after = start(&headers, after, now)?;
    if after > now {
        let detail = format!("after: position {after} lies ahead of this node, which is at {now}");
        return Err(Reject::new(Reason::InvalidArgument, detail)
            .with("field", "after")
            .with("position", now)
            .into());
    }
    let slot = admit::slot(&app.streams)?;
    let caller = Caller { deadline: None, ..who.caller };
    // Asked before the answer begins, so that a position that is too old has a status of its own.
    let first = app.service.next_changes(&caller, after, Duration::ZERO).await?;
    let running = Running {
        app,
        caller,
        credentials: who.credentials,
        after,
        first: Some(first),
        _slot: slot,
    };
    let frames = stream::unfold(Some(running), |running| async {
        let (text, running) = next_frames(running?).await;
        Some((Ok::<_, Infallible>(text), running))
    });
    let mut response = Response::new(Body::from_stream(frames));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies such as nginx hold a stream back unless told not to.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// Adds the family's route.
pub(super) fn add(routes: &mut Routes) {
    routes.add(__path_watch, "watch", watch);
}

#[cfg(test)]
mod tests {
    use crate::node::model::graph::ChangeOut;

    use super::*;

    fn change(position: u64) -> ChangeOut {
        ChangeOut {
            position,
            op: "n:1".into(),
            at: "2026-03-01T12:00:00.000Z".into(),
            agent_id: "ann".into(),
            event_type: "memory.store\nid: 99".into(),
            memory_id: None,
            memory: None,
        }
    }

    #[test]
    fn frames_carry_positions_and_cannot_be_forged_by_content() {
        let text = frames(&ChangeBatch { changes: vec![change(4)], covered: 6 });
        let ids: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("id: ")).collect();
        assert_eq!(ids, ["4", "6"]);
        assert!(text.ends_with("event: covered\nid: 6\ndata: {\"covered\":6}\n\n"), "{text}");
        let exact = frames(&ChangeBatch { changes: vec![change(6)], covered: 6 });
        assert!(!exact.contains("covered"));
        let heartbeat = frames(&ChangeBatch { changes: Vec::new(), covered: 6 });
        assert!(heartbeat.starts_with("event: covered\nid: 6\n"));
    }

    #[test]
    fn a_reconnecting_client_wins_over_its_first_url() {
        let mut headers = HeaderMap::new();
        assert_eq!(start(&headers, None, 9), Ok(9));
        assert_eq!(start(&headers, Some(3), 9), Ok(3));
        headers.insert("last-event-id", HeaderValue::from_static("5"));
        assert_eq!(start(&headers, Some(3), 9), Ok(5));
        headers.insert("last-event-id", HeaderValue::from_static("x"));
        assert!(start(&headers, None, 9).is_err());
    }
}
