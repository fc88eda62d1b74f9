//! The encodings: round trips, refusals, and one operation's bytes pinned.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::{
    Content, Hlc, LinkId, MemoryId, NewMemory, NodeId, Op, Payload, Record, Tier, arbitrary,
    memory::Validity, op::Accessed,
};

fn columns(record: &Record) -> Columns {
    Columns {
        title: record.title.value.clone(),
        content: record.content.value.clone(),
        embedding_values: record
            .embedding
            .value
            .as_ref()
            .map(|embedding| embedding.values.clone())
            .unwrap_or_default(),
    }
}

fn node(n: u128) -> NodeId {
    NodeId(Uuid::from_u128(n))
}

fn op_of(payload: Payload) -> Op {
    Op {
        id: OpId { origin: node(7), seq: 3 },
        hlc: Hlc::new(1_700_000_000_000, 2),
        author: "ann".parse().expect("an agent"),
        fence: 0,
        context: [(node(8), 5)].into_iter().collect(),
        payload,
    }
}

fn memory() -> NewMemory {
    NewMemory::new(
        MemoryId(Uuid::from_u128(0x0192_aabb_ccdd_7eef_8011_2233_4455_6677)),
        "a title".parse().expect("a title"),
        "some content".parse().expect("a content"),
        "agent:ann".parse().expect("an audience"),
    )
}

proptest! {
    #![proptest_config(crate::arbitrary::config())]

    #[test]
    fn operations_round_trip(op in arbitrary::op()) {
        let bytes = encode_op(&op);
        prop_assert_eq!(decode_op(&bytes), Ok(op), "COD-1");
    }

    #[test]
    fn operations_of_a_history_round_trip(history in arbitrary::history()) {
        for op in history.ops {
            prop_assert_eq!(decode_op(&encode_op(&op)), Ok(op), "COD-1");
        }
    }

    #[test]
    fn records_round_trip(record in arbitrary::record()) {
        let bytes = encode_state(&record);
        prop_assert_eq!(decode_state(&bytes, columns(&record)), Ok(record), "COD-1");
    }

    #[test]
    fn links_and_agents_round_trip(
        link in arbitrary::link(),
        agent in arbitrary::agent_record(),
    ) {
        prop_assert_eq!(decode_link(&encode_link(&link)), Ok(link), "COD-1");
        prop_assert_eq!(decode_agent(&encode_agent(&agent)), Ok(agent), "COD-1");
    }

    #[test]
    fn random_bytes_are_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let columns = columns(&Record::create(&op_of(Payload::Access(vec![])), &memory()));
        prop_assert!(decode_op(&bytes).is_err());
        prop_assert!(decode_link(&bytes).is_err());
        prop_assert!(decode_agent(&bytes).is_err());
        prop_assert!(decode_state(&bytes, columns).is_err());
    }

    /// A flipped bit is either refused or makes another operation, whose bytes these then are.
    #[test]
    fn flipped_bits_never_panic_nor_pass_for_the_original(
        op in arbitrary::op(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 1..4),
    ) {
        let original = encode_op(&op);
        let mut bytes = original.clone();
        for (at, bit) in flips {
            bytes[at.index(original.len())] ^= 1 << bit;
        }
        if let Ok(other) = decode_op(&bytes) {
            prop_assert_eq!(encode_op(&other), bytes, "COD-1");
        }
    }

    #[test]
    fn flipped_bits_of_a_state_never_panic(
        record in arbitrary::record(),
        at: prop::sample::Index,
        bit in 0u8..8,
    ) {
        let mut bytes = encode_state(&record);
        let length = bytes.len();
        bytes[at.index(length)] ^= 1 << bit;
        if let Ok(other) = decode_state(&bytes, columns(&record)) {
            prop_assert_eq!(encode_state(&other), bytes, "COD-1");
        }
    }

    #[test]
    fn what_is_cut_or_followed_by_more_is_refused(op in arbitrary::op(), extra in 1usize..20) {
        let bytes = encode_op(&op);
        let mut longer = bytes.clone();
        longer.extend(std::iter::repeat_n(0x5a, extra));
        prop_assert!(decode_op(&longer).is_err(), "COD-2");
        let shorter = &bytes[..bytes.len().saturating_sub(extra)];
        if let Ok(other) = decode_op(shorter) {
            prop_assert_eq!(encode_op(&other), shorter, "COD-1");
        }
    }
}

#[test]
fn the_bytes_of_an_operation_do_not_drift() {
    let store = encode_op(&op_of(Payload::Store(Box::new(memory()))));
    let promote = encode_op(&op_of(Payload::Promote {
        id: memory().id,
        tier: Tier::Long,
        automatic: true,
        expires_at_ms: None,
    }));
    assert_eq!(hex::encode(&store), STORE_HEX);
    assert_eq!(hex::encode(&promote), PROMOTE_HEX);
    assert_eq!(hex::encode(op_hash(&promote)), PROMOTE_HASH);
}

#[test]
fn the_bytes_of_a_state_do_not_drift() {
    let record = Record::create(&op_of(Payload::Restore { id: memory().id }), &memory());
    assert_eq!(hex::encode(encode_state(&record)), STATE_HEX);
}

const STORE_HEX: &str = "080112100000000000000000000000000000000718032102000068e5cf8b012a03616e6e3a140a10\
     0000000000000000000000000000000810058201470a100192aabbccdd7eef801122334455667712\
     06676c6f62616c1a0761207469746c65220c736f6d6520636f6e74656e742802380540e807500158\
     0162096167656e743a616e6e";
const PROMOTE_HEX: &str = "080112100000000000000000000000000000000718032102000068e5cf8b012a03616e6e3a140a10\
     0000000000000000000000000000000810059201160a100192aabbccdd7eef801122334455667710\
     031801";
const PROMOTE_HASH: &str = "ed4b38ae446c7488d04c003f7abeee8a6a2b55e4172e63ffc7839f7d2008d031";
const STATE_HEX: &str = "080112100192aabbccdd7eef80112233445566771a10000000000000000000000000000000072209\
     1102000068e5cf8b012a06676c6f62616c3203616e6e38024005480150015a096167656e743a616e\
     6e60e8076a02100372021001";

#[test]
fn a_fresh_state_is_small() {
    let op = op_of(Payload::Restore { id: memory().id });
    let bytes = encode_state(&Record::create(&op, &memory()));
    assert!(bytes.len() < 120, "{} bytes", bytes.len());
}

/// Appends a field with a varint value to a message.
fn with_varint(mut bytes: Vec<u8>, tag: u32, value: u64) -> Vec<u8> {
    prost::encoding::uint64::encode(tag, &value, &mut bytes);
    bytes
}

#[test]
fn a_newer_kind_of_operation_is_told_from_rubbish() {
    let bytes = encode_op(&op_of(Payload::Access(vec![])));
    let payload = [0xb2, 0x01, 0x00];
    let head = bytes.strip_suffix(&payload).expect("an empty access payload at the end");
    let id = OpId { origin: node(7), seq: 3 };

    let mut newer = head.to_vec();
    prost::encoding::string::encode(900, &"something new".to_owned(), &mut newer);
    assert_eq!(decode_op(&newer), Err(CodecError::UnknownPayload { id, tag: 900 }));
    let missing = decode_op(head).expect_err("no payload");
    assert!(matches!(missing, CodecError::Field { field: "payload", .. }), "{missing}");
    let extra = decode_op(&with_varint(bytes, 15, 1)).expect_err("an unknown field");
    assert!(matches!(extra, CodecError::NotCanonical { .. }), "{extra}");
}

#[test]
fn another_version_is_refused() {
    let bytes = encode_op(&op_of(Payload::Restore { id: memory().id }));
    let found = decode_op(&with_varint(bytes, 1, 2)).expect_err("version 2");
    assert_eq!(found, CodecError::Version { message: "op", found: 2 });
    let bytes = encode_state(&Record::create(&op_of(Payload::Access(vec![])), &memory()));
    let columns = columns(&Record::create(&op_of(Payload::Access(vec![])), &memory()));
    let found = decode_state(&with_varint(bytes, 1, 9), columns).expect_err("version 9");
    assert_eq!(found, CodecError::Version { message: "state", found: 9 });
}

#[test]
fn invalid_values_name_their_field() {
    let field = |payload: Payload| match decode_op(&encode_op(&op_of(payload))) {
        Err(CodecError::Field { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    let store = |change: fn(&mut NewMemory)| {
        let mut new = memory();
        change(&mut new);
        Payload::Store(Box::new(new))
    };
    assert_eq!(field(store(|new| new.priority = 11)), "priority");
    assert_eq!(field(store(|new| new.confidence_permille = 1001)), "confidence");
    assert_eq!(field(store(|new| new.source = "x".repeat(513))), "source");
    let empty = Validity { from_ms: Some(5), until_ms: Some(5) };
    assert_eq!(
        field(Payload::LinkValidity { id: LinkId(node(9).0), validity: empty }),
        "valid_until"
    );
    let twice = Accessed { id: memory().id, count: 1, at_ms: 1 };
    assert_eq!(field(Payload::Access(vec![twice, twice])), "accessed");
    let id = memory().id;
    assert_eq!(field(Payload::Archive { id, reason: "x".repeat(1025) }), "reason");
    assert_eq!(field(Payload::Alias { id, alias: String::new(), remove: false }), "alias");
}

#[test]
fn unknown_numbers_and_wrong_lengths_are_refused() {
    let bytes = encode_op(&op_of(Payload::Promote {
        id: memory().id,
        tier: Tier::Short,
        automatic: false,
        expires_at_ms: None,
    }));
    let tier = bytes.len() - 1;
    assert_eq!(bytes[tier], Tier::Short.number());
    let mut unknown = bytes.clone();
    unknown[tier] = 9;
    let error = decode_op(&unknown).expect_err("tier 9");
    assert_eq!(error.to_string(), "op.tier: unknown value 9");

    // One byte less of the id: its length and the payload's length shrink with it.
    let mut short = bytes;
    short.remove(tier - 2);
    let (payload_length, id_length) = (tier - 20, tier - 18);
    short[payload_length] -= 1;
    short[id_length] -= 1;
    let error = decode_op(&short).expect_err("15 bytes of id");
    assert_eq!(error.to_string(), "op.id: an id has 16 bytes, got 15");
}

#[test]
fn columns_that_do_not_belong_are_refused() {
    let record = Record::create(&op_of(Payload::Access(vec![])), &memory());
    let mut other = columns(&record);
    other.embedding_values.push(1.0);
    let error = decode_state(&encode_state(&record), other).expect_err("no vector in the state");
    assert!(matches!(error, CodecError::Field { field: "embedding", .. }), "{error}");
}

#[test]
fn a_state_over_its_limits_is_refused() {
    let record = Record::create(&op_of(Payload::Access(vec![])), &memory());
    let field = |tag: u32, value: u64| {
        let bytes = with_varint(encode_state(&record), tag, value);
        match decode_state(&bytes, columns(&record)) {
            Err(CodecError::Field { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(field(8, 11), "priority");
    assert_eq!(field(12, 1001), "confidence");
    assert_eq!(field(9, 99), "kind");
    assert_eq!(field(25, 256), "reflection_depth");
    assert_eq!(field(34, 7), "stamps");
}

#[test]
fn the_largest_memory_fits_an_operation() {
    let mut new = memory();
    new.content = Content::try_from("x".repeat(crate::limits::CONTENT_BYTES_MAX)).expect("fits");
    let op = op_of(Payload::Store(Box::new(new)));
    assert_eq!(decode_op(&encode_op(&op)), Ok(op));
    let error = decode_op(&vec![0; crate::limits::OP_BYTES_MAX + 1]).expect_err("too large");
    assert!(matches!(error, CodecError::TooLarge { .. }), "{error}");
}
