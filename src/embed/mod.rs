//! Embedders: text to vectors.
//!
//! Invariants: an embedder has one space (model, version, dimension) for life; vectors are unit
//! length; no embedder runs on the write path unless it is quick and pure.
//!
//! Not here: keeping vectors and searching them (`storage`).

pub mod lexical;

use futures::future::BoxFuture;
use storage::port::EmbeddingSpace;
use thiserror::Error;

pub use lexical::LexicalEmbedder;

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

    /// Embeds a batch, in order.
    fn embed(&self, texts: Vec<String>) -> Embedded<'_>;
}
