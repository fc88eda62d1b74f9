//! The one table that maps a [`Reason`] to what every door says.
//!
//! | door | says |
//! |---|---|
//! | gRPC | a code, `ErrorInfo` with the reason and the facts, `BadRequest`, `RetryInfo` ([`status`]) |
//! | HTTP | a status and a problem document of RFC 9457 ([`Problem`]) |
//! | MCP | a JSON-RPC code, with the problem document as data |
//!
//! Invariants: `ERR-1` every reason has exactly one row; `ERR-2` a refusal survives the way from a
//! server to a client: reason, detail and facts come out as they went in; `ERR-3` a call whose
//! request may have reached the server is never reported as refused without the server's word.
//!
//! Not here: which reason applies (whoever refuses knows) and exit codes (the command line).

mod facts;
mod problem;
mod status;

pub use problem::{PROBLEM_CONTENT_TYPE, Problem};
pub use status::{
    ERROR_DOMAIN, not_sent, outcome_of_status, reject_from_status, status, timed_out, was_sent,
};

use tonic::Code;
use types::{Outcome, Reason, Reject};

/// What a refusal means for the state of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing was changed.
    Rejected,
    /// The request may have been done, or may yet be.
    Unknown,
}

impl Verdict {
    /// The word that documents use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Unknown => "unknown",
        }
    }
}

/// What every door says to one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The reason.
    pub reason: Reason,
    /// Status code of gRPC.
    pub grpc: Code,
    /// Status code of HTTP, 400 to 599.
    pub http: u16,
    /// Error code of JSON-RPC, as MCP uses it; reasons that JSON-RPC and MCP have no code for use
    /// the range -32099 to -32000 that JSON-RPC leaves to servers.
    pub json_rpc: i32,
    /// Whether the very same request may succeed later.
    pub retryable: bool,
    /// Whether anything may have been changed.
    pub verdict: Verdict,
    /// A few words for a person, the same for every occurrence.
    pub title: &'static str,
}

/// A reason after which the same request is refused again.
const fn refused(reason: Reason, grpc: Code, http: u16, json_rpc: i32, title: &'static str) -> Row {
    Row { reason, grpc, http, json_rpc, retryable: false, verdict: Verdict::Rejected, title }
}

/// A reason that passes with time.
const fn later(reason: Reason, grpc: Code, http: u16, json_rpc: i32, title: &'static str) -> Row {
    Row { retryable: true, ..refused(reason, grpc, http, json_rpc, title) }
}

/// A reason that leaves the outcome open; the same idempotency key makes a retry safe.
const fn unknown(reason: Reason, grpc: Code, http: u16, json_rpc: i32, title: &'static str) -> Row {
    Row { verdict: Verdict::Unknown, ..later(reason, grpc, http, json_rpc, title) }
}

/// Every row, in the order of [`Reason::ALL`].
pub const TABLE: &[Row] = &[
    refused(Reason::InvalidArgument, Code::InvalidArgument, 400, -32602, "Invalid argument"),
    refused(Reason::Malformed, Code::InvalidArgument, 400, -32600, "Malformed request"),
    refused(Reason::TooLarge, Code::ResourceExhausted, 413, -32010, "Too large"),
    refused(Reason::NotFound, Code::NotFound, 404, -32002, "Not found"),
    refused(Reason::AmbiguousPrefix, Code::FailedPrecondition, 409, -32011, "Ambiguous id prefix"),
    refused(Reason::VersionConflict, Code::Aborted, 409, -32012, "Version conflict"),
    refused(Reason::AlreadyExists, Code::AlreadyExists, 409, -32013, "Already exists"),
    refused(
        Reason::IdempotencyMismatch,
        Code::FailedPrecondition,
        422,
        -32014,
        "Idempotency key reused",
    ),
    refused(
        Reason::EmbeddingMismatch,
        Code::FailedPrecondition,
        422,
        -32015,
        "Embedding of another space",
    ),
    refused(Reason::Unauthenticated, Code::Unauthenticated, 401, -32016, "Not authenticated"),
    refused(Reason::NonceReplay, Code::Unauthenticated, 401, -32045, "Replayed"),
    refused(Reason::Forbidden, Code::PermissionDenied, 403, -32017, "Not allowed"),
    refused(Reason::AgentRevoked, Code::PermissionDenied, 403, -32018, "Agent revoked"),
    later(Reason::QuotaExceeded, Code::ResourceExhausted, 429, -32019, "Quota exceeded"),
    later(Reason::Overloaded, Code::Unavailable, 503, -32020, "Overloaded"),
    refused(Reason::LegalHold, Code::FailedPrecondition, 409, -32021, "Under legal hold"),
    refused(Reason::FailedPrecondition, Code::FailedPrecondition, 409, -32022, "Wrong state"),
    refused(Reason::ReflectionDepth, Code::FailedPrecondition, 422, -32023, "Reflection too deep"),
    refused(Reason::Cycle, Code::FailedPrecondition, 409, -32024, "Cycle"),
    refused(Reason::FenceTooSmall, Code::FailedPrecondition, 409, -32025, "Fence too small"),
    unknown(Reason::DeadlineExceeded, Code::DeadlineExceeded, 504, -32026, "Deadline exceeded"),
    unknown(Reason::QuorumNotMet, Code::Unavailable, 503, -32027, "Quorum not met"),
    unknown(Reason::OutcomeUnknown, Code::DeadlineExceeded, 504, -32044, "Outcome unknown"),
    later(Reason::NotLeader, Code::Unavailable, 503, -32060, "Not the leader"),
    later(Reason::PositionNotReached, Code::Unavailable, 409, -32028, "Position not reached"),
    refused(Reason::PositionTooOld, Code::OutOfRange, 410, -32029, "Position too old"),
    refused(Reason::StorageFull, Code::ResourceExhausted, 507, -32030, "Storage full"),
    later(Reason::StorageUnavailable, Code::Unavailable, 503, -32062, "Storage unavailable"),
    unknown(Reason::StorageFailed, Code::Internal, 500, -32034, "Storage failed"),
    unknown(Reason::Internal, Code::Internal, 500, -32603, "Internal error"),
    refused(Reason::ChainBroken, Code::DataLoss, 500, -32031, "Audit chain broken"),
    later(Reason::Stopping, Code::Unavailable, 503, -32032, "Stopping"),
    refused(Reason::Unimplemented, Code::Unimplemented, 501, -32601, "Not offered"),
    refused(Reason::ClockSkew, Code::FailedPrecondition, 409, -32033, "Clock out of bounds"),
    refused(Reason::SessionExpired, Code::FailedPrecondition, 410, -32035, "Session ended"),
    refused(Reason::SequenceTooOld, Code::OutOfRange, 410, -32036, "Answer not kept"),
    later(Reason::LockBusy, Code::Unavailable, 423, -32037, "Lock held by another"),
    refused(Reason::NotHolder, Code::FailedPrecondition, 409, -32038, "Not the holder"),
    refused(Reason::PolicyConflict, Code::FailedPrecondition, 409, -32039, "Contradicts a policy"),
    refused(Reason::AlreadyDecided, Code::FailedPrecondition, 409, -32040, "Already decided"),
    refused(Reason::StaleEpoch, Code::FailedPrecondition, 409, -32041, "Of an earlier epoch"),
    refused(Reason::ApprovalNeeded, Code::PermissionDenied, 403, -32042, "Needs an approval"),
    later(Reason::RulesUnknown, Code::Unavailable, 503, -32043, "Rules not known yet"),
    later(Reason::Starting, Code::Unavailable, 503, -32046, "Starting"),
];

/// The row of a reason.
pub fn row(reason: Reason) -> &'static Row {
    TABLE.iter().find(|row| row.reason == reason).expect("ERR-1: every reason has a row")
}

/// What a client may conclude from a refusal.
pub fn outcome_of<T>(reject: Reject) -> Outcome<T> {
    match row(reject.reason).verdict {
        Verdict::Rejected => Outcome::Rejected(reject),
        Verdict::Unknown => Outcome::Unknown { detail: reject.detail },
    }
}

/// How long a refused caller should wait, in whole seconds rounded up, for `Retry-After`: from the
/// fact `retry_after_ms`, else 1 when the reason passes with time.
pub fn retry_after_seconds(reject: &Reject) -> Option<u64> {
    let stated = reject.fact("retry_after_ms").and_then(|ms| ms.parse::<u64>().ok());
    match stated {
        Some(ms) => Some(ms.div_ceil(1000).max(1)),
        None => row(reject.reason).retryable.then_some(1),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_has_exactly_one_row_and_its_own_json_rpc_code() {
        let in_table: Vec<Reason> = TABLE.iter().map(|row| row.reason).collect();
        assert_eq!(in_table, Reason::ALL, "ERR-1");
        let codes: BTreeSet<i32> = TABLE.iter().map(|row| row.json_rpc).collect();
        assert_eq!(codes.len(), TABLE.len(), "JSON-RPC codes repeat");
    }

    #[test]
    fn numbers_are_in_the_ranges_the_protocols_leave_to_us() {
        const STANDARD: [i32; 4] = [-32600, -32601, -32602, -32603];
        for row in TABLE {
            assert!((400..600).contains(&row.http), "{}", row.reason);
            assert_ne!(row.grpc, Code::Ok, "{}", row.reason);
            let server_range = (-32099..=-32000).contains(&row.json_rpc);
            assert!(server_range || STANDARD.contains(&row.json_rpc), "{}", row.reason);
            assert!(!row.title.is_empty(), "{}", row.reason);
        }
    }

    #[test]
    fn what_leaves_the_outcome_open_is_retryable() {
        for row in TABLE.iter().filter(|row| row.verdict == Verdict::Unknown) {
            assert!(row.retryable && row.http >= 500, "{}", row.reason);
        }
        let late = Reject::new(Reason::DeadlineExceeded, "late");
        assert!(matches!(outcome_of::<()>(late), Outcome::Unknown { .. }));
        let conflict = Reject::new(Reason::VersionConflict, "moved");
        assert_eq!(outcome_of::<()>(conflict.clone()), Outcome::Rejected(conflict));
    }

    #[test]
    fn retry_after_rounds_up_and_is_absent_where_waiting_does_not_help() {
        let busy = Reject::new(Reason::Overloaded, "busy");
        assert_eq!(retry_after_seconds(&busy), Some(1));
        assert_eq!(retry_after_seconds(&busy.with("retry_after_ms", 1001)), Some(2));
        assert_eq!(retry_after_seconds(&Reject::new(Reason::NotFound, "no")), None);
    }
}
