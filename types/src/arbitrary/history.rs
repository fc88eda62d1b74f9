//! Histories of one memory: operations that three nodes made while they saw each other's only now
//! and then.
//!
//! Invariants: every node's operations have consecutive numbers and growing stamps; a tag removal
//! names the dots its node had seen; the first operation is a `Store`. Stamps of different nodes are
//! in no relation to what the nodes had seen, which is harsher than real clocks.
//!
//! Not here: operations that never belong together ([`super::op`]).

use proptest::{collection, prelude::*};
use uuid::Uuid;

use super::{agent_id, memory_id, new_memory_with, patch, tier, time_ms};
use crate::{
    AgentId, HlcClock, MemoryId, NewMemory, NodeId, Op, OpId, Patch, Payload, Record, Tier,
    VersionVector,
    op::{Accessed, UpdateBody},
};

/// Nodes that take part.
const NODES: usize = 3;

/// What a node does next.
#[derive(Clone, Debug)]
enum Step {
    Update(Patch),
    Promote(Tier, bool, Option<u64>),
    Delete,
    Archive,
    Restore,
    Access(u32, u64),
    /// Stores the id again, as an import may.
    Store(NewMemory),
    /// Takes over what another node has.
    Pull(usize),
}

/// Operations on one memory in the order in which they were made.
#[derive(Clone, Debug)]
pub struct History {
    /// The operations; the first is a `Store`.
    pub ops: Vec<Op>,
}

impl History {
    /// The operations of every node, each in its own order.
    pub fn by_origin(&self) -> Vec<Vec<Op>> {
        let origin = |node: usize| self.ops.iter().filter(move |op| op.id.origin == node_id(node));
        (0..NODES).map(|node| origin(node).cloned().collect()).collect()
    }

    /// Puts the operations into another order that keeps each node's own and starts with a `Store`;
    /// `choices` say which node is next.
    pub fn reordered(&self, choices: &[usize]) -> Vec<Op> {
        let mut queues: Vec<_> = self.by_origin().into_iter().map(Vec::into_iter).collect();
        let mut order: Vec<Op> = Vec::with_capacity(self.ops.len());
        let mut choices = choices.iter().cycle();
        while order.len() < self.ops.len() {
            let ready: Vec<usize> = (0..NODES)
                .filter(|node| {
                    let next = queues[*node].as_slice().first();
                    next.is_some_and(|op| {
                        !order.is_empty() || matches!(op.payload, Payload::Store(_))
                    })
                })
                .collect();
            let choice = choices.next().copied().unwrap_or(0);
            order.extend(queues[ready[choice % ready.len()]].next());
        }
        order
    }

    /// The record that the operations make, in the order given.
    ///
    /// # Panics
    /// When the first is not a `Store`.
    pub fn replay(ops: &[Op]) -> Record {
        let Some((Op { payload: Payload::Store(new), .. }, rest)) = ops.split_first() else {
            panic!("a history starts with a store");
        };
        let mut record = Record::create(&ops[0], new);
        for op in rest {
            record.apply(op);
        }
        record
    }
}

fn node_id(node: usize) -> NodeId {
    NodeId(Uuid::from_u128(node as u128 + 1))
}

fn step(id: MemoryId) -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => patch().prop_map(Step::Update),
        3 => (tier(), any::<bool>(), proptest::option::of(time_ms()))
            .prop_map(|(tier, automatic, expires)| Step::Promote(tier, automatic, expires)),
        1 => Just(Step::Delete),
        1 => Just(Step::Archive),
        1 => Just(Step::Restore),
        2 => (1u32..9, time_ms()).prop_map(|(count, at_ms)| Step::Access(count, at_ms)),
        1 => new_memory_with(id).prop_map(Step::Store),
        4 => (0..NODES).prop_map(Step::Pull),
    ]
}

/// One node while a history is made.
struct Node {
    clock: HlcClock,
    seq: u64,
    seen: Vec<Op>,
}

impl Node {
    fn payload(&self, id: MemoryId, step: Step) -> Payload {
        match step {
            Step::Update(patch) => {
                let record = History::replay(&self.seen);
                let removed_dots = patch
                    .remove_tags
                    .iter()
                    .flat_map(|tag| record.tags.dots(tag).cloned().collect::<Vec<_>>())
                    .collect();
                Payload::Update(Box::new(UpdateBody { id, patch, removed_dots }))
            }
            Step::Promote(tier, automatic, expires_at_ms) => {
                Payload::Promote { id, tier, automatic, expires_at_ms }
            }
            Step::Delete => Payload::Delete { id, reason: String::new() },
            Step::Archive => Payload::Archive { id, reason: "old".to_owned() },
            Step::Restore => Payload::Restore { id },
            Step::Access(count, at_ms) => Payload::Access(vec![Accessed { id, count, at_ms }]),
            Step::Store(new) => Payload::Store(Box::new(new)),
            Step::Pull(_) => unreachable!("a pull makes no operation"),
        }
    }

    fn pull(&mut self, from: Vec<Op>) {
        let known: VersionVector = self.seen.iter().map(|op| (op.id.origin, op.id.seq)).collect();
        self.seen.extend(from.into_iter().filter(|op| !known.contains(op.id)));
    }
}

/// One step: who, at what wall time, under which fence, and what.
type Move = (usize, u64, u64, Step);

fn play(id: MemoryId, first: NewMemory, author: AgentId, moves: Vec<Move>) -> History {
    let mut nodes: Vec<Node> =
        (0..NODES).map(|_| Node { clock: HlcClock::default(), seq: 0, seen: Vec::new() }).collect();
    let mut ops: Vec<Op> = Vec::new();
    let start = (0, 50, 0, Step::Store(first));
    for (who, now_ms, fence, step) in std::iter::once(start).chain(moves) {
        if let Step::Pull(from) = step {
            let theirs = nodes[from].seen.clone();
            nodes[who].pull(theirs);
            continue;
        }
        let node = &mut nodes[who];
        if node.seen.is_empty() && !matches!(step, Step::Store(_)) {
            // Nobody changes what it has not seen.
            node.pull(ops.first().cloned().into_iter().collect());
        }
        node.seq += 1;
        let op = Op {
            id: OpId { origin: node_id(who), seq: node.seq },
            hlc: node.clock.tick(now_ms),
            author: author.clone(),
            fence,
            context: node.seen.iter().map(|op| (op.id.origin, op.id.seq)).collect(),
            payload: node.payload(id, step),
        };
        node.seen.push(op.clone());
        ops.push(op);
    }
    History { ops }
}

/// A history of one memory: up to a dozen operations of three nodes.
pub fn history() -> impl Strategy<Value = History> {
    let fence = prop_oneof![5 => Just(0u64), 1 => 1u64..4];
    memory_id().prop_flat_map(move |id| {
        let moves = collection::vec((0..NODES, 0u64..100, fence.clone(), step(id)), 0..16);
        (new_memory_with(id), agent_id(), moves)
            .prop_map(move |(first, author, moves)| play(id, first, author, moves))
    })
}

/// A record with a history behind it.
pub fn record() -> impl Strategy<Value = Record> {
    history().prop_map(|history| History::replay(&history.ops))
}
