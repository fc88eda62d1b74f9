//! One client: it picks nodes, asks, records, and asks again what is unknown.
//!
//! Invariants: an operation that is asked again is asked in the same words under the same identity,
//! and each attempt is an operation of its own; a client that is told to stop ends what it has begun.
//!
//! Not here: what is asked (`locks`, `registers`, `actions`).

use std::{sync::Arc, time::Duration};

use runtime::{clock, task::Shutdown};
use serde_json::Value;

use super::{
    Ground,
    outcome::{Told, settles_nothing},
    recorder::Recorder,
    target::{Link, Question},
};
use crate::{
    judge::history::{Call, Done, Outcome, Request},
    workload::draw::Draw,
};

/// Identities of requests without a session begin here; sessions are log indexes and smaller.
const NAMED: u64 = 1 << 52;
/// Named requests of one agent; the root remembers a bounded number of them for an hour.
const NAMED_PER_AGENT: u64 = 200;
/// Attempts at one request.
const ATTEMPTS: u32 = 6;
/// Pause after the first failure, doubled with each further one, milliseconds.
const BACK_OFF_MS: u64 = 25;
/// Longest pause, milliseconds.
const BACK_OFF_MS_MAX: u64 = 800;

/// Requests of a hundred, among those with an identity, that two nodes are asked for at once.
const DUPLICATE_PERCENT: u64 = 4;

/// A name under which something is done once.
#[derive(Clone, Debug)]
pub struct Name {
    /// What the node is told.
    pub key: String,
    /// What the history says.
    pub request: Request,
}

/// One client.
pub struct Client {
    /// Its number.
    pub number: u64,
    /// Its name in the history.
    pub name: String,
    /// What it shares with others.
    pub ground: Ground,
    /// Its own chance.
    pub draw: Draw,
    /// When to stop.
    pub stop: Shutdown,
    links: Arc<Vec<Link>>,
    named: u64,
    failures: u32,
}

impl Client {
    /// A client of all nodes.
    ///
    /// # Errors
    /// An endpoint that is none.
    pub fn new(ground: &Ground, number: u64, stop: &Shutdown) -> Result<Self, types::Invalid> {
        let answer_ms = ground.load().answer_ms;
        let links: Result<Vec<Link>, types::Invalid> =
            ground.target().nodes.iter().map(|node| Link::new(node, answer_ms)).collect();
        Ok(Self {
            number,
            name: format!("c{number}"),
            ground: ground.clone(),
            draw: Draw::of(ground.load().seed, number),
            stop: stop.clone(),
            links: Arc::new(links?),
            named: 0,
            failures: 0,
        })
    }

    /// The recorder.
    pub fn recorder(&self) -> &Recorder {
        self.ground.recorder()
    }

    /// The agent that this client's unnamed and in-session requests are of.
    pub fn agent(&self) -> String {
        // A few names each, so that no agent has more named requests than the root remembers.
        format!("{}-{}", self.name, self.named / NAMED_PER_AGENT)
    }

    /// All connections.
    pub fn links(&self) -> &Arc<Vec<Link>> {
        &self.links
    }

    /// A node by chance, unless all are lost one that is not.
    pub fn any_node(&mut self) -> usize {
        let there = |at: &usize| !self.ground.is_lost(&self.links[*at].name);
        let nodes: Vec<usize> = (0..self.links.len()).filter(there).collect();
        let place = self.draw.place(nodes.len());
        nodes.get(place).copied().unwrap_or(0)
    }

    /// A fresh name for a request.
    pub fn fresh_name(&mut self) -> Name {
        self.named += 1;
        let seq = self.named;
        let request = Request { session: NAMED + self.number, seq };
        Name { key: format!("{}-{}-{seq}", self.ground.load().seed, self.name), request }
    }

    /// A fresh name for some requests, as the load says.
    pub fn maybe_name(&mut self) -> Option<Name> {
        let percent = self.ground.load().named_percent;
        self.draw.percent(percent).then(|| self.fresh_name())
    }

    /// Asks once and records it.
    pub async fn once(
        &mut self,
        node: usize,
        call: &Call,
        request: Option<Request>,
        question: &Question,
        read: impl FnOnce(&Value) -> Option<Done>,
    ) -> Outcome {
        let link = &self.links[node];
        let op = self.recorder().invoke(&self.name, &link.name, request, call.clone());
        let told = link.ask(question).await;
        let outcome = told.outcome(read);
        self.recorder().complete(op, outcome.clone());
        self.note(&told);
        outcome
    }

    /// Asks two nodes at once for the same request, and says what is known of it then.
    async fn twice(
        &mut self,
        nodes: [usize; 2],
        call: &Call,
        request: Request,
        question: &Question,
        read: &impl Fn(&Value) -> Option<Done>,
    ) -> Outcome {
        let (links, recorder) = (self.links.clone(), self.recorder().clone());
        let ask = async |node: usize| {
            let link = &links[node];
            let op = recorder.invoke(&self.name, &link.name, Some(request), call.clone());
            let told = link.ask(question).await;
            let outcome = told.outcome(read);
            recorder.complete(op, outcome.clone());
            (told, outcome)
        };
        let ((one, first), (two, second)) = futures::join!(ask(nodes[0]), ask(nodes[1]));
        self.note(&one);
        self.note(&two);
        match (first, second) {
            (done @ Outcome::Done(_), _) | (_, done @ Outcome::Done(_)) => done,
            (open @ Outcome::Unknown { .. }, _) | (_, open @ Outcome::Unknown { .. }) => open,
            (refused, _) => refused,
        }
    }

    /// Learns from an answer whether nodes are to be left alone for a while.
    pub fn note(&mut self, told: &Told) {
        match told {
            Told::Yes(_) => self.failures = 0,
            Told::No(reject) if !wire::errors::row(reject.reason).retryable => self.failures = 0,
            _ => self.failures = self.failures.saturating_add(1),
        }
    }

    /// Waits a little after failures, longer after more of them.
    pub async fn back_off(&mut self) {
        if self.failures == 0 {
            return;
        }
        let longest = (BACK_OFF_MS << self.failures.min(6)).min(BACK_OFF_MS_MAX);
        self.pause(longest).await;
    }

    /// Waits up to so many milliseconds, or until told to stop.
    pub async fn pause(&mut self, longest_ms: u64) {
        let wait = Duration::from_millis(1 + self.draw.below(longest_ms.max(1)));
        let _ = clock::timeout(wait, self.stop.cancelled()).await;
    }

    /// Whether it was told to stop.
    pub fn stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Asks a question that changes something. Under an identity it is asked again, at any node, until
    /// its end is known or the attempts are used up; a question that no node has seen is asked again
    /// in any case.
    pub async fn insist(
        &mut self,
        call: &Call,
        request: Option<Request>,
        question: &Question,
        read: impl Fn(&Value) -> Option<Done>,
    ) -> Outcome {
        let mut node = self.any_node();
        let mut last = Outcome::Unknown { detail: "never asked".to_owned() };
        let mut open = None;
        for attempt in 0..ATTEMPTS {
            last = match request.filter(|_| attempt == 0 && self.draw.percent(DUPLICATE_PERCENT)) {
                Some(request) => {
                    let nodes = [node, self.any_node()];
                    self.twice(nodes, call, request, question, &read).await
                }
                None => self.once(node, call, request, question, &read).await,
            };
            if matches!(last, Outcome::Unknown { .. }) {
                open = Some(last.clone());
            }
            let again = match &last {
                Outcome::Done(_) => false,
                Outcome::Rejected { reason, .. } => {
                    matches!(reason.as_str(), "not_sent" | "not_leader" | "stopping")
                }
                Outcome::Unknown { .. } => request.is_some(),
            };
            if !again {
                break;
            }
            self.back_off().await;
            node = self.any_node();
        }
        // What one attempt left open, a later one that was turned away does not settle.
        match (last, open) {
            (Outcome::Rejected { reason, .. }, Some(open)) if settles_nothing(&reason) => open,
            (last, _) => last,
        }
    }
}
