//! Lock vocabulary: keys, modes, sessions and fencing tokens.
//!
//! Invariant: a fencing token is the log index of its grant, so tokens of one key only grow.
//!
//! Not here: granting (the root's state machine) and enforcing (`storage`).

use std::{fmt, str::FromStr};

use crate::{
    Invalid,
    codec::fields::{Element, Fields, Message, Wire, number, put_number},
    root_limits::{CAPACITY_MAX, LOCK_KEY_BYTES_MAX},
};

/// What a lock is about: 1 to 256 bytes without white space or control characters, e.g.
/// `acme/eng/deploy`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockKey(String);

impl LockKey {
    /// The key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for LockKey {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let is_visible = |c: char| !c.is_whitespace() && !c.is_control();
        if text.is_empty() || text.len() > LOCK_KEY_BYTES_MAX || !text.chars().all(is_visible) {
            return Err(Invalid::new(
                "key",
                format!("needs 1 to {LOCK_KEY_BYTES_MAX} bytes without white space"),
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LockMode {
    /// By one session.
    Exclusive,
    /// By any number of sessions, none of them exclusive.
    Shared,
    /// As a semaphore: by sessions whose permits together are at most its capacity.
    Permits {
        /// How many this session takes, 1 to `capacity`.
        permits: u32,
        /// How many there are, 1 to [`CAPACITY_MAX`]; all who use the key at a time agree.
        capacity: u32,
    },
}

impl LockMode {
    /// Checks the numbers of a semaphore.
    ///
    /// # Errors
    /// [`Invalid`] when they are out of range.
    pub fn check(self) -> Result<Self, Invalid> {
        match self {
            LockMode::Permits { permits, capacity }
                if permits == 0 || permits > capacity || capacity > CAPACITY_MAX =>
            {
                let problem = format!(
                    "{permits} of {capacity}: use 1 to the capacity, at most {CAPACITY_MAX}"
                );
                Err(Invalid::new("permits", problem))
            }
            mode => Ok(mode),
        }
    }

    /// Whether one who holds the key like this needs nothing more to hold it in `other` mode too.
    pub fn covers(self, other: LockMode) -> bool {
        match (self, other) {
            (LockMode::Exclusive, _) | (LockMode::Shared, LockMode::Shared) => true,
            (
                LockMode::Permits { permits: held, capacity: of },
                LockMode::Permits { permits, capacity },
            ) => of == capacity && held >= permits,
            _ => false,
        }
    }

    /// Whether a key can be used in both modes at a time by different sessions, permits permitting:
    /// both shared, or both of one semaphore.
    pub fn is_alike(self, other: LockMode) -> bool {
        match (self, other) {
            (LockMode::Shared, LockMode::Shared) => true,
            (LockMode::Permits { capacity: a, .. }, LockMode::Permits { capacity: b, .. }) => {
                a == b
            }
            _ => false,
        }
    }
}

impl fmt::Display for LockMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockMode::Exclusive => f.write_str("exclusive"),
            LockMode::Shared => f.write_str("shared"),
            LockMode::Permits { permits, capacity } => write!(f, "{permits}/{capacity}"),
        }
    }
}

impl FromStr for LockMode {
    type Err = Invalid;

    /// Reads `exclusive`, `shared` or permits such as `2/5`.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let permits = |(permits, capacity): (&str, &str)| {
            Some(LockMode::Permits {
                permits: permits.parse().ok()?,
                capacity: capacity.parse().ok()?,
            })
        };
        match text {
            "exclusive" => Ok(LockMode::Exclusive),
            "shared" => Ok(LockMode::Shared),
            _ => text
                .split_once('/')
                .and_then(permits)
                .ok_or_else(|| Invalid::new("mode", "use exclusive, shared or PERMITS/CAPACITY"))?
                .check(),
        }
    }
}

/// One number: 0 exclusive, 1 shared, else `permits << 32 | capacity`.
impl Element for LockMode {
    fn put(&self, tag: u32, out: &mut Vec<u8>) {
        let number = match self {
            LockMode::Exclusive => 0,
            LockMode::Shared => 1,
            LockMode::Permits { permits, capacity } => {
                u64::from(*permits) << 32 | u64::from(*capacity)
            }
        };
        put_number(tag, number, out);
    }

    fn get(wire: Wire<'_>) -> Result<Self, Invalid> {
        match number::<u64>(wire)? {
            0 => Ok(LockMode::Exclusive),
            1 => Ok(LockMode::Shared),
            n => LockMode::Permits { permits: (n >> 32) as u32, capacity: n as u32 }.check(),
        }
    }

    fn is_absent(&self) -> bool {
        *self == LockMode::Exclusive
    }

    fn absent() -> Result<Self, Invalid> {
        Ok(LockMode::Exclusive)
    }
}

macro_rules! index_id {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                let problem = || Invalid::new("id", format!("{text:?} is not a number"));
                text.parse().map(Self).map_err(|_| problem())
            }
        }

        impl Element for $name {
            fn put(&self, tag: u32, out: &mut Vec<u8>) {
                put_number(tag, self.0, out);
            }

            fn get(wire: Wire<'_>) -> Result<Self, Invalid> {
                number(wire).map(Self)
            }

            fn is_absent(&self) -> bool {
                self.0 == 0
            }

            fn absent() -> Result<Self, Invalid> {
                Ok(Self(0))
            }
        }
    )+};
}

index_id!(
    /// A fencing token: greater means granted later. 0 is no token.
    Fence,
    /// A client's session with the root: the log index of the entry that opened it.
    SessionId,
    /// A place in the queues of one request's keys: the log index of the request. Smaller is served first.
    WaitId,
    /// A pending action: the log index of its proposal.
    ActionId,
);

/// A key and how it is wanted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Want {
    /// Which key.
    pub key: LockKey,
    /// How.
    pub mode: LockMode,
}

impl Message for Want {
    fn write(&self, out: &mut Vec<u8>) {
        self.key.put(1, out);
        crate::codec::fields::Field::write_field(&self.mode, 2, out);
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, Invalid> {
        use crate::codec::fields::Field;
        Ok(Self { key: LockKey::read_field(1, fields)?, mode: LockMode::read_field(2, fields)? })
    }
}

crate::proto_element!(Want);
crate::proto_text!(LockKey);

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(text: &str) -> LockMode {
        text.parse().expect("a mode")
    }

    #[test]
    fn keys_are_visible_text_within_bounds() {
        assert!("acme/eng#deploy".parse::<LockKey>().is_ok());
        assert!("k".repeat(LOCK_KEY_BYTES_MAX).parse::<LockKey>().is_ok());
        for bad in ["", "a b", "a\n", &"k".repeat(LOCK_KEY_BYTES_MAX + 1)] {
            assert_eq!(bad.parse::<LockKey>().expect_err(bad).field, "key");
        }
    }

    #[test]
    fn modes_are_read_as_they_are_shown() {
        for text in ["exclusive", "shared", "1/1", "2/1024"] {
            assert_eq!(mode(text).to_string(), text);
        }
        for bad in ["", "both", "0/2", "3/2", "1/1025", "1/x"] {
            assert!(bad.parse::<LockMode>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_holder_covers_what_is_weaker() {
        assert!(mode("exclusive").covers(mode("shared")) && mode("exclusive").covers(mode("1/2")));
        assert!(mode("shared").covers(mode("shared")) && !mode("shared").covers(mode("exclusive")));
        assert!(mode("2/3").covers(mode("1/3")) && !mode("1/3").covers(mode("2/3")));
        assert!(!mode("2/3").covers(mode("1/4")) && !mode("2/3").covers(mode("shared")));
        assert!(
            !mode("exclusive").is_alike(mode("exclusive")) && mode("1/3").is_alike(mode("3/3"))
        );
        assert!(!mode("1/3").is_alike(mode("1/4")) && !mode("1/3").is_alike(mode("shared")));
    }

    #[test]
    fn wants_round_trip() {
        for text in ["exclusive", "shared", "2/5"] {
            let want = Want { key: "a".parse().expect("a key"), mode: mode(text) };
            let bytes = crate::codec::fields::encode(&want);
            assert_eq!(crate::codec::fields::decode("want", &bytes, 100), Ok(want));
        }
    }
}
