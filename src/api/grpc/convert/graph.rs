//! Links, walks and changes.
//!
//! Invariant: ids and order come out as the service gave them.
//!
//! Not here: making links (a few fields, taken where they are used).

use types::{Invalid, Relation};
use wire::v1;

use super::{known, memory, number, time_out, validity_out, words};
use crate::node::model::{
    LinkOut,
    graph::{ChangeOut, GraphNode, PathOut},
};

/// Which way to follow links, as the model's word.
///
/// # Errors
/// [`Invalid`] for an unknown number.
pub(in crate::api::grpc) fn direction(number: i32) -> Result<Option<String>, Invalid> {
    let word = match known("direction", number)? {
        v1::Direction::Unspecified => return Ok(None),
        v1::Direction::Outgoing => "outgoing",
        v1::Direction::Incoming => "incoming",
        v1::Direction::Both => "both",
    };
    Ok(Some(word.to_owned()))
}

/// Relations as the model's words.
///
/// # Errors
/// [`Invalid`] naming `relations` for a number that none has.
pub(in crate::api::grpc) fn relations(numbers: &[i32]) -> Result<Vec<String>, Invalid> {
    words::<Relation>("relations", numbers)
}

/// A link as a client reads it.
pub(in crate::api::grpc) fn link(link: LinkOut) -> v1::Link {
    v1::Link {
        id: link.id,
        source_id: link.source,
        target_id: link.target,
        relation: number::<Relation>(&link.relation),
        agent_id: link.agent_id,
        validity: validity_out(link.valid_from, link.valid_until),
        created_at: time_out(&link.created_at),
    }
}

/// A memory at some distance.
pub(in crate::api::grpc) fn graph_node(node: GraphNode) -> v1::GraphNode {
    v1::GraphNode { memory: Some(memory(node.memory)), distance: node.distance }
}

/// One way between two memories.
pub(in crate::api::grpc) fn path(path: PathOut) -> v1::Path {
    v1::Path { memory_ids: path.nodes, link_ids: path.links }
}

/// A change as a watcher or a timeline shows it.
pub(in crate::api::grpc) fn change(change: ChangeOut) -> v1::Change {
    v1::Change {
        position: change.position,
        op_id: change.op,
        occurred_at: time_out(&change.at),
        agent_id: change.agent_id,
        event_type: change.event_type,
        memory_id: change.memory_id.unwrap_or_default(),
        memory: change.memory.map(memory),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_walks_are_known_or_refused() {
        assert_eq!(direction(0), Ok(None));
        assert_eq!(direction(2), Ok(Some("incoming".into())));
        assert_eq!(direction(4).expect_err("unknown").field, "direction");
        assert_eq!(relations(&[2, 8]), Ok(vec!["supersedes".into(), "advances".into()]));
        assert_eq!(relations(&[9]).expect_err("unknown").field, "relations");
    }
}
