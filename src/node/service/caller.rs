//! Who is calling: from credentials to a [`Caller`] that every operation takes.
//!
//! Rules, deny by default:
//! - An agent's own token makes the caller that agent and no other.
//! - The node's API key lets the caller name any agent that has no token of its own.
//! - The operator key, and the local socket (protected by file permissions), let the caller name
//!   any agent, with an operator's rights.
//! - Without a configured key, loopback callers may name any agent that has no token of its own.
//!
//! Invariants: `AUTH-1` keys and tokens are compared as SHA-256 digests in constant time and never
//! kept in the clear; `AUTH-2` a revoked agent is refused whatever it presents.
//!
//! Not here: extracting credentials from headers (the doors).

use runtime::clock::Instant;
use sha2::{Digest, Sha256};
use storage::request::Viewer;
use subtle::ConstantTimeEq;
use types::{AgentId, AgentRecord, Reason, Reject, audit::AttestLevel};

/// SHA-256 of a secret.
pub type SecretDigest = [u8; 32];

/// The digest under which a key or token is kept.
pub fn secret_digest(secret: &str) -> SecretDigest {
    Sha256::digest(secret.as_bytes()).into()
}

/// What a caller presents.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// Digest of the key or token presented, if any.
    pub secret: Option<SecretDigest>,
    /// Agent the caller says it is.
    pub agent: Option<String>,
    /// Whether the call came over the local socket.
    pub local_socket: bool,
}

/// Keys the node accepts.
#[derive(Clone, Debug, Default)]
pub struct AccessKeys {
    /// The API key of agents.
    pub api_key: Option<SecretDigest>,
    /// The key of operators.
    pub operator_key: Option<SecretDigest>,
}

/// An authenticated caller with what its request carries besides the body.
#[derive(Clone, Debug)]
pub struct Caller {
    /// What it may see and change.
    pub viewer: Viewer,
    /// At-most-once key of this request.
    pub idempotency_key: Option<String>,
    /// When the caller stops waiting.
    pub deadline: Option<Instant>,
    /// Fencing token it holds; 0 without one.
    pub fence: u64,
}

impl Caller {
    /// Refuses a caller without an operator's rights.
    ///
    /// # Errors
    /// `forbidden`.
    pub fn require_operator(&self) -> Result<(), Reject> {
        if self.viewer.operator {
            return Ok(());
        }
        Err(Reject::new(
            Reason::Forbidden,
            "needs an operator: use the operator key, or the command line on the node's machine",
        ))
    }
}

fn matches(expected: Option<&SecretDigest>, presented: &SecretDigest) -> bool {
    expected.is_some_and(|key| bool::from(key.ct_eq(presented)))
}

/// What the presented secret proves, before any agent is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Nothing, on a node that asks for nothing.
    Open,
    /// The API key.
    ApiKey,
    /// An operator's rights.
    Operator,
    /// Possibly an agent's token; the registry decides.
    Token,
}

impl AccessKeys {
    /// Classifies the presented secret.
    ///
    /// # Errors
    /// `unauthenticated` when a key is needed and none was presented.
    pub fn prove(&self, credentials: &Credentials) -> Result<Proof, Reject> {
        let Some(secret) = &credentials.secret else {
            return match (credentials.local_socket, &self.api_key) {
                (true, _) => Ok(Proof::Operator),
                (false, None) => Ok(Proof::Open),
                (false, Some(_)) => Err(Reject::new(
                    Reason::Unauthenticated,
                    "needs an API key: send `Authorization: Bearer <key>` or `X-Api-Key: <key>`",
                )),
            };
        };
        if matches(self.operator_key.as_ref(), secret) {
            return Ok(Proof::Operator);
        }
        if matches(self.api_key.as_ref(), secret) {
            return Ok(Proof::ApiKey);
        }
        Ok(Proof::Token)
    }
}

/// Builds the viewer for a proof; `by_token` is the agent whose token was presented, `named` the
/// registered agent of the name the caller gave.
///
/// # Errors
/// `unauthenticated`, `forbidden` or `agent_revoked`.
pub fn viewer(
    proof: Proof,
    by_token: Option<AgentRecord>,
    name: Option<AgentId>,
    named: Option<AgentRecord>,
) -> Result<Viewer, Reject> {
    let (agent, record, attest, operator) = match (proof, by_token) {
        (Proof::Token, None) => {
            return Err(Reject::new(
                Reason::Unauthenticated,
                "the key presented is not known here",
            ));
        }
        (Proof::Token, Some(record)) => {
            if name.as_ref().is_some_and(|n| *n != record.agent_id) {
                return Err(Reject::new(
                    Reason::Forbidden,
                    format!(
                        "this token belongs to agent {}; it cannot act as another",
                        record.agent_id
                    ),
                ));
            }
            (record.agent_id.clone(), Some(record), AttestLevel::AgentToken, false)
        }
        (proof, _) => {
            let agent = name.unwrap_or_else(AgentId::local);
            let operator = proof == Proof::Operator;
            if !operator && named.as_ref().is_some_and(|r| r.token_sha256.is_some()) {
                return Err(Reject::new(
                    Reason::Forbidden,
                    format!(
                        "agent {agent} has a token of its own; present it to act as that agent"
                    ),
                ));
            }
            let attest = match proof {
                Proof::Open => AttestLevel::Asserted,
                _ => AttestLevel::ApiKey,
            };
            (agent, named, attest, operator)
        }
    };
    if record.as_ref().is_some_and(|r| r.revoked) {
        return Err(Reject::new(Reason::AgentRevoked, format!("agent {agent} was revoked")));
    }
    let affiliation = record.map(|r| r.affiliation).unwrap_or_default();
    Ok(Viewer { audiences: affiliation.audiences(&agent), agent, attest, operator })
}

#[cfg(test)]
mod tests {
    use types::Hlc;

    use super::*;

    fn keys() -> AccessKeys {
        AccessKeys { api_key: Some(secret_digest("api")), operator_key: Some(secret_digest("op")) }
    }

    fn presenting(secret: &str) -> Credentials {
        Credentials { secret: Some(secret_digest(secret)), ..Credentials::default() }
    }

    fn registered(name: &str, token: Option<&str>, revoked: bool) -> AgentRecord {
        AgentRecord {
            agent_id: name.parse().expect("an agent"),
            affiliation: "acme/eng/core".parse().expect("an affiliation"),
            token_sha256: token.map(secret_digest),
            public_key: None,
            revoked,
            changed: Hlc::default(),
        }
    }

    #[test]
    fn secrets_are_told_apart() {
        assert_eq!(keys().prove(&presenting("api")), Ok(Proof::ApiKey));
        assert_eq!(keys().prove(&presenting("op")), Ok(Proof::Operator));
        assert_eq!(keys().prove(&presenting("else")), Ok(Proof::Token));
        let none = keys().prove(&Credentials::default()).expect_err("a key is needed");
        assert_eq!(none.reason, Reason::Unauthenticated);
        assert_eq!(AccessKeys::default().prove(&Credentials::default()), Ok(Proof::Open));
    }

    #[test]
    fn a_token_binds_its_bearer() {
        let ann = registered("ann", Some("t"), false);
        let own = viewer(Proof::Token, Some(ann.clone()), None, None).expect("its own token");
        assert_eq!((own.agent.as_str(), own.operator), ("ann", false));
        let other = "bob".parse().ok();
        let refused = viewer(Proof::Token, Some(ann.clone()), other, None).expect_err("another");
        assert_eq!(refused.reason, Reason::Forbidden);
        let name = "ann".parse().ok();
        for proof in [Proof::Open, Proof::ApiKey] {
            let refused =
                viewer(proof, None, name.clone(), Some(ann.clone())).expect_err("no token");
            assert_eq!(refused.reason, Reason::Forbidden);
        }
        assert!(viewer(Proof::Operator, None, name, Some(ann)).expect("operator").operator);
    }

    #[test]
    fn unknown_secrets_and_revoked_agents_are_refused() {
        assert_eq!(
            viewer(Proof::Token, None, None, None).expect_err("unknown").reason,
            Reason::Unauthenticated
        );
        let gone = registered("ann", Some("t"), true);
        for proof in [Proof::Token, Proof::Operator] {
            let refused = viewer(proof, Some(gone.clone()), None, Some(gone.clone()));
            assert_eq!(refused.expect_err("AUTH-2").reason, Reason::AgentRevoked);
        }
    }
}
