//! What an operator sets about the service.
//!
//! Invariant: every default is safe for a laptop with one user: nothing expires silently that was
//! stored for ever, nothing is shared that was not asked for.
//!
//! Not here: reading the configuration (`config`).

use std::time::Duration;

use storage::request::QuotaLimits;
use types::{AgentId, Invalid, Reason, Reject, Scope, Tier};

/// Settings of a node's service.
#[derive(Clone, Debug)]
pub struct ServiceSettings {
    /// Scope of a memory that names none.
    pub default_scope: Scope,
    /// Lifetime of a short memory; `None` is for ever.
    pub short_ttl: Option<Duration>,
    /// Lifetime of a mid memory; `None` is for ever.
    pub mid_ttl: Option<Duration>,
    /// Greatest reflection depth.
    pub reflection_depth_max: u8,
    /// Quota of every agent that has none of its own.
    pub quota: QuotaLimits,
    /// Longest wait for `min_position`.
    pub position_wait: Duration,
    /// Weights of the ranking.
    pub ranking: crate::node::recall::Ranking,
    /// The name under which the node itself keeps house.
    pub node_agent: AgentId,
}

impl ServiceSettings {
    /// Expiry of a memory of a tier stored at `now_ms`, Unix milliseconds.
    pub fn expiry(&self, tier: Tier, now_ms: u64) -> Option<u64> {
        let ttl = match tier {
            Tier::Short => self.short_ttl,
            Tier::Mid => self.mid_ttl,
            Tier::Long => None,
        };
        ttl.map(|ttl| now_ms.saturating_add(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// What this node has.
    #[default]
    Local,
    /// What a majority of the replicas has. A node without peers is its own majority.
    Quorum,
}

impl Consistency {
    /// Parses a client's wish.
    ///
    /// # Errors
    /// `unimplemented` for a level that this topology does not have, `invalid_argument` otherwise.
    pub fn parse(text: Option<&str>) -> Result<Self, Reject> {
        match text.unwrap_or("local") {
            "local" => Ok(Self::Local),
            "quorum" => Ok(Self::Quorum),
            "root" => Err(Reject::new(
                Reason::Unimplemented,
                "consistency root needs a root tier, and this node has none; use quorum or local",
            )),
            other => Err(Invalid::new(
                "consistency",
                format!("unknown value {other:?}; use local, quorum or root"),
            )
            .into()),
        }
    }
}
