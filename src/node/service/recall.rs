//! Recall: question in, ranked memories out.
//!
//! Invariants: what the caller may see is decided in the store's query; a slow or broken embedder
//! degrades to words alone and says so in the plan, it never fails the recall.
//!
//! Not here: the indexes and the ranking.

use std::time::Duration;

use runtime::clock;
use storage::{
    answer::Candidates,
    request::{CandidateQuery, Reader},
};
use types::{Invalid, Reason, Reject, memory::Embedding, op::Accessed};

use super::{Caller, Reply, Service, reject};
use crate::node::{
    model::{
        RecallAnswer, RecallHit, RecallInput,
        memory::EmbeddingInput,
        recall::{Mode, Plan, Removed},
    },
    recall::{Ranked, collapse::collapse, rank},
};

/// Bytes of text that count as one token.
const BYTES_PER_TOKEN: usize = 4;
/// Candidates taken from each signal, per hit wanted.
const DEPTH_FACTOR: u32 = 5;
/// A resemblance that no two texts have.
const NEVER_PERMILLE: u16 = 1001;
/// Longest wait for the embedder before words alone have to do.
const QUESTION_WAIT: Duration = Duration::from_secs(2);
/// Least number of candidates taken from each signal.
const DEPTH_MIN: u32 = 50;

fn tokens(text: &str) -> u32 {
    u32::try_from(text.len().div_ceil(BYTES_PER_TOKEN)).unwrap_or(u32::MAX)
}

impl Service {
    /// Answers a question from memory.
    ///
    /// # Errors
    /// `invalid_argument`, `position_not_reached`, `quorum_not_met`, `unimplemented` for a consistency that needs a root
    /// tier.
    pub async fn recall(&self, caller: &Caller, input: &RecallInput) -> Reply<RecallAnswer> {
        let wanted = input.wanted()?;
        let mode = input.signals()?;
        let question = input.question()?;
        let filter = input.filter.to_filter()?;
        self.fresh(caller, &input.fresh()).await?;
        let vector = match mode {
            Mode::Lexical => None,
            Mode::Hybrid | Mode::Dense => match &input.embedding {
                Some(embedding) => Some(self.given_vector(embedding)?),
                None => self.embed_question(caller, question).await,
            },
        };
        let now_ms = clock::now_unix_ms();
        let query = CandidateQuery {
            text: if mode == Mode::Dense { String::new() } else { question.to_owned() },
            vector,
            filter,
            depth: (wanted * DEPTH_FACTOR).max(DEPTH_MIN),
            now_ms,
            explain: input.explain,
        };
        let reader = Reader::Agent(&caller.viewer);
        let found = self.store.candidates(reader, query).await.map_err(reject)?;
        let answer = self.answer(input, mode, wanted as usize, found, now_ms);
        self.count_accesses(&answer, now_ms);
        Ok(answer)
    }

    /// The vector a client computed itself, when it is of this node's space.
    fn given_vector(&self, input: &EmbeddingInput) -> Reply<Vec<f32>> {
        let embedding = Embedding::from(input.clone());
        embedding.check()?;
        let space = self.embedder.space();
        let same_space = embedding.model == space.model && embedding.version == space.version;
        let got = embedding.values.len();
        if !same_space || got != usize::from(space.dimension) {
            return Err(Reject::new(
                Reason::EmbeddingMismatch,
                format!(
                    "embedding: {} {} with {got} components does not fit this node's {} {} with {}",
                    embedding.model, embedding.version, space.model, space.version, space.dimension
                ),
            )
            .with("field", "embedding"));
        }
        // The index takes unit vectors.
        let length = embedding.values.iter().map(|x| x * x).sum::<f32>().sqrt();
        if !length.is_normal() {
            return Err(Invalid::new("embedding", "its length is out of range").into());
        }
        Ok(embedding.values.iter().map(|x| x / length).collect())
    }

    /// Half of the caller's time at most: the words need the rest.
    async fn embed_question(&self, caller: &Caller, question: &str) -> Option<Vec<f32>> {
        let now = clock::Instant::now();
        let half = |deadline: clock::Instant| deadline.saturating_duration_since(now) / 2;
        let wait = caller.deadline.map_or(QUESTION_WAIT, |d| half(d).min(QUESTION_WAIT));
        let cause = match clock::timeout(wait, self.embedder.embed(vec![question.to_owned()])).await
        {
            Ok(Ok(mut vectors)) => return vectors.pop().flatten(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} ms", wait.as_millis()),
        };
        tracing::warn!(cause, "the question could not be embedded; recall uses words alone");
        None
    }

    fn answer(
        &self,
        input: &RecallInput,
        mode: Mode,
        wanted: usize,
        found: Candidates,
        now_ms: u64,
    ) -> RecallAnswer {
        let plan = Plan {
            eligible: found.eligible,
            candidates: found.items.len() as u64,
            vector_plan: found.vector_plan,
            embedder: self.embedder.space().model,
            position: found.position,
            rebuilding: found.rebuilding,
        };
        let ranking = &self.settings.ranking;
        let ranked = rank(ranking, mode, found.items, now_ms);
        let threshold =
            if input.keep_duplicates { NEVER_PERMILLE } else { ranking.near_duplicate_permille };
        let (kept, twins) = collapse(ranked, wanted, threshold);
        let mut removed: Vec<Removed> = twins
            .iter()
            .map(|(hit, of)| removed_by("near_duplicate", hit, kept.get(*of)))
            .collect();
        let mut answer = RecallAnswer { plan, ..RecallAnswer::default() };
        for hit in kept {
            let cost = tokens(&hit.memory.title).saturating_add(tokens(&hit.memory.content));
            let total = answer.tokens.saturating_add(cost);
            if input.token_budget.is_some_and(|budget| total > budget) {
                answer.truncated = true;
                removed.push(removed_by("token_budget", &hit, None));
                continue;
            }
            answer.tokens = total;
            answer.hits.push(RecallHit {
                score: hit.score,
                explanation: input.explain.then_some(hit.explanation),
                memory: hit.memory.into(),
            });
        }
        if input.explain {
            answer.removed = removed;
        }
        answer
    }

    fn count_accesses(&self, answer: &RecallAnswer, now_ms: u64) {
        let ids = answer.hits.iter().filter_map(|hit| hit.memory.id.parse().ok());
        self.accesses.record(ids.map(|id| Accessed { id, count: 1, at_ms: now_ms }));
    }
}

fn removed_by(rule: &str, hit: &Ranked, of: Option<&Ranked>) -> Removed {
    Removed {
        id: hit.memory.id.to_string(),
        rule: rule.to_owned(),
        of: of.map(|other| other.memory.id.to_string()),
    }
}
