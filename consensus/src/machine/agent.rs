//! The registry of agents: keys, where they belong, who is a person, who is out.
//!
//! Invariant: `AGT-1` nothing of a revoked agent is accepted: its commands are refused, its sessions
//! end with a lock-delay, its approvals of undecided actions don't count, what it proposed is
//! withdrawn. A revocation is for ever; the name is never registered again. An agent that was never
//! registered may use sessions and locks, but not approve.
//!
//! Not here: credentials at the doors (the node's service), quotas.

use std::collections::BTreeMap;

use types::{
    Affiliation, AgentId, Invalid, Reason, Reject,
    limits::REASON_BYTES_MAX,
    root_limits::{AGENT_KEYS_KEPT, AGENTS_MAX},
};

use super::{Machine, effect::Effect, entry::Entry, response::Response, session::EndCause};

/// Registers an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterAgent {
    /// Its name.
    pub agent: AgentId,
    /// Where it belongs.
    pub affiliation: Affiliation,
    /// Ed25519 public key, when it signs for itself.
    pub public_key: Option<[u8; 32]>,
    /// SHA-256 of its access token, when it has one.
    pub token_sha256: Option<[u8; 32]>,
    /// Whether it is a person.
    pub human: bool,
}

/// Gives an agent new credentials; what is left out stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotateKey {
    /// Which agent.
    pub agent: AgentId,
    /// The new public key; the one before is kept to verify what it signed.
    pub public_key: Option<[u8; 32]>,
    /// SHA-256 of the new token; the one before is worth nothing from now on.
    pub token_sha256: Option<[u8; 32]>,
}

/// Shuts an agent out, for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokeAgent {
    /// Which agent.
    pub agent: AgentId,
    /// Why, 1 to 1024 bytes.
    pub reason: String,
}

/// A registered agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Its name.
    pub agent: AgentId,
    /// Where it belongs.
    pub affiliation: Affiliation,
    /// Current public key.
    pub public_key: Option<[u8; 32]>,
    /// SHA-256 of its access token.
    pub token_sha256: Option<[u8; 32]>,
    /// Whether it is a person.
    pub human: bool,
    /// Log index of the last change.
    pub version: u64,
    /// Keys before the current one, newest last; the last
    /// [`AGENT_KEYS_KEPT`](types::root_limits::AGENT_KEYS_KEPT).
    pub past_keys: Vec<PastKey>,
    /// Set once it is shut out.
    pub revoked: Option<Revocation>,
}

/// A key that was replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastKey {
    /// The key.
    pub public_key: [u8; 32],
    /// Log index of the entry that replaced it.
    pub until: u64,
}

/// The end of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Log index.
    pub index: u64,
    /// The root's time, in milliseconds since 1970.
    pub at_ms: u64,
    /// Who did it.
    pub by: AgentId,
    /// Why.
    pub reason: String,
}

/// All agents, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Agents {
    pub known: BTreeMap<AgentId, Agent>,
    pub version: u64,
}

types::proto_message!(RegisterAgent {
    1 => agent,
    2 => affiliation,
    3 => public_key,
    4 => token_sha256,
    5 => human,
});
types::proto_message!(RotateKey { 1 => agent, 2 => public_key, 3 => token_sha256 });
types::proto_message!(RevokeAgent { 1 => agent, 2 => reason });
types::proto_message!(PastKey { 1 => public_key, 2 => until });
types::proto_message!(Revocation { 1 => index, 2 => at_ms, 3 => by, 4 => reason });
types::proto_message!(Agent {
    1 => agent,
    2 => affiliation,
    3 => public_key,
    4 => token_sha256,
    5 => human,
    6 => version,
    7 => past_keys,
    8 => revoked,
});
types::proto_message!(Agents { 1 => known, 2 => version });

impl Agents {
    /// `AGT-1`: refuses what comes from a revoked agent.
    pub fn check_not_revoked(&self, agent: &AgentId) -> Result<(), Reject> {
        match self.known.get(agent).and_then(|known| known.revoked.as_ref()) {
            Some(revoked) => Err(was_revoked(agent, revoked.index)),
            None => Ok(()),
        }
    }

    /// A registered agent that is not revoked.
    pub fn active(&self, agent: &AgentId) -> Option<&Agent> {
        self.known.get(agent).filter(|known| known.revoked.is_none())
    }

    /// The agent that is to be changed.
    fn changeable(&mut self, agent: &AgentId) -> Result<&mut Agent, Reject> {
        match self.known.get_mut(agent) {
            None => Err(Reject::new(Reason::NotFound, format!("there is no agent {agent}"))),
            Some(Agent { revoked: Some(revoked), .. }) => Err(was_revoked(agent, revoked.index)),
            Some(known) => Ok(known),
        }
    }
}

fn was_revoked(agent: &AgentId, index: u64) -> Reject {
    let detail = format!("agent {agent} was revoked at {index}");
    Reject::new(Reason::AgentRevoked, detail).with("agent", agent)
}

impl Machine {
    pub(super) fn register_agent(
        &mut self,
        entry: &mut Entry,
        body: &RegisterAgent,
    ) -> Result<Response, Reject> {
        self.agents.check_not_revoked(&body.agent)?;
        if let Some(known) = self.agents.known.get(&body.agent) {
            let detail = format!("agent {} is registered already", body.agent);
            let reject = Reject::new(Reason::AlreadyExists, detail);
            return Err(reject.with("current_version", known.version));
        }
        if self.agents.known.len() >= AGENTS_MAX {
            let detail = format!("{AGENTS_MAX} agents are registered");
            return Err(Reject::new(Reason::Overloaded, detail).with("limit", AGENTS_MAX));
        }
        let agent = Agent {
            agent: body.agent.clone(),
            affiliation: body.affiliation.clone(),
            public_key: body.public_key,
            token_sha256: body.token_sha256,
            human: body.human,
            version: entry.index,
            past_keys: Vec::new(),
            revoked: None,
        };
        self.agents.known.insert(body.agent.clone(), agent);
        let facts = vec![
            ("affiliation", body.affiliation.as_str().to_owned()),
            ("human", body.human.to_string()),
        ];
        Ok(self.agents_changed(entry, "agent.register", &body.agent, facts))
    }

    pub(super) fn rotate_key(
        &mut self,
        entry: &mut Entry,
        body: &RotateKey,
    ) -> Result<Response, Reject> {
        if body.public_key.is_none() && body.token_sha256.is_none() {
            return Err(
                Invalid::new("public_key", "nothing is replaced: name a key or a token").into()
            );
        }
        let agent = self.agents.changeable(&body.agent)?;
        if body.public_key.is_some() && body.public_key == agent.public_key {
            return Err(Invalid::new("public_key", "is the one in use: make a new one").into());
        }
        if let Some(new) = body.public_key
            && let Some(public_key) = agent.public_key.replace(new)
        {
            agent.past_keys.push(PastKey { public_key, until: entry.index });
            let excess = agent.past_keys.len().saturating_sub(AGENT_KEYS_KEPT);
            agent.past_keys.drain(..excess);
        }
        agent.token_sha256 = body.token_sha256.or(agent.token_sha256);
        agent.version = entry.index;
        Ok(self.agents_changed(entry, "agent.rotate_key", &body.agent, Vec::new()))
    }

    pub(super) fn revoke_agent(
        &mut self,
        entry: &mut Entry,
        body: &RevokeAgent,
    ) -> Result<Response, Reject> {
        if body.reason.is_empty() || body.reason.len() > REASON_BYTES_MAX {
            let problem = format!("a revocation needs a reason of 1 to {REASON_BYTES_MAX} bytes");
            return Err(Invalid::new("reason", problem).into());
        }
        let agent = self.agents.changeable(&body.agent)?;
        let (index, at_ms) = (entry.index, entry.now_ms);
        let (by, reason) = (entry.by.clone(), body.reason.clone());
        agent.revoked = Some(Revocation { index, at_ms, by, reason });
        agent.version = index;
        let facts = vec![("reason", body.reason.clone())];
        let response = self.agents_changed(entry, "agent.revoke", &body.agent, facts);
        let sessions = self.sessions.of_agent(&body.agent);
        self.end_sessions(entry, &sessions, EndCause::Revoked);
        self.forget_approvals(entry, &body.agent);
        Ok(response)
    }

    fn agents_changed(
        &mut self,
        entry: &mut Entry,
        event_type: &'static str,
        agent: &AgentId,
        facts: Vec<(&'static str, String)>,
    ) -> Response {
        let version = entry.index;
        self.agents.version = version;
        entry.audit(event_type, agent, facts);
        entry.effects.push(Effect::AgentsChanged { version });
        Response::Version(version)
    }
}
