//! From committed entries to the state machine, and from it to snapshots.
//!
//! Invariants: `RFT-4` entries are applied in order, once each, counted from the snapshot that the
//! state began with. `RFT-5` a state and the entry it contains last change together under one lock, so
//! a snapshot or a reader never sees one without the other. `RFT-6` a received snapshot is durable
//! before it becomes the state, and one that the machine cannot read changes nothing.
//!
//! Not here: what commands mean (the machine), and acting on effects (the sink's owner).

use std::{io, sync::Arc};

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
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

/// The machine, shared with readers.
pub(super) type Shared<M> = Arc<Mutex<State<M>>>;

/// Feeds a machine.
pub(super) struct Applier<M: StateMachine> {
    state: Shared<M>,
    snapshots: SnapshotStore,
    effects: EffectSink<M::Effect>,
}

impl<M: StateMachine> Applier<M> {
    /// Starts from the snapshot on the disk, or from `fresh` if there is none.
    pub(super) fn open(
        snapshots: SnapshotStore,
        fresh: M,
        effects: EffectSink<M::Effect>,
    ) -> Result<Self, LogError> {
        let state = match &snapshots.current() {
            None => State {
                machine: fresh,
                last: None,
                membership: StoredMembership::default(),
                leader_ms: 0,
            },
            Some(stored) => restore(stored)
                .map_err(|error| LogError::damaged("snapshot", 0, error.to_string()))?,
        };
        Ok(Self { state: Arc::new(Mutex::new(state)), snapshots, effects })
    }

    pub(super) fn shared(&self) -> Shared<M> {
        self.state.clone()
    }

    /// The last entry in the snapshot on the disk, `None` without one.
    pub(super) fn snapshot_id(&self) -> Option<EntryId> {
        self.snapshots.current()?.meta.last_log_id.as_ref().map(entry_id)
    }

    fn apply_one(&mut self, entry: Entry) -> Answer {
        let id = entry_id(&entry.log_id);
        let index = id.index;
        let is_command = matches!(entry.payload, EntryPayload::Normal(_));
        let (answer, effects) = {
            let mut state = self.state.lock();
            state.last = Some(entry.log_id);
            match entry.payload {
                EntryPayload::Normal(Command { leader_ms, bytes }) => {
                    let leader_ms = match planted::is_on("local-clock-in-apply") {
                        true => runtime::clock::now_unix_ms(),
                        false => leader_ms,
                    };
                    state.leader_ms = state.leader_ms.max(leader_ms);
                    let (answer, effects) = state.machine.apply(index, leader_ms, &bytes);
                    (Answer(answer.into()), effects)
                }
                EntryPayload::Blank => {
                    let leader_ms = state.leader_ms;
                    (Answer::default(), state.machine.leader_changed(index, leader_ms))
                }
                EntryPayload::Membership(membership) => {
                    state.membership = StoredMembership::new(Some(entry.log_id), membership);
                    (Answer::default(), Vec::new())
                }
            }
        };
        if steps::watched() {
            let shown = self.state.lock().machine.show(steps::shows_state(index));
            let seen = shown.seen.filter(|_| is_command);
            steps::applied(id, Shown { seen, ..shown });
        }
        if !effects.is_empty() {
            (self.effects)(index, effects);
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
            let answer = self.apply_one(entry);
            if let Some(responder) = responder {
                responder.send(answer);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder<M> {
        Builder { state: self.state.clone(), snapshots: self.snapshots.clone() }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, data: Bytes) -> io::Result<()> {
        let stored = Stored { meta: meta.clone(), data };
        let state: State<M> = restore(&stored).map_err(io::Error::other)?;
        self.snapshots.save(stored).await?;
        let shown = steps::watched().then(|| state.machine.show(true));
        *self.state.lock() = state;
        if let Some((id, shown)) = meta.last_log_id.as_ref().map(entry_id).zip(shown) {
            steps::installed(id, shown);
            tell_voters(meta);
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
pub(super) struct Builder<M> {
    state: Shared<M>,
    snapshots: SnapshotStore,
}

impl<M: StateMachine> RaftSnapshotBuilder<TypeConfig> for Builder<M> {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<TypeConfig, Bytes>> {
        let state = self.state.clone();
        let stored = blocking::run(move || take(&state.lock())).await;
        #[cfg(planted)]
        let stored = super::planted::with_first_membership(stored, self.snapshots.current());
        self.snapshots.save(stored.clone()).await?;
        Ok(SnapshotOf::<TypeConfig, Bytes> { meta: stored.meta, snapshot: stored.data })
    }
}

/// Tells whom the member follows after a snapshot.
fn tell_voters(meta: &SnapshotMeta) {
    let membership = &meta.last_membership;
    let index = membership.log_id().as_ref().map_or(0, |id| entry_id(id).index);
    steps::membership(index, membership.membership().get_joint_config());
}

fn take<M: StateMachine>(state: &State<M>) -> Stored {
    let data =
        SnapshotData { leader_ms: state.leader_ms, machine: state.machine.snapshot().into() };
    let meta = SnapshotMeta { last_log_id: state.last, last_membership: state.membership.clone() };
    Stored { meta, data: data.encode_to_vec().into() }
}
