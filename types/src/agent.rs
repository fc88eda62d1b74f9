//! Agents, where they belong, and the audience a memory's scope stands for.
//!
//! Invariants: `VIS-1` an agent sees a memory exactly when the memory's [`Audience`] is one of the
//! agent's [`Affiliation::audiences`]; the audience is fixed when the scope is set, from the
//! author's affiliation at that time, so moving to another team does not reveal old memories.
//!
//! Not here: credentials and how a caller proves who it is (the node's service).

use std::{fmt, str::FromStr};

use crate::{Hlc, Invalid, Scope, limits::AGENT_BYTES_MAX};

/// Name of an agent, 1 to 128 bytes of letters, digits and `-_.:@/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentId(String);

impl AgentId {
    /// The agent of a caller that names none, on a node that asks for no credentials.
    pub fn local() -> Self {
        Self("local".to_owned())
    }

    /// The agent under which a node keeps house.
    pub fn node() -> Self {
        Self("node".to_owned())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for AgentId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.:@/".contains(&b);
        if text.is_empty() || text.len() > AGENT_BYTES_MAX || !text.bytes().all(allowed) {
            return Err(Invalid::new(
                "agent_id",
                format!("needs 1 to {AGENT_BYTES_MAX} letters, digits or '-_.:@/'"),
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// One step of an affiliation: letters, digits, `-` and `_`.
fn part_is_valid(part: &str) -> bool {
    !part.is_empty()
        && part.len() <= AGENT_BYTES_MAX
        && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
}

/// Where an agent belongs: `org`, `org/unit` or `org/unit/team`; empty for an agent on its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Affiliation(String);

impl Affiliation {
    /// The path; empty when there is none.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first `parts` steps of the path, if it has that many.
    fn head(&self, parts: usize) -> Option<&str> {
        if self.0.is_empty() {
            return None;
        }
        let mut ends = self.0.match_indices('/').map(|(at, _)| at).chain([self.0.len()]);
        ends.nth(parts - 1).map(|end| &self.0[..end])
    }

    /// The audience that `scope` stands for when `author`, who belongs here, uses it.
    ///
    /// # Errors
    /// [`Invalid`] when the scope names a group that the author is not in.
    pub fn audience(&self, author: &AgentId, scope: Scope) -> Result<Audience, Invalid> {
        let group = |parts: usize, name: &str| match self.head(parts) {
            Some(path) => Ok(Audience(format!("group:{path}"))),
            None => Err(Invalid::new(
                "scope",
                format!(
                    "{scope} needs an author with a {name}; register agent {author} with --affiliation org/unit/team"
                ),
            )),
        };
        match scope {
            Scope::Private => Ok(Audience(format!("agent:{author}"))),
            Scope::Team => group(3, "team"),
            Scope::Unit => group(2, "unit"),
            Scope::Org => group(1, "organisation"),
            Scope::Collective => Ok(Audience::everyone()),
        }
    }

    /// Every audience that `agent`, who belongs here, is part of.
    pub fn audiences(&self, agent: &AgentId) -> Vec<Audience> {
        Scope::ALL.iter().filter_map(|scope| self.audience(agent, *scope).ok()).collect()
    }
}

impl FromStr for Affiliation {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let parts = text.split('/').count();
        if text.is_empty() || (parts <= 3 && text.split('/').all(part_is_valid)) {
            return Ok(Self(text.to_owned()));
        }
        Err(Invalid::new(
            "affiliation",
            "use org, org/unit or org/unit/team of letters, digits, '-' and '_'",
        ))
    }
}

/// Those who may see a memory: one agent, one group, or everyone. Compared as a whole, never parsed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Audience(String);

impl Audience {
    /// The audience of the collective scope.
    pub fn everyone() -> Self {
        Self("*".to_owned())
    }

    /// The stored form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads the stored form back.
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }
}

impl FromStr for Audience {
    type Err = Invalid;

    /// Reads the form that [`Affiliation::audience`] makes, and nothing else.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let is_valid = match text.split_once(':') {
            None => text == "*",
            Some(("agent", name)) => name.parse::<AgentId>().is_ok(),
            Some(("group", path)) => !path.is_empty() && path.parse::<Affiliation>().is_ok(),
            Some(_) => false,
        };
        if is_valid {
            return Ok(Self(text.to_owned()));
        }
        Err(Invalid::new("audience", "is neither '*', 'agent:NAME' nor 'group:PATH'"))
    }
}

/// A registered agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentRecord {
    /// Its name.
    pub agent_id: AgentId,
    /// Where it belongs.
    pub affiliation: Affiliation,
    /// SHA-256 of its access token, when it has one.
    pub token_sha256: Option<[u8; 32]>,
    /// Its Ed25519 public key, when it signs for itself.
    pub public_key: Option<[u8; 32]>,
    /// Revoked agents are refused at every door.
    pub revoked: bool,
    /// Last change.
    pub changed: Hlc,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, path: &str) -> (AgentId, Affiliation) {
        (name.parse().expect("an agent"), path.parse().expect("an affiliation"))
    }

    #[test]
    fn every_pair_of_scopes_is_seen_by_exactly_its_group() {
        let author = member("ann", "acme/eng/core");
        let readers = [
            (member("ann", "acme/eng/core"), 5),
            (member("bob", "acme/eng/core"), 4),
            (member("cid", "acme/eng/web"), 3),
            (member("dee", "acme/ops/core"), 2),
            (member("eve", "beta/eng/core"), 1),
            (member("fay", ""), 1),
        ];
        for (reader, seen) in readers {
            let visible = reader.1.audiences(&reader.0);
            let count = Scope::ALL
                .iter()
                .filter(|s| {
                    visible.contains(&author.1.audience(&author.0, **s).expect("full path"))
                })
                .count();
            assert_eq!(count, seen, "VIS-1 for {}", reader.0);
        }
    }

    #[test]
    fn a_prefix_of_a_group_name_is_not_the_group() {
        let (ann, acme) = member("ann", "acme/eng");
        let (bob, acm) = member("bob", "acm/eng");
        let audience = acme.audience(&ann, Scope::Org).expect("has an org");
        assert!(!acm.audiences(&bob).contains(&audience));
        assert_eq!(acme.audience(&ann, Scope::Team).expect_err("no team").field, "scope");
    }

    #[test]
    fn an_agent_cannot_name_itself_into_a_group() {
        let (mallory, none) = member("group:acme", "");
        let (ann, acme) = member("ann", "acme");
        assert!(
            !none
                .audiences(&mallory)
                .contains(&acme.audience(&ann, Scope::Org).expect("has an org"))
        );
    }
}
