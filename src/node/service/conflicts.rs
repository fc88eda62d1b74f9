//! Memories that several records are shown as, because nodes that had not heard of each other made them.
//!
//! Invariant: a conflict is shown to whoever may see its memory, and to nobody else.
//!
//! Not here: what is seen of such records (`types::record::view`).

use runtime::clock;
use serde::{Deserialize, Serialize};
use storage::{
    answer::{Conflict, ConflictRecord},
    request::{ConflictQuery, Reader},
};
use types::{Invalid, limits::PAGE_MAX};
use utoipa::ToSchema;

use super::{Caller, Reply, Service, reject};
use crate::node::model::{
    filter::page_limit,
    time,
    vocabulary::{AgentName, InstantText, MemoryKey, NamespacePath},
};

/// One of the records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConflictRecordOut {
    /// Its id; it stands for the memory like all the others.
    #[schema(value_type = MemoryKey)]
    pub id: String,
    /// The node that made it, a UUID.
    pub origin: String,
    /// When it was created.
    #[schema(value_type = InstantText)]
    pub created_at: String,
    /// When it was last edited.
    #[schema(value_type = InstantText)]
    pub updated_at: String,
    /// Edits so far.
    #[schema(minimum = 0)]
    pub version: u64,
    /// Nodes that made or changed it, UUIDs.
    pub changed_by: Vec<String>,
}

/// A memory that several records are shown as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConflictOut {
    /// The id under which it is shown.
    #[schema(value_type = MemoryKey)]
    pub id: String,
    /// Where it belongs.
    #[schema(value_type = NamespacePath)]
    pub namespace: String,
    /// What it is about.
    pub title: String,
    /// Who wrote it.
    #[schema(value_type = AgentName)]
    pub agent_id: String,
    /// The records, in order of id.
    pub records: Vec<ConflictRecordOut>,
    /// Names of the fields in which they differ.
    pub differs: Vec<String>,
}

/// A page of them, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConflictPage {
    /// The conflicts.
    pub items: Vec<ConflictOut>,
    /// Pass as `after` for the next page; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

fn record_out(record: ConflictRecord) -> ConflictRecordOut {
    ConflictRecordOut {
        id: record.id.to_string(),
        origin: record.origin.to_string(),
        created_at: time::to_text(record.created_at_ms),
        updated_at: time::to_text(record.updated_at_ms),
        version: record.version,
        changed_by: record.changed_by.iter().map(ToString::to_string).collect(),
    }
}

fn conflict_out(conflict: Conflict) -> ConflictOut {
    ConflictOut {
        id: conflict.id.to_string(),
        namespace: conflict.namespace.to_string(),
        title: conflict.title,
        agent_id: conflict.author.to_string(),
        records: conflict.records.into_iter().map(record_out).collect(),
        differs: conflict.differs,
    }
}

impl Service {
    /// A page of the memories that several records are shown as.
    ///
    /// # Errors
    /// `invalid_argument`.
    pub async fn conflicts(
        &self,
        caller: &Caller,
        after: Option<&str>,
        limit: Option<u32>,
    ) -> Reply<ConflictPage> {
        let named = |invalid: Invalid| Invalid::new("after", invalid.problem);
        let query = ConflictQuery {
            after: after.map(|after| after.parse().map_err(named)).transpose()?,
            limit: page_limit(limit, PAGE_MAX)?,
            now_ms: clock::now_unix_ms(),
        };
        let page = self.store.conflicts(Reader::Agent(&caller.viewer), query).await;
        let page = page.map_err(reject)?;
        Ok(ConflictPage {
            items: page.items.into_iter().map(conflict_out).collect(),
            next: page.next,
        })
    }
}
