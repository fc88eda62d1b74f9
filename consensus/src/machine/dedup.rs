//! Answers kept for retries.
//!
//! Invariants: `SES-1` of commands with the same identity at most one is executed. A session's window
//! keeps the answers of its last [`DEDUP_WINDOW`] sequence numbers, and remembers the greatest number
//! it let go: whatever is not above that is refused, never executed. A request's answer is kept until
//! its validity ends, and from then on the request is refused.
//!
//! Not here: whose session it is (`session`).

use std::collections::BTreeMap;

use types::{
    AgentId, Reason, Reject,
    root_limits::{DEDUP_WINDOW, REQUEST_VALID_MS_MAX, REQUESTS_MAX, REQUESTS_PER_AGENT_MAX},
};

use super::{
    command::{RequestId, RequestIdentity},
    due::{Due, is_reached},
    response::Response,
};

/// Whether a command was seen before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lookup {
    /// It was not.
    Fresh,
    /// It was, and this was the answer.
    Known(Response),
}

/// An answer, beside the hash of what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    hash: [u8; 32],
    response: Response,
}

/// The answers that a session can still ask for again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Window {
    /// The greatest sequence number whose answer was let go.
    floor: u64,
    answers: BTreeMap<u64, Answer>,
}

types::proto_message!(Answer { 1 => hash, 2 => response });
types::proto_message!(Window { 1 => floor, 2 => answers });

fn same_question(answer: &Answer, hash: &[u8; 32]) -> Result<Lookup, Reject> {
    if answer.hash != *hash {
        let detail = "this identity was used for another command; use a new one";
        return Err(Reject::new(Reason::IdempotencyMismatch, detail));
    }
    Ok(Lookup::Known(answer.response.clone()))
}

impl Window {
    /// What is known of a sequence number.
    pub fn look_up(&self, seq: u64, hash: &[u8; 32]) -> Result<Lookup, Reject> {
        if seq == 0 {
            return Err(Reject::new(Reason::InvalidArgument, "sequence numbers start at 1"));
        }
        match self.answers.get(&seq) {
            Some(answer) => same_question(answer, hash),
            None if seq <= self.floor => {
                let detail = format!("the answer to {seq} is not kept any more");
                let oldest = self.answers.keys().next().copied().unwrap_or(self.floor + 1);
                Err(Reject::new(Reason::SequenceTooOld, detail).with("oldest_seq", oldest))
            }
            None => Ok(Lookup::Fresh),
        }
    }

    /// Keeps an answer, and lets the oldest go when there are too many.
    pub fn remember(&mut self, seq: u64, hash: [u8; 32], response: Response) {
        self.answers.insert(seq, Answer { hash, response });
        while self.answers.len() > DEDUP_WINDOW {
            if let Some((oldest, _)) = self.answers.pop_first() {
                self.floor = self.floor.max(oldest);
            }
        }
    }

    /// Puts the final answer in the place of a preliminary one, if that is still kept.
    pub fn replace(&mut self, seq: u64, response: &Response) {
        if let Some(answer) = self.answers.get_mut(&seq) {
            answer.response = response.clone();
        }
    }

    pub fn answer(&self, seq: u64) -> Option<&Response> {
        self.answers.get(&seq).map(|answer| &answer.response)
    }

    /// Whether the window is one that `remember` could have made.
    pub fn is_sound(&self) -> bool {
        self.answers.len() <= DEDUP_WINDOW
            && self.answers.keys().next().is_none_or(|oldest| *oldest > self.floor)
    }
}

/// A request, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Remembered {
    valid_until_ms: u64,
    answer: Answer,
}

/// Whose request, by which name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct RequestKey {
    agent: AgentId,
    id: RequestId,
}

types::proto_message!(Remembered { 1 => valid_until_ms, 2 => answer });
types::proto_message!(RequestKey { 1 => agent, 2 => id });

/// The requests of callers without a session.
#[derive(Clone, Debug, Default)]
pub(super) struct Requests {
    known: BTreeMap<RequestKey, Remembered>,
    due: Due<RequestKey>,
    per_agent: BTreeMap<AgentId, usize>,
}

types::proto_message!(Requests { 1 => known; due, per_agent });

impl Requests {
    /// What is known of a request.
    pub fn look_up(
        &self,
        agent: &AgentId,
        request: &RequestIdentity,
        hash: &[u8; 32],
        now_ms: u64,
    ) -> Result<Lookup, Reject> {
        let key = RequestKey { agent: agent.clone(), id: request.id.clone() };
        if let Some(remembered) = self.known.get(&key) {
            return same_question(&remembered.answer, hash);
        }
        if is_reached(request.valid_until_ms, now_ms) {
            let detail = "the request's validity has ended; whether it was done can be read";
            return Err(Reject::new(Reason::SequenceTooOld, detail));
        }
        if request.valid_until_ms - now_ms > REQUEST_VALID_MS_MAX {
            let detail = format!("a request is valid for at most {REQUEST_VALID_MS_MAX} ms");
            return Err(
                Reject::new(Reason::InvalidArgument, detail).with("field", "valid_until_ms")
            );
        }
        let own = self.per_agent.get(agent).copied().unwrap_or(0);
        if own >= REQUESTS_PER_AGENT_MAX || self.known.len() >= REQUESTS_MAX {
            let detail = "too many requests are remembered; use a session or shorter validity";
            return Err(Reject::new(Reason::Overloaded, detail));
        }
        Ok(Lookup::Fresh)
    }

    /// Keeps an answer.
    pub fn remember(
        &mut self,
        agent: &AgentId,
        request: &RequestIdentity,
        hash: [u8; 32],
        response: Response,
    ) {
        let key = RequestKey { agent: agent.clone(), id: request.id.clone() };
        let valid_until_ms = request.valid_until_ms;
        self.due.insert(valid_until_ms, key.clone());
        *self.per_agent.entry(agent.clone()).or_default() += 1;
        self.known.insert(key, Remembered { valid_until_ms, answer: Answer { hash, response } });
    }

    /// Lets go of what no retry can ask for any more.
    pub fn forget_due(&mut self, now_ms: u64) {
        for key in self.due.take(now_ms) {
            self.known.remove(&key);
            if let Some(count) = self.per_agent.get_mut(&key.agent) {
                *count -= 1;
                if *count == 0 {
                    self.per_agent.remove(&key.agent);
                }
            }
        }
    }

    pub fn next_ms(&self) -> Option<u64> {
        self.due.next_ms()
    }

    /// Makes what is derived, after a snapshot was read.
    pub fn rebuild(&mut self) {
        for (key, remembered) in &self.known {
            self.due.insert(remembered.valid_until_ms, key.clone());
            *self.per_agent.entry(key.agent.clone()).or_default() += 1;
        }
    }

    /// Whether what is derived agrees with what is kept.
    pub fn is_sound(&self) -> bool {
        let counted: usize = self.per_agent.values().sum();
        self.due.len() == self.known.len() && counted == self.known.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: [u8; 32] = [1; 32];

    fn known(window: &Window, seq: u64) -> &'static str {
        match window.look_up(seq, &HASH) {
            Ok(Lookup::Fresh) => "fresh",
            Ok(Lookup::Known(_)) => "known",
            Err(reject) => reject.reason.code(),
        }
    }

    fn filled(seqs: impl IntoIterator<Item = u64>) -> Window {
        let mut window = Window::default();
        for seq in seqs {
            window.remember(seq, HASH, Response::Version(seq));
            assert!(window.is_sound());
        }
        window
    }

    #[test]
    fn the_last_answers_are_kept_and_nothing_older_is_fresh() {
        let last = 3 * DEDUP_WINDOW as u64;
        let window = filled(1..=last);
        for seq in 1..=last {
            let kept = seq > last - DEDUP_WINDOW as u64;
            let expected = if kept { "known" } else { "sequence_too_old" };
            assert_eq!(known(&window, seq), expected, "SES-1 {seq}");
        }
        assert_eq!(known(&window, last + 1), "fresh");
        assert_eq!(known(&window, 0), "invalid_argument");
    }

    #[test]
    fn a_number_that_came_late_into_a_full_window_is_never_fresh_again() {
        let full = DEDUP_WINDOW as u64;
        let mut window = filled(100..100 + full);
        assert_eq!(known(&window, 60), "fresh", "nothing below was let go yet");
        window.remember(60, HASH, Response::done());
        assert_eq!(known(&window, 60), "sequence_too_old", "SES-1");
        assert_eq!(known(&window, 61), "fresh");
        assert_eq!(known(&window, 100), "known");
    }

    #[test]
    fn an_answer_is_replaced_only_while_it_is_kept() {
        let mut window = filled([5]);
        window.replace(5, &Response::Version(9));
        assert_eq!(window.answer(5), Some(&Response::Version(9)));
        window.replace(6, &Response::done());
        assert_eq!(window.answer(6), None);
        let other = window.look_up(5, &[2; 32]).expect_err("another question");
        assert_eq!(other.reason, Reason::IdempotencyMismatch);
    }

    #[test]
    fn a_request_is_known_until_its_validity_ends() {
        let mut requests = Requests::default();
        let ann: AgentId = "ann".parse().expect("an agent");
        let request =
            |valid_until_ms| RequestIdentity { id: "r1".parse().expect("an id"), valid_until_ms };
        let code = |requests: &Requests, valid_until_ms, now_ms| match requests.look_up(
            &ann,
            &request(valid_until_ms),
            &HASH,
            now_ms,
        ) {
            Ok(Lookup::Fresh) => "fresh",
            Ok(Lookup::Known(_)) => "known",
            Err(reject) => reject.reason.code(),
        };
        assert_eq!(code(&requests, 100, 99), "fresh");
        assert_eq!(code(&requests, 100, 100), "sequence_too_old");
        assert_eq!(code(&requests, REQUEST_VALID_MS_MAX + 1, 0), "invalid_argument");
        requests.remember(&ann, &request(100), HASH, Response::done());
        assert_eq!(code(&requests, 100, 99), "known");
        requests.forget_due(99);
        assert_eq!((code(&requests, 100, 99), requests.next_ms()), ("known", Some(100)));
        requests.forget_due(100);
        assert_eq!(code(&requests, 100, 100), "sequence_too_old", "SES-1");
        assert!(requests.is_sound() && requests.per_agent.is_empty());
    }
}
