//! Agents as the root knows them.
//!
//! Not here: this node's own agents (`admin`).

use wire::v1;

use crate::node::model::governance::{RootAgentInput, RootAgentOut};

/// A registration. A key of the wrong length is refused by the service.
pub(in crate::api::grpc) fn input(request: v1::RegisterRootAgentRequest) -> RootAgentInput {
    let v1::RegisterRootAgentRequest { agent_id, affiliation, human, public_key } = request;
    let public_key = (!public_key.is_empty()).then(|| hex::encode(public_key));
    RootAgentInput { agent_id, affiliation, human, public_key }
}

/// An agent. Keys are hexadecimal inside, bytes on the wire.
pub(in crate::api::grpc) fn agent(out: RootAgentOut) -> v1::RootAgent {
    let bytes = |key: String| hex::decode(key).unwrap_or_default();
    v1::RootAgent {
        agent_id: out.agent_id,
        affiliation: out.affiliation,
        human: out.human,
        revoked: out.revoked,
        public_key: out.public_key.map(bytes).unwrap_or_default(),
        past_keys: out.past_keys.into_iter().map(bytes).collect(),
        version: out.version,
    }
}
