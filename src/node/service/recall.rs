//! Recall: question in, ranked memories out.
//!
//! Invariants: what the caller may see is decided in the store's query; a slow or broken embedder
//! degrades to words alone and says so in the plan, it never fails the recall.
//!
//! Not here: the indexes and the ranking.

use runtime::clock;
use storage::{
    answer::Candidates,
    request::{CandidateQuery, Reader},
};
use types::op::Accessed;

use super::{Caller, Consistency, Reply, Service, reject};
use crate::node::{
    model::{
        RecallAnswer, RecallHit, RecallInput,
        recall::{Mode, Plan, Removed},
    },
    recall::{Ranked, collapse::collapse, rank},
};

/// Bytes of text that count as one token.
const BYTES_PER_TOKEN: usize = 4;
/// Candidates taken from each signal, per hit wanted.
const DEPTH_FACTOR: u32 = 5;
/// Least number of candidates taken from each signal.
const DEPTH_MIN: u32 = 50;

fn tokens(text: &str) -> u32 {
    u32::try_from(text.len().div_ceil(BYTES_PER_TOKEN)).unwrap_or(u32::MAX)
}

impl Service {
    /// Answers a question from memory.
    ///
    /// # Errors
    /// `invalid_argument`, `position_not_reached`, `unimplemented` for a consistency that needs peers.
    pub async fn recall(&self, caller: &Caller, input: &RecallInput) -> Reply<RecallAnswer> {
        Consistency::parse(input.consistency.as_deref())?;
        let wanted = input.wanted()?;
        let mode = input.signals()?;
        let question = input.question()?;
        let filter = input.filter.to_filter()?;
        self.reach(caller, input.min_position).await?;
        let vector = match mode {
            Mode::Lexical => None,
            Mode::Hybrid | Mode::Dense => self.embed_question(question).await,
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

    async fn embed_question(&self, question: &str) -> Option<Vec<f32>> {
        match self.embedder.embed(vec![question.to_owned()]).await {
            Ok(mut vectors) => vectors.pop().flatten(),
            Err(error) => {
                tracing::warn!(%error, "the question could not be embedded; recall uses words alone");
                None
            }
        }
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
            vector_plan: found.vector_plan,
            embedder: self.embedder.space().model,
            position: found.position,
            rebuilding: found.rebuilding,
        };
        let ranking = &self.settings.ranking;
        let ranked = rank(ranking, mode, found.items, now_ms);
        let (kept, twins) = collapse(ranked, wanted, ranking.near_duplicate_permille);
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
