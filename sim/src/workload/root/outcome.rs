//! From what a client was told to how its operation ended.
//!
//! A refusal is believed only if the one table of reasons (`wire::errors`) says that its reason means
//! that nothing happened. Everything else that is no success leaves the outcome open.
//!
//! Invariant: `HIS-1`: what may have happened is never recorded as rejected.
//!
//! Not here: asking (`target`).

use serde_json::Value;
use types::{Reason, Reject};
use wire::{
    errors::{Verdict, row},
    http_client::HttpAnswer,
};

use crate::judge::history::{Answer, Decision, Done, Evidence, Outcome, Ruling};

/// What a client was told.
#[derive(Clone, Debug)]
pub enum Told {
    /// It was done; the answer.
    Yes(Value),
    /// It was not done, and why.
    No(Reject),
    /// Nobody can say.
    Unsure(String),
    /// The node has not seen the question.
    NotSent(String),
}

impl Told {
    /// The meaning of an answer.
    pub fn of(answer: &HttpAnswer) -> Self {
        if answer.status < 400 {
            return match answer.json() {
                Some(value) => Self::Yes(value),
                None => Self::Unsure(format!("{} without JSON", answer.status)),
            };
        }
        match answer.reject() {
            Some(reject) if row(reject.reason).verdict == Verdict::Rejected => Self::No(reject),
            Some(reject) => Self::Unsure(format!("{}: {}", reject.reason, reject.detail)),
            None => Self::Unsure(format!("{} without a reason", answer.status)),
        }
    }

    /// The outcome, if success is read like this. An answer that does not fit the question tells
    /// nothing.
    pub fn outcome(&self, read: impl FnOnce(&Value) -> Option<Done>) -> Outcome {
        match self {
            Self::Yes(value) => match read(value) {
                Some(done) => Outcome::Done(done),
                None => {
                    Outcome::Unknown { detail: format!("an answer that does not fit: {value}") }
                }
            },
            Self::No(reject) => rejected(reject),
            Self::Unsure(detail) => Outcome::Unknown { detail: detail.clone() },
            Self::NotSent(_) => {
                Outcome::Rejected { reason: "not_sent".to_owned(), index: None, decision: None }
            }
        }
    }
}

/// A refusal, with the decision that it tells of.
pub fn rejected(reject: &Reject) -> Outcome {
    let decision = match reject.reason {
        Reason::AlreadyDecided => decided(
            reject.fact("outcome").unwrap_or_default(),
            reject.fact("decided_at").and_then(|at| at.parse().ok()),
        ),
        _ => None,
    };
    Outcome::Rejected { reason: reject.reason.code().to_owned(), index: None, decision }
}

/// A decision in the words of the node; one that was withdrawn was rejected by its proposer.
pub fn decided(state: &str, index: Option<u64>) -> Option<Decision> {
    let ruling = match state {
        "approved" => Ruling::Approved,
        "rejected" | "withdrawn" => Ruling::Rejected,
        "expired" => Ruling::Expired,
        _ => return None,
    };
    Some(Decision { ruling, index: index? })
}

/// A success with nothing but its answer.
pub fn done(answer: Answer) -> Done {
    Done { answer, index: None, evidence: None }
}

/// A success at an index of the log.
pub fn done_at(answer: Answer, index: u64) -> Done {
    Done { answer, index: Some(index), evidence: None }
}

/// A success that leaves a row in a node's chain.
pub fn done_with(answer: Answer, evidence: Option<Evidence>) -> Done {
    Done { answer, index: None, evidence }
}

/// An action as a node shows it: decided, or pending with so many approvals.
pub fn action(value: &Value) -> Option<Answer> {
    let state = value["state"].as_str()?;
    if state == "pending" {
        let approvals = u32::try_from(value["approvals"].as_array()?.len()).ok()?;
        return Some(Answer::Pending { approvals });
    }
    decided(state, value["decided_at"].as_u64()).map(|decision| Answer::Decided { decision })
}

/// How many approvals a new action needs: as many as its one requirement says.
pub fn needed(value: &Value) -> Option<u32> {
    let [approver] = value["approvers"].as_array()?.as_slice() else { return None };
    match approver.as_str()?.split_once(':') {
        Some(("consensus", number)) => number.parse().ok(),
        _ => Some(1),
    }
}

/// What became of a request for locks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acquired {
    /// All keys are held under this token.
    Granted {
        /// The token.
        fence: u64,
        /// Whether one of them was held already.
        again: bool,
    },
    /// It has its place in the queues.
    Waiting {
        /// Log index that gave it its place, if the node says.
        place: Option<u64>,
    },
    /// It stopped waiting without a grant.
    Ended(String),
}

/// Reads an answer to an acquire of so many keys. Keys that are held under different tokens are no
/// answer to a session that held none of them.
pub fn acquired(value: &Value, keys: usize) -> Option<Acquired> {
    match value["state"].as_str()? {
        "granted" => {
            let grants = value["grants"].as_array()?;
            let mut fences = grants.iter().map(|grant| grant["fence"].as_u64());
            let fence = fences.next().flatten()?;
            let same = grants.len() == keys && fences.all(|other| other == Some(fence));
            let again = grants.iter().any(|grant| grant["count"].as_u64() > Some(1));
            same.then_some(Acquired::Granted { fence, again })
        }
        "waiting" => Some(Acquired::Waiting { place: value["place"].as_u64() }),
        ended => Some(Acquired::Ended(ended.to_owned())),
    }
}

/// Whether a session of this refusal is gone, and its answers with it.
pub fn is_dead(reason: &str) -> bool {
    matches!(reason, "session_expired" | "not_found" | "sequence_too_old")
}

/// Whether a refusal is no answer of the state machine to a request that may have been made before.
pub fn settles_nothing(reason: &str) -> bool {
    let turned_away = [
        "not_sent",
        "not_leader",
        "stopping",
        "overloaded",
        "quorum_not_met",
        "stale_epoch",
        "unimplemented",
    ];
    is_dead(reason) || turned_away.contains(&reason)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;
    use serde_json::json;
    use wire::errors::{Problem, TABLE};

    use super::*;

    fn answer(status: u16, body: &Value) -> HttpAnswer {
        HttpAnswer { status, headers: HeaderMap::new(), body: Bytes::from(body.to_string()) }
    }

    #[test]
    fn every_reason_ends_as_the_table_says() {
        for row in TABLE {
            let problem = Problem::from(Reject::new(row.reason, "why"));
            let told = Told::of(&answer(row.http, &problem.to_value()));
            let outcome = told.outcome(|_| None);
            match row.verdict {
                Verdict::Rejected => assert!(
                    matches!(&outcome, Outcome::Rejected { reason, .. } if *reason == row.reason.code()),
                    "{outcome:?}"
                ),
                Verdict::Unknown => {
                    assert!(matches!(outcome, Outcome::Unknown { .. }), "{outcome:?}");
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_read_leaves_the_outcome_open() {
        for (status, body) in [(200, json!({})), (502, json!("gateway")), (400, json!({}))] {
            let outcome = Told::of(&answer(status, &body)).outcome(|_| None);
            assert!(matches!(outcome, Outcome::Unknown { .. }), "{status} {outcome:?}");
        }
        let empty = HttpAnswer { status: 200, headers: HeaderMap::new(), body: Bytes::new() };
        assert!(matches!(Told::of(&empty), Told::Unsure(_)));
    }

    #[test]
    fn what_was_not_sent_did_not_happen() {
        let outcome = Told::NotSent("refused".to_owned()).outcome(|_| None);
        assert!(matches!(outcome, Outcome::Rejected { reason, .. } if reason == "not_sent"));
        let lost = Told::Unsure("reset".to_owned()).outcome(|_| None);
        assert!(matches!(lost, Outcome::Unknown { .. }));
    }

    #[test]
    fn who_comes_too_late_is_told_the_decision() {
        let reject = Reject::new(Reason::AlreadyDecided, "late")
            .with("outcome", "withdrawn")
            .with("decided_at", 17);
        let decision = Some(Decision { ruling: Ruling::Rejected, index: 17 });
        let problem = Problem::from(reject).to_value();
        match Told::of(&answer(409, &problem)).outcome(|_| None) {
            Outcome::Rejected { decision: told, .. } => assert_eq!(told, decision),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn actions_are_read() {
        let pending =
            json!({ "state": "pending", "approvals": ["op1"], "approvers": ["consensus:2"] });
        assert_eq!(action(&pending), Some(Answer::Pending { approvals: 1 }));
        assert_eq!(needed(&pending), Some(2));
        assert_eq!(needed(&json!({ "approvers": ["human"] })), Some(1));
        let expired = json!({ "state": "expired", "decided_at": 9 });
        let decision = Decision { ruling: Ruling::Expired, index: 9 };
        assert_eq!(action(&expired), Some(Answer::Decided { decision }));
        assert_eq!(action(&json!({ "state": "approved" })), None, "a decision has an index");
        assert_eq!(action(&json!({})), None);
    }

    #[test]
    fn grants_of_several_keys_have_one_token() {
        let grants = |fences: &[u64]| {
            let grant = |fence: &u64| json!({ "fence": fence, "count": 1 });
            let grants: Vec<Value> = fences.iter().map(grant).collect();
            acquired(&json!({ "state": "granted", "grants": grants }), 2)
        };
        assert_eq!(grants(&[5, 5]), Some(Acquired::Granted { fence: 5, again: false }));
        let again = json!({ "state": "granted", "grants": [{ "fence": 5, "count": 2 }] });
        assert_eq!(acquired(&again, 1), Some(Acquired::Granted { fence: 5, again: true }));
        assert_eq!(grants(&[5, 6]), None);
        assert_eq!(grants(&[5]), None);
        let waiting = json!({ "state": "waiting", "place": 4 });
        assert_eq!(acquired(&waiting, 1), Some(Acquired::Waiting { place: Some(4) }));
        let ended = acquired(&json!({ "state": "timed_out" }), 1);
        assert_eq!(ended, Some(Acquired::Ended("timed_out".to_owned())));
    }
}
