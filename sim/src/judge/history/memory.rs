//! Memories as clients and observers see them, and what is known of a federation before it begins.
//!
//! Invariant: a field's name and value are those of the node's answer, so that two nodes that answer alike
//! are alike here.
//!
//! Not here: what may be seen where (the judges ask [`Federation`]).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use types::NamespaceGlob;

/// A memory in an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// Its id.
    pub id: String,
    /// Its namespace.
    pub namespace: String,
    /// Who made it.
    pub author: String,
    /// Fields that clients change, by name: `content`, `priority`, `expires`, `tag:NAME`. A tag that is
    /// not there has no entry.
    pub fields: BTreeMap<String, String>,
    /// Ids of the other memories that are shown as one with it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub other_ids: BTreeSet<String>,
    /// Everything else of the answer, in canonical form; empty where nobody compares it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rest: String,
    /// Links that touch it; empty where nobody looked.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub links: BTreeSet<String>,
}

impl Seen {
    /// All ids under which it is known.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        [&self.id].into_iter().chain(&self.other_ids).map(String::as_str)
    }
}

/// What is known of a federation before it begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Federation {
    /// Namespaces that a peer may see, by its name; a peer that is not named may see everything.
    pub scopes: BTreeMap<String, Vec<String>>,
    /// Agents whose operations the peers refuse of each other.
    pub refused_agents: BTreeSet<String>,
    /// Nodes that must have a write before it is acknowledged.
    pub quorum: u64,
    /// Longest time until all peers show the same, microseconds, from when the last fault is over and the
    /// last change was answered.
    pub converge_us: u64,
}

impl Federation {
    /// Whether a peer may see a namespace.
    pub fn sees(&self, peer: &str, namespace: &str) -> bool {
        let Some(globs) = self.scopes.get(peer) else { return true };
        let Ok(namespace) = namespace.parse() else { return false };
        let globs = globs.iter().filter_map(|glob| glob.parse::<NamespaceGlob>().ok());
        globs.into_iter().any(|glob| glob.matches(&namespace))
    }

    /// Whether a peer must have what an agent did in a namespace.
    pub fn must_have(&self, peer: &str, seen: &Seen) -> bool {
        self.sees(peer, &seen.namespace) && !self.refused_agents.contains(&seen.author)
    }
}
