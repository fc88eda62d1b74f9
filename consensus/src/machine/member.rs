//! The cluster's name, and the nodes of all tiers.
//!
//! A registry that describes: where a node is, what it is called, what it may be relied on for. Who
//! votes in the group is decided by the group's own membership.
//!
//! Invariant: `MEM-1` the cluster id is set once, before there are members.
//!
//! Not here: boot epochs (`epoch`), membership of the Raft group (`raft`).

use std::{collections::BTreeMap, fmt, str::FromStr};

use types::{
    Invalid, NodeId, Reason, Reject,
    root_limits::{ENDPOINT_BYTES_MAX, LABEL_BYTES_MAX, LABELS_MAX, MEMBERS_MAX},
};
use uuid::Uuid;

use super::{Machine, effect::Effect, entry::Entry, policy::check_version, response::Response};

/// A cluster, for life: drawn once when it is founded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub Uuid);

impl ClusterId {
    /// The 16 bytes that are stored.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// Reads the 16 stored bytes.
    ///
    /// # Errors
    /// [`Invalid`] when there are not exactly 16 of them.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, Invalid> {
        let problem = |_| Invalid::new("cluster", "an id has 16 bytes");
        Uuid::from_slice(bytes).map(Self).map_err(problem)
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ClusterId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let problem = |_| Invalid::new("cluster", format!("{text:?} is not a UUID"));
        Uuid::try_parse(text).map(Self).map_err(problem)
    }
}

/// What a node is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// It votes in the root.
    Voter = 1,
    /// It follows the root's log.
    Learner = 2,
    /// It keeps memories with its peers.
    Peer = 3,
    /// It pulls from a region.
    Leaf = 4,
}

impl Role {
    /// The stored number.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The role with this number.
    ///
    /// # Errors
    /// [`Invalid`] for a number that no role has.
    pub fn from_number(number: u32) -> Result<Self, Invalid> {
        match number {
            1 => Ok(Self::Voter),
            2 => Ok(Self::Learner),
            3 => Ok(Self::Peer),
            4 => Ok(Self::Leaf),
            _ => Err(Invalid::new("role", format!("unknown value {number}"))),
        }
    }

    /// The role in a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Voter => "voter",
            Self::Learner => "learner",
            Self::Peer => "peer",
            Self::Leaf => "leaf",
        }
    }
}

impl FromStr for Role {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "voter" => Ok(Self::Voter),
            "learner" => Ok(Self::Learner),
            "peer" => Ok(Self::Peer),
            "leaf" => Ok(Self::Leaf),
            _ => Err(Invalid::new("role", "use voter, learner, peer or leaf")),
        }
    }
}

/// Founds the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Init {
    /// Its id, drawn by the caller.
    pub cluster: ClusterId,
}

/// Registers a node, or replaces what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutMember {
    /// The node.
    pub member: Member,
    /// The version that it replaces, 0 for none; `None` replaces whatever is there.
    pub expected_version: Option<u64>,
}

/// Takes a node out of the registry. Its boot epoch stays known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoveMember {
    /// Which.
    pub node: NodeId,
}

/// A registered node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub node: NodeId,
    /// Where it is reached, e.g. `10.0.0.1:7700`: 1 to 256 visible characters.
    pub endpoint: String,
    /// Where it stands: rack, dc, region and what else operators say; at most 16.
    pub labels: BTreeMap<String, String>,
    /// Its Ed25519 public key.
    pub public_key: [u8; 32],
    /// What it is there for.
    pub role: Role,
    /// Log index of the last change; whatever a command says is replaced.
    pub version: u64,
}

/// The cluster and its nodes.
#[derive(Clone, Debug, Default)]
pub(super) struct Members {
    pub cluster: Option<ClusterId>,
    pub nodes: BTreeMap<NodeId, Member>,
    pub version: u64,
}

types::proto_id!(ClusterId);
types::proto_vocabulary!(Role);
types::proto_message!(Init { 1 => cluster });
types::proto_message!(PutMember { 1 => member, 2 => expected_version });
types::proto_message!(RemoveMember { 1 => node });
types::proto_message!(Member {
    1 => node,
    2 => endpoint,
    3 => labels,
    4 => public_key,
    5 => role,
    6 => version,
});
types::proto_message!(Members { 1 => cluster, 2 => nodes, 3 => version });

impl Member {
    fn check(&self) -> Result<(), Invalid> {
        let is_visible = |text: &str| text.chars().all(|c| !c.is_whitespace() && !c.is_control());
        let is_label =
            |text: &str| !text.is_empty() && text.len() <= LABEL_BYTES_MAX && is_visible(text);
        let endpoint = &self.endpoint;
        if endpoint.is_empty() || endpoint.len() > ENDPOINT_BYTES_MAX || !is_visible(endpoint) {
            let problem = format!("needs 1 to {ENDPOINT_BYTES_MAX} visible characters");
            return Err(Invalid::new("endpoint", problem));
        }
        let valid = self.labels.iter().all(|(name, value)| is_label(name) && is_label(value));
        if self.labels.len() > LABELS_MAX || !valid {
            let problem = format!("at most {LABELS_MAX}, each of 1 to {LABEL_BYTES_MAX} bytes");
            return Err(Invalid::new("labels", problem));
        }
        Ok(())
    }
}

impl Members {
    /// The cluster, once it is founded.
    pub fn founded(&self) -> Result<ClusterId, Reject> {
        let detail = "the cluster is not founded yet: init comes first";
        self.cluster.ok_or_else(|| Reject::new(Reason::FailedPrecondition, detail))
    }
}

impl Machine {
    pub(super) fn init(&mut self, entry: &mut Entry, body: &Init) -> Result<Response, Reject> {
        if let Some(cluster) = self.members.cluster {
            let detail = format!("this is cluster {cluster} already");
            return Err(Reject::new(Reason::AlreadyExists, detail).with("cluster", cluster));
        }
        self.members.cluster = Some(body.cluster);
        entry.audit("cluster.init", body.cluster, Vec::new());
        Ok(self.members_changed(entry))
    }

    pub(super) fn put_member(
        &mut self,
        entry: &mut Entry,
        body: &PutMember,
    ) -> Result<Response, Reject> {
        self.members.founded()?;
        body.member.check()?;
        let node = body.member.node;
        let current = self.members.nodes.get(&node).map_or(0, |member| member.version);
        check_version(body.expected_version, current)?;
        if current == 0 && self.members.nodes.len() >= MEMBERS_MAX {
            let detail = format!("{MEMBERS_MAX} nodes are registered");
            return Err(Reject::new(Reason::Overloaded, detail).with("limit", MEMBERS_MAX));
        }
        let member = Member { version: entry.index, ..body.member.clone() };
        let facts =
            vec![("endpoint", member.endpoint.clone()), ("role", member.role.as_str().to_owned())];
        entry.audit("member.put", node, facts);
        self.members.nodes.insert(node, member);
        Ok(self.members_changed(entry))
    }

    pub(super) fn remove_member(
        &mut self,
        entry: &mut Entry,
        body: &RemoveMember,
    ) -> Result<Response, Reject> {
        if self.members.nodes.remove(&body.node).is_none() {
            let detail = format!("node {} is not registered", body.node);
            return Err(Reject::new(Reason::NotFound, detail));
        }
        entry.audit("member.remove", body.node, Vec::new());
        Ok(self.members_changed(entry))
    }

    fn members_changed(&mut self, entry: &mut Entry) -> Response {
        let version = entry.index;
        self.members.version = version;
        entry.effects.push(Effect::MembersChanged { version });
        Response::Version(version)
    }
}
