//! The audit chain as operators read it: this node's rows, in their order.
//!
//! Not here: checking the chain (`admin`), and writing it (`storage`, `root`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use storage::answer::AuditRow;
use types::audit::EventDetails;
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
}
