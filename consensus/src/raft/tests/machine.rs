//! A small machine to replicate: a table of numbers, each written with the index that wrote it.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::{raft::StateMachine, steps::Shown};

/// Keys to the value written last and the entry that wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) values: BTreeMap<u8, (u64, u64)>,
    /// Commands applied; a retry that is applied twice shows here.
    pub(super) applied: u64,
    pub(super) leaders: u64,
}

/// `key ‖ value`.
pub(super) fn set(key: u8, value: u64) -> Vec<u8> {
    [&[key][..], &value.to_be_bytes()].concat()
}

impl StateMachine for Table {
    type Effect = (u8, u64);

    fn apply(&mut self, index: u64, _: u64, command: &[u8]) -> (Vec<u8>, Vec<(u8, u64)>) {
        self.applied += 1;
        let Some((key, value)) = command.split_first() else { return (Vec::new(), Vec::new()) };
        let Ok(value) = value.try_into().map(u64::from_be_bytes) else {
            return (b"refused".to_vec(), Vec::new());
        };
        let before = self.values.insert(*key, (value, index)).map_or(0, |(value, _)| value);
        (before.to_be_bytes().to_vec(), vec![(*key, value)])
    }

    fn leader_changed(&mut self, _: u64, _: u64) -> Vec<(u8, u64)> {
        self.leaders += 1;
        Vec::new()
    }

    fn show(&self, whole: bool) -> Shown {
        Shown { state: whole.then(|| Sha256::digest(self.snapshot()).into()), seen: None }
    }

    fn snapshot(&self) -> Vec<u8> {
        let mut out = [self.applied.to_be_bytes(), self.leaders.to_be_bytes()].concat();
        for (key, (value, index)) in &self.values {
            out.push(*key);
            out.extend_from_slice(&value.to_be_bytes());
            out.extend_from_slice(&index.to_be_bytes());
        }
        out
    }

    fn restore(bytes: &[u8]) -> Result<Self, String> {
        let number = |bytes: &[u8]| bytes.try_into().map(u64::from_be_bytes);
        let read = || -> Result<Self, std::array::TryFromSliceError> {
            let mut table = Table::default();
            let (head, rows) = bytes.split_at(16.min(bytes.len()));
            table.applied = number(&head[..8.min(head.len())])?;
            table.leaders = number(&head[8.min(head.len())..])?;
            for row in rows.chunks(17) {
                let (key, rest) = row.split_at(1);
                let (value, index) = rest.split_at(8.min(rest.len()));
                table.values.insert(key[0], (number(value)?, number(index)?));
            }
            Ok(table)
        };
        read().map_err(|error| error.to_string())
    }
}
