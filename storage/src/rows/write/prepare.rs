//! What a write can be asked before it waits for the writer: its size, and the words and vector of
//! every new memory. This runs on the caller's side, on as many threads as there are callers.
//!
//! Invariant: nothing here depends on the state of the store, so it may happen in any order.
//!
//! Not here: preconditions (`apply`).

use runtime::{clock::Instant, span::Traced};
use types::{
    NewMemory, Reason, Reject,
    limits::{BULK_MAX, IDEMPOTENCY_KEY_BYTES_MAX},
};

use crate::{
    index::{Prepared, prepare},
    port::EmbeddingSpace,
    request::{Intent, WriteRequest},
    rows::row::embedded_text,
};

/// What the indexes need of a memory.
#[derive(Clone, Debug)]
pub(crate) struct Indexed {
    /// Its words.
    pub(crate) words: Prepared,
    /// Its vector in the store's space, when there is one.
    pub(crate) vector: Option<Vec<f32>>,
}

/// A request ready for the writer.
#[derive(Debug)]
pub(crate) struct Ready {
    /// The request.
    pub(crate) request: WriteRequest,
    /// For each intent, what was worked out for the memory it stores.
    pub(crate) indexed: Vec<Option<Box<Indexed>>>,
    /// The trace that it is part of, if it is, and when it came.
    pub(crate) traced: Option<(Traced, Instant)>,
}

/// Checks the request as a whole and works out what its memories need.
///
/// # Errors
/// `too_large`, `invalid_argument`; nothing was queued.
pub(crate) fn ready(request: WriteRequest, space: &EmbeddingSpace) -> Result<Ready, Reject> {
    let count = request.intents.len();
    if count == 0 && request.idempotency.is_none() {
        let reject = Reject::new(Reason::InvalidArgument, "the request asks for nothing");
        return Err(reject.with("field", "intents"));
    }
    if count > BULK_MAX {
        let detail = format!("{count} intents in one request; at most {BULK_MAX}: split it");
        return Err(Reject::new(Reason::TooLarge, detail).with("limit", BULK_MAX));
    }
    if let Some(idempotency) = &request.idempotency {
        let bytes = idempotency.key.len();
        if bytes == 0 || bytes > IDEMPOTENCY_KEY_BYTES_MAX {
            let detail = format!("needs 1 to {IDEMPOTENCY_KEY_BYTES_MAX} bytes, got {bytes}");
            return Err(types::Invalid::new("idempotency_key", detail).into());
        }
    }
    let indexed = request.intents.iter().map(|intent| indexed(intent, space));
    Ok(Ready { indexed: indexed.collect(), request, traced: None })
}

fn indexed(intent: &Intent, space: &EmbeddingSpace) -> Option<Box<Indexed>> {
    match intent {
        Intent::Store { memory, .. } => Some(Box::new(index_new(memory, space))),
        Intent::Guarded { intent, .. } => indexed(intent, space),
        _ => None,
    }
}

fn index_new(memory: &NewMemory, space: &EmbeddingSpace) -> Indexed {
    let (title, content) = (memory.title.as_str(), memory.content.as_str());
    let words = prepare(title, content, memory.tags.iter().map(|tag| tag.as_str()));
    let supplied = memory.embedding.as_ref().map(|embedding| embedding.values.clone());
    Indexed { words, vector: supplied.or_else(|| computed_vector(title, content, space)) }
}

/// The vector of a text, where the space can compute one.
pub(crate) fn computed_vector(
    title: &str,
    content: &str,
    space: &EmbeddingSpace,
) -> Option<Vec<f32>> {
    space.vectorizer.as_ref()?.vector(&embedded_text(title, content))
}
