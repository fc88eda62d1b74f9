//! From metadata to a caller, with the options of reads and writes. The names of the metadata are in
//! `wire::auth`.
//!
//! Invariants: without a peer in the extensions a call is taken for remote; two different idempotency
//! keys are refused, never chosen from.
//!
//! Not here: what credentials prove (`node::service::caller`).

use http::Extensions;
use tonic::metadata::MetadataMap;
use types::Invalid;
use wire::{
    admission::Deadline,
    auth::Presented,
    net::PeerAddress,
    serve::Peer,
    v1::{ReadOptions, WriteOptions},
};

use super::convert::{consistency, some_text};
use crate::node::{
    model::{Fresh, MinPosition},
    service::{Caller, Credentials, Reply, Service},
};

/// Who a call says it is from, for `node::service` to prove.
fn credentials_of(presented: &Presented, extensions: &Extensions) -> Credentials {
    let local_socket = extensions.get::<Peer>().is_some_and(|p| p.address == PeerAddress::Unix);
    Credentials { secret: presented.secret_sha256, agent: presented.agent.clone(), local_socket }
}

/// What a call presents.
///
/// # Errors
/// `unauthenticated`, `invalid_argument`.
pub(super) fn credentials(metadata: &MetadataMap, extensions: &Extensions) -> Reply<Credentials> {
    Ok(credentials_of(&Presented::from_metadata(metadata)?, extensions))
}

/// Who calls, with what its call carries besides the message.
///
/// # Errors
/// `unauthenticated`, `forbidden`, `agent_revoked`, `invalid_argument`.
pub(super) fn caller(
    service: &Service,
    metadata: &MetadataMap,
    extensions: &Extensions,
) -> Reply<Caller> {
    let presented = Presented::from_metadata(metadata)?;
    let viewer = service.authenticate(&credentials_of(&presented, extensions))?;
    Ok(Caller {
        viewer,
        idempotency_key: presented.idempotency_key,
        deadline: extensions.get::<Deadline>().map(Deadline::at),
        fence: presented.fence,
    })
}

/// The caller of a write, with the options of its message.
///
/// # Errors
/// `invalid_argument` when header and message name different idempotency keys.
pub(super) fn writing(mut caller: Caller, options: Option<WriteOptions>) -> Reply<Caller> {
    let WriteOptions { idempotency_key, fence } = options.unwrap_or_default();
    if fence > 0 {
        caller.fence = fence;
    }
    if let Some(key) = some_text(idempotency_key) {
        if caller.idempotency_key.as_ref().is_some_and(|header| *header != key) {
            return Err(Invalid::new(
                "idempotency_key",
                "differs from the idempotency-key header; send one of them",
            )
            .into());
        }
        caller.idempotency_key = Some(key);
    }
    Ok(caller)
}

/// Makes this node fresh enough for a read.
///
/// # Errors
/// `unimplemented` for a consistency that needs a root tier, `position_not_reached`, `quorum_not_met`,
/// `invalid_argument`.
pub(super) async fn reading(
    service: &Service,
    caller: &Caller,
    options: Option<ReadOptions>,
) -> Reply<()> {
    let ReadOptions { min_position, consistency: level, min_token } = options.unwrap_or_default();
    let consistency = consistency(level)?.map(str::to_owned);
    let position = (min_position > 0).then_some(MinPosition::Own(min_position));
    service.fresh(caller, &Fresh { min_position: position, consistency }).await?;
    match some_text(min_token) {
        None => Ok(()),
        Some(token) => {
            let min_position =
                token.parse().map_err(|e: Invalid| Invalid::new("min_token", e.problem))?;
            let fresh = Fresh { min_position: Some(min_position), consistency: None };
            service.fresh(caller, &fresh).await
        }
    }
}

#[cfg(test)]
mod tests {
    use types::audit::AttestLevel;

    use super::*;

    fn anonymous() -> Caller {
        let viewer = storage::request::Viewer {
            agent: types::AgentId::local(),
            audiences: Vec::new(),
            attest: AttestLevel::Asserted,
            operator: false,
        };
        Caller { viewer, idempotency_key: None, deadline: None, fence: 0 }
    }

    #[test]
    fn only_the_peer_makes_a_caller_local() {
        let mut extensions = Extensions::new();
        let metadata = MetadataMap::new();
        let remote = credentials(&metadata, &extensions).expect("nothing presented");
        assert!(!remote.local_socket && remote.secret.is_none());
        let peer = Peer { address: PeerAddress::Unix, tls_fingerprint: None, encrypted: false };
        extensions.insert(peer);
        assert!(credentials(&metadata, &extensions).expect("the socket").local_socket);
    }

    #[test]
    fn a_key_in_the_message_is_the_key_in_the_header() {
        let options = |key: &str| Some(WriteOptions { idempotency_key: key.to_owned(), fence: 7 });
        let by_message = writing(anonymous(), options("k")).expect("a key");
        assert_eq!((by_message.idempotency_key.as_deref(), by_message.fence), (Some("k"), 7));
        let by_header = || Caller { idempotency_key: Some("k".into()), ..anonymous() };
        for same in [options(""), options("k"), None] {
            let caller = writing(by_header(), same).expect("one key");
            assert_eq!(caller.idempotency_key.as_deref(), Some("k"));
        }
        let refusal = writing(by_header(), options("other")).expect_err("two keys");
        assert_eq!(refusal.fact("field"), Some("idempotency_key"));
    }
}
