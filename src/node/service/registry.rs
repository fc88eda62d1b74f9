//! The root's registry of agents: who they are, what they sign with, who is shut out.
//!
//! Not here: this node's own agents and their tokens (`admin`), and what a revocation undoes
//! (`consensus::machine`).

use consensus::machine::{Agent, Body, Machine, RegisterAgent, RevokeAgent, RotateKey};
use types::{AgentId, Invalid, Reason, Reject};

use super::{Caller, Reply, Service, admin::public_key, governance::read_back, locks::deadline};
use crate::node::model::governance::{RootAgentInput, RootAgentOut, RotateKeyInput};

/// Agents in one answer, unless fewer are asked for.
const PAGE: u32 = 100;
/// Most agents in one answer.
const PAGE_MAX: u32 = 1000;

fn shown(agent: &Agent) -> RootAgentOut {
    RootAgentOut {
        agent_id: agent.agent.to_string(),
        affiliation: agent.affiliation.as_str().to_owned(),
        human: agent.human,
        revoked: agent.revoked.is_some(),
        public_key: agent.public_key.map(hex::encode),
        past_keys: agent.past_keys.iter().map(|past| hex::encode(past.public_key)).collect(),
        version: agent.version,
    }
}

impl Service {
    /// Registers an agent with the root, so that its approvals count. For operators.
    ///
    /// # Errors
    /// `forbidden`, `invalid_argument`, `agent_revoked`.
    pub async fn register_with_root(
        &self,
        caller: &Caller,
        input: &RootAgentInput,
    ) -> Reply<RootAgentOut> {
        caller.require_operator()?;
        let agent: AgentId = input.agent_id.parse()?;
        let body = Body::RegisterAgent(RegisterAgent {
            agent: agent.clone(),
            affiliation: input.affiliation.parse()?,
            public_key: input.public_key.as_deref().map(public_key).transpose()?,
            token_sha256: None,
            human: input.human,
        });
        self.ask_root(caller, body).await?;
        read_back(self.root_agent(caller, &agent).await)
    }

    /// Gives an agent another key; the one before stays good for what it signed. For operators.
    ///
    /// # Errors
    /// `forbidden`, `not_found`, `invalid_argument`, `agent_revoked`.
    pub async fn rotate_with_root(
        &self,
        caller: &Caller,
        agent: &str,
        input: &RotateKeyInput,
    ) -> Reply<RootAgentOut> {
        caller.require_operator()?;
        let agent: AgentId = agent.parse()?;
        let body = Body::RotateKey(RotateKey {
            agent: agent.clone(),
            public_key: Some(public_key(&input.public_key)?),
            token_sha256: None,
        });
        self.ask_root(caller, body).await?;
        read_back(self.root_agent(caller, &agent).await)
    }

    /// Shuts an agent out everywhere, for ever. For operators.
    ///
    /// # Errors
    /// `forbidden`, `not_found`, `invalid_argument`.
    pub async fn revoke_with_root(
        &self,
        caller: &Caller,
        agent: &str,
        reason: &str,
    ) -> Reply<RootAgentOut> {
        caller.require_operator()?;
        let agent: AgentId = agent.parse()?;
        let revoke = RevokeAgent { agent: agent.clone(), reason: reason.to_owned() };
        self.ask_root(caller, Body::RevokeAgent(revoke)).await?;
        read_back(self.root_agent(caller, &agent).await)
    }

    /// Agents that the root knows, by name, those that are shut out too: at most `limit` (1 to 1000, 100
    /// unless it is given) behind `after`. For operators.
    ///
    /// # Errors
    /// `forbidden`, `invalid_argument`, and what [`Root::read`](crate::root::Root::read) says.
    pub async fn root_agents(
        &self,
        caller: &Caller,
        after: &str,
        limit: Option<u32>,
    ) -> Reply<Vec<RootAgentOut>> {
        caller.require_operator()?;
        let limit = limit.unwrap_or(PAGE);
        if !(1..=PAGE_MAX).contains(&limit) {
            let needs = format!("needs 1 to {PAGE_MAX}");
            return Err(Invalid::new("limit", needs).into());
        }
        let page = |machine: &Machine| {
            let behind = machine.agents().filter(|agent| agent.agent.as_str() > after);
            behind.take(limit as usize).map(shown).collect()
        };
        self.need_root()?.read(deadline(caller), page).await
    }

    async fn root_agent(&self, caller: &Caller, agent: &AgentId) -> Reply<RootAgentOut> {
        let found = |machine: &Machine| machine.agent(agent).map(shown);
        let found = self.need_root()?.read(deadline(caller), found).await?;
        let detail = || format!("agent {agent} is not registered with the root");
        found.ok_or_else(|| Reject::new(Reason::NotFound, detail()))
    }
}
