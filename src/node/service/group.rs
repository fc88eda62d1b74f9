//! The group of the root: founding it, its state, who is in it. For operators, but for the state.
//!
//! Not here: how changes are made safe (`consensus::raft`).

use std::collections::BTreeMap;

use consensus::{
    machine::{Body, Readmit},
    raft::{Role, Status},
};
use serde::{Deserialize, Serialize};
use types::{Invalid, Reason, Reject};
use utoipa::ToSchema;

use super::{
    Caller, Reply, Service,
    locks::{certain, deadline},
};

/// A member of the group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MemberInput {
    /// Its number, never given twice.
    #[schema(minimum = 1, maximum = 9007199254740991i64)]
    pub member: u64,
    /// Where the others reach it, `host:port`.
    #[schema(min_length = 1, max_length = 256)]
    pub endpoint: String,
}

/// The first voters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InitInput {
    /// The member that is asked among them.
    #[schema(min_items = 1, max_items = 16)]
    pub members: Vec<MemberInput>,
}

/// Who leads from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TransferInput {
    /// Its number.
    #[schema(minimum = 1, maximum = 9007199254740991i64)]
    pub member: u64,
}

/// A member, as the status shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemberOut {
    /// Its number.
    #[schema(minimum = 1)]
    pub member: u64,
    /// Where the others reach it.
    pub endpoint: String,
    /// Whether it has a vote.
    pub voter: bool,
}

/// How a node sees the root.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RootStatusOut {
    /// UUID of the cluster; absent on a node that is no member.
    pub cluster: Option<String>,
    /// Number of this member; 0 on a node that is no member.
    #[schema(minimum = 0)]
    pub member: u64,
    /// `none`, `learner`, `follower`, `candidate`, `leader` or `stopped`.
    pub role: String,
    /// Its term.
    #[schema(minimum = 0)]
    pub term: u64,
    /// Who leads, as far as it knows.
    pub leader: Option<u64>,
    /// Index of its last entry.
    #[schema(minimum = 0)]
    pub last_index: u64,
    /// Index of the newest entry it knows to be committed.
    #[schema(minimum = 0)]
    pub committed: u64,
    /// Index of the newest entry in its state.
    #[schema(minimum = 0)]
    pub applied: u64,
    /// Index that its snapshot reaches.
    #[schema(minimum = 0)]
    pub snapshot: u64,
    /// All members.
    pub members: Vec<MemberOut>,
    /// Whether the membership is in the middle of a change.
    pub changing: bool,
    /// Whether it is a copy from an older time and takes no part.
    pub fenced: bool,
    /// Whether it has confirmed its copy with a leader since its start, so that its rules count.
    pub confirmed: bool,
    /// Members that remember this member's start: they will know a copy of it from an older time.
    pub known_to: Vec<u64>,
    /// The cluster's epoch, raised by every recovery.
    #[schema(minimum = 0)]
    pub cluster_epoch: u64,
    /// The id under which this member's starts are counted.
    pub node: Option<String>,
    /// Index of the newest entry whose audit rows are durable, as far as there were any.
    #[schema(minimum = 0)]
    pub audited: u64,
    /// Version of the rules it knows.
    #[schema(minimum = 0)]
    pub rules_version: u64,
    /// Actions that wait for a decision.
    #[schema(minimum = 0)]
    pub pending_actions: u64,
    /// Live sessions.
    #[schema(minimum = 0)]
    pub sessions: u64,
    /// Keys that are held, waited for or rest.
    #[schema(minimum = 0)]
    pub locks: u64,
}

/// A node to readmit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReadmitInput {
    /// The id under which its starts are counted, as the refusal of its start and its status name it.
    #[schema(min_length = 36, max_length = 36)]
    pub node: String,
    /// Why, for the audit chain.
    #[schema(min_length = 1, max_length = 1024)]
    pub reason: String,
}

/// Digests of a member's own copy of the state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RootDigestOut {
    /// Index of the newest entry in it.
    #[schema(minimum = 0)]
    pub applied: u64,
    /// SHA-256 of the whole state, hexadecimal: equal on members that have applied the same entries.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub state_sha256: String,
    /// The same of what is decided, without the place in the log, time, and answers kept for retries:
    /// what a refusal leaves as it was.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub decisions_sha256: String,
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Learner => "learner",
        Role::Follower => "follower",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
        Role::Stopped => "stopped",
    }
}

fn members(status: &Status) -> Vec<MemberOut> {
    let members = status.members.iter().map(|(id, member)| MemberOut {
        member: *id,
        endpoint: member.endpoint.clone(),
        voter: status.voters.contains(id),
    });
    members.collect()
}

fn check_endpoint(endpoint: &str) -> Result<(), Invalid> {
    endpoint.parse::<wire::dial::Endpoint>().map(drop)
}

impl Service {
    /// How this node sees the root, without asking anybody.
    pub fn root_status(&self) -> RootStatusOut {
        let Some(root) = self.root() else {
            return RootStatusOut { role: "none".to_owned(), ..RootStatusOut::default() };
        };
        let status = root.status();
        let index = |id: Option<consensus::log::EntryId>| id.map_or(0, |id| id.index);
        let (cluster_epoch, rules_version, pending, sessions, locks) = root.look(|machine| {
            (
                machine.cluster_epoch(),
                machine.rules().version(),
                machine.pending_actions().count() as u64,
                machine.sessions().count() as u64,
                machine.lock_keys().count() as u64,
            )
        });
        RootStatusOut {
            cluster: Some(root.cluster().to_string()),
            member: status.member,
            role: role(status.role).to_owned(),
            term: status.term,
            leader: status.leader,
            last_index: status.last_index.unwrap_or(0),
            committed: index(status.committed),
            applied: index(status.applied),
            snapshot: index(status.snapshot),
            members: members(&status),
            changing: status.is_joint,
            fenced: status.fenced || root.refusal().is_some(),
            confirmed: root.rules().borrow().is_some(),
            known_to: status.known_to.iter().copied().collect(),
            cluster_epoch,
            node: Some(root.start_id().to_string()),
            audited: *root.audited().borrow(),
            rules_version,
            pending_actions: pending,
            sessions,
            locks,
        }
    }

    /// Founds the group, once, on one of its first members.
    ///
    /// # Errors
    /// `forbidden`, `already_exists`, `invalid_argument`.
    pub async fn init_root(&self, caller: &Caller, input: &InitInput) -> Reply<RootStatusOut> {
        caller.require_operator()?;
        let root = self.need_root()?;
        let mut voters = BTreeMap::new();
        for MemberInput { member, endpoint } in &input.members {
            check_endpoint(endpoint)?;
            if *member == 0 || voters.insert(*member, endpoint.clone()).is_some() {
                let problem = format!("{member} is 0 or occurs twice");
                return Err(Invalid::new("members", problem).into());
            }
        }
        root.initialise(voters, deadline(caller)).await?;
        Ok(self.root_status())
    }

    /// Adds a member without a vote.
    ///
    /// # Errors
    /// `forbidden`, `not_leader`.
    pub async fn add_member(&self, caller: &Caller, input: &MemberInput) -> Reply<RootStatusOut> {
        caller.require_operator()?;
        check_endpoint(&input.endpoint)?;
        let root = self.need_root()?;
        let endpoint = input.endpoint.clone();
        certain(root.add_learner(input.member, endpoint, deadline(caller)).await)?;
        Ok(self.root_status())
    }

    /// Gives a member a vote.
    ///
    /// # Errors
    /// `forbidden`, `not_leader`, `not_found`, `failed_precondition`.
    pub async fn promote_member(&self, caller: &Caller, member: u64) -> Reply<RootStatusOut> {
        caller.require_operator()?;
        certain(self.need_root()?.promote(member, deadline(caller)).await)?;
        Ok(self.root_status())
    }

    /// Takes a member out of the group.
    ///
    /// # Errors
    /// `forbidden`, `not_leader`, `not_found`, `failed_precondition`.
    pub async fn remove_member(
        &self,
        caller: &Caller,
        member: u64,
        forced: bool,
    ) -> Reply<RootStatusOut> {
        caller.require_operator()?;
        certain(self.need_root()?.remove(member, forced, deadline(caller)).await)?;
        Ok(self.root_status())
    }

    /// Puts a new member in the place of one that is gone.
    ///
    /// # Errors
    /// `forbidden`, `not_leader`, `failed_precondition`.
    pub async fn replace_member(
        &self,
        caller: &Caller,
        gone: u64,
        input: &MemberInput,
    ) -> Reply<RootStatusOut> {
        caller.require_operator()?;
        check_endpoint(&input.endpoint)?;
        let root = self.need_root()?;
        let endpoint = input.endpoint.clone();
        certain(root.replace(gone, input.member, endpoint, deadline(caller)).await)?;
        Ok(self.root_status())
    }

    /// Hands the leadership over.
    ///
    /// # Errors
    /// `forbidden`, `not_leader`, `invalid_argument`, `deadline_exceeded`.
    pub async fn transfer_root(&self, caller: &Caller, to: u64) -> Reply<RootStatusOut> {
        caller.require_operator()?;
        self.need_root()?.transfer(to, deadline(caller)).await?;
        Ok(self.root_status())
    }

    /// Makes this member write a snapshot.
    ///
    /// # Errors
    /// `forbidden`, `stopping`.
    pub async fn snapshot_root(&self, caller: &Caller) -> Reply<RootStatusOut> {
        caller.require_operator()?;
        self.need_root()?.snapshot().await?;
        Ok(self.root_status())
    }

    /// Digests of this member's own copy of the state. For operators: it reads all of it.
    ///
    /// # Errors
    /// `forbidden`, `unimplemented` on a node that is no member.
    pub fn root_digest(&self, caller: &Caller) -> Reply<RootDigestOut> {
        caller.require_operator()?;
        let digest = |machine: &consensus::machine::Machine| RootDigestOut {
            applied: machine.applied(),
            state_sha256: hex::encode(machine.state_hash()),
            decisions_sha256: hex::encode(machine.decisions_hash()),
        };
        Ok(self.need_root()?.look(digest))
    }

    /// Lets a node take part again whose start was refused, at its next start.
    ///
    /// # Errors
    /// `forbidden`, `not_found`, `invalid_argument`.
    pub async fn readmit(&self, caller: &Caller, input: &ReadmitInput) -> Reply<RootStatusOut> {
        caller.require_operator()?;
        let body =
            Body::Readmit(Readmit { node: input.node.parse()?, reason: input.reason.clone() });
        self.ask_root(caller, body).await?;
        Ok(self.root_status())
    }
}

/// The number of a member in a path.
///
/// # Errors
/// `invalid_argument`.
pub(crate) fn member_number(text: &str) -> Reply<u64> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| {
        Reject::new(Reason::InvalidArgument, "member: needs a number from 1")
            .with("field", "member")
    })
}
