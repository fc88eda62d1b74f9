//! A little root: one register, one lock, one pending action, and clients whose answers get lost.
//!
//! It is true unless it is told which mistake to make, so it tests the judges both ways. It shares
//! no code with the models of the judges.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use crate::judge::history::{
    Answer, Bounds, Call, Decision, Done, Event, Expiry, Header, History, Invoke, Mode, Order,
    Outcome, RaftStep, Request, Ruling, VERSION, What,
};

/// A mistake that the root makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mistake {
    None,
    StaleRead,
    RefusedButDone,
    RetryExecuted,
    LastComeFirstServed,
    DeadWaiterGranted,
    FenceRestarts,
    OldFenceReleases,
    WriterBesideReaders,
    DecidedTwice,
}

/// What a client does next.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    client: u8,
    call: u8,
    choice: u8,
    /// Time before the effect and after it, microseconds.
    before_us: u64,
    after_us: u64,
    /// 0: the answer is lost; 1: the question is lost; else neither.
    fate: u8,
}

prop_compose! {
    pub(super) fn plan()(
        client in 0u8..4, call in 0u8..16, choice in 0u8..4, before_us in 0u64..90,
        after_us in 1u64..90, fate in 0u8..10,
    ) -> Plan {
        Plan { client, call, choice, before_us, after_us, fate }
    }
}

struct Waiter {
    op: u64,
    session: u64,
    mode: Mode,
    plan: Plan,
}

/// An attempt on its way to the root.
struct Attempt {
    plan: Plan,
    request: Option<Request>,
    call: Option<Call>,
}

pub(super) struct Root {
    mistake: Mistake,
    index: u64,
    op: u64,
    now_us: u64,
    events: Vec<(u64, What)>,
    register: (Option<String>, Option<String>),
    sessions: [u64; 4],
    ended: BTreeSet<u64>,
    holders: Vec<(u64, u64, Mode)>,
    released: Option<(u64, u64)>,
    queue: VecDeque<Waiter>,
    remembered: BTreeMap<Request, Outcome>,
    decision: Option<Decision>,
    grants: u64,
}

fn key() -> String {
    "k".to_owned()
}

fn done(answer: Answer, index: u64) -> Outcome {
    Outcome::Done(Done { answer, index: Some(index), evidence: None })
}

fn refused(reason: &str, index: u64) -> Outcome {
    Outcome::Rejected { reason: reason.to_owned(), index: Some(index), decision: None }
}

/// Runs the plans and tells what was seen.
pub(super) fn run(mistake: Mistake, plans: &[Plan]) -> History {
    let mut root = Root {
        mistake,
        index: 0,
        op: 0,
        now_us: 100,
        events: Vec::new(),
        register: (None, None),
        sessions: [1, 2, 3, 4],
        ended: BTreeSet::new(),
        holders: Vec::new(),
        released: None,
        queue: VecDeque::new(),
        remembered: BTreeMap::new(),
        decision: None,
        grants: 0,
    };
    root.propose();
    let mut coming: BTreeMap<u64, Attempt> = BTreeMap::new();
    for (n, plan) in plans.iter().enumerate() {
        let attempt = Attempt { plan: plan.clone(), request: None, call: None };
        coming.insert(200 + 20 * n as u64, attempt);
    }
    while let Some((at_us, attempt)) = coming.pop_first() {
        root.now_us = at_us;
        if let Some(again) = root.attempt(attempt) {
            // Odd places are free: first attempts arrive at even ones.
            coming.insert(at_us + 101, again);
        }
    }
    root.close_up()
}

impl Root {
    fn propose(&mut self) {
        self.index += 1;
        let call = Call::Propose { agent: "alice".to_owned(), action: "purge".to_owned() };
        let answer = Answer::Proposed { action: 1, needed: 1 };
        let op = self.invoke("alice", None, call, 0);
        self.applied(None, true);
        self.complete(op, 1, done(answer, self.index));
    }

    fn invoke(
        &mut self,
        client: &str,
        request: Option<Request>,
        call: Call,
        before_us: u64,
    ) -> u64 {
        self.op += 1;
        let (op, client, node) = (self.op, client.to_owned(), "n1".to_owned());
        let invoke = Invoke { op, client, node, request, call };
        self.events.push((self.now_us.saturating_sub(before_us), What::Invoke(invoke)));
        op
    }

    fn complete(&mut self, op: u64, after_us: u64, outcome: Outcome) {
        self.events.push((self.now_us + after_us, What::Complete { op, outcome }));
    }

    fn applied(&mut self, request: Option<Request>, executed: bool) {
        let (index, state) = (self.index, format!("s{}", self.index));
        let step = RaftStep::Applied { index, term: 1, state, request, executed };
        self.events.push((self.now_us, What::Raft { node: "n1".to_owned(), step }));
    }

    /// Plays an attempt; answers with the next one if the client will retry.
    fn attempt(&mut self, attempt: Attempt) -> Option<Attempt> {
        let Attempt { plan, request, call } = attempt;
        let client = usize::from(plan.client);
        let session = self.sessions[client];
        let again = call.is_some();
        let call = call.unwrap_or_else(|| self.choose(&plan, session));
        let once = matches!(call, Call::Put { .. } | Call::Cas { .. } | Call::Release { .. });
        let request = request.or(once.then_some(Request { session, seq: self.now_us }));
        let op = self.invoke(&format!("c{client}"), request, call.clone(), plan.before_us);
        let unknown = Outcome::Unknown { detail: "lost".to_owned() };
        if plan.fate == 1 && !again {
            self.complete(op, plan.after_us, unknown);
            return once.then_some(Attempt { plan, request, call: Some(call) });
        }
        let outcome = self.execute(op, &plan, request, &call);
        // A waiter is told when it is granted.
        let outcome = outcome?;
        if plan.fate == 0 && !again {
            self.complete(op, plan.after_us, unknown);
            return once.then_some(Attempt { plan, request, call: Some(call) });
        }
        self.complete(op, plan.after_us, outcome);
        None
    }

    fn choose(&self, plan: &Plan, session: u64) -> Call {
        let agent = format!("c{}", plan.client);
        let fresh = || Some(format!("v{}", self.now_us));
        let mode = if plan.choice == 0 { Mode::Shared } else { Mode::Exclusive };
        match plan.call {
            0..2 => Call::Put { key: "x".to_owned(), value: fresh() },
            2..5 => Call::Get { key: "x".to_owned() },
            5 => {
                let from = if plan.choice == 0 { fresh() } else { self.register.0.clone() };
                Call::Cas { key: "x".to_owned(), from, to: fresh() }
            }
            6..10 => {
                let wait_ms = (plan.call != 9).then_some(1000);
                Call::Acquire { session, keys: vec![key()], mode, wait_ms }
            }
            10..13 => {
                let mine = self.holders.iter().map(|(s, f, _)| (*s, *f)).next();
                let old = self.released.filter(|_| plan.choice == 1);
                let (session, fence) = old.or(mine).unwrap_or((session, 1));
                Call::Release { session, keys: vec![key()], fence }
            }
            13 => Call::CloseSession { session },
            14 if plan.choice == 0 => Call::Approve { agent, action: 1 },
            14 if plan.choice == 1 => Call::Reject { agent, action: 1 },
            14 => Call::Observe { agent, action: 1 },
            _ => Call::KeepAlive { session },
        }
    }

    fn execute(
        &mut self,
        op: u64,
        plan: &Plan,
        request: Option<Request>,
        call: &Call,
    ) -> Option<Outcome> {
        if let Call::Get { .. } = call {
            let stale = self.mistake == Mistake::StaleRead && plan.choice == 0;
            let value = if stale { self.register.1.clone() } else { self.register.0.clone() };
            return Some(done(Answer::Value { value }, self.index));
        }
        self.index += 1;
        let known = request.and_then(|request| self.remembered.get(&request).cloned());
        if let Some(known) = known.filter(|_| self.mistake != Mistake::RetryExecuted) {
            self.applied(request, false);
            return Some(known);
        }
        self.applied(request, true);
        let outcome = self.change(op, plan, call)?;
        if let Some(request) = request {
            self.remembered.insert(request, outcome.clone());
        }
        Some(outcome)
    }

    fn change(&mut self, op: u64, plan: &Plan, call: &Call) -> Option<Outcome> {
        let index = self.index;
        Some(match call {
            Call::Put { value, .. } => {
                self.write(value.clone());
                if self.mistake == Mistake::RefusedButDone && plan.choice == 0 {
                    refused("overloaded", index)
                } else {
                    done(Answer::Ok, index)
                }
            }
            Call::Cas { from, to, .. } => {
                let seen = self.register.0.clone();
                let swapped = seen == *from;
                if swapped {
                    self.write(to.clone());
                }
                done(Answer::Swapped { swapped, seen }, index)
            }
            Call::Acquire { session, mode, wait_ms, .. } => {
                return self.acquire(op, plan, *session, *mode, wait_ms.is_some());
            }
            Call::Release { session, fence, .. } => {
                let any = self.mistake == Mistake::OldFenceReleases;
                let held = self.holders.iter().any(|(s, f, _)| s == session && f == fence);
                self.holders.retain(|(s, f, _)| !(s == session && f == fence || any));
                if held {
                    self.released = Some((*session, *fence));
                }
                self.grant_next();
                done(Answer::Released { held: held || any }, index)
            }
            Call::CloseSession { session } => {
                if plan.choice == 0 {
                    // It expires in this very entry, before its client says goodbye.
                    let (session, node) = (*session, "n1".to_owned());
                    self.events.push((self.now_us, What::Expired { session, index, node }));
                }
                self.end(*session);
                done(Answer::Ok, index)
            }
            Call::Approve { .. } => self.decide(Ruling::Approved),
            Call::Reject { .. } => self.decide(Ruling::Rejected),
            Call::Observe { .. } => done(self.told(), index),
            _ => done(Answer::Ok, index),
        })
    }

    fn write(&mut self, value: Option<String>) {
        self.register = (value, self.register.0.take());
    }

    fn told(&self) -> Answer {
        match self.decision {
            Some(decision) => Answer::Decided { decision },
            None => Answer::Pending { approvals: 0 },
        }
    }

    fn decide(&mut self, ruling: Ruling) -> Outcome {
        let index = self.index;
        if self.mistake != Mistake::DecidedTwice
            && let Some(decision) = self.decision
        {
            let reason = "already_decided".to_owned();
            return Outcome::Rejected { reason, index: Some(index), decision: Some(decision) };
        }
        self.decision = Some(Decision { ruling, index });
        done(self.told(), index)
    }

    fn admits(&self, mode: Mode) -> bool {
        let shared = self.holders.iter().all(|(_, _, held)| *held == Mode::Shared);
        match mode {
            Mode::Shared => shared,
            _ => self.holders.is_empty() || shared && self.mistake == Mistake::WriterBesideReaders,
        }
    }

    fn fence(&mut self) -> u64 {
        self.grants += 1;
        // After a while it begins to count anew.
        let restarted = self.mistake == Mistake::FenceRestarts && self.grants > 4;
        if restarted { self.grants - 4 } else { self.index }
    }

    fn acquire(
        &mut self,
        op: u64,
        plan: &Plan,
        session: u64,
        mode: Mode,
        wait: bool,
    ) -> Option<Outcome> {
        let index = self.index;
        if self.ended.contains(&session) {
            return Some(refused("unknown_session", index));
        }
        if let Some((_, fence, held)) = self.holders.iter().find(|(s, _, _)| *s == session) {
            let _ = (fence, held);
            return Some(refused("held_already", index));
        }
        if self.queue.is_empty() && self.admits(mode) {
            let fence = self.fence();
            self.holders.push((session, fence, mode));
            return Some(done(Answer::Granted { fence }, index));
        }
        if !wait || self.queue.iter().any(|waiter| waiter.session == session) {
            return Some(refused("lock_held", index));
        }
        self.events.push((self.now_us, What::Queued { op, index }));
        self.queue.push_back(Waiter { op, session, mode, plan: plan.clone() });
        None
    }

    /// Grants the lock to whoever is next, in the entry that freed it.
    fn grant_next(&mut self) {
        loop {
            let last = self.mistake == Mistake::LastComeFirstServed;
            let at = if last { self.queue.len().saturating_sub(1) } else { 0 };
            let Some(mode) = self.queue.get(at).map(|waiter| waiter.mode) else { return };
            if !self.admits(mode) {
                return;
            }
            let Some(waiter) = self.queue.remove(at) else { return };
            let fence = self.fence();
            self.holders.push((waiter.session, fence, mode));
            let granted = done(Answer::Granted { fence }, self.index);
            self.tell(&waiter, granted);
        }
    }

    fn tell(&mut self, waiter: &Waiter, outcome: Outcome) {
        let lost = waiter.plan.fate == 0;
        let outcome = if lost { Outcome::Unknown { detail: "lost".to_owned() } } else { outcome };
        self.complete(waiter.op, waiter.plan.after_us, outcome);
    }

    fn end(&mut self, session: u64) {
        self.ended.insert(session);
        self.holders.retain(|(held, _, _)| *held != session);
        if self.mistake != Mistake::DeadWaiterGranted {
            let queue = std::mem::take(&mut self.queue);
            let (dead, rest): (Vec<Waiter>, Vec<Waiter>) =
                queue.into_iter().partition(|waiter| waiter.session == session);
            self.queue = rest.into();
            for waiter in dead {
                self.tell(&waiter, refused("session_ended", self.index));
            }
        }
        self.grant_next();
        if let Some(mine) = self.sessions.iter_mut().find(|mine| **mine == session) {
            *mine += 4;
        }
    }

    /// Ends what still waits and lets everybody ask what was decided.
    fn close_up(mut self) -> History {
        self.now_us += 1000;
        self.index += 1;
        self.applied(None, true);
        for waiter in std::mem::take(&mut self.queue) {
            self.tell(&waiter, refused("lock_timeout", self.index));
        }
        for client in 0..4 {
            self.now_us += 1000;
            let agent = format!("c{client}");
            let call = Call::Observe { agent: agent.clone(), action: 1 };
            let op = self.invoke(&agent, None, call, 0);
            self.complete(op, 1, done(self.told(), self.index));
        }
        self.now_us += 1000;
        self.events.push((self.now_us, What::End));
        let mut events: Vec<Event> =
            self.events.into_iter().map(|(at_us, what)| Event { at_us, what }).collect();
        events.sort_by_key(|event| event.at_us);
        let header = Header {
            history_version: VERSION,
            run: "a little root".to_owned(),
            order: Order::Recorded,
            expiry: Expiry::Recorded,
            bounds: Bounds::default(),
            clock_fast_ppm: None,
            voters: Vec::new(),
            federation: None,
        };
        History::new(header, events).expect("a well-formed history")
    }
}
