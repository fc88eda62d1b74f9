//! Random histories: steps that refer to what there is by small numbers, so that they meet.
//!
//! A step is made into a command only when it is its turn, against the state it finds; the entries
//! that came of it can then be applied again elsewhere.

use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
    sample::select,
};
use types::{
    AgentId, NodeId,
    codec::fields::Opaque,
    lock::{ActionId, Fence, LockKey, LockMode, SessionId, Want},
    rule::{Access, Approver, Operation, RuleMatch, RuleRequest, Settings},
};
use uuid::Uuid;

use super::super::{
    Acquire, AdvanceEpoch, Applied, Body, CancelWait, CloseSession, ClusterId, Command, Decide,
    Empty, ForceRelease, Held, Identity, Init, KeepAlive, Machine, Member, OpenSession, Propose,
    PutMember, PutPolicy, PutRule, Readmit, RegisterAgent, RegisterBoot, Release, RemovePolicy,
    RemoveRule, RevokeAgent, Role, RotateKey, command::RequestIdentity,
};

/// Something to be done, by small numbers.
#[derive(Clone, Debug)]
pub(super) enum Move {
    Open { agent: u8, ttl_ms: u64, delay_ms: u64 },
    KeepAlive { session: u8 },
    Close { session: u8 },
    Acquire { session: u8, wants: Vec<(u8, LockMode)>, wait_ms: Option<u64> },
    Release { session: u8, nth: u8, fence_off: i8 },
    Cancel { session: u8, back: u8 },
    Force { key: u8, fence_off: i8 },
    Retry { back: u8 },
    Tick,
    Leader,
    Policy { namespace: u8, settings: Option<Settings> },
    Rule { id: u8, effect: Option<&'static str> },
    Register { agent: u8, human: bool },
    Rotate { agent: u8, key: u8 },
    Revoke { agent: u8 },
    Propose { agent: u8, ask: Approver, ttl_ms: u64 },
    Decide { agent: u8, back: u8, approve: bool },
    Init,
    Member { node: u8 },
    Boot { node: u8, epoch: u64, nonce: u64 },
    Readmit { node: u8 },
    Epoch { current: u64 },
}

/// A move, when it is made, and whether under a request id.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub make: Move,
    /// How far the leader's clock goes; sometimes back.
    pub pass_ms: i64,
    pub request: Option<u8>,
}

fn mode() -> impl Strategy<Value = LockMode> {
    prop_oneof![
        3 => Just(LockMode::Exclusive),
        2 => Just(LockMode::Shared),
        1 => (1u32..=3).prop_map(|permits| LockMode::Permits { permits, capacity: 3 }),
    ]
}

/// What is done with locks and sessions.
fn lock_move() -> impl Strategy<Value = Move> {
    let session = 0u8..5;
    let off = prop_oneof![8 => Just(0i8), 1 => Just(-1), 1 => Just(1)];
    prop_oneof![
        3 => (0u8..3, select(vec![1000u64, 5000, 20_000]), select(vec![0u64, 0, 700]))
            .prop_map(|(agent, ttl_ms, delay_ms)| Move::Open { agent, ttl_ms, delay_ms }),
        2 => session.clone().prop_map(|session| Move::KeepAlive { session }),
        1 => session.clone().prop_map(|session| Move::Close { session }),
        12 => (session.clone(), btree_map(0u8..4, mode(), 1..4), option::weighted(0.8, 1u64..3000))
            .prop_map(|(session, wants, wait_ms)| {
                let wants = wants.into_iter().collect();
                Move::Acquire { session, wants, wait_ms }
            }),
        8 => (session.clone(), 0u8..4, off.clone())
            .prop_map(|(session, nth, fence_off)| Move::Release { session, nth, fence_off }),
        1 => (session, 0u8..3).prop_map(|(session, back)| Move::Cancel { session, back }),
        1 => (0u8..4, off).prop_map(|(key, fence_off)| Move::Force { key, fence_off }),
        2 => (0u8..12).prop_map(|back| Move::Retry { back }),
        1 => Just(Move::Tick),
        1 => Just(Move::Leader),
    ]
}

fn settings() -> impl Strategy<Value = Settings> {
    let access = option::of((select(vec!["*", "a*", "ann"]), select(vec!["none", "human"])));
    (access, option::of(0u8..3)).prop_map(|(access, depth)| {
        let write = access.map(|(who, approver)| {
            let who = who.parse().expect("who");
            (Operation::Write, Access { who, approver: approver.parse().expect("an approver") })
        });
        Settings {
            access: write.into_iter().collect(),
            reflection_depth_max: depth,
            ..Settings::default()
        }
    })
}

/// What is done with rules, agents, actions and members.
fn governance_move() -> impl Strategy<Value = Move> {
    let ask = select(vec!["none", "human", "consensus:2", "agent:bob"]);
    prop_oneof![
        3 => (0u8..4, option::weighted(0.8, settings()))
            .prop_map(|(namespace, settings)| Move::Policy { namespace, settings }),
        2 => (0u8..3, option::weighted(0.7, select(vec!["log", "escalate:human", "refuse"])))
            .prop_map(|(id, effect)| Move::Rule { id, effect }),
        3 => (0u8..4, any::<bool>()).prop_map(|(agent, human)| Move::Register { agent, human }),
        1 => (0u8..4, 0u8..3).prop_map(|(agent, key)| Move::Rotate { agent, key }),
        1 => (0u8..4).prop_map(|agent| Move::Revoke { agent }),
        4 => (0u8..4, ask, 500u64..4000).prop_map(|(agent, ask, ttl_ms)| Move::Propose {
            agent,
            ask: ask.parse().expect("an approver"),
            ttl_ms,
        }),
        6 => (0u8..4, 0u8..3, any::<bool>())
            .prop_map(|(agent, back, approve)| Move::Decide { agent, back, approve }),
        1 => Just(Move::Init),
        1 => (0u8..3).prop_map(|node| Move::Member { node }),
        2 => (0u8..3, 0u64..4, 0u64..2)
            .prop_map(|(node, epoch, nonce)| Move::Boot { node, epoch, nonce }),
        1 => (0u8..3).prop_map(|node| Move::Readmit { node }),
        1 => (0u64..2).prop_map(|current| Move::Epoch { current }),
    ]
}

fn step(make: impl Strategy<Value = Move>) -> impl Strategy<Value = Step> {
    let pass_ms = prop_oneof![12 => 0i64..40, 2 => 100i64..600, 1 => -300i64..0];
    (make, pass_ms, option::weighted(0.3, 0u8..6)).prop_map(|(make, pass_ms, request)| Step {
        make,
        pass_ms,
        request,
    })
}

/// Histories of locks alone, long enough for queues: four sessions first, then whatever comes.
pub(super) fn lock_steps() -> impl Strategy<Value = Vec<Step>> {
    vec(step(lock_move()), 1..120).prop_map(|steps| {
        let open = |agent| Move::Open { agent, ttl_ms: 5000, delay_ms: 300 };
        let first = (0..4).map(|agent| Step { make: open(agent), pass_ms: 1, request: None });
        first.chain(steps).collect()
    })
}

/// Histories of everything.
pub(super) fn all_steps() -> impl Strategy<Value = Vec<Step>> {
    vec(step(prop_oneof![3 => lock_move(), 2 => governance_move()]), 1..100)
}

/// One entry of a log.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    Command(Box<Command>),
    Leader,
}

/// An entry with its place.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub index: u64,
    pub leader_ms: u64,
    pub entry: Entry,
}

impl Placed {
    pub fn apply(&self, machine: &mut Machine) -> Applied {
        match &self.entry {
            Entry::Command(command) => machine.apply(self.index, self.leader_ms, command),
            Entry::Leader => machine.leader_changed(self.index, self.leader_ms),
        }
    }
}

/// Makes steps into entries.
#[derive(Debug)]
pub(super) struct Driver {
    sessions: Vec<(SessionId, AgentId, u64)>,
    made: Vec<Command>,
    actions: Vec<ActionId>,
    clock_ms: i64,
    index: u64,
}

pub(super) fn agent(number: u8) -> AgentId {
    ["ann", "bob", "eve", "dan"][usize::from(number % 4)].parse().expect("an agent")
}

pub(super) fn key(number: u8) -> LockKey {
    ["a", "b", "c", "d"][usize::from(number % 4)].parse().expect("a key")
}

fn node(number: u8) -> NodeId {
    NodeId(Uuid::from_u128(u128::from(number) + 1))
}

fn off(fence: u64, by: i8) -> Fence {
    Fence(fence.saturating_add_signed(by.into()))
}

impl Driver {
    pub fn new() -> Self {
        let (sessions, made, actions) = (Vec::new(), Vec::new(), Vec::new());
        Self { sessions, made, actions, clock_ms: 10_000, index: 0 }
    }

    /// The entry that a step is, against this state; not every step is one.
    pub fn place(&mut self, step: &Step, machine: &Machine) -> Option<Placed> {
        self.clock_ms = (self.clock_ms + step.pass_ms).max(1);
        let entry = self.entry(step, machine)?;
        // Some indexes are the group's own.
        self.index += 1 + u64::from(self.index % 7 == 3);
        if let Entry::Command(command) = &entry {
            match &command.body {
                Body::OpenSession(_) if command.identity.is_none() => {
                    self.sessions.push((SessionId(self.index), command.by.clone(), 0));
                }
                Body::Propose(_) => self.actions.push(ActionId(self.index)),
                _ => {}
            }
            self.made.push(command.as_ref().clone());
        }
        Some(Placed { index: self.index, leader_ms: self.clock_ms as u64, entry })
    }

    fn entry(&mut self, step: &Step, machine: &Machine) -> Option<Entry> {
        let body = match &step.make {
            Move::Leader => return Some(Entry::Leader),
            Move::Retry { back } => {
                let at = self.made.len().checked_sub(1 + usize::from(*back))?;
                return Some(Entry::Command(Box::new(self.made[at].clone())));
            }
            Move::Tick => Body::Tick(Empty {}),
            Move::KeepAlive { session } | Move::Close { session } => {
                let (session, by, _) = self.session(*session)?.clone();
                let body = match step.make {
                    Move::KeepAlive { .. } => Body::KeepAlive(KeepAlive { session }),
                    _ => Body::CloseSession(CloseSession { session }),
                };
                return Some(Entry::Command(Box::new(Command::new(by, body))));
            }
            Move::Acquire { session, .. }
            | Move::Release { session, .. }
            | Move::Cancel { session, .. } => {
                let body = self.lock_body(&step.make, *session, machine)?;
                let (session, by, seq) = self.session(*session)?;
                *seq += 1;
                let command = Command::in_session(by.clone(), *session, *seq, body);
                return Some(Entry::Command(Box::new(command)));
            }
            Move::Force { key: number, fence_off } => {
                let held = machine.explain(&key(*number)).holders.first()?.fence.0;
                let (key, fence) = (key(*number), off(held, *fence_off));
                Body::ForceRelease(ForceRelease { key, fence, reason: "stuck".to_owned() })
            }
            other => self.other_body(other, machine)?,
        };
        let by = match &step.make {
            Move::Open { agent: number, .. }
            | Move::Propose { agent: number, .. }
            | Move::Decide { agent: number, .. } => agent(*number),
            _ => "ops".parse().expect("an agent"),
        };
        let opens = matches!(body, Body::OpenSession(_));
        let identity = step.request.filter(|_| !opens).map(|id| {
            let id = format!("r{id}").parse().expect("an id");
            let valid_until_ms = (self.clock_ms as u64 / 2000 + 1) * 2000;
            Identity::Request(RequestIdentity { id, valid_until_ms })
        });
        Some(Entry::Command(Box::new(Command { by, identity, body })))
    }

    fn session(&mut self, number: u8) -> Option<&mut (SessionId, AgentId, u64)> {
        let count = self.sessions.len();
        // The newest five; older ones have mostly ended.
        let at = count.checked_sub(1 + usize::from(number) % count.clamp(1, 5))?;
        self.sessions.get_mut(at)
    }

    fn lock_body(&mut self, make: &Move, session: u8, machine: &Machine) -> Option<Body> {
        let clock_ms = self.clock_ms as u64;
        let (session, _, seq) = self.session(session)?;
        Some(match make {
            Move::Acquire { wants, wait_ms, .. } => Body::Acquire(Acquire {
                wants: wants.iter().map(|(k, mode)| Want { key: key(*k), mode: *mode }).collect(),
                wait_until_ms: wait_ms.map(|ms| machine.time_ms().max(clock_ms) + ms),
            }),
            Move::Release { nth, fence_off, .. } => {
                let held: Vec<Held> = (0..4)
                    .flat_map(|number| {
                        machine
                            .explain(&key(number))
                            .holders
                            .into_iter()
                            .map(move |holder| (number, holder))
                    })
                    .filter(|(_, holder)| holder.session == *session)
                    .map(|(number, holder)| Held {
                        key: key(number),
                        fence: off(holder.fence.0, *fence_off),
                    })
                    .collect();
                let first = usize::from(*nth) % held.len().max(1);
                Body::Release(Release { locks: held.get(first..)?.to_vec() })
            }
            Move::Cancel { back, .. } => {
                Body::CancelWait(CancelWait { seq: seq.saturating_sub(u64::from(*back)) })
            }
            _ => return None,
        })
    }

    fn other_body(&self, make: &Move, machine: &Machine) -> Option<Body> {
        let namespaces = ["a", "a/b", "a/b/c", "z"];
        let rule = |id: &u8| format!("rule-{id}").parse().expect("an id");
        Some(match make {
            Move::Open { ttl_ms, delay_ms, .. } => {
                Body::OpenSession(OpenSession { ttl_ms: *ttl_ms, lock_delay_ms: *delay_ms })
            }
            Move::Policy { namespace, settings } => {
                let namespace = namespaces[usize::from(*namespace)].parse().expect("a namespace");
                match settings.clone() {
                    Some(settings) => {
                        Body::PutPolicy(PutPolicy { namespace, settings, expected_version: None })
                    }
                    None => Body::RemovePolicy(RemovePolicy { namespace, expected_version: None }),
                }
            }
            Move::Rule { id, effect: Some(effect) } => Body::PutRule(PutRule {
                id: rule(id),
                matching: RuleMatch { agent: Some("b*".parse().ok()?), ..RuleMatch::default() },
                effect: effect.parse().expect("an effect"),
                note: String::new(),
                expected_version: None,
            }),
            Move::Rule { id, effect: None } => {
                Body::RemoveRule(RemoveRule { id: rule(id), expected_version: None })
            }
            _ => return self.people_body(make, machine),
        })
    }

    fn people_body(&self, make: &Move, machine: &Machine) -> Option<Body> {
        let reason = || "because".to_owned();
        Some(match make {
            Move::Register { agent: number, human } => Body::RegisterAgent(RegisterAgent {
                agent: agent(*number),
                affiliation: Default::default(),
                public_key: Some([*number; 32]),
                token_sha256: None,
                human: *human,
            }),
            Move::Rotate { agent: number, key } => Body::RotateKey(RotateKey {
                agent: agent(*number),
                public_key: Some([*key; 32]),
                token_sha256: None,
            }),
            Move::Revoke { agent: number } => {
                Body::RevokeAgent(RevokeAgent { agent: agent(*number), reason: reason() })
            }
            Move::Propose { agent: number, ask, ttl_ms } => Body::Propose(Propose {
                kind: "test".to_owned(),
                request: RuleRequest {
                    agent: agent(*number),
                    operation: Operation::Write,
                    namespace: "a/b".parse().expect("a namespace"),
                    kind: None,
                    tier: None,
                    scope: None,
                    reflection_depth: None,
                    title: None,
                    fence: Fence(0),
                    has_pii: false,
                },
                payload: Opaque(vec![*number; 3]),
                asked: ask.clone(),
                ttl_ms: *ttl_ms,
            }),
            Move::Decide { back, approve, .. } => {
                let at = self.actions.len().checked_sub(1 + usize::from(*back))?;
                let (action, approve) = (self.actions[at], *approve);
                Body::Decide(Decide { action, approve, note: String::new() })
            }
            _ => return member_body(make, machine),
        })
    }
}

fn member_body(make: &Move, machine: &Machine) -> Option<Body> {
    let reason = || "because".to_owned();
    Some(match make {
        Move::Init => Body::Init(Init { cluster: ClusterId(Uuid::from_u128(9)) }),
        Move::Member { node: number } => Body::PutMember(PutMember {
            member: Member {
                node: node(*number),
                endpoint: format!("10.0.0.{number}:7700"),
                labels: [("rack".to_owned(), "r1".to_owned())].into(),
                public_key: [1; 32],
                role: Role::Peer,
                version: 0,
            },
            expected_version: machine.member(node(*number)).map(|member| member.version),
        }),
        Move::Boot { node: number, epoch, nonce } => Body::RegisterBoot(RegisterBoot {
            node: node(*number),
            boot_epoch: *epoch,
            nonce: *nonce,
            cluster_epoch: machine.cluster_epoch().saturating_sub(*nonce),
        }),
        Move::Readmit { node: number } => {
            Body::Readmit(Readmit { node: node(*number), reason: reason() })
        }
        Move::Epoch { current } => {
            Body::AdvanceEpoch(AdvanceEpoch { current: *current, reason: reason() })
        }
        _ => return None,
    })
}

/// Runs steps on a new machine; the entries, and what came of each.
pub(super) fn run(
    steps: &[Step],
    mut each: impl FnMut(&Machine, &Placed, &Applied),
) -> Vec<Placed> {
    let (mut driver, mut machine) = (Driver::new(), Machine::new());
    let mut log = Vec::new();
    for step in steps {
        let Some(placed) = driver.place(step, &machine) else { continue };
        let applied = placed.apply(&mut machine);
        each(&machine, &placed, &applied);
        log.push(placed);
    }
    log
}
