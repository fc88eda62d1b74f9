//! From committed entries to the state machine, and from it to snapshots.
//!
//! Invariants: `RFT-4` entries are applied in order, once each, counted from the snapshot that the
//! state began with. `RFT-5` a state and the entry it contains last change together under one lock, so
//! a snapshot or a reader never sees one without the other. `RFT-6` a received snapshot is durable
//! before it becomes the state, and one that the machine cannot read changes nothing.
//!
//! `RFT-20` no snapshot is kept before the effects of its entries are settled, so after a restart all that
//! were not are heard again.
//!
//! Not here: what commands mean (the machine), and acting on effects (the sink's owner).

use std::{io, sync::Arc};

use bytes::Bytes;
use futures::{FutureExt, Stream, TryStreamExt, future::BoxFuture};
use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder,
    alias::SnapshotOf,
    storage::{EntryResponder, RaftStateMachine},
};
use parking_lot::Mutex;
use prost::Message;
use runtime::blocking;
use types::planted;

use super::{
    codec::{self, SnapshotData},
    snapshot::{SnapshotStore, Stored},
    types::{Answer, Command, Entry, LogId, SnapshotMeta, StoredMembership, TypeConfig, entry_id},
};
use crate::{
    log::{EntryId, LogError},
    steps::{self, Shown},
};

/// What a group replicates: a pure function of the entries it was given.
pub trait StateMachine: Send + 'static {
    /// What is to be done outside because of an entry. Level-triggered: hearing it twice is harmless.
    type Effect: Send + 'static;

    /// Applies the command of entry `index`. `leader_ms` is the leader's reading, in milliseconds
    /// since the Unix epoch; it may go back from one entry to the next. A refusal is an answer.
    fn apply(&mut self, index: u64, leader_ms: u64, command: &[u8])
    -> (Vec<u8>, Vec<Self::Effect>);

    /// Entry `index` is the first of a new leader. `leader_ms` is the reading of the newest command
    /// before it, 0 if there was none.
    fn leader_changed(&mut self, index: u64, leader_ms: u64) -> Vec<Self::Effect>;

    /// What watchers are told after an entry, with a hash of the whole state or without; asked only when
    /// somebody watches.
    fn show(&self, whole: bool) -> Shown;

    /// The whole state as bytes.
    fn snapshot(&self) -> Vec<u8>;

    /// The state that these bytes say.
    ///
    /// # Errors
    /// What is wrong with them.
    fn restore(bytes: &[u8]) -> Result<Self, String>
    where
        Self: Sized;
}

/// Hears the effects of an entry, after the entry was applied and in order. Must not block.
pub type EffectSink<E> = Box<dyn FnMut(u64, Vec<E>) + Send + Sync>;

/// Whoever acts on effects and must miss none, across restarts: an entry that is applied before the
/// member stops is applied again after it, unless a snapshot contains it. So no snapshot is kept before
/// the effects of the entries that this member applied are settled, and no entry is applied while there
/// is no room for its effects. It must be at work before the group starts: starting applies entries.
pub trait Listener<E>: Send + Sync {
    /// The effects of an entry, after it was applied and in order. Must not block, nor look at the
    /// group's state.
    fn tell(&self, index: u64, effects: Vec<E>);

    /// The state has come from a snapshot that reaches `index`: effects of entries behind `applied`, the
    /// last that was applied here, that were not told never will be.
    fn skipped(&self, applied: u64, index: u64);

    /// `None` if there is room for more effects, else what to wait for before the next entry.
    fn room(&self) -> Option<BoxFuture<'_, ()>>;

    /// Ends when the effects of all entries up to `index` that were told have been acted on for good;
    /// `false` if the member stops first.
    fn settled(&self, index: u64) -> BoxFuture<'_, bool>;
}

/// A sink that may miss effects.
pub(super) struct Hearsay<E>(Mutex<EffectSink<E>>);

impl<E> Hearsay<E> {
    pub(super) fn shared(sink: EffectSink<E>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(sink)))
    }
}

impl<E: Send> Listener<E> for Hearsay<E> {
    fn tell(&self, index: u64, effects: Vec<E>) {
        (self.0.lock())(index, effects);
    }

    fn skipped(&self, _: u64, _: u64) {}

    fn room(&self) -> Option<BoxFuture<'_, ()>> {
        None
    }

    fn settled(&self, _: u64) -> BoxFuture<'_, bool> {
        std::future::ready(true).boxed()
    }
}

/// The machine and how far it has come.
pub(super) struct State<M> {
    pub(super) machine: M,
    last: Option<LogId>,
    membership: StoredMembership,
    leader_ms: u64,
}

impl<M> State<M> {
    /// The newest reading of a leader among the entries that the state contains.
    pub(super) fn newest_ms(&self) -> u64 {
        self.leader_ms
    }
}

impl<M: StateMachine> State<M> {
    /// The state of the snapshot on the disk, or `fresh` if there is none.
    pub(super) fn open(snapshots: &SnapshotStore, fresh: M) -> Result<Self, LogError> {
        match &snapshots.current() {
            None => Ok(Self {
                machine: fresh,
                last: None,
                membership: StoredMembership::default(),
                leader_ms: 0,
            }),
            Some(stored) => {
                restore(stored).map_err(|error| LogError::damaged("snapshot", 0, error.to_string()))
            }
        }
    }

    /// Applies the next entry.
    pub(super) fn apply(&mut self, entry: Entry) -> (Answer, Vec<M::Effect>) {
        let index = entry.log_id.index;
        self.last = Some(entry.log_id);
        match entry.payload {
            EntryPayload::Normal(Command { leader_ms, bytes }) => {
                let leader_ms = match planted::is_on("local-clock-in-apply") {
                    true => runtime::clock::now_unix_ms(),
                    false => leader_ms,
                };
                self.leader_ms = self.leader_ms.max(leader_ms);
                let (answer, effects) = self.machine.apply(index, leader_ms, &bytes);
                (Answer(answer.into()), effects)
            }
            EntryPayload::Blank => {
                let leader_ms = self.leader_ms;
                (Answer::default(), self.machine.leader_changed(index, leader_ms))
            }
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(entry.log_id), membership);
                (Answer::default(), Vec::new())
            }
        }
    }

    /// Entry that it contains last.
    pub(super) fn last(&self) -> Option<LogId> {
        self.last
    }

    /// Who is a member.
    pub(super) fn membership(&self) -> &StoredMembership {
        &self.membership
    }

    /// The same state as if `last` had been reached with this membership.
    pub(super) fn moved_to(self, last: LogId, membership: super::types::Membership) -> Self {
        let membership = StoredMembership::new(Some(last), membership);
        Self { last: Some(last), membership, ..self }
    }
}

/// The machine, shared with readers.
pub(super) type Shared<M> = Arc<Mutex<State<M>>>;

/// Feeds a machine.
pub(super) struct Applier<M: StateMachine> {
    state: Shared<M>,
    snapshots: SnapshotStore,
    effects: Arc<dyn Listener<M::Effect>>,
}

impl<M: StateMachine> Applier<M> {
    /// Starts from the snapshot on the disk, or from `fresh` if there is none.
    pub(super) fn open(
        snapshots: SnapshotStore,
        fresh: M,
        effects: Arc<dyn Listener<M::Effect>>,
    ) -> Result<Self, LogError> {
        let state = State::open(&snapshots, fresh)?;
        if let Some(last) = state.last {
            effects.skipped(0, last.index);
        }
        Ok(Self { state: Arc::new(Mutex::new(state)), snapshots, effects })
    }

    pub(super) fn shared(&self) -> Shared<M> {
        self.state.clone()
    }

    /// Where its snapshots are.
    pub(super) fn snapshots(&self) -> &SnapshotStore {
        &self.snapshots
    }

    /// The last entry in the snapshot on the disk, `None` without one.
    pub(super) fn snapshot_id(&self) -> Option<EntryId> {
        self.snapshots.current()?.meta.last_log_id.as_ref().map(entry_id)
    }

    /// Tells that the snapshot up to `id` is what this member starts from.
    pub(super) fn tell_installed(&self, id: EntryId) {
        if steps::watched() {
            steps::installed(id, self.state.lock().machine.show(true));
        }
    }

    fn apply_one(&mut self, entry: Entry) -> Answer {
        let id = entry_id(&entry.log_id);
        let index = id.index;
        let is_command = matches!(entry.payload, EntryPayload::Normal(_));
        let mut state = self.state.lock();
        let (answer, effects) = state.apply(entry);
        if steps::watched() {
            let shown = state.machine.show(steps::shows_state(index));
            let seen = shown.seen.filter(|_| is_command);
            steps::applied(id, Shown { seen, ..shown });
        }
        if !effects.is_empty() {
            // Under the lock, so that a snapshot never contains an entry that was not told (`RFT-20`).
            self.effects.tell(index, effects);
        }
        answer
    }
}

fn restore<M: StateMachine>(stored: &Stored) -> Result<State<M>, codec::CodecError> {
    let data: SnapshotData = codec::read("snapshot", &stored.data)?;
    let machine = M::restore(&data.machine)
        .map_err(|problem| codec::CodecError::new("snapshot of the machine", problem))?;
    Ok(State {
        machine,
        last: stored.meta.last_log_id,
        membership: stored.meta.last_membership.clone(),
        leader_ms: data.leader_ms,
    })
}

impl<M: StateMachine> RaftStateMachine<TypeConfig> for Applier<M> {
    type SnapshotData = Bytes;
    type SnapshotBuilder = Builder<M>;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let state = self.state.lock();
        Ok((state.last, state.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            if let Some(room) = self.effects.room() {
                room.await;
            }
            let answer = self.apply_one(entry);
            if let Some(responder) = responder {
                responder.send(answer);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder<M> {
        let (state, effects) = (self.state.clone(), self.effects.clone());
        Builder { state, snapshots: self.snapshots.clone(), effects }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, data: Bytes) -> io::Result<()> {
        let stored = Stored { meta: meta.clone(), data };
        let state: State<M> = restore(&stored).map_err(io::Error::other)?;
        let applied = self.state.lock().last.map_or(0, |last| last.index);
        // A member that stops meanwhile says which effects it may have missed (`Listener::skipped`).
        let _ = self.effects.settled(applied).await;
        self.snapshots.save(stored).await?;
        let shown = steps::watched().then(|| state.machine.show(true));
        *self.state.lock() = state;
        if let Some((id, shown)) = meta.last_log_id.as_ref().map(entry_id).zip(shown) {
            steps::installed(id, shown);
            tell_voters(meta);
        }
        if let Some(last) = meta.last_log_id {
            self.effects.skipped(applied, last.index);
        }
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<TypeConfig, Bytes>>> {
        let current = self.snapshots.current();
        Ok(current
            .map(|Stored { meta, data }| SnapshotOf::<TypeConfig, Bytes> { meta, snapshot: data }))
    }
}

/// Makes one snapshot beside the work of the group.
pub(super) struct Builder<M: StateMachine> {
    state: Shared<M>,
    snapshots: SnapshotStore,
    effects: Arc<dyn Listener<M::Effect>>,
}

impl<M: StateMachine> RaftSnapshotBuilder<TypeConfig> for Builder<M> {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<TypeConfig, Bytes>> {
        let state = self.state.clone();
        let stored = blocking::run(move || take(&state.lock())).await;
        #[cfg(planted)]
        let stored = super::planted::with_first_membership(stored, self.snapshots.current());
        let last = stored.meta.last_log_id.map_or(0, |last| last.index);
        if !self.effects.settled(last).await {
            // Without them it must not be kept, and nobody waits for it any more.
            return std::future::pending().await;
        }
        let stored = self.snapshots.save_unless_newer(stored).await?;
        Ok(SnapshotOf::<TypeConfig, Bytes> { meta: stored.meta, snapshot: stored.data })
    }
}

/// Tells whom the member follows after a snapshot.
fn tell_voters(meta: &SnapshotMeta) {
    let membership = &meta.last_membership;
    let index = membership.log_id().as_ref().map_or(0, |id| entry_id(id).index);
    steps::membership(index, membership.membership().get_joint_config());
}

pub(super) fn take<M: StateMachine>(state: &State<M>) -> Stored {
    let data =
        SnapshotData { leader_ms: state.leader_ms, machine: state.machine.snapshot().into() };
    let meta = SnapshotMeta { last_log_id: state.last, last_membership: state.membership.clone() };
    Stored { meta, data: data.encode_to_vec().into() }
}
