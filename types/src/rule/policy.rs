//! What a namespace asks for, and when a child contradicts its parent.
//!
//! A policy's every setting is optional; what it leaves out it inherits from the nearest ancestor
//! that says it. What it says must tighten what it would inherit, field by field:
//!
//! | field | a child may |
//! |---|---|
//! | `access`: who | name agents that the parent's patterns cover |
//! | `access`: approver | ask for one that [tightens](Approver::tightens) the parent's |
//! | `reflection_depth_max` | lower it |
//! | `required_scope` | narrow it |
//! | `hot_keys` | add some; they add up, so nothing contradicts |
//! | `residency` | name places that the parent's patterns cover |
//! | `retention_days` | shorten it |
//! | `pii` | raise it: allow, flag, redact, refuse |
//!
//! Invariant: `GOV-2` a child namespace only tightens what its ancestors say.
//!
//! Not here: operator rules, which add to policies and never loosen them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use super::{Approver, Pattern};
use crate::{
    AgentId, Invalid, Namespace, Scope,
    kinds::vocabulary,
    root_limits::{PATTERNS_MAX, RETENTION_DAYS_MAX},
};

vocabulary! {
    /// What a request does, as far as rules care.
    Operation, "operation" {
        /// Storing or updating a memory.
        Write = 1 "write",
        /// Reading or recalling one.
        Read = 2 "read",
        /// Deleting, archiving or forgetting one.
        Delete = 3 "delete",
        /// Raising its tier.
        Promote = 4 "promote",
        /// Linking two, or taking a link back.
        Link = 5 "link",
        /// Taking memories out in bulk: export, backup of a namespace.
        Export = 6 "export",
    }
}

vocabulary! {
    /// What becomes of personal data. Ordered: greater is stricter.
    Pii, "pii" {
        /// It is kept as it comes.
        Allow = 1 "allow",
        /// It is marked.
        Flag = 2 "flag",
        /// It is marked, and left out of what readers get.
        Redact = 3 "redact",
        /// It is not accepted.
        Refuse = 4 "refuse",
    }
}

crate::proto_vocabulary!(Operation, Pii);

/// Agents by their names' patterns; nobody when empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Who(pub BTreeSet<Pattern>);

impl Who {
    /// Every agent.
    pub fn any() -> Self {
        Self([Pattern::any()].into())
    }

    /// Whether the agent is one of them.
    pub fn includes(&self, agent: &AgentId) -> bool {
        self.0.iter().any(|pattern| pattern.matches(agent.as_str()))
    }

    fn tightens(&self, parent: &Who) -> bool {
        covered(&self.0, &parent.0)
    }
}

/// Whether each pattern of `inner` is covered by one of `outer`.
fn covered(inner: &BTreeSet<Pattern>, outer: &BTreeSet<Pattern>) -> bool {
    inner.iter().all(|one| outer.iter().any(|wide| wide.covers(one)))
}

impl FromStr for Who {
    type Err = Invalid;

    /// Reads patterns separated by commas; the empty text is nobody.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let patterns = text.split(',').filter(|part| !part.is_empty()).map(str::parse);
        patterns.collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(Pattern::as_str).collect::<Vec<_>>().join(","))
    }
}

/// Who may do something, and who must approve it each time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Who may.
    pub who: Who,
    /// Who must approve.
    pub approver: Approver,
}

/// What a policy says; what it leaves out is inherited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Who may do what; an operation that no policy names is open to every agent.
    pub access: BTreeMap<Operation, Access>,
    /// Greatest depth of a reflection.
    pub reflection_depth_max: Option<u8>,
    /// Scope that every memory here must have.
    pub required_scope: Option<Scope>,
    /// Titles whose memories need a fence when written; added to those of ancestors.
    pub hot_keys: BTreeSet<Pattern>,
    /// Places where memories of this namespace may be kept, e.g. `eu-*`; empty leaves it open.
    pub residency: BTreeSet<Pattern>,
    /// Longest time a memory is kept, in days, 1 to [`RETENTION_DAYS_MAX`].
    pub retention_days: Option<u32>,
    /// What becomes of personal data.
    pub pii: Option<Pii>,
}

/// Where a child says less than its parent asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// The setting, e.g. `access.write.who`.
    pub field: String,
    /// What is wrong, in one clause.
    pub problem: String,
}

impl Settings {
    /// Checks lengths and ranges.
    ///
    /// # Errors
    /// [`Invalid`] naming the field.
    pub fn check(&self) -> Result<(), Invalid> {
        let lists = self.access.values().map(|access| &access.who.0);
        if lists.chain([&self.hot_keys, &self.residency]).any(|list| list.len() > PATTERNS_MAX) {
            let problem = format!("a list has more than {PATTERNS_MAX} patterns");
            return Err(Invalid::new("settings", problem));
        }
        for (operation, access) in &self.access {
            access.approver.check()?;
            if *operation == Operation::Read && access.approver != Approver::None {
                return Err(Invalid::new("access", "reading can't wait for an approval"));
            }
        }
        if self.retention_days.is_some_and(|days| days == 0 || days > RETENTION_DAYS_MAX) {
            let problem = format!("use 1 to {RETENTION_DAYS_MAX} days");
            return Err(Invalid::new("retention_days", problem));
        }
        Ok(())
    }

    /// The first setting in which `self`, as a child, does not tighten `parent`. Settings that either
    /// leaves out don't contradict.
    pub fn contradicts(&self, parent: &Settings) -> Option<Contradiction> {
        self.access_contradicts(parent).or_else(|| {
            let depth =
                looser(self.reflection_depth_max, parent.reflection_depth_max, |a, b| a <= b);
            let scope = looser(self.required_scope, parent.required_scope, |a, b| a <= b);
            let days = looser(self.retention_days, parent.retention_days, |a, b| a <= b);
            let pii = looser(self.pii, parent.pii, |a, b| a >= b);
            let sets = !self.residency.is_empty() && !parent.residency.is_empty();
            let places = (sets && !covered(&self.residency, &parent.residency))
                .then(|| "names a place outside the parent's".to_owned());
            let fields = [
                ("reflection_depth_max", depth),
                ("required_scope", scope),
                ("retention_days", days),
                ("pii", pii),
                ("residency", places),
            ];
            fields.into_iter().find_map(|(field, problem)| {
                Some(Contradiction { field: field.to_owned(), problem: problem? })
            })
        })
    }

    fn access_contradicts(&self, parent: &Settings) -> Option<Contradiction> {
        self.access.iter().find_map(|(operation, own)| {
            let above = parent.access.get(operation)?;
            if !own.who.tightens(&above.who) {
                let field = format!("access.{operation}.who");
                let problem = format!("{} goes beyond {}", own.who, above.who);
                return Some(Contradiction { field, problem });
            }
            if !own.approver.tightens(&above.approver) {
                let field = format!("access.{operation}.approver");
                let problem = format!("{} is less than {}", own.approver, above.approver);
                return Some(Contradiction { field, problem });
            }
            None
        })
    }
}

/// What is wrong when both are set and `own` does not tighten `parent`.
fn looser<T: Copy + fmt::Display>(
    own: Option<T>,
    parent: Option<T>,
    tightens: impl Fn(T, T) -> bool,
) -> Option<String> {
    let (own, parent) = (own?, parent?);
    (!tightens(own, parent)).then(|| format!("{own} is looser than {parent}"))
}

/// The rules of one namespace and those below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespacePolicy {
    /// Where it applies.
    pub namespace: Namespace,
    /// Log index of its last change in the root; newer replaces older.
    pub version: u64,
    /// What it says.
    pub settings: Settings,
}

impl crate::codec::fields::Element for Who {
    fn put(&self, tag: u32, out: &mut Vec<u8>) {
        crate::codec::fields::put_bytes(tag, self.joined().as_bytes(), out);
    }

    fn get(wire: crate::codec::fields::Wire<'_>) -> Result<Self, Invalid> {
        let patterns = crate::codec::fields::text(wire)?;
        patterns
            .split('\n')
            .filter(|part| !part.is_empty())
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    fn is_absent(&self) -> bool {
        self.0.is_empty()
    }

    fn absent() -> Result<Self, Invalid> {
        Ok(Self(BTreeSet::new()))
    }
}

impl Who {
    /// The patterns on lines: none contains a control character.
    fn joined(&self) -> String {
        self.0.iter().map(Pattern::as_str).collect::<Vec<_>>().join("\n")
    }
}

crate::proto_message!(Access { 1 => who, 2 => approver });
crate::proto_message!(Settings {
    1 => access,
    2 => reflection_depth_max,
    3 => required_scope,
    4 => hot_keys,
    5 => residency,
    6 => retention_days,
    7 => pii,
});
crate::proto_message!(NamespacePolicy { 1 => namespace, 2 => version, 3 => settings });
