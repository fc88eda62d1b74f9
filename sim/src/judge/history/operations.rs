//! Operations as intervals: the invocation and the end of each brought together.
//!
//! Invariant: the end of an operation bounds its effect only when it is Done. One that was Rejected
//! had none; one that is Unknown may have it at any later time.
//!
//! Not here: judging.

use std::collections::BTreeMap;

use super::{Answer, Call, Done, History, Mode, Outcome, Request, What};

/// One operation of one client.
#[derive(Clone, Copy, Debug)]
pub struct Operation<'h> {
    /// Its number in the run.
    pub id: u64,
    /// Who asked.
    pub client: &'h str,
    /// Which node was asked.
    pub node: &'h str,
    /// Identity across retries.
    pub request: Option<Request>,
    /// What was asked.
    pub call: &'h Call,
    /// Rank of its invocation.
    pub invoked: u64,
    /// Time of its invocation, microseconds.
    pub invoked_us: u64,
    /// Rank of its end; `None` when it never ended.
    pub ended: Option<u64>,
    /// Time of its end, microseconds.
    pub ended_us: Option<u64>,
    /// How it ended; `None` when it never did.
    pub outcome: Option<&'h Outcome>,
    /// When it was seen to join a queue: log index and rank.
    pub queued: Option<(u64, u64)>,
}

impl<'h> Operation<'h> {
    /// The answer and its circumstances, if it is Done.
    pub fn done(&self) -> Option<&'h Done> {
        match self.outcome {
            Some(Outcome::Done(done)) => Some(done),
            _ => None,
        }
    }

    /// The answer, if it is Done.
    pub fn answer(&self) -> Option<&'h Answer> {
        self.done().map(|done| &done.answer)
    }

    /// Whether it certainly had no effect.
    pub fn rejected(&self) -> bool {
        matches!(self.outcome, Some(Outcome::Rejected { .. }))
    }

    /// Rank by which its effect has happened: its end when it is Done, otherwise never.
    pub fn effective(&self) -> u64 {
        self.done().and(self.ended).unwrap_or(u64::MAX)
    }

    /// Whether its effect certainly precedes the invocation of `other`.
    pub fn precedes(&self, other: &Operation<'_>) -> bool {
        self.effective() < other.invoked
    }

    /// A word and a place for the reader of a verdict: `o7 c1 put x=1`.
    pub fn describe(&self) -> String {
        let asked = describe_call(self.call);
        let told = match self.outcome {
            Some(Outcome::Done(done)) => describe_answer(&done.answer),
            Some(Outcome::Rejected { reason, .. }) => format!("rejected: {reason}"),
            Some(Outcome::Unknown { .. }) => "unknown".to_owned(),
            None => "no end".to_owned(),
        };
        format!("o{} {} {asked} → {told}", self.id, self.client)
    }
}

/// Everything a judge looks at.
#[derive(Debug)]
pub struct Case<'h> {
    /// The history.
    pub history: &'h History,
    /// Its operations in the order of their invocation.
    pub operations: Vec<Operation<'h>>,
    /// The same with all attempts under one request brought together: what happened once if requests
    /// happen once, which `exactly_once` watches over.
    pub requests: Vec<Operation<'h>>,
    set_back: Vec<(u64, &'h str)>,
}

impl<'h> Case<'h> {
    /// Prepares a history for judging.
    pub fn of(history: &'h History) -> Self {
        let mut operations: Vec<Operation<'h>> = Vec::new();
        let mut place: BTreeMap<u64, usize> = BTreeMap::new();
        for (position, event) in history.events().iter().enumerate() {
            let rank = history.rank(position);
            match &event.what {
                What::Invoke(invoke) => {
                    place.insert(invoke.op, operations.len());
                    operations.push(Operation {
                        id: invoke.op,
                        client: &invoke.client,
                        node: &invoke.node,
                        request: invoke.request,
                        call: &invoke.call,
                        invoked: rank,
                        invoked_us: event.at_us,
                        ended: None,
                        ended_us: None,
                        outcome: None,
                        queued: None,
                    });
                }
                What::Complete { op, outcome } => {
                    if let Some(found) = place.get(op).and_then(|at| operations.get_mut(*at)) {
                        found.ended = Some(rank);
                        found.ended_us = Some(event.at_us);
                        found.outcome = Some(outcome);
                    }
                }
                What::Queued { op, index } => {
                    if let Some(found) = place.get(op).and_then(|at| operations.get_mut(*at)) {
                        found.queued = Some((*index, rank));
                    }
                }
                _ => {}
            }
        }
        let requests = together(&operations);
        let events = history.events().iter().enumerate();
        let set_back = events.filter_map(|(position, event)| match &event.what {
            What::SetBack { node } => Some((history.rank(position), node.as_str())),
            _ => None,
        });
        Self { history, operations, requests, set_back: set_back.collect() }
    }

    /// Whether a node may have forgotten what `earlier` did or showed there when it came to `later`.
    pub fn forgot(&self, node: &str, earlier: &Operation<'_>, later: &Operation<'_>) -> bool {
        let between = earlier.invoked..=later.effective();
        self.set_back.iter().any(|(rank, set_back)| *set_back == node && between.contains(rank))
    }

    /// The operation of this number.
    pub fn operation(&self, id: u64) -> Option<&Operation<'h>> {
        self.operations.iter().find(|operation| operation.id == id)
    }

    /// Rank and time of the last healing, if the run had one.
    pub fn healed(&self) -> Option<(u64, u64)> {
        let events = self.history.events().iter().enumerate();
        let mut healed = events.filter(|(_, event)| event.what == What::Healed);
        healed.next_back().map(|(at, event)| (self.history.rank(at), event.at_us))
    }

    /// Time of the last event, microseconds.
    pub fn end_us(&self) -> u64 {
        self.history.events().last().map_or(0, |event| event.at_us)
    }
}

/// Brings the attempts under one request together. The request begins with its first attempt that
/// was not rejected and has ended with the first that is Done.
fn together<'h>(operations: &[Operation<'h>]) -> Vec<Operation<'h>> {
    let mut attempts: BTreeMap<Request, Vec<&Operation<'h>>> = BTreeMap::new();
    let mut all: Vec<Operation<'h>> = Vec::new();
    for operation in operations {
        match operation.request {
            None => all.push(*operation),
            Some(request) => attempts.entry(request).or_default().push(operation),
        }
    }
    for group in attempts.values() {
        let effective = group.iter().filter(|attempt| !attempt.rejected());
        let done = group.iter().filter(|attempt| attempt.done().is_some());
        let first = effective.clone().min_by_key(|attempt| attempt.invoked);
        let told = done.min_by_key(|attempt| attempt.ended).or(first).or(group.last());
        let Some(told) = told else { continue };
        let begun = first.unwrap_or(told);
        let queued = group.iter().filter_map(|attempt| attempt.queued).min();
        let (invoked, invoked_us) = (begun.invoked, begun.invoked_us);
        all.push(Operation { invoked, invoked_us, queued, ..**told });
    }
    all.sort_by_key(|operation| (operation.invoked, operation.id));
    all
}

/// A value as a reader sees it.
fn shown(value: Option<&String>) -> &str {
    value.map_or("∅", String::as_str)
}

fn describe_mode(mode: Mode) -> String {
    match mode {
        Mode::Exclusive => "exclusive".to_owned(),
        Mode::Shared => "shared".to_owned(),
        Mode::Permits { take, of } => format!("{take} of {of}"),
    }
}

fn describe_call(call: &Call) -> String {
    match call {
        Call::Put { key, value } => format!("put {key}={}", shown(value.as_ref())),
        Call::Get { key } => format!("get {key}"),
        Call::Cas { key, from, to } => {
            format!("cas {key} {}→{}", shown(from.as_ref()), shown(to.as_ref()))
        }
        Call::Add { key, element } => format!("add {element} to {key}"),
        Call::Remove { key, element } => format!("remove {element} from {key}"),
        Call::Elements { key } => format!("elements of {key}"),
        Call::OpenSession { ttl_ms } => format!("open session, ttl {ttl_ms} ms"),
        Call::KeepAlive { session } => format!("keep session {session} alive"),
        Call::CloseSession { session } => format!("close session {session}"),
        Call::Acquire { session, keys, mode, .. } => {
            format!("s{session} acquires {} {}", keys.join("+"), describe_mode(*mode))
        }
        Call::Release { session, keys, fence } => {
            format!("s{session} releases {} fence {fence}", keys.join("+"))
        }
        Call::ForceRelease { key, fence } => format!("force {key} fence {fence}"),
        Call::GuardedWrite { store, key, fence, value } => {
            format!("write {key}={value} in {store} under fence {fence}")
        }
        Call::GuardedRead { store, key } => format!("read {key} in {store}"),
        Call::SetRules { rules } => format!("set rules {rules}"),
        Call::GetRules => "get rules".to_owned(),
        Call::Propose { agent, action } => format!("{agent} proposes {action}"),
        Call::Approve { agent, action } => format!("{agent} approves action {action}"),
        Call::Reject { agent, action } => format!("{agent} rejects action {action}"),
        Call::Observe { agent, action } => format!("{agent} observes action {action}"),
        call => describe_memory_call(call),
    }
}

fn describe_memory_call(call: &Call) -> String {
    match call {
        Call::Store { agent, namespace, title, .. } => {
            format!("{agent} stores {title:?} in {namespace}")
        }
        Call::Read { id } => format!("read {id}"),
        Call::ReadQuorum { id } => format!("read {id} of a quorum"),
        Call::Change { id, field, value } => {
            format!("change {field}={} of {id}", shown(value.as_ref()))
        }
        Call::Delete { id } => format!("delete {id}"),
        Call::Link { source, target } => format!("link {source} to {target}"),
        Call::Unlink { link } => format!("remove link {link}"),
        _ => String::new(),
    }
}

fn describe_answer(answer: &Answer) -> String {
    match answer {
        Answer::Ok => "ok".to_owned(),
        Answer::Value { value } => shown(value.as_ref()).to_owned(),
        Answer::Swapped { swapped: true, .. } => "swapped".to_owned(),
        Answer::Swapped { swapped: false, seen } => format!("saw {}", shown(seen.as_ref())),
        Answer::Elements { elements } => format!("{{{}}}", elements.join(", ")),
        Answer::Session { session } => format!("session {session}"),
        Answer::Granted { fence } => format!("fence {fence}"),
        Answer::Released { held: true } => "released".to_owned(),
        Answer::Released { held: false } => "was not held".to_owned(),
        Answer::Guarded { value, fence } => format!("{} fence {fence}", shown(value.as_ref())),
        Answer::Rules { version } => format!("version {version}"),
        Answer::Proposed { action, needed } => format!("action {action}, needs {needed}"),
        Answer::Pending { approvals } => format!("pending, {approvals} approvals"),
        Answer::Decided { decision } => {
            format!("{:?} at {}", decision.ruling, decision.index).to_lowercase()
        }
        Answer::Stored { id, acks, merged: false } => format!("{id} on {acks} nodes"),
        Answer::Stored { id, acks, merged: true } => format!("into {id}, on {acks} nodes"),
        Answer::Memory { seen: None } => "none".to_owned(),
        Answer::Memory { seen: Some(seen) } => {
            seen.fields.get("content").cloned().unwrap_or_default()
        }
        Answer::Linked { link } => format!("link {link}"),
    }
}

/// Something that lasted from one rank to another and has a value.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Rank at which it can have begun.
    pub from: u64,
    /// Rank by which it had happened.
    pub until: u64,
    /// What is compared.
    pub value: u64,
}

/// For each span, the one of greatest value among those that had happened before it began: pairs of
/// positions, the later span first.
pub fn greatest_before(spans: &[Span]) -> Vec<(usize, usize)> {
    let mut starts: Vec<usize> = (0..spans.len()).collect();
    starts.sort_by_key(|at| spans[*at].from);
    let mut ends: Vec<usize> = (0..spans.len()).collect();
    ends.sort_by_key(|at| spans[*at].until);
    let mut ended = ends.into_iter().peekable();
    let mut greatest: Option<usize> = None;
    let mut pairs = Vec::new();
    for at in starts {
        while let Some(before) = ended.next_if(|end| spans[*end].until < spans[at].from) {
            if greatest.is_none_or(|g| spans[before].value > spans[g].value) {
                greatest = Some(before);
            }
        }
        pairs.extend(greatest.map(|greatest| (at, greatest)));
    }
    pairs
}
