//! Messages to and from the words of `node::model`.
//!
//! Rules: an empty text, an unspecified enum and an unset message mean "not said" and become `None`;
//! a zero page or limit too. An unknown number of an enum is refused with the field's name. Times
//! become the RFC 3339 texts of the model.
//!
//! Invariant: what a client reads and writes back unchanged changes nothing (`GRPC-2` of the door).
//!
//! Not here: validation of values (`node::model`), conversions without a request (`wire::convert`).

mod admin;
mod conflict;
mod filter;
mod graph;
mod memory;
mod patch;
mod recall;
pub(super) mod registry;

use std::{fmt::Display, str::FromStr};

use prost_types::Timestamp;
use types::Invalid;
use wire::{
    convert::{Vocabulary, timestamp, unix_ms},
    v1,
};

pub(super) use self::{
    admin::{agent, agent_input, capabilities, chain, finding, quota, store_status},
    conflict::conflict,
    filter::{filter, list, selector},
    graph::{change, direction, graph_node, link, path, relations},
    memory::{draft, memory, on_conflict},
    patch::patch,
    recall::{messages, question},
};
use crate::node::model::{
    DurabilityOut, time,
    write::{ItemResult, MemoryRef},
};

/// The last instant that the model's texts can hold, in Unix milliseconds: the last day of the year
/// 9999 but one, at 22:00 UTC, so that it lies in that year in every time zone.
const LAST_MS: u64 = 253_402_207_200_999;

/// A text that was said.
pub(super) fn some_text(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// A number that was said.
pub(super) fn some_count(count: u32) -> Option<u32> {
    (count > 0).then_some(count)
}

/// A time as the model's text.
///
/// # Errors
/// [`Invalid`] naming `field` for a time before 1970 or after the year 9999, or with bad nanoseconds.
pub(super) fn time_in(
    field: &'static str,
    time: Option<&Timestamp>,
) -> Result<Option<String>, Invalid> {
    let Some(time) = time else { return Ok(None) };
    match unix_ms(field, time)? {
        ms if ms <= LAST_MS => Ok(Some(time::to_text(ms))),
        _ => Err(Invalid::new(field, "lies after 9999-12-30T22:00:00Z")),
    }
}

/// The model's text as a time.
fn time_out(text: &str) -> Option<Timestamp> {
    time::from_text("time", text).ok().map(timestamp)
}

fn optional_time_out(text: Option<String>) -> Option<Timestamp> {
    text.and_then(|text| time_out(&text))
}

/// An enum's number as the model's word.
///
/// # Errors
/// [`Invalid`] naming the field for a number that no value has.
pub(super) fn word<V: Vocabulary + Display>(number: i32) -> Result<Option<String>, Invalid> {
    Ok(V::from_wire(number)?.map(|value| value.to_string()))
}

/// The numbers of a repeated enum as the model's words.
fn words<V: Vocabulary + Display>(
    field: &'static str,
    numbers: &[i32],
) -> Result<Vec<String>, Invalid> {
    let each = |number: &i32| {
        word::<V>(*number)
            .map_err(|e| Invalid::new(field, e.problem))?
            .ok_or_else(|| Invalid::new(field, "contains an unspecified value; leave it out"))
    };
    numbers.iter().map(each).collect()
}

/// The model's word as an enum's number.
fn number<V: Vocabulary + FromStr>(word: &str) -> i32 {
    word.parse::<V>().map_or(0, Vocabulary::to_wire)
}

/// One of the enums that only this API has.
fn known<E: TryFrom<i32>>(field: &'static str, number: i32) -> Result<E, Invalid> {
    E::try_from(number).map_err(|_| Invalid::new(field, format!("unknown value {number}")))
}

/// The consistency of a read as the model's word.
///
/// # Errors
/// [`Invalid`] for an unknown number.
pub(super) fn consistency(number: i32) -> Result<Option<&'static str>, Invalid> {
    Ok(match known("consistency", number)? {
        v1::Consistency::Unspecified => None,
        v1::Consistency::Local => Some("local"),
        v1::Consistency::Quorum => Some("quorum"),
        v1::Consistency::Root => Some("root"),
    })
}

/// Both ends of a validity, as the model's texts.
///
/// # Errors
/// [`Invalid`] naming the end that is no time.
pub(super) fn validity_in(
    validity: Option<&v1::Validity>,
) -> Result<(Option<String>, Option<String>), Invalid> {
    let Some(validity) = validity else { return Ok((None, None)) };
    Ok((
        time_in("valid_from", validity.valid_from.as_ref())?,
        time_in("valid_until", validity.valid_until.as_ref())?,
    ))
}

fn validity_out(from: Option<String>, until: Option<String>) -> Option<v1::Validity> {
    if from.is_none() && until.is_none() {
        return None;
    }
    let (valid_from, valid_until) = (optional_time_out(from), optional_time_out(until));
    Some(v1::Validity { valid_from, valid_until })
}

/// The acknowledgement of a write.
pub(super) fn receipt(
    durability: DurabilityOut,
    replayed: bool,
    warnings: Vec<String>,
) -> Option<v1::Receipt> {
    let DurabilityOut { fsynced, acks, needed, position, token } = durability;
    let token = token.unwrap_or_default();
    let durability = Some(v1::Durability { fsynced, acks, needed, position, token });
    Some(v1::Receipt { durability, replayed, warnings })
}

/// A memory that was created or changed.
pub(super) fn memory_change(memory: MemoryRef) -> v1::MemoryChange {
    let MemoryRef { id, version, merged } = memory;
    v1::MemoryChange { id, version, merged }
}

/// What became of one memory of a batch.
pub(super) fn bulk_result(item: ItemResult) -> v1::BulkStoreResult {
    use v1::bulk_store_result::Result as One;
    let refusal = item.error.map(|error| {
        let (reason, detail, facts) = (error.reason, error.detail, error.facts);
        One::Refusal(v1::Refusal { reason, detail, facts })
    });
    let stored = item.stored.map(|stored| One::Change(memory_change(stored)));
    v1::BulkStoreResult { result: stored.or(refusal) }
}

#[cfg(test)]
mod tests {
    use types::{Kind, Tier};

    use super::*;

    #[test]
    fn unspecified_is_none_and_unknown_is_refused_by_name() {
        assert_eq!(word::<Tier>(0), Ok(None));
        assert_eq!(word::<Tier>(3), Ok(Some("long".into())));
        assert_eq!(word::<Tier>(9).expect_err("unknown").field, "tier");
        assert_eq!(
            words::<Kind>("kinds", &[1, 10]),
            Ok(vec!["observation".into(), "concept".into()])
        );
        assert_eq!(words::<Kind>("kinds", &[1, 99]).expect_err("unknown").field, "kinds");
        assert_eq!(words::<Kind>("kinds", &[0]).expect_err("unspecified").field, "kinds");
        assert_eq!(consistency(7).expect_err("unknown").field, "consistency");
        assert_eq!(consistency(2), Ok(Some("quorum")));
        assert_eq!(number::<Tier>("long"), 3);
    }

    #[test]
    fn times_go_there_and_back_and_bad_ones_are_named() {
        for ms in [0, 1, 1_772_366_400_123, LAST_MS] {
            let text = time_in("t", Some(&timestamp(ms))).expect("a time").expect("set");
            assert_eq!(time_out(&text), Some(timestamp(ms)));
        }
        assert_eq!(time_in("t", None), Ok(None));
        let late = time_in("as_of", Some(&timestamp(LAST_MS + 1)));
        assert_eq!(late.expect_err("after 9999").field, "as_of");
        let early = Timestamp { seconds: -1, nanos: 0 };
        assert_eq!(time_in("as_of", Some(&early)).expect_err("before 1970").field, "as_of");
    }
}
