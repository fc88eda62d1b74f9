//! A question and its answer.
//!
//! Invariant: every number of an explanation is one that the ranking used.
//!
//! Not here: framing the stream.

use std::{collections::BTreeSet, time::Duration};

use types::{Invalid, limits::RECALL_LIMIT_MAX};
use wire::v1::{self, recall_response::Message};

use super::{filter, known, memory, memory::embedding, some_count};
use crate::node::model::{
    RecallAnswer, RecallHit, RecallInput,
    recall::{Explanation, Removed},
};

/// Name of the rule that fuses the signals; see `node::recall`.
const FUSION: &str = "weighted_min_max";
/// How the store says that no vector took part.
const NO_VECTORS: &str = "none";

fn mode(number: i32) -> Result<Option<String>, Invalid> {
    let word = match known("mode", number)? {
        v1::RecallMode::Unspecified => return Ok(None),
        v1::RecallMode::Hybrid => "hybrid",
        v1::RecallMode::Lexical => "lexical",
        v1::RecallMode::Dense => "dense",
    };
    Ok(Some(word.to_owned()))
}

/// A question to memory. Freshness is seen to before it is asked.
///
/// # Errors
/// [`Invalid`] naming the field that has no meaning.
pub(in crate::api::grpc) fn question(request: v1::RecallRequest) -> Result<RecallInput, Invalid> {
    if request.limit > RECALL_LIMIT_MAX {
        let problem = format!("needs 1 to {RECALL_LIMIT_MAX}, got {}", request.limit);
        return Err(Invalid::new("limit", problem));
    }
    Ok(RecallInput {
        query: request.query,
        embedding: request.embedding.map(embedding),
        filter: filter(request.filter)?,
        limit: some_count(request.limit),
        token_budget: some_count(request.token_budget),
        mode: mode(request.mode)?,
        explain: request.explain,
        keep_duplicates: request.keep_duplicates,
        min_position: None,
        consistency: None,
    })
}

fn removal(removed: Removed) -> v1::RecallRemoval {
    v1::RecallRemoval { id: removed.id, rule: removed.rule, detail: removed.of.unwrap_or_default() }
}

fn signal(name: &str, value: f32, contribution: f32) -> v1::RecallSignal {
    v1::RecallSignal {
        name: name.to_owned(),
        value: f64::from(value),
        contribution: f64::from(contribution),
    }
}

fn explanation(why: Explanation) -> v1::RecallExplanation {
    let lexical = why.lexical.map(|value| signal("lexical", value, why.lexical_normalised));
    let dense = why.dense.map(|value| signal("dense", value, why.dense_normalised));
    let factors = [
        ("fused", why.fused),
        ("tier", why.tier_factor),
        ("recency", why.recency_factor),
        ("priority", why.priority_factor),
        ("confidence", why.confidence_factor),
    ];
    let factors = factors.into_iter().map(|(name, value)| signal(name, value, value));
    let terms = why.terms.into_iter();
    v1::RecallExplanation {
        signals: lexical.into_iter().chain(dense).chain(factors).collect(),
        terms: terms.map(|t| v1::TermScore { term: t.term, score: f64::from(t.score) }).collect(),
    }
}

fn hit(rank: u32, hit: RecallHit) -> v1::RecallHit {
    v1::RecallHit {
        rank,
        score: f64::from(hit.score),
        memory: Some(memory::memory(hit.memory)),
        explanation: hit.explanation.map(explanation),
    }
}

fn summary(answer: &mut RecallAnswer, took: Duration) -> v1::RecallSummary {
    let explained = answer.hits.iter().filter_map(|hit| hit.explanation.as_ref());
    let terms: BTreeSet<&str> =
        explained.flat_map(|why| &why.terms).map(|term| term.term.as_str()).collect();
    let plan = v1::RecallPlan {
        terms: terms.into_iter().map(str::to_owned).collect(),
        embedding_model: match answer.plan.vector_plan.as_str() {
            NO_VECTORS => String::new(),
            _ => answer.plan.embedder.clone(),
        },
        vector_plan: answer.plan.vector_plan.clone(),
        fusion: FUSION.to_owned(),
    };
    v1::RecallSummary {
        plan: Some(plan),
        eligible: answer.plan.eligible,
        candidates: answer.plan.candidates,
        returned: u32::try_from(answer.hits.len()).unwrap_or(u32::MAX),
        tokens: answer.tokens,
        position: answer.plan.position,
        rebuilding: answer.plan.rebuilding,
        removed: std::mem::take(&mut answer.removed).into_iter().map(removal).collect(),
        took: prost_types::Duration::try_from(took).ok(),
    }
}

/// The messages of an answer, made one by one as they are asked for: the summary, then the hits.
pub(in crate::api::grpc) fn messages(
    mut answer: RecallAnswer,
    took: Duration,
) -> impl Iterator<Item = v1::RecallResponse> + Send {
    let first = Message::Summary(summary(&mut answer, took));
    let hits = (1..).zip(answer.hits).map(|(rank, found)| Message::Hit(hit(rank, found)));
    std::iter::once(first).chain(hits).map(|message| v1::RecallResponse { message: Some(message) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::model::recall::TermScore;

    #[test]
    fn an_unset_question_says_nothing_but_its_words() {
        let request = v1::RecallRequest { query: "what".into(), ..Default::default() };
        let expected = RecallInput { query: "what".into(), ..RecallInput::default() };
        assert_eq!(question(request), Ok(expected));
    }

    #[test]
    fn bad_numbers_of_a_question_are_named() {
        let over = v1::RecallRequest { limit: 201, ..Default::default() };
        assert_eq!(question(over).expect_err("too many").field, "limit");
        let unknown = v1::RecallRequest { mode: 9, ..Default::default() };
        assert_eq!(question(unknown).expect_err("unknown").field, "mode");
    }

    #[test]
    fn the_summary_comes_first_and_alone_when_nothing_is_found() {
        let all: Vec<_> = messages(RecallAnswer::default(), Duration::from_millis(3)).collect();
        assert_eq!(all.len(), 1);
        let Some(Message::Summary(summary)) = &all[0].message else { panic!("a summary") };
        assert_eq!((summary.returned, summary.eligible), (0, 0));
        assert_eq!(summary.took.map(|took| took.nanos), Some(3_000_000));
    }

    #[test]
    fn an_explanation_lists_every_signal_that_took_part() {
        let why = Explanation {
            lexical: Some(7.5),
            lexical_normalised: 1.0,
            fused: 0.8,
            terms: vec![TermScore { term: "hive".into(), score: 7.5 }],
            ..Explanation::default()
        };
        let shown = explanation(why);
        let names: Vec<&str> = shown.signals.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["lexical", "fused", "tier", "recency", "priority", "confidence"]);
        assert_eq!((shown.signals[0].value, shown.signals[0].contribution), (7.5, 1.0));
        assert_eq!(shown.terms[0].term, "hive");
    }
}
