//! Who must agree before something happens.
//!
//! Invariant: `GOV-5` whether a set of approvals suffices depends on the requirement and the
//! approving agents' registrations alone, so every member of the root decides alike.
//!
//! Not here: collecting approvals (the root's state machine).

use std::fmt;

use crate::{
    Affiliation, AgentId, Invalid,
    codec::fields::{Element, Fields, Message, Wire, number, put_number, text},
    root_limits::APPROVALS_MAX,
};

/// Who must approve an action.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Approver {
    /// Nobody.
    None,
    /// One person.
    Human,
    /// One named agent.
    Agent(AgentId),
    /// One agent of this organisation, unit or team.
    Group(Affiliation),
    /// So many distinct agents.
    Consensus {
        /// How many, 1 to [`APPROVALS_MAX`].
        needed: u32,
    },
}

impl Approver {
    /// Checks ranges.
    ///
    /// # Errors
    /// [`Invalid`] for a consensus of none or too many, and for a group without a name.
    pub fn check(&self) -> Result<(), Invalid> {
        match self {
            Approver::Consensus { needed } if *needed == 0 || *needed > APPROVALS_MAX => {
                let problem = format!("a consensus needs 1 to {APPROVALS_MAX} agents");
                Err(Invalid::new("approver", problem))
            }
            Approver::Group(group) if group.as_str().is_empty() => {
                Err(Invalid::new("approver", "a group needs a name such as org/unit"))
            }
            _ => Ok(()),
        }
    }

    /// Whether one who must satisfy `self` satisfies `parent` thereby. Everything tightens nobody; a
    /// group tightens a group it is part of; a consensus tightens a smaller one; else only equals.
    pub fn tightens(&self, parent: &Approver) -> bool {
        match (self, parent) {
            (_, Approver::None) => true,
            (Approver::Group(inner), Approver::Group(outer)) => is_within(inner, outer),
            (Approver::Consensus { needed }, Approver::Consensus { needed: least }) => {
                needed >= least
            }
            (own, parent) => own == parent,
        }
    }

    /// Whether an agent's approval counts towards this requirement.
    pub fn admits(&self, agent: &AgentId, affiliation: &Affiliation, human: bool) -> bool {
        match self {
            Approver::None => false,
            Approver::Human => human,
            Approver::Agent(named) => named == agent,
            Approver::Group(group) => is_within(affiliation, group),
            Approver::Consensus { .. } => true,
        }
    }

    /// How many distinct admitted agents suffice.
    pub fn needed(&self) -> u32 {
        match self {
            Approver::None => 0,
            Approver::Human | Approver::Agent(_) | Approver::Group(_) => 1,
            Approver::Consensus { needed } => *needed,
        }
    }
}

/// Whether `inner` is `outer` or a part of it.
fn is_within(inner: &Affiliation, outer: &Affiliation) -> bool {
    let rest = inner.as_str().strip_prefix(outer.as_str());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl fmt::Display for Approver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Approver::None => f.write_str("none"),
            Approver::Human => f.write_str("human"),
            Approver::Agent(agent) => write!(f, "agent:{agent}"),
            Approver::Group(group) => write!(f, "group:{}", group.as_str()),
            Approver::Consensus { needed } => write!(f, "consensus:{needed}"),
        }
    }
}

impl std::str::FromStr for Approver {
    type Err = Invalid;

    /// Reads the form that is shown.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let unknown = || {
            Invalid::new("approver", "use none, human, agent:NAME, group:PATH or consensus:NUMBER")
        };
        let approver = match text.split_once(':') {
            None if text == "none" => Approver::None,
            None if text == "human" => Approver::Human,
            Some(("agent", name)) => Approver::Agent(name.parse()?),
            Some(("group", path)) => Approver::Group(path.parse()?),
            Some(("consensus", needed)) => {
                Approver::Consensus { needed: needed.parse().map_err(|_| unknown())? }
            }
            _ => return Err(unknown()),
        };
        approver.check()?;
        Ok(approver)
    }
}

/// Fields: 1 kind (0 none, 1 human), 2 agent, 3 group, 4 consensus.
impl Message for Approver {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Approver::None => {}
            Approver::Human => put_number(1, 1, out),
            Approver::Agent(agent) => agent.put(2, out),
            Approver::Group(group) => group.put(3, out),
            Approver::Consensus { needed } => put_number(4, u64::from(*needed), out),
        }
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, Invalid> {
        let tag = fields.next_tag()?;
        let approver = match (tag, fields.take(tag)?) {
            (0, _) | (_, None) => Approver::None,
            (1, Some(Wire::Number(1))) => Approver::Human,
            (2, Some(wire)) => Approver::Agent(AgentId::get(wire)?),
            (3, Some(wire)) => Approver::Group(text(wire)?.parse()?),
            (4, Some(wire)) => Approver::Consensus { needed: number(wire)? },
            _ => return Err(Invalid::new("approver", "is of an unknown kind")),
        };
        approver.check()?;
        Ok(approver)
    }
}

crate::proto_element!(Approver);
