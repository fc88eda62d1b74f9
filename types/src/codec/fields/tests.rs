//! Values that come back as they went, and bytes that are refused.

use super::*;
use crate::{AgentId, proto_message, proto_oneof};

#[derive(Clone, Debug, Default, PartialEq)]
struct Everything {
    number: u64,
    text: String,
    maybe: Option<u32>,
    list: Vec<u64>,
    set: BTreeSet<u32>,
    map: BTreeMap<u64, String>,
    yes: bool,
    inner: Option<Inner>,
    derived: u64,
}

#[derive(Clone, Debug, PartialEq)]
struct Inner {
    agent: AgentId,
}

#[derive(Clone, Debug, PartialEq)]
enum Either {
    Inner(Inner),
    Number(u64),
}

proto_message!(Everything {
    1 => number, 2 => text, 3 => maybe, 4 => list, 5 => set, 6 => map, 7 => yes, 8 => inner;
    derived
});
proto_message!(Inner { 1 => agent });
proto_oneof!(Either { 1 => Inner, 2 => Number });

fn full() -> Everything {
    Everything {
        number: u64::MAX,
        text: "täxt".to_owned(),
        maybe: Some(0),
        list: vec![0, 300, 1],
        set: [7, 5].into(),
        map: [(0, String::new()), (9, "nine".to_owned())].into(),
        yes: true,
        inner: Some(Inner { agent: "ann".parse().expect("an agent") }),
        derived: 0,
    }
}

fn read(bytes: &[u8]) -> Result<Everything, CodecError> {
    decode("everything", bytes, 1000)
}

#[test]
fn values_round_trip_and_derived_parts_are_left_out() {
    assert_eq!(read(&encode(&full())), Ok(full()), "COD-1");
    assert_eq!(read(&encode(&Everything::default())), Ok(Everything::default()));
    let derived = Everything { derived: 5, ..full() };
    assert_eq!(read(&encode(&derived)), Ok(full()));
    for either in [Either::Number(0), Either::Inner(full().inner.expect("one"))] {
        assert_eq!(decode("either", &encode(&either), 100), Ok(either));
    }
}

#[test]
fn every_cut_and_every_changed_byte_is_another_value_or_an_error() {
    let bytes = encode(&full());
    for at in 0..bytes.len() {
        assert!(read(&bytes[..at]).is_err(), "cut at {at}");
        for flip in [1u8, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[at] ^= flip;
            if let Ok(value) = read(&changed) {
                assert_eq!(encode(&value), changed, "COD-1 at {at}");
                assert_ne!(value, full());
            }
        }
    }
}

#[test]
fn second_spellings_are_refused() {
    let spelled = |body: &[u8]| {
        let mut bytes = vec![8, FORMAT_VERSION as u8];
        put_bytes(2, body, &mut bytes);
        read(&bytes)
    };
    assert!(spelled(&[8, 5]).is_ok());
    assert!(matches!(spelled(&[8, 0]), Err(CodecError::NotCanonical { .. })), "a default");
    assert!(matches!(spelled(&[8, 0x85, 0]), Err(CodecError::NotCanonical { .. })), "a pad");
    assert!(matches!(spelled(&[40, 7, 40, 5]), Err(CodecError::NotCanonical { .. })), "a set");
    assert!(matches!(spelled(&[40, 7, 8, 5]), Err(CodecError::Field { .. })), "out of order");
    assert!(matches!(spelled(&[120, 1]), Err(CodecError::Field { .. })), "unknown");
    assert!(matches!(spelled(&[56, 2]), Err(CodecError::Field { field: "yes", .. })));
    assert!(matches!(spelled(&[10, 1, 65]), Err(CodecError::Field { field: "number", .. })));
}

#[test]
fn other_versions_and_sizes_are_named() {
    let mut bytes = encode(&full());
    bytes[1] = 9;
    assert!(matches!(read(&bytes), Err(CodecError::Version { found: 9, .. })));
    let long = Everything { text: "x".repeat(1000), ..full() };
    assert!(matches!(read(&encode(&long)), Err(CodecError::TooLarge { .. })));
    let none: Result<Either, _> = decode("either", &[8, 1, 18, 2, 48, 1], 100);
    assert!(none.expect_err("no such variant").to_string().contains("use a newer hivemem"));
}
