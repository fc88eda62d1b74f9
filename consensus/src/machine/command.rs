//! What can be proposed to the root.
//!
//! Invariants: a command that decodes is within [`COMMAND_BYTES_MAX`] and has one encoding; a new
//! family gets a new tag, and an older member refuses it as one: a group is upgraded before new
//! commands are used.
//!
//! Not here: what a command does (its family's file).

use std::{fmt, str::FromStr};

use types::{
    AgentId, Invalid,
    codec::{
        CodecError,
        fields::{decode, encode},
    },
    limits::IDEMPOTENCY_KEY_BYTES_MAX,
    lock::SessionId,
    root_limits::COMMAND_BYTES_MAX,
};

use super::{
    action::{Decide, Propose},
    agent::{RegisterAgent, RevokeAgent, RotateKey},
    epoch::{AdvanceEpoch, Readmit, RegisterBoot},
    lock::{Acquire, CancelWait, ForceRelease, Release},
    member::{Init, PutMember, RemoveMember},
    policy::{PutPolicy, PutRule, RemovePolicy, RemoveRule},
    session::{CloseSession, KeepAlive, OpenSession},
};

/// A proposal to the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Who asks, as the node's service has made sure.
    pub by: AgentId,
    /// What makes a retry safe; `None` where a repetition does no harm.
    pub identity: Option<Identity>,
    /// What is asked.
    pub body: Body,
}

/// What tells a retry from a new command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// A place in a session's sequence.
    Session(SessionSeq),
    /// A name the caller chose.
    Request(RequestIdentity),
}

/// A place in a session's sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionSeq {
    /// The session, of the same agent.
    pub session: SessionId,
    /// From 1, growing; gaps are allowed.
    pub seq: u64,
}

/// A request of a caller without a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestIdentity {
    /// Name, unique among the agent's requests that are valid at a time.
    pub id: RequestId,
    /// Until when it may be executed, in the root's time. The answer is kept as long, so that there
    /// is no time at which a retry could be taken for a new request.
    pub valid_until_ms: u64,
}

/// Name of a request: 1 to 128 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(String);

impl RequestId {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RequestId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let is_short = !text.is_empty() && text.len() <= IDEMPOTENCY_KEY_BYTES_MAX;
        if !is_short || !text.bytes().all(|b| b.is_ascii_graphic()) {
            let problem = format!("needs 1 to {IDEMPOTENCY_KEY_BYTES_MAX} visible characters");
            return Err(Invalid::new("request_id", problem));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A message without fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Empty {}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Nothing, but that time passes.
    Tick(Empty),
    /// See [`OpenSession`].
    OpenSession(OpenSession),
    /// See [`KeepAlive`].
    KeepAlive(KeepAlive),
    /// See [`CloseSession`].
    CloseSession(CloseSession),
    /// See [`Acquire`].
    Acquire(Acquire),
    /// See [`Release`].
    Release(Release),
    /// See [`CancelWait`].
    CancelWait(CancelWait),
    /// See [`ForceRelease`].
    ForceRelease(ForceRelease),
    /// See [`PutPolicy`].
    PutPolicy(PutPolicy),
    /// See [`RemovePolicy`].
    RemovePolicy(RemovePolicy),
    /// See [`PutRule`].
    PutRule(PutRule),
    /// See [`RemoveRule`].
    RemoveRule(RemoveRule),
    /// See [`RegisterAgent`].
    RegisterAgent(RegisterAgent),
    /// See [`RotateKey`].
    RotateKey(RotateKey),
    /// See [`RevokeAgent`].
    RevokeAgent(RevokeAgent),
    /// See [`Propose`].
    Propose(Propose),
    /// See [`Decide`].
    Decide(Decide),
    /// See [`Init`].
    Init(Init),
    /// See [`PutMember`].
    PutMember(PutMember),
    /// See [`RemoveMember`].
    RemoveMember(RemoveMember),
    /// See [`RegisterBoot`].
    RegisterBoot(RegisterBoot),
    /// See [`Readmit`].
    Readmit(Readmit),
    /// See [`AdvanceEpoch`].
    AdvanceEpoch(AdvanceEpoch),
}

types::proto_text!(RequestId);
types::proto_message!(Empty {});
types::proto_message!(SessionSeq { 1 => session, 2 => seq });
types::proto_message!(RequestIdentity { 1 => id, 2 => valid_until_ms });
types::proto_oneof!(Identity { 1 => Session, 2 => Request });
types::proto_message!(Command { 1 => by, 2 => identity, 3 => body });
types::proto_oneof!(Body {
    1 => Tick,
    2 => OpenSession,
    3 => KeepAlive,
    4 => CloseSession,
    10 => Acquire,
    11 => Release,
    12 => CancelWait,
    13 => ForceRelease,
    20 => PutPolicy,
    21 => RemovePolicy,
    22 => PutRule,
    23 => RemoveRule,
    30 => RegisterAgent,
    31 => RotateKey,
    32 => RevokeAgent,
    40 => Propose,
    41 => Decide,
    50 => Init,
    51 => PutMember,
    52 => RemoveMember,
    60 => RegisterBoot,
    61 => Readmit,
    62 => AdvanceEpoch,
});

impl Command {
    /// A command of which a repetition does no harm.
    pub fn new(by: AgentId, body: Body) -> Self {
        Self { by, identity: None, body }
    }

    /// A command in a session's sequence.
    pub fn in_session(by: AgentId, session: SessionId, seq: u64, body: Body) -> Self {
        Self { by, identity: Some(Identity::Session(SessionSeq { session, seq })), body }
    }

    /// The bytes that stand in the log.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads what [`Command::encode`] made, at most [`COMMAND_BYTES_MAX`].
    ///
    /// # Errors
    /// [`CodecError`] naming the field.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        decode("command", bytes, COMMAND_BYTES_MAX)
    }
}
