//! From what the root decides to rows of this node's audit chain.
//!
//! Rows are written by the store's own writer, grouped with everything else. How far they have come is
//! kept in the same transaction, under the cluster's name, so a restart goes on where they end: entries
//! behind it are applied again, because no snapshot is kept before its entries' rows are (`RFT-20`).
//!
//! Invariants: `RTH-7` every audit event of an entry that this member applied is one row, once, named
//! `root:INDEX:ORDINAL`; `RTH-8` what came in a snapshot, without its events, is a row that says from
//! where to where; `RTH-9` nothing is dropped: when the rows fall behind, applying waits. A member that
//! leaves waits for nothing: what the store does not take then is heard again after the next start.
//!
//! Not here: what is an audit event (`consensus::machine`), and the chain (`storage`).

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use consensus::{
    machine::{AuditEvent, ClusterId, Effect},
    raft::Listener,
};
use futures::{FutureExt, future::BoxFuture};
use runtime::{
    clock,
    task::{self, JoinHandle, Shutdown},
};
use storage::{
    Store, StoreError,
    request::{Event, Intent, Viewer, WriteRequest},
};
use tokio::sync::{mpsc, watch};
use types::{
    AgentId,
    audit::{AttestLevel, EventDetails},
};

use super::{RootStartError, feed::Feed};

/// Events that may wait for their rows before applying does (`RTH-9`).
const WAITING_MAX: usize = 4096;
/// Events that are written at once.
const BATCH_MAX: usize = 512;
/// Events in one request to the store.
const REQUEST_MAX: usize = 900;
/// Time in which rows gather for one transaction: a sync for each entry would take its turns on the disk
/// from the log, and nobody waits for a row.
const GATHER: Duration = Duration::from_millis(25);
/// Time between two tries when the store refuses.
const AGAIN: Duration = Duration::from_millis(200);

/// What is to be written down, in the order of the log.
enum Item {
    /// The audit events of one entry.
    Events(u64, Vec<AuditEvent>),
    /// The state has come from a snapshot that reaches to the second index; here the first was applied
    /// last.
    Skipped(u64, u64),
    /// Nothing; who waits for it wants to know that everything before is kept.
    Settle(u64),
}

impl Item {
    fn index(&self) -> u64 {
        match self {
            Self::Events(index, _) | Self::Skipped(_, index) | Self::Settle(index) => *index,
        }
    }

    fn events(&self) -> usize {
        match self {
            Self::Events(_, events) => events.len(),
            Self::Skipped(..) | Self::Settle(_) => 0,
        }
    }
}

/// What the group tells effects to: the feed and the audit chain.
pub(super) struct Ears {
    feed: Feed,
    items: mpsc::UnboundedSender<Item>,
    waiting: Arc<AtomicUsize>,
    /// Index up to which rows were kept before this start: what is heard of them again has its row.
    before: u64,
    /// Index up to which all rows are durable.
    kept: watch::Sender<u64>,
    /// The member is leaving: nothing waits for rows any more.
    leaving: Shutdown,
    /// The member has stopped: what is heard now is heard again after the next start.
    closed: Shutdown,
}

/// What the writing task needs, until it is started.
pub(super) struct Unwritten {
    store: Arc<dyn Store>,
    log: String,
    /// Index up to which rows were kept before this start; `None` if there never were any.
    before: Option<u64>,
    items: mpsc::UnboundedReceiver<Item>,
    waiting: Arc<AtomicUsize>,
    kept: watch::Sender<u64>,
}

fn log_name(cluster: ClusterId) -> String {
    format!("root:{cluster}")
}

impl Ears {
    /// Reads how far the rows have come.
    ///
    /// # Errors
    /// The store cannot be read, or holds the rows, and so the fences, of another cluster.
    pub(super) async fn open(
        store: Arc<dyn Store>,
        cluster: ClusterId,
        feed: Feed,
    ) -> Result<(Arc<Self>, Unwritten), RootStartError> {
        let log = log_name(cluster);
        let logs = store.event_logs().await.map_err(RootStartError::Audit)?;
        let foreign = |name: &&str| name.starts_with("root:") && **name != log;
        if let Some(other) = logs.keys().map(String::as_str).find(foreign) {
            let other = other.trim_start_matches("root:").to_owned();
            return Err(RootStartError::OtherCluster { other, cluster: cluster.to_string() });
        }
        let before = logs.get(&log).copied();
        let (items, received) = mpsc::unbounded_channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let kept = watch::Sender::new(before.unwrap_or(0));
        let unwritten = Unwritten {
            store,
            log,
            before,
            items: received,
            waiting: waiting.clone(),
            kept: kept.clone(),
        };
        let (leaving, closed) = (Shutdown::new(), Shutdown::new());
        let before = before.unwrap_or(0);
        Ok((Arc::new(Self { feed, items, waiting, before, kept, leaving, closed }), unwritten))
    }

    fn push(&self, item: Item) {
        if self.closed.is_cancelled() {
            return;
        }
        self.waiting.fetch_add(item.events(), Ordering::AcqRel);
        // The task ends only after it was told to, and then the rows come after the next start.
        let _ = self.items.send(item);
    }

    /// Nothing waits for rows any more, so that a member stops whose store takes none.
    pub(super) fn leave(&self) {
        self.leaving.trigger();
    }

    /// Nothing is taken in any more; what waits is still written, if the store takes it.
    pub(super) fn close(&self) {
        self.leave();
        self.closed.trigger();
    }

    /// Index up to which every row is durable.
    pub(super) fn kept(&self) -> watch::Receiver<u64> {
        self.kept.subscribe()
    }

    async fn wait_for_room(&self) {
        let mut kept = self.kept.subscribe();
        let has_room = |_: &u64| self.waiting.load(Ordering::Acquire) <= WAITING_MAX / 2;
        tokio::select! {
            biased;
            () = self.leaving.cancelled() => {}
            // An error: nobody writes any more, and the member has stopped.
            _ = kept.wait_for(has_room) => {}
        }
    }
}

impl Listener<Effect> for Ears {
    fn tell(&self, index: u64, effects: Vec<Effect>) {
        let audit = |effect: &Effect| match effect {
            Effect::Audit(event) => Some(event.clone()),
            _ => None,
        };
        if index > self.before {
            let events: Vec<AuditEvent> = effects.iter().filter_map(audit).collect();
            if !events.is_empty() {
                self.push(Item::Events(index, events));
            }
        }
        self.feed.tell(index, effects);
    }

    fn skipped(&self, applied: u64, index: u64) {
        self.push(Item::Skipped(applied, index));
    }

    fn room(&self) -> Option<BoxFuture<'_, ()>> {
        let is_full = self.waiting.load(Ordering::Acquire) > WAITING_MAX;
        (is_full && !self.leaving.is_cancelled()).then(|| self.wait_for_room().boxed())
    }

    fn settled(&self, index: u64) -> BoxFuture<'_, bool> {
        async move {
            let mut kept = self.kept.subscribe();
            self.push(Item::Settle(index));
            tokio::select! {
                biased;
                done = kept.wait_for(|kept| *kept >= index) => done.is_ok(),
                () = self.leaving.cancelled() => false,
            }
        }
        .boxed()
    }
}

fn row(event: AuditEvent) -> Intent {
    let AuditEvent { index, ordinal, at_ms, by, event_type, subject, facts } = event;
    let facts = facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Intent::Event(Box::new(Event {
        name: format!("root:{index}:{ordinal}"),
        agent: by,
        event_type: event_type.to_owned(),
        at_ms,
        payload: EventDetails { subject, facts }.encode(),
    }))
}

/// `RTH-8`.
fn gap(from: u64, to: u64) -> Intent {
    let facts = [("from", from.to_string()), ("to", to.to_string())];
    Intent::Event(Box::new(Event {
        name: format!("root:{to}:snapshot"),
        agent: AgentId::node(),
        event_type: "root.snapshot".to_owned(),
        at_ms: clock::now_unix_ms(),
        payload: EventDetails {
            subject: format!("what was decided from {from} to {to} came in a snapshot"),
            facts: facts.map(|(name, value)| (name.to_owned(), value)).into(),
        }
        .encode(),
    }))
}

impl Unwritten {
    /// Writes rows until the ears are closed and everything is written. Before the group starts: starting
    /// applies entries, which may have to wait for rows.
    pub(super) fn start(mut self, ears: Arc<Ears>) -> JoinHandle<()> {
        task::spawn_named("root audit", async move {
            let mut covered = self.before;
            // From now on this store is this cluster's.
            if covered.is_none() && !self.write_all(Vec::new(), 0, 0, &ears).await {
                return;
            }
            let mut batch = Vec::new();
            loop {
                tokio::select! {
                    biased;
                    _ = self.items.recv_many(&mut batch, BATCH_MAX) => {}
                    () = ears.closed.cancelled() => return,
                }
                self.gather(&mut batch, &ears).await;
                let kept = self.keep(std::mem::take(&mut batch), &mut covered, &ears).await;
                if !kept {
                    // Nothing behind it may be kept either: the mark would pass what is missing.
                    return;
                }
            }
        })
    }

    /// Waits a moment for more, unless there is enough or somebody waits.
    async fn gather(&mut self, batch: &mut Vec<Item>, ears: &Ears) {
        let is_awaited = |batch: &[Item]| batch.iter().any(|item| matches!(item, Item::Settle(_)));
        let until = clock::Instant::now() + GATHER;
        while batch.len() < BATCH_MAX && !is_awaited(batch) && !ears.leaving.is_cancelled() {
            let room = BATCH_MAX - batch.len();
            let more = async {
                tokio::select! {
                    biased;
                    count = self.items.recv_many(batch, room) => count > 0,
                    () = ears.leaving.cancelled() => false,
                }
            };
            if !clock::timeout_at(until, more).await.unwrap_or(false) {
                return;
            }
        }
    }

    /// Writes what a batch says and is not kept yet; `false` if the member stops first.
    async fn keep(&self, batch: Vec<Item>, covered: &mut Option<u64>, ears: &Ears) -> bool {
        let events: usize = batch.iter().map(Item::events).sum();
        let through = batch.iter().map(Item::index).max().unwrap_or(0);
        let known = covered.unwrap_or(0);
        if through > known || covered.is_none() {
            let (mut intents, mut reached) = (Vec::new(), known);
            for item in batch {
                let index = item.index();
                match item {
                    Item::Events(_, events) if index > known => {
                        intents.extend(events.into_iter().map(row));
                    }
                    Item::Skipped(applied, _) if index > reached.max(applied) => {
                        intents.push(gap(reached.max(applied) + 1, index));
                    }
                    _ => {}
                }
                reached = reached.max(index);
            }
            if !self.write_all(intents, known, through, ears).await {
                return false;
            }
            *covered = Some(through.max(known));
        }
        self.waiting.fetch_sub(events, Ordering::AcqRel);
        self.kept.send_modify(|kept| *kept = (*kept).max(through));
        true
    }

    /// Writes until the store takes it; `false` if the member stops while it does not. What does not fit
    /// one request goes ahead without moving the mark: told again, it is known by its name.
    async fn write_all(
        &self,
        mut intents: Vec<Intent>,
        known: u64,
        through: u64,
        ears: &Ears,
    ) -> bool {
        while intents.len() > REQUEST_MAX {
            let rest = intents.split_off(REQUEST_MAX);
            if !self.write_one(intents, known, ears).await {
                return false;
            }
            intents = rest;
        }
        self.write_one(intents, through, ears).await
    }

    async fn write_one(&self, intents: Vec<Intent>, through: u64, ears: &Ears) -> bool {
        let mut told = false;
        while let Err(error) = self.write(intents.clone(), through).await {
            if ears.closed.is_cancelled() {
                return false;
            }
            if !std::mem::replace(&mut told, true) {
                tracing::error!(%error, "audit rows of the root are not kept; trying until they are");
            }
            clock::sleep(AGAIN).await;
        }
        true
    }

    async fn write(&self, intents: Vec<Intent>, through: u64) -> Result<(), StoreError> {
        let covered = Intent::Covered { log: self.log.clone(), through };
        let request = WriteRequest {
            viewer: Viewer {
                agent: AgentId::node(),
                audiences: Vec::new(),
                attest: AttestLevel::Node,
                operator: true,
            },
            now_ms: clock::now_unix_ms(),
            fence: 0,
            idempotency: None,
            intents: intents.into_iter().chain([covered]).collect(),
            atomic: true,
            quota: None,
            reflection_depth_max: 0,
        };
        self.store.write(request).await.map(drop)
    }
}

#[cfg(test)]
mod tests;
