//! How a command ends.
//!
//! Invariant: a code's meaning never changes; scripts rely on it.
//!
//! Not here: what went wrong in detail (the failure's text).

use serde_json::{Value, json};
use types::Reason;

use crate::{config::ConfigError, identity::IdentityError, node::StartError};

/// Exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// Done.
    Ok = 0,
    /// A check found a problem (chain, doctor, configuration).
    CheckFailed = 1,
    /// The command or a value in it is wrong; nothing was changed.
    Usage = 2,
    /// No such thing.
    NotFound = 3,
    /// The state does not allow it (conflict, legal hold, already exists).
    Conflict = 4,
    /// Not allowed.
    Forbidden = 5,
    /// Try again later (quota, overload).
    Later = 6,
    /// The outcome is unknown: it may have happened.
    Unknown = 7,
    /// The node cannot be reached or started.
    Unavailable = 8,
    /// `lock run`: the lease was lost, and the program was stopped.
    LeaseLost = 9,
}

/// A command that did not succeed.
#[derive(Debug)]
pub struct Failure {
    /// How the process ends.
    pub code: Code,
    /// Stable reason code, when there is one.
    pub reason: Option<String>,
    /// What, why, and the fix.
    pub detail: String,
    /// Code of the program that was run, in the place of our own.
    program: Option<u8>,
}

impl Failure {
    /// A failure without a reason code.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, reason: None, detail: detail.into(), program: None }
    }

    /// Something could not be started or reached.
    pub fn start(detail: impl Into<String>) -> Self {
        Self::new(Code::Unavailable, detail)
    }

    /// A wrong value.
    pub fn usage(detail: impl Into<String>) -> Self {
        Self::new(Code::Usage, detail)
    }

    /// A check that found something; what it found has been printed.
    pub fn found(detail: impl Into<String>) -> Self {
        Self::new(Code::CheckFailed, detail)
    }

    /// A problem document of the HTTP contract.
    pub fn problem(status: u16, body: &Value) -> Self {
        let text = |key: &str| body.get(key).and_then(Value::as_str).map(str::to_owned);
        let reason = text("reason");
        let code = reason.as_deref().and_then(Reason::from_code).map_or(Code::Unavailable, code_of);
        let detail = text("detail")
            .or_else(|| text("title"))
            .unwrap_or_else(|| format!("the node answered with status {status}"));
        Self { code, reason, detail, program: None }
    }

    /// A program that was run ended with this code, or, as shells say it, by a signal (128 and its
    /// number).
    pub fn program(code: Option<i32>, status: &std::process::ExitStatus) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let code = code.or(status.signal().map(|signal| 128 + signal)).unwrap_or(1);
        let program = Some(u8::try_from(code).unwrap_or(1));
        Self { program, ..Self::new(Code::CheckFailed, format!("the program ended with {status}")) }
    }

    /// How the process ends.
    pub fn exit_code(&self) -> u8 {
        self.program.unwrap_or(self.code as u8)
    }

    /// Whether the same request may succeed, or tell its outcome, when it is sent again.
    pub fn may_pass(&self) -> bool {
        matches!(self.code, Code::Unknown | Code::Unavailable)
            || matches!(self.reason.as_deref(), Some("not_leader" | "overloaded" | "rules_unknown"))
    }

    /// Prints the failure to standard error; a program that was run has said itself what went wrong.
    pub fn print(&self, as_json: bool) {
        if self.program.is_some() {
            return;
        }
        if as_json {
            let body = json!({ "error": { "reason": self.reason, "detail": self.detail, "exit_code": self.code as u8 } });
            eprintln!("{body}");
        } else {
            let reason = self.reason.as_ref().map(|r| format!(" ({r})")).unwrap_or_default();
            eprintln!("hivemem: {}{reason}", self.detail);
        }
    }
}

fn code_of(reason: Reason) -> Code {
    use Reason as R;
    match reason {
        R::InvalidArgument
        | R::Malformed
        | R::TooLarge
        | R::EmbeddingMismatch
        | R::Unimplemented
        | R::ReflectionDepth
        | R::AmbiguousPrefix => Code::Usage,
        R::NotFound => Code::NotFound,
        R::VersionConflict
        | R::AlreadyExists
        | R::IdempotencyMismatch
        | R::LegalHold
        | R::FailedPrecondition
        | R::Cycle
        | R::FenceTooSmall
        | R::SessionExpired
        | R::SequenceTooOld
        | R::NotHolder
        | R::PolicyConflict
        | R::AlreadyDecided
        | R::StaleEpoch
        | R::PositionTooOld => Code::Conflict,
        R::Unauthenticated
        | R::NonceReplay
        | R::Forbidden
        | R::AgentRevoked
        | R::ApprovalNeeded => Code::Forbidden,
        R::QuotaExceeded
        | R::Overloaded
        | R::NotLeader
        | R::LockBusy
        | R::RulesUnknown
        | R::Starting
        | R::PositionNotReached
        | R::StorageFull
        | R::ClockSkew => Code::Later,
        R::DeadlineExceeded
        | R::QuorumNotMet
        | R::OutcomeUnknown
        | R::StorageFailed
        | R::Internal => Code::Unknown,
        R::ChainBroken => Code::CheckFailed,
        R::Stopping | R::StorageUnavailable => Code::Unavailable,
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<IdentityError> for Failure {
    fn from(error: IdentityError) -> Self {
        Self::new(Code::Usage, error.to_string())
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        Self::start(error.to_string())
    }
}
