//! Recall as a client asks for it and as it is answered.
//!
//! Invariant: every number in an explanation is one that the ranking used.
//!
//! Not here: ranking (`node::recall`).

use serde::{Deserialize, Serialize};
use types::{
    Invalid,
    limits::{QUERY_BYTES_MAX, RECALL_LIMIT_MAX},
};
use utoipa::ToSchema;

use super::{
    FilterInput, Fresh, MemoryOut, MinPosition, filter::page_limit, memory::EmbeddingInput,
    vocabulary::PositionText,
};

/// A question to memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RecallInput {
    /// The question in natural words; `"quoted words"` must occur as they stand. May be empty when
    /// there is an embedding.
    #[schema(required, min_length = 1, max_length = 4096, pattern = "\\S")]
    pub query: String,
    /// The question's vector in the node's embedding space. Default: computed by the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding: Option<EmbeddingInput>,
    /// What may be returned.
    pub filter: FilterInput,
    /// At most so many, 1 to 200. Default 10.
    #[schema(minimum = 1, maximum = 200)]
    pub limit: Option<u32>,
    /// Stop before the contents exceed about this many tokens (4 bytes each).
    #[schema(minimum = 0, maximum = 4294967295u32)]
    pub token_budget: Option<u32>,
    /// Which signals: `hybrid` (default), `lexical` or `dense`.
    #[schema(pattern = "^(hybrid|lexical|dense)$")]
    pub mode: Option<String>,
    /// Show every signal's score and what was removed by which rule.
    pub explain: bool,
    /// Keep hits that say nearly the same as a better one.
    pub keep_duplicates: bool,
    /// Wait until this node has reached the position, or has what the token of a write names.
    #[schema(value_type = Option<PositionText>)]
    pub min_position: Option<MinPosition>,
    /// `local` (default), or `quorum`: every write that was acknowledged before is seen, because enough nodes
    /// are asked first; on a node without peers that is the node itself. `root` needs a root tier.
    #[schema(pattern = "^(local|quorum)$")]
    pub consistency: Option<String>,
}

/// Which signals a recall uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Both, fused.
    #[default]
    Hybrid,
    /// Words only.
    Lexical,
    /// Vectors only.
    Dense,
}

impl RecallInput {
    /// How new the answer must be.
    pub fn fresh(&self) -> Fresh {
        let (min_position, consistency) = (self.min_position.clone(), self.consistency.clone());
        Fresh { min_position, consistency }
    }

    /// Number of hits wanted.
    ///
    /// # Errors
    /// [`Invalid`] naming `limit`.
    pub fn wanted(&self) -> Result<u32, Invalid> {
        page_limit(Some(self.limit.unwrap_or(10)), RECALL_LIMIT_MAX)
    }

    /// Signals wanted.
    ///
    /// # Errors
    /// [`Invalid`] naming `mode`.
    pub fn signals(&self) -> Result<Mode, Invalid> {
        match self.mode.as_deref().unwrap_or("hybrid") {
            "hybrid" => Ok(Mode::Hybrid),
            "lexical" => Ok(Mode::Lexical),
            "dense" => Ok(Mode::Dense),
            other => Err(Invalid::new(
                "mode",
                format!("unknown value {other:?}; use hybrid, lexical or dense"),
            )),
        }
    }

    /// The trimmed question.
    ///
    /// # Errors
    /// [`Invalid`] naming `query` when it is empty or too long.
    pub fn question(&self) -> Result<&str, Invalid> {
        let query = self.query.trim();
        let needs_words = self.embedding.is_none();
        if (needs_words && query.is_empty()) || query.len() > QUERY_BYTES_MAX {
            return Err(Invalid::new(
                "query",
                format!("needs 1 to {QUERY_BYTES_MAX} bytes, got {}", query.len()),
            ));
        }
        Ok(query)
    }
}

/// What each signal said about one hit. Every part of `score` is listed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// BM25 score in the index's own scale, if the words found it.
    pub lexical: Option<f32>,
    /// The same, normalised over this answer's candidates to 0..1.
    pub lexical_normalised: f32,
    /// Cosine similarity, if the vector found it.
    pub dense: Option<f32>,
    /// The same, normalised over this answer's candidates to 0..1.
    pub dense_normalised: f32,
    /// Weighted sum of both.
    pub fused: f32,
    /// Factor for how long the tier lives.
    pub tier_factor: f32,
    /// Factor for age.
    pub recency_factor: f32,
    /// Factor for priority.
    pub priority_factor: f32,
    /// Factor for confidence.
    pub confidence_factor: f32,
    /// Contribution of each query term to the lexical score.
    pub terms: Vec<TermScore>,
}

/// One term's part of a lexical score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TermScore {
    /// The term as indexed (stemmed).
    pub term: String,
    /// Its part.
    pub score: f32,
}

/// A memory that answers the question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RecallHit {
    /// The memory.
    pub memory: MemoryOut,
    /// Final score; higher is better, comparable within one answer.
    pub score: f32,
    /// How the score came about, when asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Explanation>,
}

/// A candidate that a rule took out of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Removed {
    /// Its id.
    pub id: String,
    /// `near_duplicate`, `token_budget` or `limit`.
    pub rule: String,
    /// For a near duplicate: the hit that stands for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
}

/// How an answer came about.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Plan {
    /// Memories that passed the filter; a database stops counting where the plan no longer depends on it.
    pub eligible: u64,
    /// Memories that at least one signal brought forward to be ranked.
    pub candidates: u64,
    /// How vectors were searched.
    pub vector_plan: String,
    /// Model that made the vectors.
    pub embedder: String,
    /// Change position the indexes had reached.
    pub position: u64,
    /// Whether an index is being rebuilt, so that something may be missing.
    pub rebuilding: bool,
}

/// The answer to a recall, best first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RecallAnswer {
    /// The memories.
    pub hits: Vec<RecallHit>,
    /// About how many tokens their contents take.
    pub tokens: u32,
    /// Whether the token budget cut the answer short.
    pub truncated: bool,
    /// How it came about.
    pub plan: Plan,
    /// What rules took out, when an explanation was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<Removed>,
}
