//! Looking after the node: status, agents, quotas, evidence, checks, backup.
//!
//! Invariant: what shows or changes more than the caller's own needs an operator.
//!
//! Not here: configuration and process life (`config`, `node`).

use std::{collections::BTreeMap, path::PathBuf};

use runtime::{clock, random};
use serde::{Deserialize, Serialize};
use storage::{
    answer::{StoreStats, WriteReceipt},
    request::Intent,
};
use types::{AgentRecord, Hlc, Invalid, Reason, Reject, limits};
use utoipa::ToSchema;

use super::{
    Caller, Reply, Service,
    caller::secret_digest,
    group::RootStatusOut,
    reject,
    write::{Asked, Plan},
};
use crate::node::model::{
    memory::namespace_or_global,
    time,
    write::{AgentInput, AgentOut},
};

/// What a node says of itself to anyone it serves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StatusOut {
    /// Version of this build.
    pub version: String,
    /// The node's wall clock, RFC 3339.
    pub time: String,
    /// Whether a write and a read would work now.
    pub ready: bool,
    /// The agent the caller is taken for.
    pub agent_id: String,
    /// Whether the caller has an operator's rights.
    pub operator: bool,
    /// Live memories on this node.
    pub memories: u64,
    /// Change position of the last commit.
    pub position: u64,
    /// Change position the indexes have reached.
    pub index_position: u64,
    /// Whether an index is being rebuilt.
    pub index_rebuilding: bool,
    /// Model that makes the vectors.
    pub embedder: String,
    /// Memories waiting for a vector.
    pub vectors_pending: u64,
    /// Memories that got none and are not tried again by themselves.
    #[serde(default)]
    pub vectors_dead: u64,
    /// How this node sees the root; left out on a node that is no member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<RootStatusOut>,
}

/// What this build can do, for clients and peers to compare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CapabilitiesOut {
    /// Version of this build.
    pub version: String,
    /// Version of the HTTP and gRPC contract.
    pub api: String,
    /// Read consistencies offered.
    pub consistency: Vec<String>,
    /// Embedding model and dimension.
    pub embedding_model: String,
    /// Its number of components.
    pub embedding_dimension: u16,
    /// Limits by name, in bytes or items.
    pub limits: BTreeMap<String, u64>,
}

/// What is used of a quota; a missing limit is no limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QuotaOut {
    /// Whose.
    pub agent_id: String,
    /// Where.
    pub namespace: String,
    /// Memories stored today (UTC).
    pub memories_today: u64,
    /// Most memories a day.
    pub memories_per_day: Option<u64>,
    /// Bytes of title and content kept.
    pub bytes_total: u64,
    /// Most bytes kept.
    pub bytes_max: Option<u64>,
    /// Links made today (UTC).
    pub links_today: u64,
    /// Most links a day.
    pub links_per_day: Option<u64>,
    /// When today's counts start again.
    pub resets_at: String,
}

/// What checking the audit chain found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChainOut {
    /// Rows looked at.
    pub rows_checked: u64,
    /// The first row that does not fit, and why.
    pub chain_break: Option<ChainBreakOut>,
    /// Sequences of rows whose signature does not verify.
    pub signature_failures: Vec<i64>,
    /// Whether nothing is wrong.
    pub chain_holds: bool,
    /// Sequence of the last row.
    pub head_sequence: i64,
    /// Chain hash of the last row, hexadecimal.
    pub head_hash: String,
}

/// Where a chain breaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChainBreakOut {
    /// Sequence of the row.
    pub sequence: i64,
    /// What does not fit.
    pub problem: String,
}

/// A memory whose text got no vector; its words still find it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeadTextOut {
    /// Which memory.
    pub id: String,
    /// Why.
    pub problem: String,
}

/// Memories whose texts got no vector and are not tried again by themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeadTextsOut {
    /// The oldest of them.
    pub items: Vec<DeadTextOut>,
}

/// How many texts are tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RevivedOut {
    /// So many.
    pub revived: u64,
}

/// One problem that a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FindingOut {
    /// Which check.
    pub check: String,
    /// What is wrong, and the fix.
    pub problem: String,
}

fn agent_out(record: AgentRecord) -> AgentOut {
    AgentOut {
        agent_id: record.agent_id.to_string(),
        affiliation: record.affiliation.as_str().to_owned(),
        has_token: record.token_sha256.is_some(),
        public_key: record.public_key.map(hex::encode),
        revoked: record.revoked,
        token: None,
    }
}

pub(super) fn public_key(text: &str) -> Result<[u8; 32], Invalid> {
    let mut key = [0; 32];
    hex::decode_to_slice(text, &mut key)
        .map_err(|_| Invalid::new("public_key", "needs 64 hexadecimal digits"))?;
    Ok(key)
}

fn draw_token() -> String {
    let mut secret = [0; 32];
    random::fill(&mut secret);
    format!("hm_{}", hex::encode(secret))
}

fn plan_agent(record: AgentRecord) -> Plan<AgentOut> {
    let note = agent_out(record.clone());
    Plan { intents: vec![Intent::Agent(Box::new(record))], atomic: true, note }
}

impl Service {
    /// What the node says of itself.
    ///
    /// # Errors
    /// A store failure.
    pub async fn status(&self, caller: &Caller) -> Reply<StatusOut> {
        let stats = self.stats().await?;
        Ok(StatusOut {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            time: time::to_text(clock::now_unix_ms()),
            ready: true,
            agent_id: caller.viewer.agent.to_string(),
            operator: caller.viewer.operator,
            memories: stats.memories,
            position: stats.position,
            index_position: stats.index_position,
            index_rebuilding: stats.index_rebuilding,
            embedder: self.embedder.space().model,
            vectors_pending: stats.vectors_pending,
            vectors_dead: stats.vectors_dead,
            root: self.root().map(|_| self.root_status()),
        })
    }

    /// The store's figures, for metrics and `doctor`.
    ///
    /// # Errors
    /// A store failure.
    pub async fn stats(&self) -> Reply<StoreStats> {
        self.store.stats().await.map_err(reject)
    }

    /// Reads a little, as any request must be able to; how much is stored makes no difference.
    ///
    /// # Errors
    /// A store failure.
    pub async fn try_read(&self) -> Reply<()> {
        self.store.own_feed().await.map(drop).map_err(reject)
    }

    /// What this build can do.
    pub fn capabilities(&self) -> CapabilitiesOut {
        let space = self.embedder.space();
        let limits = [
            ("title_chars", limits::TITLE_CHARS_MAX),
            ("content_bytes", limits::CONTENT_BYTES_MAX),
            ("metadata_bytes", limits::METADATA_BYTES_MAX),
            ("tags", limits::TAGS_MAX),
            ("bulk_items", limits::BULK_MAX),
            ("body_bytes", limits::BODY_BYTES_MAX),
            ("page_items", limits::PAGE_MAX as usize),
            ("recall_hits", limits::RECALL_LIMIT_MAX as usize),
        ];
        CapabilitiesOut {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            api: "v1".to_owned(),
            consistency: vec!["local".to_owned(), "quorum".to_owned()],
            embedding_model: space.model,
            embedding_dimension: space.dimension,
            limits: limits.into_iter().map(|(name, n)| (name.to_owned(), n as u64)).collect(),
        }
    }

    /// Registers or changes an agent; a token issued here is shown once.
    ///
    /// # Errors
    /// `forbidden` without an operator's rights; `invalid_argument`.
    pub async fn put_agent(&self, caller: &Caller, input: AgentInput) -> Reply<AgentOut> {
        caller.require_operator()?;
        let asked = Asked::new(caller, "put_agent", &input)?;
        let token = input.issue_token.then(draw_token);
        let plan = async {
            let agent_id: types::AgentId = input.agent_id.parse()?;
            let known = self.store.agent(agent_id.clone()).await.map_err(reject)?;
            Ok(plan_agent(AgentRecord {
                agent_id,
                affiliation: input.affiliation.parse()?,
                token_sha256: match &token {
                    Some(token) => Some(secret_digest(token)),
                    None => known.as_ref().and_then(|k| k.token_sha256),
                },
                public_key: match &input.public_key {
                    Some(key) => Some(public_key(key)?),
                    None => known.and_then(|k| k.public_key),
                },
                revoked: input.revoked,
                // The store stamps the change with its own clock.
                changed: Hlc::default(),
            }))
        };
        // Only its digest is kept, so the token of a remembered answer is gone.
        let shown = |agent: AgentOut, receipt: &WriteReceipt| {
            Ok(AgentOut { token: token.clone().filter(|_| !receipt.replayed), ..agent })
        };
        let agent = self.mutate(asked, plan, shown).await?.result;
        self.reload_agents().await?;
        Ok(agent)
    }

    /// Refuses an agent everywhere from now on.
    ///
    /// # Errors
    /// `forbidden` without an operator's rights; `not_found`.
    pub async fn revoke_agent(&self, caller: &Caller, name: &str) -> Reply<AgentOut> {
        caller.require_operator()?;
        let asked = Asked::new(caller, "revoke_agent", &name)?;
        let plan = async {
            // A name that no agent could have is as unknown as one that none has.
            let known = match name.parse() {
                Ok(agent) => self.store.agent(agent).await.map_err(reject)?,
                Err(_) => None,
            };
            let known = known.ok_or_else(|| {
                Reject::new(Reason::NotFound, format!("no agent is registered as {name:?}"))
            })?;
            Ok(plan_agent(AgentRecord { revoked: true, ..known }))
        };
        let agent = self.mutate(asked, plan, |agent, _| Ok(agent)).await?.result;
        self.reload_agents().await?;
        Ok(agent)
    }

    /// All registered agents.
    ///
    /// # Errors
    /// `forbidden` without an operator's rights.
    pub async fn list_agents(&self, caller: &Caller) -> Reply<Vec<AgentOut>> {
        caller.require_operator()?;
        let agents = self.store.agents().await.map_err(reject)?;
        Ok(agents.into_iter().map(agent_out).collect())
    }

    /// The caller's quota in a namespace; an operator may ask for another agent's.
    ///
    /// # Errors
    /// `forbidden`, `invalid_argument`.
    pub async fn quota_status(
        &self,
        caller: &Caller,
        agent: Option<&str>,
        namespace: Option<&str>,
    ) -> Reply<QuotaOut> {
        let agent = match agent {
            Some(name) => name.parse()?,
            None => caller.viewer.agent.clone(),
        };
        if agent != caller.viewer.agent {
            caller.require_operator()?;
        }
        let namespace = namespace_or_global(namespace)?;
        let used = self
            .store
            .quota(agent.clone(), namespace.clone(), clock::now_unix_ms())
            .await
            .map_err(reject)?;
        let limits = self.settings.quota;
        Ok(QuotaOut {
            agent_id: agent.to_string(),
            namespace: namespace.to_string(),
            memories_today: used.memories_today,
            memories_per_day: limits.memories_per_day,
            bytes_total: used.bytes_total,
            bytes_max: limits.bytes_total,
            links_today: used.links_today,
            links_per_day: limits.links_per_day,
            resets_at: time::to_text(used.resets_at_ms),
        })
    }

    /// Checks the audit chain from a sequence on (0 is the beginning).
    ///
    /// # Errors
    /// `forbidden` without an operator's rights.
    pub async fn verify_chain(&self, caller: &Caller, since: i64) -> Reply<ChainOut> {
        caller.require_operator()?;
        let report = self.store.verify_chain(since).await.map_err(reject)?;
        Ok(ChainOut {
            rows_checked: report.rows_checked,
            chain_holds: report.holds(),
            chain_break: report
                .chain_break
                .map(|(sequence, problem)| ChainBreakOut { sequence, problem }),
            signature_failures: report.signature_failures,
            head_sequence: report.head_sequence,
            head_hash: hex::encode(report.head_hash),
        })
    }

    /// Integrity of rows, vectors and indexes.
    ///
    /// # Errors
    /// `forbidden` without an operator's rights.
    pub async fn check(&self, caller: &Caller) -> Reply<Vec<FindingOut>> {
        caller.require_operator()?;
        let found = self.store.check().await.map_err(reject)?;
        Ok(found
            .into_iter()
            .map(|f| FindingOut { check: f.check.to_owned(), problem: f.problem })
            .collect())
    }

    /// Memories whose texts got no vector and are not tried again by themselves, at most a page of them.
    ///
    /// # Errors
    /// `forbidden` without an operator's rights.
    pub async fn dead_texts(&self, caller: &Caller) -> Reply<DeadTextsOut> {
        caller.require_operator()?;
        let dead = self.store.dead_texts(limits::PAGE_MAX).await.map_err(reject)?;
        let items = dead.into_iter().map(|text| {
            let (id, problem) = (text.id.to_string(), text.problem);
            DeadTextOut { id, problem }
        });
        Ok(DeadTextsOut { items: items.collect() })
    }

    /// Has them tried again.
    ///
    /// # Errors
    /// `forbidden` without an operator's rights.
    pub async fn revive_texts(&self, caller: &Caller) -> Reply<RevivedOut> {
        caller.require_operator()?;
        Ok(RevivedOut { revived: self.store.revive_texts().await.map_err(reject)? })
    }

    /// Digest over all content, hexadecimal; equal on two stores exactly when their content is.
    ///
    /// # Errors
    /// `forbidden` without an operator's rights.
    pub async fn content_digest(&self, caller: &Caller) -> Reply<String> {
        caller.require_operator()?;
        self.store.content_digest().await.map(hex::encode).map_err(reject)
    }

    /// Writes a consistent copy of the store into an empty folder on this machine.
    ///
    /// # Errors
    /// `forbidden` without an operator's rights; `failed_precondition` when the folder is not empty.
    pub async fn backup(&self, caller: &Caller, folder: PathBuf) -> Reply<()> {
        caller.require_operator()?;
        self.store.backup(folder).await.map_err(reject)
    }
}
