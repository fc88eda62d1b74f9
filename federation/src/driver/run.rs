//! The loop that owns the engine.
//!
//! Invariants: `DRV-1`, `DRV-4`; `DRV-5` whoever waits for a write is told its end once, also when the node
//! stops.
//!
//! Not here: messages (`ask`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::Ordering,
    time::Duration,
};

use runtime::{
    clock::{self, Instant},
    task,
};
use storage::request::Intent;
use tokio::sync::{mpsc, watch};
use types::{DeadLetter, FeedHead, NodeId, Reject, VersionVector};

use super::{Event, Federation, NotMet, Waiter, ask, compare, forget, naming};
use crate::engine::{Engine, Input, Options, Output, WriteId};

/// Longest rest, so that a lost wake-up costs a second and no more.
const REST_MAX: Duration = Duration::from_secs(1);
/// Pause before a store that did not answer is asked again.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Run {
    federation: Federation,
    /// The name under which this node speaks.
    origin: NodeId,
    engine: Engine,
    joined: BTreeSet<NodeId>,
    waiters: BTreeMap<WriteId, Waiter>,
    writes: u64,
    /// What every member has seen.
    stable: Option<VersionVector>,
    /// When a round of forgetting begins, Unix milliseconds.
    forget_ms: u64,
    started: Instant,
    started_unix_ms: u64,
}

impl Run {
    /// Lets the node speak, and then runs until it stops.
    pub(super) async fn begin(
        federation: Federation,
        options: Options,
        letters: BTreeMap<NodeId, Vec<DeadLetter>>,
        happening: mpsc::Receiver<Event>,
    ) {
        let shutdown = federation.0.shutdown.clone();
        let settled = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            settled = settle(&federation) => settled,
        };
        let (own, covers) = settled;
        federation.0.origin.send_replace(Some(own.origin));
        let engine = Engine::new(own.origin, own.seq, covers, letters, options);
        Self::new(federation, own.origin, engine).until_stopped(happening).await;
    }

    fn new(federation: Federation, origin: NodeId, engine: Engine) -> Self {
        Self {
            federation,
            origin,
            engine,
            joined: BTreeSet::new(),
            waiters: BTreeMap::new(),
            writes: 0,
            stable: None,
            forget_ms: 0,
            started: Instant::now(),
            started_unix_ms: clock::now_unix_ms(),
        }
    }

    /// Unix milliseconds that never run backwards, whatever is done to the wall clock meanwhile.
    fn now_ms(&self) -> u64 {
        let since_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.started_unix_ms.saturating_add(since_ms)
    }

    async fn until_stopped(mut self, mut happening: mpsc::Receiver<Event>) {
        let shutdown = self.federation.0.shutdown.clone();
        let mut position = self.federation.0.exchange.store.position();
        self.take_members().await;
        loop {
            let rest = self.rest();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                event = happening.recv() => match event {
                    Some(event) => self.event(event).await,
                    None => return,
                },
                moved = position.changed() => match moved {
                    Ok(()) => self.moved(&mut position).await,
                    Err(_) => return,
                },
                () = clock::sleep(rest) => self.input(Input::Tick).await,
            }
        }
    }

    fn rest(&self) -> Duration {
        let due_ms = self.engine.next_ms().map(|next_ms| next_ms.saturating_sub(self.now_ms()));
        due_ms.map_or(REST_MAX, |due_ms| Duration::from_millis(due_ms.max(1)).min(REST_MAX))
    }

    async fn event(&mut self, event: Event) {
        match event {
            Event::Happened(input) => self.input(input).await,
            Event::Wait { made, needed, within, done } => {
                let (first, last) = (made.first, made.last);
                self.writes += 1;
                let write = WriteId(self.writes);
                self.waiters.insert(write, done);
                let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
                // What is waited for is durable, whether or not the loop has heard of it.
                self.input(Input::Appended { last }).await;
                self.input(Input::Write { write, first, last, needed, within_ms }).await;
                self.forget_those_who_left().await;
            }
            Event::Letters(to) => drop(to.send(self.engine.letters())),
            Event::Show(to) => drop(to.send(self.engine.peers())),
            Event::MembersChanged => self.take_members().await,
        }
    }

    /// Clients that went away wait no more.
    async fn forget_those_who_left(&mut self) {
        let gone: Vec<WriteId> = self
            .waiters
            .iter()
            .filter(|(_, waiter)| waiter.is_closed())
            .map(|(write, _)| *write)
            .collect();
        for write in gone {
            self.waiters.remove(&write);
            self.input(Input::Gone { write }).await;
        }
    }

    /// Something was committed here.
    async fn moved(&mut self, position: &mut watch::Receiver<u64>) {
        position.borrow_and_update();
        match self.federation.0.exchange.covers().await {
            Ok(covers) => {
                let last = covers.get(self.origin);
                self.input(Input::Appended { last }).await;
                self.input(Input::Covered(covers)).await;
            }
            Err(error) => tracing::warn!(%error, "what is covered here cannot be read"),
        }
    }

    /// Lets those in who joined, and those out who left.
    async fn take_members(&mut self) {
        let members = self.federation.members();
        let me = self.federation.0.exchange.me;
        let reachable = members.iter().filter(|m| m.endpoint.is_some() && m.node != me);
        let now: BTreeSet<NodeId> = reachable.map(|member| member.node).collect();
        for peer in self.joined.difference(&now).copied().collect::<Vec<_>>() {
            self.federation.0.times.left(peer);
            self.input(Input::Left { peer }).await;
        }
        for peer in now.difference(&self.joined).copied().collect::<Vec<_>>() {
            self.input(Input::Joined { peer }).await;
        }
        self.joined = now;
    }

    async fn input(&mut self, input: Input) {
        let outputs = self.engine.handle(self.now_ms(), input);
        self.federation.0.waiting.store(self.engine.waiting(), Ordering::Relaxed);
        self.forget();
        let mut keep = Vec::new();
        for output in outputs {
            self.output(output, &mut keep);
        }
        if !keep.is_empty()
            && let Err(error) = self.federation.0.exchange.keep(keep).await
        {
            // The peer refuses it again after a restart; until then the engine knows.
            tracing::warn!(%error, "dead letters cannot be kept");
        }
    }

    /// Begins a round of forgetting, if it is time for one.
    fn forget(&mut self) {
        let (now_ms, inner) = (self.now_ms(), &self.federation.0);
        let Some(stable) = &self.stable else { return };
        if now_ms < self.forget_ms || inner.forgetting.swap(true, Ordering::AcqRel) {
            return;
        }
        self.forget_ms = now_ms.saturating_add(inner.keep.round_ms);
        task::spawn(forget::run(self.federation.clone(), stable.clone()));
    }

    fn output(&mut self, output: Output, keep: &mut Vec<Intent>) {
        let federation = self.federation.clone();
        match output {
            Output::Push { peer, push, first, last: _, lacks } => {
                let part = ask::Part { origin: self.origin, first, lacks };
                task::spawn(ask::push(federation, peer, push, part));
            }
            Output::Retry { peer, push, ids } => {
                task::spawn(ask::retry(federation, peer, push, ids));
            }
            Output::Pull { peer } => {
                task::spawn(ask::pull(federation, peer));
            }
            Output::Met { write, got, .. } => self.end(write, Ok(got)),
            Output::NotMet { write, got, needed, short } => {
                self.end(write, Err(NotMet { got, needed, short }));
            }
            Output::KeepLetter { peer, letter } => {
                self.federation.0.sightings.refused(letter.next_ms.is_some());
                let (id, reason) = (letter.id, letter.reason);
                tracing::warn!(%peer, %id, %reason, "a peer refuses an operation of this node");
                keep.push(Intent::KeepLetter { peer, letter: Box::new(letter) });
            }
            Output::DropLetter { peer, id } => keep.push(Intent::DropLetter { peer, id }),
            Output::Compare { peer, all } => {
                task::spawn(compare::run(federation, peer, all));
            }
            Output::Stable(stable) => self.stable = Some(stable),
        }
    }

    fn end(&mut self, write: WriteId, end: Result<usize, NotMet>) {
        if let Some(waiter) = self.waiters.remove(&write) {
            // Whoever waited may have gone.
            let _ = waiter.send(end);
        }
    }
}

/// Finds out under which name this node speaks, and what is covered here.
async fn settle(federation: &Federation) -> (FeedHead, VersionVector) {
    loop {
        let settled: Result<_, Reject> = async {
            let own = naming::settle(federation).await?;
            Ok((own, federation.0.exchange.covers().await?))
        }
        .await;
        match settled {
            Ok(settled) => return settled,
            Err(error) => {
                tracing::error!(%error, "this node cannot speak: its store does not answer")
            }
        }
        clock::sleep(PAUSE).await;
    }
}
