//! Embedders: text to vectors.
//!
//! Invariants: an embedder has one space (model, version, dimension) for life; vectors are unit
//! length; no embedder runs on the write path unless it is quick and pure.
//!
//! Not here: keeping vectors and searching them (`storage`).

pub mod endpoint;
pub mod lexical;
#[cfg(feature = "minilm")]
pub mod minilm;

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use runtime::disk::DiskRef;
use storage::port::EmbeddingSpace;
use thiserror::Error;

pub use endpoint::EndpointEmbedder;
pub use lexical::LexicalEmbedder;
#[cfg(feature = "minilm")]
pub use minilm::MiniLmEmbedder;

use crate::config::EmbedderChoice;

/// Why text could not be embedded.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EmbedError {
    /// The endpoint did not answer, or not in time.
    #[error("embedder at {endpoint} did not answer: {cause}")]
    Unreachable {
        /// Where it was sent.
        endpoint: String,
        /// The cause.
        cause: String,
    },
    /// The endpoint is up and asks to be left alone for a while.
    #[error("embedder at {endpoint} is busy (status {status})")]
    Busy {
        /// Where it was sent.
        endpoint: String,
        /// Its answer, 429 or 503.
        status: u16,
        /// How long it wants to be left alone, if it says.
        retry_after: Option<Duration>,
    },
    /// The endpoint does not take what it was sent: one of the texts, or any.
    #[error("embedder at {endpoint} does not take what it was sent (status {status})")]
    Refused {
        /// Where it was sent.
        endpoint: String,
        /// Its answer, 400, 413 or 422.
        status: u16,
    },
    /// The endpoint answered with something else than vectors of the configured dimension.
    #[error("embedder at {endpoint} answered with {problem}")]
    BadAnswer {
        /// Where it was sent.
        endpoint: String,
        /// What is wrong.
        problem: String,
    },
    /// The local model failed.
    #[error("model in {folder} failed: {cause}")]
    Model {
        /// The model's folder.
        folder: String,
        /// The cause.
        cause: String,
    },
}

/// One vector per text; `None` where a text has no features.
pub type Embedded<'a> = BoxFuture<'a, Result<Vec<Option<Vec<f32>>>, EmbedError>>;

/// Turns text into vectors.
pub trait Embedder: Send + Sync {
    /// The space its vectors live in.
    fn space(&self) -> EmbeddingSpace;

    /// Share of the lexical signal in hybrid recall that was measured to be best with this embedder.
    fn lexical_share(&self) -> f32;

    /// Embeds a batch, in order.
    fn embed(&self, texts: Vec<String>) -> Embedded<'_>;
}

/// Share of the lexical signal with embedders that understand meaning.
pub const TRANSFORMER_LEXICAL_SHARE: f32 = 0.2;

/// The embedder an operator chose.
///
/// # Errors
/// [`EmbedError`] when a model cannot be loaded or an endpoint's settings do not fit.
pub fn build(disk: &DiskRef, choice: &EmbedderChoice) -> Result<Arc<dyn Embedder>, EmbedError> {
    match choice {
        EmbedderChoice::Lexical { dimension } => {
            let chosen = dimension.map(|dimension| LexicalEmbedder { dimension });
            Ok(Arc::new(chosen.unwrap_or_default()))
        }
        #[cfg(feature = "minilm")]
        EmbedderChoice::Folder { folder } => Ok(Arc::new(MiniLmEmbedder::load(disk, folder)?)),
        #[cfg(not(feature = "minilm"))]
        EmbedderChoice::Folder { folder } => Err(EmbedError::Model {
            folder: folder.display().to_string(),
            cause: "this build has no transformer; build it with --features minilm".into(),
        }),
        EmbedderChoice::Endpoint { .. } => Ok(Arc::new(EndpointEmbedder::new(disk, choice)?)),
    }
}
