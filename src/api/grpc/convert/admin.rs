//! What operators ask for and see.
//!
//! Invariant: no secret but a token just issued is in any of these messages.
//!
//! Not here: who may ask.

use types::Invalid;
use wire::v1;

use super::time_out;
use crate::node::{
    model::write::{AgentInput, AgentOut},
    service::admin::{CapabilitiesOut, ChainOut, FindingOut, QuotaOut},
};

/// Bytes of an Ed25519 public key.
const KEY_BYTES: usize = 32;

/// A registration.
///
/// # Errors
/// [`Invalid`] naming `public_key` when it is none.
pub(in crate::api::grpc) fn agent_input(
    request: v1::RegisterAgentRequest,
) -> Result<AgentInput, Invalid> {
    let key = request.public_key;
    if !key.is_empty() && key.len() != KEY_BYTES {
        let problem = format!("needs {KEY_BYTES} bytes, got {}", key.len());
        return Err(Invalid::new("public_key", problem));
    }
    Ok(AgentInput {
        agent_id: request.agent_id,
        affiliation: request.affiliation,
        issue_token: request.issue_token,
        public_key: (!key.is_empty()).then(|| hex::encode(key)),
        revoked: false,
    })
}

/// A registered agent; the token, if one was issued, apart.
pub(in crate::api::grpc) fn agent(agent: AgentOut) -> (v1::Agent, Option<String>) {
    let public_key = agent.public_key.and_then(|key| hex::decode(key).ok()).unwrap_or_default();
    let shown = v1::Agent {
        agent_id: agent.agent_id,
        affiliation: agent.affiliation,
        has_token: agent.has_token,
        public_key,
        revoked: agent.revoked,
    };
    (shown, agent.token)
}

/// Use of a quota.
pub(in crate::api::grpc) fn quota(quota: QuotaOut) -> v1::QuotaStatusResponse {
    let meter = |used, limit| Some(v1::QuotaMeter { used, limit });
    v1::QuotaStatusResponse {
        agent_id: quota.agent_id,
        namespace: quota.namespace,
        memories_today: meter(quota.memories_today, quota.memories_per_day),
        bytes_total: meter(quota.bytes_total, quota.bytes_max),
        links_today: meter(quota.links_today, quota.links_per_day),
        resets_at: time_out(&quota.resets_at),
    }
}

/// What checking the audit chain found.
pub(in crate::api::grpc) fn chain(chain: ChainOut) -> v1::VerifyChainResponse {
    let chain_break = chain.chain_break.map(|at| {
        let (sequence, problem) = (at.sequence, at.problem);
        v1::ChainBreak { sequence, problem }
    });
    let head = v1::ChainHead {
        sequence: chain.head_sequence,
        hash: hex::decode(chain.head_hash).unwrap_or_default(),
    };
    v1::VerifyChainResponse {
        rows_checked: chain.rows_checked,
        chain_break,
        signature_failures: chain.signature_failures,
        chain_holds: chain.chain_holds,
        head: Some(head),
    }
}

/// A problem that a check found. The service reports problems only, each with its fix in the text.
pub(in crate::api::grpc) fn finding(finding: FindingOut) -> v1::DoctorFinding {
    v1::DoctorFinding {
        check: finding.check,
        severity: v1::Severity::Error.into(),
        detail: finding.problem,
        fix: String::new(),
    }
}

/// What this build can do.
pub(in crate::api::grpc) fn capabilities(can: CapabilitiesOut) -> v1::CapabilitiesResponse {
    let levels = can.consistency.iter().map(|level| format!("consistency.{level}"));
    let signals = ["recall.dense", "recall.hybrid", "recall.lexical", "watch"];
    let mut features: Vec<String> =
        levels.chain(signals.iter().map(|signal| (*signal).to_owned())).collect();
    features.sort();
    let mut limits = can.limits;
    limits.insert("embedding_dimension".to_owned(), u64::from(can.embedding_dimension));
    v1::CapabilitiesResponse { version: can.version, api_versions: vec![can.api], features, limits }
}

/// Figures of the store.
pub(in crate::api::grpc) fn store_status(stats: storage::answer::StoreStats) -> v1::StoreStatus {
    v1::StoreStatus {
        memories: stats.memories,
        archived: stats.archived,
        tombstones: stats.tombstones,
        links: stats.links,
        events: stats.events,
        position: stats.position,
        index_position: stats.index_position,
        index_rebuilding: stats.index_rebuilding,
        database_bytes: stats.database_bytes,
        wal_bytes: stats.wal_bytes,
        write_queue: stats.write_queue,
        commits: stats.commits.iter().sum(),
        extra: stats.extra,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_its_length_and_is_kept() {
        let request = |key: Vec<u8>| v1::RegisterAgentRequest {
            agent_id: "ann".into(),
            public_key: key,
            ..Default::default()
        };
        let refused = agent_input(request(vec![1; 31])).expect_err("too short");
        assert_eq!(refused.field, "public_key");
        let input = agent_input(request(vec![0xab; 32])).expect("a key");
        assert_eq!(input.public_key, Some("ab".repeat(32)));
        assert_eq!(agent_input(request(vec![])).expect("no key").public_key, None);
    }
}
