//! What the root answers.
//!
//! Invariant: an answer is within [`RESPONSE_BYTES_MAX`] and has one encoding; a refusal means that
//! nothing was changed (`ROOT-3`).
//!
//! Not here: the way of an answer to the caller.

use types::{
    AgentId, Reject,
    codec::{
        CodecError,
        fields::{decode, encode},
    },
    lock::{ActionId, Fence, LockKey, SessionId, WaitId},
    root_limits::RESPONSE_BYTES_MAX,
};

use super::{action::Decided, command::Empty, lock::WaitCause};

/// An answer of the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// It was done and there is no more to say.
    Done(Empty),
    /// A session is open, or lives on.
    Session(SessionOpened),
    /// All keys asked for are held.
    Granted(Granted),
    /// The request stands in the queues; the answer to a retry says when that has changed.
    Waiting(Waiting),
    /// The request left the queues without its keys.
    WaitEnded(WaitEnded),
    /// Something has a new version.
    Version(u64),
    /// An action, as it stands now.
    Action(ActionAnswer),
    /// A node may run.
    Boot(BootAnswer),
    /// Nothing was changed.
    Refused(Reject),
}

/// A live session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionOpened {
    /// Its id.
    pub session: SessionId,
    /// How long it lives without a keep-alive, in milliseconds, counted by the client from when it
    /// sent the request.
    pub ttl_ms: u64,
    /// When it expires by the root's time, in milliseconds since 1970.
    pub expires_ms: u64,
}

/// Keys that were granted together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// By key.
    pub grants: Vec<Grant>,
    /// What was left of the session's TTL at the grant, in milliseconds. The client counts it from when
    /// it first sent the request, also when it got the answer by a retry; keep-alives extend it.
    pub lease_ms: u64,
}

/// One key that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Which.
    pub key: LockKey,
    /// Its fencing token.
    pub fence: Fence,
    /// How many releases give it back (reentrant).
    pub count: u32,
}

/// A place in the queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The place.
    pub wait: WaitId,
    /// When the waiting ends by the root's time.
    pub deadline_ms: u64,
}

/// The end of waiting without a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitEnded {
    /// Why.
    pub cause: WaitCause,
}

/// An action, as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionAnswer {
    /// Which.
    pub action: ActionId,
    /// Who has approved so far.
    pub approvals: Vec<AgentId>,
    /// The decision, once there is one.
    pub decided: Option<Decided>,
}

/// What a node that starts is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootAnswer {
    /// The boot epoch under which it is known; a readmitted node stores it.
    pub boot_epoch: u64,
    /// The cluster's epoch.
    pub cluster_epoch: u64,
}

types::proto_message!(SessionOpened { 1 => session, 2 => ttl_ms, 3 => expires_ms });
types::proto_message!(Grant { 1 => key, 2 => fence, 3 => count });
types::proto_message!(Granted { 1 => grants, 2 => lease_ms });
types::proto_message!(Waiting { 1 => wait, 2 => deadline_ms });
types::proto_message!(WaitEnded { 1 => cause });
types::proto_message!(ActionAnswer { 1 => action, 2 => approvals, 3 => decided });
types::proto_message!(BootAnswer { 1 => boot_epoch, 2 => cluster_epoch });
types::proto_oneof!(Response {
    1 => Done,
    2 => Session,
    3 => Granted,
    4 => Waiting,
    5 => WaitEnded,
    6 => Version,
    7 => Action,
    8 => Boot,
    9 => Refused,
});

impl Response {
    /// It was done.
    pub fn done() -> Self {
        Self::Done(Empty {})
    }

    /// The refusal, if this is one.
    pub fn refusal(&self) -> Option<&Reject> {
        match self {
            Response::Refused(reject) => Some(reject),
            _ => None,
        }
    }

    /// The bytes that are sent and kept.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads what [`Response::encode`] made, at most [`RESPONSE_BYTES_MAX`].
    ///
    /// # Errors
    /// [`CodecError`] naming the field.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        decode("response", bytes, RESPONSE_BYTES_MAX)
    }
}
