//! Taking what another node says, and telling it what it lacks.
//!
//! Invariants: `EXC-1` a batch is one transaction: what is believed of it is applied with its nonce, its
//! signed heads and the places of what was not let in, or none of it is; `EXC-2` one operation that is not
//! let in keeps no other out, and its sender is told which and why; `EXC-3` what a peer may not see leaves
//! this node as its hash only; `EXC-4` an operation is taken up only when everything that its author had
//! seen is covered here.
//!
//! Not here: who asks (`sealed`), when to ask and what to do with the answer (`driver`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use runtime::{clock, task};
use storage::{
    Store, StoreError,
    answer::{Applied, FeedItem, Lacking, Proof, Said},
    request::{Incoming, Intent, LackingQuery, Passed, QuotaLimits, Viewer, WriteRequest},
};
use types::{
    AgentId, FeedHead, NodeId, Op, OpId, Reason, Record, Reject, SignedHead, VersionVector,
    audit::AttestLevel,
    codec,
    limits::{BULK_MAX, REFLECTION_DEPTH_DEFAULT},
    planted,
};
use wire::v1::{SyncOperation, SyncProof, sync_operation::Said as Told};

mod about;
mod state;

use self::about::Subjects;
pub use self::{
    about::About,
    state::{KEYS_MAX, RANGES_MAX},
};
use crate::{
    admit,
    convert::{self, Came},
    members::{Member, Members},
    sealed::Identity,
};

/// Most operations in one message.
pub const OPERATIONS_MAX: u32 = 480;
/// Most operations that are taken from one message. The store takes them in one request with a nonce and, if each
/// is of another feed, as many signed heads.
const TAKEN_MAX: usize = 499;
const _: () = assert!(2 * TAKEN_MAX < BULK_MAX && OPERATIONS_MAX as usize <= TAKEN_MAX);
/// Bytes of operations behind which no more is put into a message.
const BYTES_MAX: u64 = 1 << 20;

/// What this node's own rules say of what others made, as they stand while one message is taken.
pub trait Rules: Send + Sync {
    /// Whether they look at the memory that an operation is about, and not at the operation alone.
    fn look_at_memories(&self) -> bool;

    /// Whether the operation is let in, which is about this memory: the one that it changes or links from, as it is
    /// here before. `None` where that is not here, or nobody looks at it.
    ///
    /// # Errors
    /// Why not.
    fn lets_in(&self, op: &Op, about: Option<&About>) -> Result<(), Reject>;

    /// Whether a record is let in as state.
    ///
    /// # Errors
    /// Why not.
    fn lets_state_in(&self, record: &Record) -> Result<(), Reject>;
}

/// What decides here over what others made.
pub trait Gate: Send + Sync {
    /// The rules that count now.
    ///
    /// # Errors
    /// Nothing can be judged now: the message is refused as a whole, to be sent again.
    fn rules(&self) -> Result<Arc<dyn Rules>, Reject>;

    /// Limits of each author's quota; the store holds what it takes against them.
    fn quota(&self) -> Option<QuotaLimits>;
}

/// A nonce that is used up with what it came with.
#[derive(Clone, Copy, Debug)]
pub struct Once {
    /// By whom.
    pub peer: NodeId,
    /// What stands for it.
    pub nonce: [u8; 16],
    /// Until when it is remembered, Unix milliseconds.
    pub until_ms: u64,
}

impl Once {
    fn intent(self) -> Intent {
        let Self { peer, nonce, until_ms } = self;
        Intent::Nonce { peer, nonce, until_ms }
    }
}

/// What became of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Applied and durable.
    Applied,
    /// It was already.
    Known,
    /// Passed: only its hash came, or it is covered by state that may not have it.
    Hidden,
    /// Not let in.
    Refused(Reject),
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Each operation that was taken up, in order.
    pub fates: Vec<(OpId, Fate)>,
    /// The rest was not, because something before it is missing.
    pub behind: bool,
    /// What is covered now.
    pub covers: VersionVector,
}

/// What a member lacks.
#[derive(Clone, Debug, Default)]
pub struct Telling {
    /// Operations, in an order in which they can be applied.
    pub operations: Vec<SyncOperation>,
    /// What proves them.
    pub proofs: Vec<SyncProof>,
    /// Whether there is more.
    pub more: bool,
    /// Whether the log does not reach back to where the member is.
    pub is_cut: bool,
}

/// An operation that came.
struct Piece {
    id: OpId,
    hash: [u8; 32],
    what: What,
}

enum What {
    Whole(Box<Op>, Vec<u8>),
    Unreadable(Reject),
    Hidden,
}

impl Piece {
    fn read(told: SyncOperation) -> Result<Self, Reject> {
        let (id, came) = convert::operation(told)?;
        let (hash, what) = match came {
            Came::Hash(hash) => (hash, What::Hidden),
            Came::Whole(bytes) => (codec::op_hash(&bytes), Self::whole(id, bytes)),
        };
        Ok(Self { id, hash, what })
    }

    fn whole(id: OpId, bytes: Vec<u8>) -> What {
        match codec::decode_op(&bytes) {
            Ok(op) if op.id == id => What::Whole(Box::new(op), bytes),
            Ok(op) => {
                let detail = format!("operation {id} says of itself that it is {}", op.id);
                What::Unreadable(Reject::new(Reason::Malformed, detail))
            }
            Err(error) => {
                let detail = format!("operation {id} cannot be read: {error}");
                What::Unreadable(Reject::new(Reason::Malformed, detail))
            }
        }
    }
}

/// What is asked of the store, and whose fate each answer decides.
#[derive(Default)]
struct Plan {
    intents: Vec<Intent>,
    /// For each intent: the operation, and its fate unless the store decides.
    of: Vec<Option<(OpId, Option<Fate>)>>,
    behind: bool,
}

impl Plan {
    fn also(&mut self, intent: Intent) {
        self.intents.push(intent);
        self.of.push(None);
    }

    fn take(&mut self, op: Op, bytes: Vec<u8>) {
        self.of.push(Some((op.id, None)));
        self.intents.push(Intent::Take(Box::new(Incoming { op, bytes })));
    }

    fn pass(
        &mut self,
        id: OpId,
        hash: [u8; 32],
        fate: Fate,
        about: Option<Option<types::MemoryId>>,
    ) {
        let refused = match &fate {
            Fate::Refused(reject) => Some(reject.reason),
            _ => None,
        };
        self.intents.push(Intent::Pass(Passed { id, hash, refused, about }));
        self.of.push(Some((id, Some(fate))));
    }

    /// What became of everything, given the store's answers.
    fn fates(self, results: Vec<Result<Applied, Reject>>) -> Vec<(OpId, Fate)> {
        let decided = self.of.into_iter().zip(results).filter_map(|(of, result)| {
            let (id, fate) = of?;
            let fate = match (fate, result) {
                // It was let in before the rules were what they are.
                (Some(Fate::Refused(_)) | None, Ok(Applied::Known)) => Fate::Known,
                (Some(fate), _) => fate,
                (None, Ok(Applied::Passed)) => Fate::Hidden,
                (None, Ok(Applied::Refused(reject)) | Err(reject)) => Fate::Refused(reject),
                (None, Ok(_)) => Fate::Applied,
            };
            Some((id, fate))
        });
        decided.collect()
    }
}

/// Signatures of others that were checked. Clones are one and the same.
#[derive(Clone, Debug, Default)]
pub struct Checks(Arc<AtomicU64>);

impl Checks {
    /// So many more.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// How many since the start.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A node's dealings with its store on behalf of others.
#[derive(Clone)]
pub struct Exchange {
    /// This node.
    pub me: NodeId,
    /// Its memories.
    pub store: Arc<dyn Store>,
    /// Its rules.
    pub gate: Arc<dyn Gate>,
    /// Its key.
    pub identity: Arc<dyn Identity>,
    /// Counts the signatures of heads that are checked.
    pub checks: Checks,
}

/// What a fault of the store is to those who asked.
pub fn refused(error: StoreError) -> Reject {
    match error {
        StoreError::Rejected(reject) => reject,
        error => Reject::new(Reason::StorageFailed, error.to_string()),
    }
}

fn vector(feeds: &BTreeMap<NodeId, FeedHead>) -> VersionVector {
    feeds.values().map(|feed| (feed.origin, feed.seq)).collect()
}

impl Exchange {
    fn request(&self, intents: Vec<Intent>, atomic: bool) -> WriteRequest {
        WriteRequest {
            viewer: Viewer {
                agent: AgentId::node(),
                audiences: Vec::new(),
                attest: AttestLevel::Node,
                operator: true,
            },
            now_ms: clock::now_unix_ms(),
            fence: 0,
            idempotency: None,
            intents,
            atomic,
            quota: self.gate.quota(),
            reflection_depth_max: REFLECTION_DEPTH_DEFAULT,
        }
    }

    /// Has the store keep something.
    ///
    /// # Errors
    /// What the store refuses.
    pub async fn keep(&self, intents: Vec<Intent>) -> Result<(), Reject> {
        self.done(intents).await.map(drop)
    }

    /// Has the store do all of it.
    ///
    /// # Errors
    /// What the store refuses; nothing was done.
    pub async fn settled(&self, intents: Vec<Intent>) -> Result<(), Reject> {
        self.store.write(self.request(intents, true)).await.map(drop).map_err(refused)
    }

    /// Has the store do something; what became of each intent.
    ///
    /// # Errors
    /// What the store refuses.
    pub async fn done(&self, intents: Vec<Intent>) -> Result<Vec<Result<Applied, Reject>>, Reject> {
        let receipt = self.store.write(self.request(intents, false)).await.map_err(refused)?;
        Ok(receipt.results)
    }

    /// Uses a nonce up.
    ///
    /// # Errors
    /// [`Reason::NonceReplay`], and what the store refuses.
    pub async fn once(&self, once: Once) -> Result<(), Reject> {
        let request = self.request(vec![once.intent()], true);
        self.store.write(request).await.map(drop).map_err(refused)
    }

    /// What is covered here.
    ///
    /// # Errors
    /// What the store refuses.
    pub async fn covers(&self) -> Result<VersionVector, Reject> {
        Ok(vector(&self.store.feeds().await.map_err(refused)?))
    }

    /// Takes what a member has sent.
    ///
    /// # Errors
    /// The batch as a whole is not believed, or came before; nothing of it was kept.
    pub async fn take(
        &self,
        members: &Members,
        from: &Member,
        operations: Vec<SyncOperation>,
        proofs: &[SyncProof],
        once: Option<Once>,
    ) -> Result<Taken, Reject> {
        if operations.len() > TAKEN_MAX {
            let detail = format!("{} operations, at most {TAKEN_MAX}", operations.len());
            return Err(Reject::new(Reason::TooLarge, detail).with("field", "operations"));
        }
        let pieces: Vec<Piece> =
            operations.into_iter().map(Piece::read).collect::<Result<_, _>>()?;
        let feeds = self.store.feeds().await.map_err(refused)?;
        let (vouched, believed) = self.believe(members, &feeds, &pieces, proofs)?;
        let rules = self.gate.rules()?;
        let mut subjects = match rules.look_at_memories() {
            true => Subjects::of(&*self.store, &pieces).await?,
            false => Subjects::default(),
        };
        let mut let_in = |op: &Op, now_ms: u64| -> Result<(), Reject> {
            admit::admit(op, &from.scope, now_ms)?;
            rules.lets_in(op, subjects.of_op(op))?;
            subjects.let_in(op);
            Ok(())
        };
        let mut plan = plan(pieces, &vector(&feeds), &believed, &mut let_in);
        let first = once.map(Once::intent);
        vouched.into_iter().for_each(|word| plan.also(Intent::Vouch(word)));
        if let Some(intent) = first {
            plan.intents.insert(0, intent);
            plan.of.insert(0, None);
        }
        let behind = plan.behind;
        if plan.intents.is_empty() {
            return Ok(Taken { fates: Vec::new(), behind, covers: vector(&feeds) });
        }
        let intents = std::mem::take(&mut plan.intents);
        if planted::is_on("ack-before-fsync") {
            return Ok(self.answer_at_once(intents, plan, vector(&feeds)));
        }
        match self.store.write(self.request(intents, true)).await.map_err(refused) {
            Ok(receipt) => {
                let fates = plan.fates(receipt.results);
                Ok(Taken { fates, behind, covers: self.covers().await? })
            }
            // Another batch came in between, and what this one goes on from is not there any more.
            Err(reject) if reject.reason == Reason::PositionNotReached => {
                Ok(Taken { fates: Vec::new(), behind: true, covers: self.covers().await? })
            }
            Err(reject) => Err(reject),
        }
    }

    /// The planted bug of that name: the answer does not wait for the disk.
    fn answer_at_once(&self, intents: Vec<Intent>, plan: Plan, mut covers: VersionVector) -> Taken {
        let (store, request) = (self.store.clone(), self.request(intents, true));
        let results = request.intents.iter().map(|_| Ok(Applied::Other)).collect();
        drop(task::spawn(async move { store.write(request).await.map(drop) }));
        let behind = plan.behind;
        let fates = plan.fates(results);
        fates.iter().for_each(|(id, _)| covers.raise(id.origin, id.seq));
        Taken { fates, behind, covers }
    }

    /// What a member lacks that covers this much.
    ///
    /// # Errors
    /// What the store refuses.
    pub async fn tell(
        &self,
        members: &Members,
        to: &Member,
        has: VersionVector,
        items_max: u32,
    ) -> Result<Telling, Reject> {
        // What a node does not have of what it said itself, nobody brings it but by its hash.
        let lost = members.left().chain([self.me, to.node]).collect();
        let query = LackingQuery { has, lost, items_max, bytes_max: BYTES_MAX };
        let lacking = self.store.lacking(query).await.map_err(refused)?;
        let Lacking { items, proofs, more, is_cut } = lacking;
        let operations = items.into_iter().map(|item| told(to, item)).collect();
        let proofs = proofs.into_iter().map(|proof| self.proof(proof)).collect();
        Ok(Telling { operations, proofs, more, is_cut })
    }

    /// These operations of this node, as far as they are kept.
    ///
    /// # Errors
    /// What the store refuses.
    pub async fn again(&self, to: &Member, ids: &[OpId]) -> Result<Vec<SyncOperation>, Reject> {
        let items = self.store.operations(ids.to_vec()).await.map_err(refused)?;
        Ok(items.into_iter().map(|item| told(to, item)).collect())
    }

    /// The heads that are believed, and the origins whose operations may be taken up because of them.
    fn believe(
        &self,
        members: &Members,
        feeds: &BTreeMap<NodeId, FeedHead>,
        pieces: &[Piece],
        proofs: &[SyncProof],
    ) -> Result<(Vec<SignedHead>, BTreeSet<NodeId>), Reject> {
        let mut runs: BTreeMap<NodeId, Vec<(OpId, [u8; 32])>> = BTreeMap::new();
        for piece in pieces {
            runs.entry(piece.id.origin).or_default().push((piece.id, piece.hash));
        }
        let (mut words, mut believed) = (Vec::new(), BTreeSet::new());
        for proof in proofs {
            let (word, tail) = convert::proof(proof)?;
            let origin = word.head.origin;
            let Some(mut run) = runs.remove(&origin) else { continue };
            self.checks.add(1);
            members.believe(&word)?;
            let after = run.last().map_or(0, |(id, _)| id.seq);
            let names = (after + 1..).map(|seq| OpId { origin, seq });
            run.extend(names.zip(tail));
            let stands = feeds.get(&origin).copied().unwrap_or(FeedHead::empty(origin));
            match admit::believe(stands, run, word.head) {
                Ok(()) => {
                    believed.insert(origin);
                    words.push(word);
                }
                // What is missing can be had; the others may be taken up.
                Err(reject) if reject.reason == Reason::PositionNotReached => {}
                Err(reject) => return Err(reject),
            }
        }
        Ok((words, believed))
    }

    fn proof(&self, proof: Proof) -> SyncProof {
        let Proof { head, signature, tail } = proof;
        let signature = signature.unwrap_or_else(|| self.identity.sign(&head.digest()));
        convert::told_proof(SignedHead { head, signature }, &tail)
    }
}

/// Decides what to do with each operation, in order, up to the first that comes too early.
fn plan(
    pieces: Vec<Piece>,
    covered: &VersionVector,
    believed: &BTreeSet<NodeId>,
    let_in: &mut impl FnMut(&Op, u64) -> Result<(), Reject>,
) -> Plan {
    let (mut plan, mut running) = (Plan::default(), covered.clone());
    let now_ms = clock::now_unix_ms();
    for Piece { id, hash, what } in pieces {
        let is_covered = id.seq <= covered.get(id.origin);
        let is_next = believed.contains(&id.origin) && id.seq == running.get(id.origin) + 1;
        let too_early = match &what {
            What::Whole(op, _) => !running.covers(&op.context),
            _ => false,
        };
        if !is_covered && (!is_next || too_early) {
            plan.behind = true;
            break;
        }
        match what {
            What::Whole(op, bytes) => match let_in(&op, now_ms) {
                Ok(()) => plan.take(*op, bytes),
                Err(reject) => {
                    let about = Some(op.payload.memory());
                    plan.pass(id, hash, Fate::Refused(reject), about);
                }
            },
            What::Unreadable(reject) => plan.pass(id, hash, Fate::Refused(reject), None),
            What::Hidden => plan.pass(id, hash, Fate::Hidden, None),
        }
        running.raise(id.origin, id.seq);
    }
    plan
}

/// An operation as a member may see it (`EXC-3`).
fn told(to: &Member, item: FeedItem) -> SyncOperation {
    let said = match item.said {
        Said::Whole { bytes, namespace }
            if to.scope.sees(namespace.as_ref()) || planted::is_on("out-of-scope-told") =>
        {
            Told::Whole(bytes)
        }
        Said::Whole { bytes, .. } => Told::Hash(codec::op_hash(&bytes).to_vec()),
        Said::Hash(hash) => Told::Hash(hash.to_vec()),
    };
    let OpId { origin, seq } = item.id;
    SyncOperation { origin: origin.as_bytes().to_vec(), seq, said: Some(said) }
}

#[cfg(test)]
#[cfg(not(madsim))]
mod tests;
