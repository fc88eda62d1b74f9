//! Closed vocabularies of a memory: tier, kind and scope.
//!
//! Invariants: the numbers are stored and sent, so they never change meaning; an unknown number or
//! name is refused, never mapped to a default.
//!
//! Not here: what a tier's lifetime is (configuration) and who is in a scope (`agent`).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::Invalid;

macro_rules! vocabulary {
    ($(#[$doc:meta])* $name:ident, $field:literal { $($(#[$vdoc:meta])* $variant:ident = $number:literal $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        #[repr(u8)]
        pub enum $name { $($(#[$vdoc])* $variant = $number),+ }

        impl $name {
            /// All values, in order of their numbers.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The stored number.
            pub fn number(self) -> u8 {
                self as u8
            }

            /// The value with this stored number.
            ///
            /// # Errors
            /// [`Invalid`] for a number that no value has.
            pub fn from_number(number: u32) -> Result<Self, Invalid> {
                match number {
                    $($number => Ok($name::$variant),)+
                    other => Err(Invalid::new($field, format!("unknown value {other}"))),
                }
            }

            /// The name used in text.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                match text {
                    $($text => Ok($name::$variant),)+
                    other => Err(Invalid::new($field, format!(
                        "unknown value {other:?}; use one of {}",
                        [$($text),+].join(", "),
                    ))),
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = Invalid;

            fn try_from(text: String) -> Result<Self, Invalid> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.as_str().to_owned()
            }
        }
    };
}
pub(crate) use vocabulary;

vocabulary! {
    /// How long a memory lives by default. Ordered: a greater tier lives longer.
    Tier, "tier" {
        /// Hours.
        Short = 1 "short",
        /// Days.
        Mid = 2 "mid",
        /// For ever.
        Long = 3 "long",
    }
}

vocabulary! {
    /// What a memory is.
    Kind, "kind" {
        /// Something noticed.
        Observation = 1 "observation",
        /// Something asserted to be true.
        Claim = 2 "claim",
        /// Something that happened.
        Event = 3 "event",
        /// Something decided.
        Decision = 4 "decision",
        /// Something wanted.
        Goal = 5 "goal",
        /// A way to a goal.
        Plan = 6 "plan",
        /// One part of a plan.
        Step = 7 "step",
        /// A piece of dialogue.
        Conversation = 8 "conversation",
        /// How something is to be done.
        Instruction = 9 "instruction",
        /// An idea with a name.
        Concept = 10 "concept",
        /// A thing, place or person.
        Entity = 11 "entity",
        /// A stated relation between entities.
        Relation = 12 "relation",
        /// A conclusion drawn from other memories; carries a depth.
        Reflection = 13 "reflection",
        /// A versioned description of an entity's manner.
        Persona = 14 "persona",
    }
}

vocabulary! {
    /// Who may see a memory. Ordered: a greater scope is seen by more agents.
    Scope, "scope" {
        /// Its author.
        Private = 1 "private",
        /// Agents of the author's team.
        Team = 2 "team",
        /// Agents of the author's unit.
        Unit = 3 "unit",
        /// Agents of the author's organisation.
        Org = 4 "org",
        /// Every agent.
        Collective = 5 "collective",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_round_trip() {
        for kind in Kind::ALL {
            assert_eq!(kind.as_str().parse::<Kind>().as_ref(), Ok(kind));
            assert_eq!(Kind::from_number(u32::from(kind.number())).as_ref(), Ok(kind));
        }
        assert!("secret".parse::<Scope>().expect_err("unknown").problem.contains("collective"));
        assert_eq!(Tier::from_number(0).expect_err("unknown").field, "tier");
    }
}
