//! The audit chain as operators read it: this node's rows, in their order.
//!
//! Not here: checking the chain (`admin`), and writing it (`storage`, `root`).

use std::collections::BTreeMap;

use runtime::clock;
use serde::{Deserialize, Serialize};
use storage::{
    answer::AuditRow,
    request::{Event, Intent, WriteRequest},
};
use types::{
    Invalid,
    audit::{EVENT_DETAILS_BYTES_MAX, EventDetails},
};
use utoipa::ToSchema;

use super::{Caller, Reply, Service, reject};
use crate::node::model::time;

/// A row of the audit chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditRowOut {
    /// Its place, from 1 without gaps.
    #[schema(minimum = 1)]
    pub sequence: i64,
    /// When.
    pub at: String,
    /// Who caused it.
    pub agent_id: String,
    /// What happened, e.g. `memory.store` or `lock.force_release`.
    pub event_type: String,
    /// The operation's name, or the event's: `root:INDEX:ORDINAL` for a decision of the root.
    pub id: String,
    /// What it happened to; empty for an operation, whose log says it.
    pub subject: String,
    /// More about it, by name.
    pub facts: BTreeMap<String, String>,
}

/// Longest name of a piece of evidence, in bytes.
const EVIDENCE_NAME_BYTES_MAX: usize = 200;

/// Evidence from elsewhere, for this node's audit chain: what it says is signed with the chain, not by whom it came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EvidenceInput {
    /// A name that no other piece has: the same one is carried once.
    #[schema(min_length = 1, max_length = 200)]
    pub name: String,
    /// What it is about.
    #[schema(max_length = 1024)]
    pub subject: String,
    /// What it says, by name.
    pub facts: BTreeMap<String, String>,
}

/// Evidence that is carried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EvidenceOut {
    /// Position that has it.
    pub position: u64,
}

fn row_out(row: AuditRow) -> AuditRowOut {
    let details = row.payload.map(|payload| {
        // Whether it is what was signed is for the check of the chain to say.
        EventDetails::decode(&payload).unwrap_or_else(|error| EventDetails {
            subject: format!("cannot be read: {error}"),
            facts: BTreeMap::new(),
        })
    });
    let EventDetails { subject, facts } = details.unwrap_or_default();
    AuditRowOut {
        sequence: row.sequence,
        at: time::to_text(row.at_ms),
        agent_id: row.agent,
        event_type: row.event_type,
        id: row.id,
        subject,
        facts,
    }
}

impl Service {
    /// Rows of this node's audit chain behind a sequence, oldest first; with a prefix, only those whose
    /// type begins with it. For operators.
    ///
    /// # Errors
    /// `forbidden`.
    pub async fn audit_rows(
        &self,
        caller: &Caller,
        after: i64,
        type_prefix: Option<String>,
        limit: u32,
    ) -> Reply<Vec<AuditRowOut>> {
        caller.require_operator()?;
        let rows = self.store.audit_rows(after, type_prefix, limit).await.map_err(reject)?;
        Ok(rows.into_iter().map(row_out).collect())
    }

    /// Carries evidence from elsewhere in this node's audit chain, as a row of type `import.evidence`. For operators.
    ///
    /// # Errors
    /// `forbidden`; `invalid_argument` for a name that is empty or too long, and for more than a row can have.
    pub async fn carry_evidence(
        &self,
        caller: &Caller,
        input: EvidenceInput,
    ) -> Reply<EvidenceOut> {
        caller.require_operator()?;
        let EvidenceInput { name, subject, facts } = input;
        if name.is_empty() || name.len() > EVIDENCE_NAME_BYTES_MAX {
            let problem = format!("needs 1 to {EVIDENCE_NAME_BYTES_MAX} bytes");
            return Err(Invalid::new("name", problem).into());
        }
        let payload = EventDetails { subject, facts }.encode();
        if payload.len() > EVENT_DETAILS_BYTES_MAX {
            let problem = format!("needs at most {EVENT_DETAILS_BYTES_MAX} bytes with its names");
            return Err(Invalid::new("facts", problem).into());
        }
        let now_ms = clock::now_unix_ms();
        let event = Event {
            // Apart from those of the root and of the node itself.
            name: format!("evidence:{name}"),
            agent: caller.viewer.agent.clone(),
            event_type: "import.evidence".to_owned(),
            at_ms: now_ms,
            payload,
        };
        let request = WriteRequest {
            viewer: caller.viewer.clone(),
            now_ms,
            fence: 0,
            idempotency: None,
            intents: vec![Intent::Event(Box::new(event))],
            atomic: true,
            quota: None,
            reflection_depth_max: 0,
        };
        let receipt = self.store.write(request).await.map_err(reject)?;
        receipt.results.into_iter().find_map(Result::err).map_or(Ok(()), Err)?;
        Ok(EvidenceOut { position: receipt.position })
    }
}
