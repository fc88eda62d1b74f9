//! Which nodes a cluster has, and which of them belong together.
//!
//! Invariant: names and numbers are the same each time a shape is asked for.
//!
//! Not here: where they listen, what they run on.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The nodes of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Shape {
    /// One node.
    Single,
    /// So many voters of a root.
    Root(u8),
    /// So many peers.
    Mesh(u8),
    /// Three voters of a root, and six peers in two regions.
    Hive,
}

/// What a node is there for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// It stands alone.
    Alone,
    /// It decides: a voter of the root, by its number from 1.
    Voter(u64),
    /// It shares its memories with the other peers.
    Peer,
}

/// A node to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Its name, a word.
    pub name: String,
    /// What it is there for.
    pub part: Part,
    /// The region it is in, if there are several.
    pub region: Option<&'static str>,
}

const REGIONS: [&str; 2] = ["east", "west"];
const PEERS_OF_A_REGION: u8 = 3;
const VOTERS: u8 = 3;
/// Most voters and most peers of a shape: more than one machine makes sense for.
const NODES_MAX: u8 = 9;
/// The shapes, for messages.
const KNOWN: &str = "single, root3 (root1 to root9), mesh3 or mesh5 (mesh2 to mesh9), hive";

impl Shape {
    /// Its nodes, those that decide first.
    pub fn nodes(self) -> Vec<Planned> {
        let planned = |name, part| Planned { name, part, region: None };
        let voters = |count: u8| {
            (1..=u64::from(count)).map(move |n| planned(format!("r{n}"), Part::Voter(n)))
        };
        match self {
            Self::Single => vec![planned("n1".to_owned(), Part::Alone)],
            Self::Root(count) => voters(count).collect(),
            Self::Mesh(count) => {
                (1..=count).map(|n| planned(format!("n{n}"), Part::Peer)).collect()
            }
            Self::Hive => {
                let of = |region: &'static str| {
                    (1..=PEERS_OF_A_REGION).map(move |n| Planned {
                        name: format!("{region}{n}"),
                        part: Part::Peer,
                        region: Some(region),
                    })
                };
                voters(VOTERS).chain(REGIONS.into_iter().flat_map(of)).collect()
            }
        }
    }

    /// Nodes that must have a write before it is acknowledged, where that is no majority. Regions go on without each
    /// other: two copies are enough, and the other region has it a moment later.
    pub fn quorum(self) -> Option<u32> {
        (self == Self::Hive).then_some(2)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single => write!(f, "single"),
            Self::Root(count) => write!(f, "root{count}"),
            Self::Mesh(count) => write!(f, "mesh{count}"),
            Self::Hive => write!(f, "hive"),
        }
    }
}

impl From<Shape> for String {
    fn from(shape: Shape) -> Self {
        shape.to_string()
    }
}

impl TryFrom<String> for Shape {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || format!("{text:?} is no shape; choose one of {KNOWN}");
        let count = |digits: &str, least: u8| {
            let count = digits.parse().ok().filter(|count| (least..=NODES_MAX).contains(count));
            count.ok_or_else(unknown)
        };
        match text {
            "single" => Ok(Self::Single),
            "hive" => Ok(Self::Hive),
            _ if text.starts_with("root") => Ok(Self::Root(count(&text[4..], 1)?)),
            _ if text.starts_with("mesh") => Ok(Self::Mesh(count(&text[4..], 2)?)),
            _ => Err(unknown()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_shape_has_its_nodes() {
        let shapes = [("single", 1), ("root3", 3), ("mesh3", 3), ("mesh5", 5), ("hive", 9)];
        for (name, count) in shapes {
            let shape: Shape = name.parse().unwrap();
            assert_eq!(shape.to_string(), name);
            let nodes = shape.nodes();
            assert_eq!(nodes.len(), count, "{name}");
            let names: BTreeSet<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
            assert_eq!(names.len(), count, "{name}");
        }
        for wrong in ["ring", "mesh", "mesh1", "mesh10", "root0", "root03x", ""] {
            assert!(wrong.parse::<Shape>().unwrap_err().contains("mesh5"), "{wrong}");
        }
    }
}
