//! One client: it picks peers, asks, records, and asks again what is unknown.
//!
//! Invariants: an operation that is asked again is asked in the same words under the same key at the same
//! peer, and each attempt is an operation of its own; a client that is told to stop asks nothing again.
//!
//! Not here: what is asked (`errands`).

use std::time::Duration;

use runtime::{clock, task::Shutdown};
use serde_json::Value;

use super::{CLOSED, Ground, Known};
use crate::{
    judge::history::{Call, Done, Outcome, Request, What},
    workload::{
        draw::Draw,
        root::{
            outcome::Told,
            target::{Link, Question},
        },
    },
};

/// Attempts at one request at one peer.
const ATTEMPTS: u32 = 4;
/// Pause after the first failure, doubled with each further one, milliseconds.
const BACK_OFF_MS: u64 = 25;
/// Longest pause, milliseconds.
const BACK_OFF_MS_MAX: u64 = 800;

/// A name under which something is done once at one peer.
#[derive(Clone, Debug)]
pub struct Name {
    /// What the peer is told.
    pub key: String,
    /// What the history says.
    pub request: Request,
}

/// One client.
pub struct Client {
    /// Its name in the history.
    pub name: String,
    /// What it shares with others.
    pub ground: Ground,
    /// Its own chance.
    pub draw: Draw,
    /// New memories that it asked for.
    pub stores: u64,
    number: u64,
    stop: Shutdown,
    links: Vec<Link>,
    named: u64,
    failures: u32,
}

impl Client {
    /// A client of all peers.
    ///
    /// # Errors
    /// An endpoint that is none.
    pub fn new(ground: &Ground, number: u64, stop: &Shutdown) -> Result<Self, types::Invalid> {
        let answer_ms = ground.load().answer_ms;
        let links: Result<Vec<Link>, types::Invalid> =
            ground.nodes().iter().map(|node| Link::new(node, answer_ms)).collect();
        Ok(Self {
            name: format!("c{number}"),
            ground: ground.clone(),
            draw: Draw::of(ground.load().seed, number),
            stores: 0,
            number,
            stop: stop.clone(),
            links: links?,
            named: 0,
            failures: 0,
        })
    }

    /// Name of a node.
    pub fn node(&self, at: usize) -> &str {
        &self.links[at].name
    }

    /// A node by chance, unless all are lost one that is not.
    pub fn any_node(&mut self) -> usize {
        let there = |at: &usize| !self.ground.is_lost(&self.links[*at].name);
        let nodes: Vec<usize> = (0..self.links.len()).filter(there).collect();
        let place = self.draw.place(nodes.len());
        nodes.get(place).copied().unwrap_or(0)
    }

    /// The node of a name, if clients know it.
    pub fn node_of(&self, name: &str) -> Option<usize> {
        self.links.iter().position(|link| link.name == name)
    }

    /// A memory by chance that this node may see (`PWL-2`), one of the newest.
    pub fn any_memory(&mut self, node: usize) -> Option<Known> {
        let narrow = self.ground.is_narrow(&self.links[node].name);
        let recent = usize::try_from(self.ground.load().recent).unwrap_or(usize::MAX);
        let pool = self.ground.pool().lock();
        let seen = |known: &&Known| !narrow || known.namespace != CLOSED.0;
        let newest: Vec<&Known> = pool.memories.iter().rev().filter(seen).take(recent).collect();
        newest.get(self.draw.place(newest.len())).map(|known| (*known).clone())
    }

    /// A fresh name for a request.
    pub fn fresh_name(&mut self) -> Name {
        self.named += 1;
        let seq = self.named;
        let request = Request { session: self.number + 1, seq };
        Name { key: format!("{}-{}-{seq}", self.ground.load().seed, self.name), request }
    }

    /// Asks once and records it.
    pub async fn once(
        &mut self,
        node: usize,
        call: &Call,
        request: Option<Request>,
        question: &Question,
        read: impl FnOnce(&Told) -> Outcome,
    ) -> Outcome {
        let (told, outcome) = self.ask(node, call, request, question, read).await;
        self.note(&told);
        outcome
    }

    /// Asks twice at once and records both; says what is known of the request then.
    async fn twice(
        &mut self,
        node: usize,
        call: &Call,
        request: Request,
        question: &Question,
        read: &impl Fn(&Told) -> Outcome,
    ) -> Outcome {
        let ask = || self.ask(node, call, Some(request), question, read);
        let ((one, first), (two, second)) = futures::join!(ask(), ask());
        self.note(&one);
        self.note(&two);
        match (first, second) {
            (done @ Outcome::Done(_), _) | (_, done @ Outcome::Done(_)) => done,
            (open @ Outcome::Unknown { .. }, _) | (_, open @ Outcome::Unknown { .. }) => open,
            (refused, _) => refused,
        }
    }

    async fn ask(
        &self,
        node: usize,
        call: &Call,
        request: Option<Request>,
        question: &Question,
        read: impl FnOnce(&Told) -> Outcome,
    ) -> (Told, Outcome) {
        let (recorder, link) = (self.ground.recorder(), &self.links[node]);
        let op = recorder.invoke(&self.name, &link.name, request, call.clone());
        let told = link.ask(question).await;
        if let Told::Yes(answer) = &told {
            self.notice(node, op, answer);
        }
        let outcome = read(&told);
        recorder.complete(op, outcome.clone());
        (told, outcome)
    }

    /// Learns from an answer whether nodes are to be left alone for a while.
    fn note(&mut self, told: &Told) {
        match told {
            Told::Yes(_) => self.failures = 0,
            Told::No(reject) if !wire::errors::row(reject.reason).retryable => self.failures = 0,
            _ => self.failures = self.failures.saturating_add(1),
        }
    }

    /// Looks for text in an answer that its node may not know.
    fn notice(&self, node: usize, op: u64, answer: &Value) {
        let name = &self.links[node].name;
        if self.ground.is_narrow(name) && answer.to_string().contains(CLOSED.1) {
            let (node, place) = (name.clone(), format!("the answer to o{op}"));
            let namespace = CLOSED.0.to_owned();
            self.ground.recorder().record(What::Trace { node, namespace, place });
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

    /// Asks a question that changes something, under a fresh name, until its end is known or the attempts
    /// are used up; then, perhaps, another peer, which knows nothing of the name.
    pub async fn insist(
        &mut self,
        node: usize,
        call: &Call,
        question: Question,
        read: impl Fn(&str, &Value) -> Option<Done>,
    ) -> Outcome {
        let first = self.fresh_name();
        let here = self.insist_at(node, call, &first, question.clone(), &read).await;
        let percent = self.ground.load().elsewhere_percent;
        if !matches!(here, Outcome::Unknown { .. }) || !self.draw.percent(percent) {
            return here;
        }
        let other = self.any_node();
        let closed = question.body.as_ref().is_some_and(|b| b.to_string().contains(CLOSED.1));
        if other == node || self.stopping() || (closed && self.ground.is_narrow(self.node(other))) {
            return here;
        }
        // The same key at a peer that has not heard of it is another request (`PWL-1`).
        let again = Name { key: first.key, ..self.fresh_name() };
        self.insist_at(other, call, &again, question, &read).await
    }

    /// As [`Client::insist`], at this peer and under this name.
    pub async fn insist_at(
        &mut self,
        node: usize,
        call: &Call,
        name: &Name,
        question: Question,
        read: impl Fn(&str, &Value) -> Option<Done>,
    ) -> Outcome {
        let question = question.named(Some(name.key.clone()));
        let at = self.links[node].name.clone();
        let (mut open, twice_percent) = (None, self.ground.load().twice_percent);
        for attempt in 0..ATTEMPTS {
            let answered = |told: &Told| told.outcome(|answer| read(&at, answer));
            let request = name.request;
            let last = match attempt == 0 && self.draw.percent(twice_percent) {
                true => self.twice(node, call, request, &question, &answered).await,
                false => self.once(node, call, Some(request), &question, answered).await,
            };
            match last {
                Outcome::Unknown { .. } => open = Some(last),
                Outcome::Rejected { ref reason, .. }
                    if matches!(reason.as_str(), "not_sent" | "stopping" | "overloaded") =>
                {
                    // A first attempt that is open is not settled by one that was not heard.
                    if open.is_none() {
                        return last;
                    }
                }
                ended => return ended,
            }
            if self.stopping() || self.ground.is_lost(&at) {
                break;
            }
            self.back_off().await;
        }
        open.unwrap_or(Outcome::Unknown { detail: "never asked".to_owned() })
    }
}
