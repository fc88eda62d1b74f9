//! Export and import as lines of JSON.
//!
//! Invariant: an export that fails on the way breaks off, so that a client cannot take a part for
//! the whole.
//!
//! Not here: the format (`node::service::transfer`).

use std::io;

use axum::{Json as Reply, body::Body, extract::State, response::Response};
use futures::stream;
use http::{HeaderValue, header};
use tokio::sync::OwnedSemaphorePermit;

use super::{App, admit, body::Lines, params::Params, problem::Answer, routes::Routes, who::Who};
use crate::node::{
    model::{FilterInput, write::ExportInput},
    service::{
        Caller,
        transfer::{ExportCursor, ExportPage, ImportResult},
    },
};

/// An export on its way.
struct Running {
    app: App,
    caller: Caller,
    input: ExportInput,
    cursor: Option<ExportCursor>,
    _slot: OwnedSemaphorePermit,
}

async fn next_page(mut running: Running) -> Option<(io::Result<String>, Option<Running>)> {
    let cursor = running.cursor.take()?;
    match running.app.service.export_page(&running.caller, &running.input, Some(cursor)).await {
        Ok(ExportPage { text, next }) => {
            running.cursor = next;
            Some((Ok(text), Some(running)))
        }
        Err(reject) => {
            tracing::warn!(reason = reject.reason.code(), "an export broke off");
            Some((Err(io::Error::other(reject.detail)), None))
        }
    }
}

#[utoipa::path(
    get, path = "/api/v1/export", tag = "transfer",
    summary = "Export memories and links as lines of JSON",
    description = "Streams. The first line is `{\"hivemem_export\":1}`; lists in the query are separated by commas.",
    params(
        FilterInput,
        ("archived" = Option<bool>, Query, description = "Archived memories too."),
    ),
    responses((status = 200, description = "One JSON object per line.", body = String, content_type = "application/x-ndjson")),
)]
async fn export(State(app): State<App>, who: Who, Params(mut query): Params) -> Answer<Response> {
    let archived = query.take("archived")?.unwrap_or(false);
    let input = ExportInput { filter: query.rest()?, archived };
    let slot = admit::slot(&app.streams)?;
    // The deadline is for the first part; how long the rest takes is up to the client.
    let caller = Caller { deadline: None, ..who.caller };
    let first = app.service.export_page(&caller, &input, None).await?;
    let rest = Running { app, caller, input, cursor: first.next, _slot: slot };
    let rest = stream::unfold(Some(rest), |running| async { next_page(running?).await });
    let all = futures::StreamExt::chain(stream::iter([Ok(first.text)]), rest);
    let mut response = Response::new(Body::from_stream(all));
    let kind = HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

#[utoipa::path(
    post, path = "/api/v1/import", tag = "transfer",
    summary = "Import up to 1000 lines of JSON",
    description = "Takes the lines of an export, and bare drafts of memories. Existing ids are skipped; a bad line is refused alone and named.",
    request_body(content = String, content_type = "application/x-ndjson", description = "One JSON object per line."),
    responses((status = 200, description = "What was imported, skipped and refused.", body = ImportResult)),
)]
async fn import(
    State(app): State<App>,
    who: Who,
    params: Params,
    Lines(text): Lines,
) -> Answer<Reply<ImportResult>> {
    params.none()?;
    Ok(Reply(app.service.import(&who.caller, &text).await?))
}

/// Adds the family's routes.
pub(super) fn add(routes: &mut Routes) {
    routes.add(__path_export, "export", export).mutation(__path_import, "import", import);
}
