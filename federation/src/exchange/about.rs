//! The memories that the operations of one message are about, for rules that look at them.
//!
//! Invariant: an operation is judged by its memory as the operations before it in the message leave it.
//!
//! Not here: judging (`super::Rules`), and keeping anything.

use std::collections::BTreeMap;

use storage::{
    Store,
    state::{Item, ItemKey, Visible},
};
use types::{
    Kind, MemoryId, Namespace, NewMemory, Op, Patch, Payload, Record, Reject, Scope, Tier,
};

use super::{BYTES_MAX, Piece, What, refused};

/// A memory, as far as rules look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Where it belongs.
    pub namespace: Namespace,
    /// What it is.
    pub kind: Kind,
    /// How long it lives.
    pub tier: Tier,
    /// Who may see it.
    pub scope: Scope,
    /// What it is about.
    pub title: String,
    /// Whether personal data was found in it.
    pub has_pii: bool,
}

impl About {
    /// Of a record.
    pub fn record(record: &Record) -> Self {
        Self {
            namespace: record.namespace.clone(),
            kind: record.kind.value,
            tier: record.tier(),
            scope: record.scope.value.0,
            title: record.title.value.as_str().to_owned(),
            has_pii: !record.pii_flags.value.is_empty(),
        }
    }

    /// Of a memory that is new.
    pub fn new(new: &NewMemory) -> Self {
        Self {
            namespace: new.namespace.clone(),
            kind: new.kind,
            tier: new.tier,
            scope: new.scope,
            title: new.title.as_str().to_owned(),
            has_pii: !new.pii_flags.is_empty(),
        }
    }

    /// The same with these changes.
    #[must_use]
    pub fn patched(mut self, patch: &Patch) -> Self {
        if let Some(title) = &patch.title {
            title.as_str().clone_into(&mut self.title);
        }
        self.kind = patch.kind.unwrap_or(self.kind);
        self.tier = patch.tier.unwrap_or(self.tier);
        self.scope = patch.scope.as_ref().map_or(self.scope, |(scope, _)| *scope);
        if let Some(flags) = &patch.pii_flags {
            self.has_pii = !flags.is_empty();
        }
        self
    }
}

/// Memories, as they are at this point of a message.
#[derive(Debug, Default)]
pub(super) struct Subjects {
    known: BTreeMap<MemoryId, About>,
    /// Whether anybody looks at them.
    wanted: bool,
}

/// The memory that an operation is about, for rules: a link is made where its source is.
fn subject(op: &Op) -> Option<MemoryId> {
    match &op.payload {
        Payload::Link(link) => Some(link.source),
        payload => payload.memory(),
    }
}

impl Subjects {
    /// The memories that these are about, as far as they are here.
    pub(super) async fn of(store: &dyn Store, pieces: &[Piece]) -> Result<Self, Reject> {
        let of_piece = |piece: &Piece| match &piece.what {
            What::Whole(op, _) => subject(op),
            What::Unreadable(_) | What::Hidden => None,
        };
        let mut ids: Vec<MemoryId> = pieces.iter().filter_map(of_piece).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut keys: Vec<ItemKey> = ids.into_iter().map(ItemKey::memory).collect();
        let mut known = BTreeMap::new();
        while !keys.is_empty() {
            let found = store.states(keys.clone(), Visible::default(), BYTES_MAX).await;
            let (items, looked_at) = found.map_err(refused)?;
            for item in items {
                if let Item::Memory(record) = item {
                    known.insert(record.id, About::record(&record));
                }
            }
            let looked_at = usize::try_from(looked_at).unwrap_or(usize::MAX);
            keys.drain(..looked_at.clamp(1, keys.len()));
        }
        Ok(Self { known, wanted: true })
    }

    /// The memory that an operation is about; `None` where it is not here.
    pub(super) fn of_op(&self, op: &Op) -> Option<&About> {
        self.known.get(&subject(op)?)
    }

    /// The operation is let in.
    pub(super) fn let_in(&mut self, op: &Op) {
        let Some(id) = op.payload.memory().filter(|_| self.wanted) else { return };
        match (&op.payload, self.known.get_mut(&id)) {
            (Payload::Store(new), None) => {
                self.known.insert(id, About::new(new));
            }
            (Payload::Update(body), Some(about)) => *about = about.clone().patched(&body.patch),
            (Payload::Promote { tier, .. }, Some(about)) => about.tier = *tier,
            _ => {}
        }
    }
}
