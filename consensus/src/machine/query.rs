//! What can be read from the state.
//!
//! Invariant: reading changes nothing, and shows the state after the last entry applied here; whether
//! that is recent enough is for the caller to make sure (a read index, or a lease).
//!
//! Not here: locks (`lock/explain`).

use types::{
    AgentId, NodeId,
    lock::{ActionId, SessionId},
    rule::RuleSet,
};

use super::{
    Machine,
    action::{Action, Decided},
    agent::Agent,
    member::{ClusterId, Member},
    response::Response,
    session::SessionView,
};

impl Machine {
    /// When something is due next, in the root's time: the leader proposes a tick then, if nothing
    /// else comes.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        let next = [
            self.sessions.next_ms(),
            self.requests.next_ms(),
            self.locks.next_ms(),
            self.actions.next_ms(),
        ];
        next.into_iter().flatten().min()
    }

    /// A live session.
    pub fn session(&self, id: SessionId) -> Option<SessionView> {
        let session = self.sessions.live.get(&id)?;
        Some(SessionView {
            session: id,
            agent: session.agent.clone(),
            ttl_ms: session.ttl_ms,
            age_ms: self.time_ms - session.opened_ms,
            left_ms: session.expires_ms - self.time_ms,
            held: self.locks.held.get(&id).map_or(0, |keys| keys.len() as u64),
            waiting: self.locks.waiting.get(&id).map_or(0, |waits| waits.len() as u64),
        })
    }

    /// All live sessions, oldest first.
    pub fn sessions(&self) -> impl Iterator<Item = SessionView> {
        self.sessions.live.keys().filter_map(|id| self.session(*id))
    }

    /// The answer to a command of a live session, as a retry would get it: for one that waits, what
    /// has become of it.
    pub fn answer(&self, session: SessionId, seq: u64) -> Option<&Response> {
        self.sessions.live.get(&session)?.window.answer(seq)
    }

    /// The rules, to be enforced by every node.
    pub fn rules(&self) -> &RuleSet {
        &self.rules
    }

    /// A registered agent, revoked ones included.
    pub fn agent(&self, agent: &AgentId) -> Option<&Agent> {
        self.agents.known.get(agent)
    }

    /// All registered agents, by name, revoked ones included.
    pub fn agents(&self) -> impl Iterator<Item = &Agent> {
        self.agents.known.values()
    }

    /// Log index of the last change of the registry of agents.
    pub fn agents_version(&self) -> u64 {
        self.agents.version
    }

    /// An action: undecided, or decided not too long ago.
    pub fn action(&self, id: ActionId) -> Option<&Action> {
        self.actions.whole.get(&id)
    }

    /// Actions that wait for a decision, oldest first.
    pub fn pending_actions(&self) -> impl Iterator<Item = (ActionId, &Action)> {
        self.actions.pending.iter().filter_map(|id| Some((*id, self.actions.whole.get(id)?)))
    }

    /// How an action was decided; known for longer than the action itself.
    pub fn decision(&self, id: ActionId) -> Option<&Decided> {
        self.actions.decisions.get(&id)
    }

    /// The cluster's id, once it is founded.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.members.cluster
    }

    /// The cluster's epoch, 0 before the first restore.
    pub fn cluster_epoch(&self) -> u64 {
        self.epochs.cluster
    }

    /// The boot epoch under which a node was last accepted.
    pub fn boot_epoch(&self, node: NodeId) -> Option<u64> {
        self.epochs.boots.get(&node).map(|boot| boot.epoch)
    }

    /// A registered node.
    pub fn member(&self, node: NodeId) -> Option<&Member> {
        self.members.nodes.get(&node)
    }

    /// All registered nodes, by id.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.nodes.values()
    }

    /// Log index of the last change of the registry of members.
    pub fn members_version(&self) -> u64 {
        self.members.version
    }
}
