//! Attributes as bytes: the columns of a group one after another, each in its narrow width.
//!
//! Living bits are not part of it: they change with every edit and are stored in the manifest.

use std::sync::Arc;

use super::super::persist::wire::{Decoder, Encoder};
use super::{
    chunk::{CHUNK_SLOTS, Chunk, FIELDS},
    column::{Column, Offsets},
    group::Group,
};

/// Bytes that even an empty column takes: bounds, length, width.
const COLUMN_BYTES_MIN: usize = 21;

/// The columns of a group.
pub(crate) fn encode(group: &Group) -> Vec<u8> {
    let mut out = Encoder::default();
    // A group has at most 64 chunks.
    out.u32(group.chunks().len() as u32);
    for chunk in group.chunks() {
        chunk.columns().iter().for_each(|column| encode_column(column, &mut out));
        out.u32s(chunk.tag_pool());
    }
    out.0
}

/// The group of these columns and living bits; `None` when they do not fit together.
pub(crate) fn decode(bytes: &[u8], alive: Vec<u64>, stamp: u64) -> Option<Group> {
    let mut from = Decoder(bytes);
    let count = from.count(FIELDS * COLUMN_BYTES_MIN)?;
    let mut chunks = Vec::with_capacity(count);
    for _ in 0..count {
        let mut columns: [Column; FIELDS] = Default::default();
        for column in &mut columns {
            *column = decode_column(&mut from)?;
        }
        chunks.push(Arc::new(Chunk::from_parts(columns, from.u32s()?)?));
    }
    if !from.is_done() {
        return None;
    }
    Group::from_parts(chunks, alive, stamp)
}

fn encode_column(column: &Column, out: &mut Encoder) {
    let (low, high, len, offsets) = column.parts();
    out.i64(low);
    out.i64(high);
    out.u32(len);
    match offsets {
        Offsets::None => out.u8(0),
        Offsets::One(all) => {
            out.u8(1);
            out.0.extend_from_slice(all);
        }
        Offsets::Two(all) => {
            out.u8(2);
            all.iter().for_each(|offset| out.0.extend_from_slice(&offset.to_le_bytes()));
        }
        Offsets::Four(all) => {
            out.u8(4);
            all.iter().for_each(|offset| out.u32(*offset));
        }
        Offsets::Eight(all) => {
            out.u8(8);
            all.iter().for_each(|offset| out.u64(*offset));
        }
    }
}

fn decode_column(from: &mut Decoder<'_>) -> Option<Column> {
    let (low, high, len) = (from.i64()?, from.i64()?, from.u32()?);
    if len > CHUNK_SLOTS {
        return None;
    }
    let count = len as usize;
    let offsets = match from.u8()? {
        0 => Offsets::None,
        1 => Offsets::One(from.take(count)?.to_vec()),
        2 => Offsets::Two(from.numbers(count, u16::from_le_bytes)?),
        4 => Offsets::Four(from.numbers(count, u32::from_le_bytes)?),
        8 => Offsets::Eight(from.numbers(count, u64::from_le_bytes)?),
        _ => return None,
    };
    Column::from_parts(low, high, len, offsets)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::attributes;
    use super::*;

    proptest! {
        #[test]
        fn a_group_comes_back_as_it_was_and_a_cut_one_does_not(
            rows in proptest::collection::vec(attributes(), 1..80),
            dead in proptest::collection::vec(any::<prop::sample::Index>(), 0..5),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut group = Group::default();
            // Enough slots for a second chunk.
            for (rowid, row) in (7..).zip(rows.iter().cycle().take(CHUNK_SLOTS as usize + rows.len())) {
                group.push(rowid, row, 3);
            }
            for at in dead {
                group.kill(at.index(group.len() as usize) as u32);
            }
            let bytes = encode(&group);
            let again = decode(&bytes, group.alive().to_vec(), 3);
            prop_assert_eq!(again.as_ref(), Some(&group));
            prop_assert!(decode(&bytes[..cut.index(bytes.len())], group.alive().to_vec(), 3).is_none());
        }
    }
}
