//! Commands and answers as bytes, from outside.

use types::{
    codec::{CodecError, fields::Opaque},
    root_limits::COMMAND_BYTES_MAX,
};

use super::super::{Body, Command, Decide, Empty, Machine, Response};

fn tick() -> Command {
    Command::new("ops".parse().expect("an agent"), Body::Tick(Empty {}))
}

fn long(note: usize) -> Command {
    let action = types::lock::ActionId(1);
    let body = Body::Decide(Decide { action, approve: true, note: "n".repeat(note) });
    Command::new("ops".parse().expect("an agent"), body)
}

#[test]
fn a_command_over_its_limit_is_refused_by_everyone_alike() {
    let bytes = long(COMMAND_BYTES_MAX).encode();
    assert!(matches!(Command::decode(&bytes), Err(CodecError::TooLarge { .. })));
    let mut machine = Machine::new();
    let before = machine.untouched();
    for response in [
        machine.apply_bytes(1, 1000, &bytes).response,
        machine.apply(2, 1000, &long(COMMAND_BYTES_MAX)).response,
    ] {
        assert_eq!(response.refusal().map(|r| r.reason.code()), Some("too_large"));
    }
    assert_eq!(machine.untouched(), before, "ROOT-3");
}

#[test]
fn every_cut_and_flip_of_a_command_is_refused_or_another_command() {
    let bytes = long(20).encode();
    for at in 0..bytes.len() {
        assert!(Command::decode(&bytes[..at]).is_err(), "cut at {at}");
        for flip in [1u8, 0x80, 0x7f] {
            let mut changed = bytes.clone();
            changed[at] ^= flip;
            if let Ok(command) = Command::decode(&changed) {
                assert_eq!(command.encode(), changed, "COD-1");
            }
        }
    }
}

#[test]
fn what_a_newer_build_would_say_is_refused() {
    // A body of kind 99, empty.
    let unknown = [8, 1, 18, 10, 10, 3, 111, 112, 115, 26, 3, 154, 6, 0];
    let error = Command::decode(&unknown).expect_err("no such kind");
    assert!(error.to_string().contains("use a newer hivemem"), "{error}");
    assert_eq!(Command::decode(&tick().encode()), Ok(tick()));
    assert!(Response::decode(&unknown).is_err());
}

#[test]
fn a_malformed_entry_passes_time_and_changes_nothing_else() {
    let mut machine = Machine::new();
    let before = machine.untouched();
    let applied = machine.apply_bytes(7, 5000, b"not a command");
    assert_eq!(applied.response.refusal().map(|r| r.reason.code()), Some("malformed"));
    assert_eq!((machine.applied(), machine.time_ms()), (7, 5000));
    assert_eq!(machine.untouched(), before, "ROOT-3");
}

#[test]
#[should_panic(expected = "ROOT-2")]
fn an_index_that_does_not_grow_stops_the_member() {
    let mut machine = Machine::new();
    machine.apply(7, 1000, &tick());
    machine.apply(7, 1000, &tick());
}

#[test]
fn opaque_bytes_are_not_shown_in_logs() {
    assert_eq!(format!("{:?}", Opaque(b"secret".to_vec())), "6 bytes");
}
