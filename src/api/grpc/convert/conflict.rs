//! A memory that several records are shown as.
//!
//! Not here: listing them.

use wire::v1;

use super::time_out;
use crate::node::service::conflicts::{ConflictOut, ConflictRecordOut};

fn record(record: ConflictRecordOut) -> v1::ConflictRecord {
    v1::ConflictRecord {
        id: record.id,
        origin: record.origin,
        created_at: time_out(&record.created_at),
        updated_at: time_out(&record.updated_at),
        version: record.version,
        changed_by: record.changed_by,
    }
}

/// A conflict as a client reads it.
pub(in crate::api::grpc) fn conflict(conflict: ConflictOut) -> v1::Conflict {
    v1::Conflict {
        id: conflict.id,
        namespace: conflict.namespace,
        title: conflict.title,
        agent_id: conflict.agent_id,
        records: conflict.records.into_iter().map(record).collect(),
        differs: conflict.differs,
    }
}
