//! Every table at its bound: what is one too many is refused, and what is let go is let go in order.

use types::{
    AgentId,
    lock::{ActionId, LockMode, SessionId, Want},
    root_limits::{
        ACTION_PAYLOAD_BYTES_MAX, ACTIONS_DECIDED_KEPT, ACTIONS_PENDING_MAX, AGENT_KEYS_KEPT,
        DECISIONS_KEPT, HOLDS_PER_SESSION_MAX, QUEUE_PER_KEY_MAX, REENTRANT_MAX,
        REQUESTS_PER_AGENT_MAX, SESSIONS_ENDED_KEPT, SESSIONS_PER_AGENT_MAX,
    },
    rule::{Approver, Operation, RuleRequest},
};

use super::super::{
    Acquire, Body, CloseSession, Command, Decide, Empty, Identity, Machine, OpenSession, Propose,
    RegisterAgent, Response, RotateKey, command::RequestIdentity,
};

/// A machine that is fed one entry after the other, a millisecond apart.
struct Feed {
    machine: Machine,
    index: u64,
}

impl Feed {
    fn new() -> Self {
        Self { machine: Machine::new(), index: 0 }
    }

    fn send(&mut self, command: Command) -> Response {
        self.index += 1;
        self.machine.apply(self.index, 1000, &command).response
    }

    fn by(&mut self, agent: &str, body: Body) -> Response {
        self.send(Command::new(agent.parse().expect("an agent"), body))
    }

    fn open(&mut self, agent: &str) -> SessionId {
        let body = OpenSession { ttl_ms: 60_000, lock_delay_ms: 0 };
        match self.by(agent, Body::OpenSession(body)) {
            Response::Session(opened) => opened.session,
            other => panic!("not opened: {other:?}"),
        }
    }

    fn acquire(&mut self, session: SessionId, seq: u64, keys: &[String], wait: bool) -> Response {
        let wants = keys
            .iter()
            .map(|key| Want { key: key.parse().expect("a key"), mode: LockMode::Exclusive });
        let body =
            Body::Acquire(Acquire { wants: wants.collect(), wait_until_ms: wait.then_some(9000) });
        let by = self.machine.session(session).expect("it lives").agent;
        self.send(Command::in_session(by, session, seq, body))
    }

    fn propose(&mut self, by: &str, payload: usize) -> Response {
        let agent: AgentId = by.parse().expect("an agent");
        let request = RuleRequest {
            agent,
            operation: Operation::Delete,
            namespace: "a".parse().expect("a namespace"),
            kind: None,
            tier: None,
            scope: None,
            reflection_depth: None,
            title: None,
            fence: Default::default(),
            has_pii: false,
        };
        let payload = types::codec::fields::Opaque(vec![7; payload]);
        let (kind, asked) = ("purge".to_owned(), Approver::Consensus { needed: 1 });
        self.by(by, Body::Propose(Propose { kind, request, payload, asked, ttl_ms: 10_000 }))
    }

    fn check(&self) {
        assert_eq!(self.machine.check(), Ok(()));
        let bytes = self.machine.snapshot();
        assert_eq!(Machine::restore(&bytes).expect("its own").snapshot(), bytes);
    }
}

fn code(response: &Response) -> &'static str {
    response.refusal().map_or("done", |reject| reject.reason.code())
}

#[test]
fn sessions_of_one_agent() {
    let mut feed = Feed::new();
    let first = feed.open("ann");
    for _ in 1..SESSIONS_PER_AGENT_MAX {
        feed.open("ann");
    }
    let body = OpenSession { ttl_ms: 60_000, lock_delay_ms: 0 };
    assert_eq!(code(&feed.by("ann", Body::OpenSession(body))), "overloaded");
    feed.open("bob");
    feed.by("ann", Body::CloseSession(CloseSession { session: first }));
    feed.open("ann");
    feed.check();
}

#[test]
fn ended_sessions_are_remembered_for_a_while() {
    let mut feed = Feed::new();
    let first = feed.open("ann");
    let close = |session| Body::CloseSession(CloseSession { session });
    feed.by("ann", close(first));
    assert_eq!(code(&feed.by("ann", close(first))), "session_expired");
    for _ in 0..SESSIONS_ENDED_KEPT {
        let session = feed.open("ann");
        feed.by("ann", close(session));
    }
    assert_eq!(code(&feed.by("ann", close(first))), "not_found");
    feed.check();
}

#[test]
fn remembered_requests_of_one_agent() {
    let mut feed = Feed::new();
    let mut request = |agent: &str, id: usize| {
        let id = format!("r{id}").parse().expect("an id");
        let identity = Identity::Request(RequestIdentity { id, valid_until_ms: 2000 });
        let by = agent.parse().expect("an agent");
        feed.send(Command { by, identity: Some(identity), body: Body::Tick(Empty {}) })
    };
    for id in 0..REQUESTS_PER_AGENT_MAX {
        assert_eq!(code(&request("ann", id)), "done");
    }
    assert_eq!(code(&request("ann", REQUESTS_PER_AGENT_MAX)), "overloaded");
    assert_eq!(code(&request("ann", 0)), "done", "a known one is still known");
    assert_eq!(code(&request("bob", 0)), "done");
    feed.check();
    feed.machine.leader_changed(feed.index + 1, 2000);
    feed.check();
    assert_eq!(feed.machine.next_deadline_ms(), None, "all were let go");
}

#[test]
fn holds_of_one_session() {
    let mut feed = Feed::new();
    let session = feed.open("ann");
    let keys: Vec<String> = (0..=HOLDS_PER_SESSION_MAX).map(|n| format!("k{n}")).collect();
    for (seq, keys) in (1..).zip(keys[..HOLDS_PER_SESSION_MAX].chunks(16)) {
        assert_eq!(code(&feed.acquire(session, seq, keys, false)), "done");
    }
    let one_more = &keys[HOLDS_PER_SESSION_MAX..];
    assert_eq!(code(&feed.acquire(session, 9000, one_more, false)), "overloaded");
    feed.check();
}

#[test]
fn a_queue_and_its_order_at_full_length() {
    let mut feed = Feed::new();
    let key = ["a".to_owned()];
    let holder = feed.open("holder");
    feed.acquire(holder, 1, &key, false);
    let waiters: Vec<SessionId> =
        (0..QUEUE_PER_KEY_MAX).map(|n| feed.open(&format!("agent-{}", n % 4))).collect();
    for session in &waiters {
        assert!(matches!(feed.acquire(*session, 1, &key, true), Response::Waiting(_)));
    }
    let late = feed.open("late");
    assert_eq!(code(&feed.acquire(late, 1, &key, true)), "overloaded");
    let queue = feed.machine.explain(&"a".parse().expect("a key")).queue;
    assert!(queue.iter().map(|waiter| waiter.session).eq(waiters.iter().copied()), "LOCK-4");
    feed.by("holder", Body::CloseSession(CloseSession { session: holder }));
    let found = feed.machine.explain(&"a".parse().expect("a key"));
    assert_eq!(found.holders[0].session, waiters[0], "LOCK-8");
    assert_eq!(found.queue.len(), QUEUE_PER_KEY_MAX - 1);
    feed.check();
}

#[test]
fn reentrance_ends_somewhere() {
    let mut feed = Feed::new();
    let session = feed.open("ann");
    for seq in 1..=u64::from(REENTRANT_MAX) {
        assert_eq!(code(&feed.acquire(session, seq, &["a".to_owned()], false)), "done");
    }
    let one_more = feed.acquire(session, 5000, &["a".to_owned()], false);
    assert_eq!(code(&one_more), "failed_precondition");
    feed.check();
}

#[test]
fn pending_actions_and_their_payload() {
    let mut feed = Feed::new();
    assert_eq!(code(&feed.propose("dev", ACTION_PAYLOAD_BYTES_MAX + 1)), "invalid_argument");
    assert_eq!(code(&feed.propose("dev", ACTION_PAYLOAD_BYTES_MAX)), "done");
    (1..ACTIONS_PENDING_MAX).for_each(|_| assert_eq!(code(&feed.propose("dev", 1)), "done"));
    assert_eq!(code(&feed.propose("dev", 1)), "overloaded");
    feed.check();
    feed.machine.apply(feed.index + 1, 11_000, &tick());
    assert_eq!(feed.machine.pending_actions().count(), 0, "all expired");
    assert_eq!(feed.machine.check(), Ok(()));
}

fn tick() -> Command {
    Command::new("ops".parse().expect("an agent"), Body::Tick(Empty {}))
}

#[test]
fn decided_actions_are_let_go_in_two_steps() {
    let mut feed = Feed::new();
    let withdraw = |feed: &mut Feed| {
        feed.propose("dev", 1);
        let action = ActionId(feed.index);
        feed.by("dev", Body::Decide(Decide { action, approve: false, note: String::new() }));
        action
    };
    let first = withdraw(&mut feed);
    for _ in 0..ACTIONS_DECIDED_KEPT {
        withdraw(&mut feed);
    }
    assert_eq!(feed.machine.action(first), None, "the whole is gone");
    let again = Body::Decide(Decide { action: first, approve: false, note: String::new() });
    assert_eq!(code(&feed.by("dev", again.clone())), "already_decided", "its decision is not");
    assert!(feed.machine.decision(first).is_some());
    (0..DECISIONS_KEPT - ACTIONS_DECIDED_KEPT - 1).for_each(|_| {
        withdraw(&mut feed);
    });
    assert!(feed.machine.decision(first).is_some(), "the last that is kept");
    withdraw(&mut feed);
    assert_eq!(feed.machine.decision(first), None, "the oldest went first");
    feed.check();
    assert_eq!(code(&feed.by("dev", again)), "not_found");
}

#[test]
fn past_keys_of_an_agent() {
    let mut feed = Feed::new();
    let agent: AgentId = "ann".parse().expect("an agent");
    feed.by(
        "ops",
        Body::RegisterAgent(RegisterAgent {
            agent: agent.clone(),
            affiliation: Default::default(),
            public_key: Some([0; 32]),
            token_sha256: None,
            human: false,
        }),
    );
    for key in 1..=AGENT_KEYS_KEPT as u8 + 3 {
        let (public_key, agent) = (Some([key; 32]), agent.clone());
        feed.by("ops", Body::RotateKey(RotateKey { agent, public_key, token_sha256: None }));
    }
    let past = &feed.machine.agent(&agent).expect("registered").past_keys;
    assert_eq!((past.len(), past[0].public_key[0]), (AGENT_KEYS_KEPT, 3));
    feed.check();
}
