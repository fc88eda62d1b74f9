//! Refusals as bytes: answers that are kept for retries and sent between members of the root.
//!
//! Invariant: reason, detail and facts come out as they went in; a fact whose name is not in the
//! list is refused rather than dropped.
//!
//! Not here: what doors say to a reason (`wire`).

use super::fields::{Fields, Message};
use crate::{Invalid, Reason, Reject};

/// Names of the facts that the root's refusals carry, sorted.
pub const ROOT_FACTS: &[&str] = &[
    "action",
    "agent",
    "child",
    "cluster",
    "current_epoch",
    "current_fence",
    "current_version",
    "decided_at",
    "decided_by",
    "field",
    "holder",
    "key",
    "keys",
    "limit",
    "oldest_seq",
    "outcome",
    "parent",
    "retry_after_ms",
    "rule",
    "rules_version",
    "session",
    "version",
];

struct Fact {
    name: String,
    value: String,
}

struct RejectMessage {
    reason: String,
    detail: String,
    facts: Vec<Fact>,
}

crate::proto_message!(Fact { 1 => name, 2 => value });
crate::proto_message!(RejectMessage { 1 => reason, 2 => detail, 3 => facts });

impl Message for Reject {
    fn write(&self, out: &mut Vec<u8>) {
        let fact = |(name, value): &(&str, String)| {
            debug_assert!(ROOT_FACTS.binary_search(name).is_ok(), "{name} is not listed");
            Fact { name: (*name).to_owned(), value: value.clone() }
        };
        RejectMessage {
            reason: self.reason.code().to_owned(),
            detail: self.detail.clone(),
            facts: self.facts.iter().map(fact).collect(),
        }
        .write(out);
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, Invalid> {
        let message = RejectMessage::read(fields)?;
        let reason = Reason::from_code(&message.reason)
            .ok_or_else(|| Invalid::new("reason", format!("{:?} is unknown", message.reason)))?;
        let fact = |fact: Fact| match ROOT_FACTS.binary_search(&fact.name.as_str()) {
            Ok(at) => Ok((ROOT_FACTS[at], fact.value)),
            Err(_) => Err(Invalid::new("facts", format!("{:?} is unknown", fact.name))),
        };
        let facts = message.facts.into_iter().map(fact).collect::<Result<_, _>>()?;
        Ok(Self { reason, detail: message.detail, facts })
    }
}

crate::proto_element!(Reject);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::fields::{decode, encode};

    #[test]
    fn refusals_round_trip_and_unknown_parts_are_refused() {
        assert!(ROOT_FACTS.is_sorted());
        for reason in Reason::ALL {
            let reject = Reject::new(*reason, "why").with("key", "a").with("current_fence", 7);
            assert_eq!(decode("reject", &encode(&reject), 1000), Ok(reject));
        }
        let bytes = encode(&Reject::new(Reason::LockBusy, "why").with("key", "a"));
        let swapped = |from: &str, to: &str| {
            let text: Vec<u8> = bytes.clone();
            let at = text.windows(from.len()).position(|w| w == from.as_bytes()).expect("there");
            [&text[..at], to.as_bytes(), &text[at + from.len()..]].concat()
        };
        for changed in [swapped("lock_busy", "lock_lazy"), swapped("key", "yek")] {
            assert!(decode::<Reject>("reject", &changed, 1000).is_err());
        }
    }
}
