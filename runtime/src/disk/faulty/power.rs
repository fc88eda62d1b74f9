//! What a power cut leaves behind.

use super::engine::{Engine, Tag};
use super::generator::Generator;
use super::image::{Effect, File, Sequence, put};
use super::rules::Loss;

/// Unit in which a device writes: what can survive, or be torn, independently.
const SECTOR_BYTES: usize = 512;

impl Engine {
    /// Ends this boot: what is unsynced survives as far as `loss` lets it, every handle and lock
    /// is dead, the disk is off.
    pub(super) fn cut(&mut self, loss: Loss) {
        self.epoch += 1;
        self.is_off = true;
        self.stats.cuts += 1;
        self.note(Tag::Cut, loss as u64, self.epoch);
        for file in self.files.values_mut() {
            file.open = 0;
        }
        if loss != Loss::None {
            let last_kept = self.choose_last_kept(loss);
            for file in self.files.values_mut() {
                self.stats.lost_effects += lose(file, loss, last_kept, &mut self.generator);
            }
            let kept_names = match loss {
                Loss::None | Loss::All => 0,
                Loss::Prefix => self.names.pending_sequences().filter(|s| *s <= last_kept).count(),
                Loss::Subset | Loss::Torn => self.generator.below_len(self.names.pending_len() + 1),
            };
            let lost = self.names.cut(kept_names);
            self.stats.lost_effects += lost.len() as u64;
            self.call_back(&lost);
        }
        self.collect();
    }

    /// For [`Loss::Prefix`]: the newest effect of the whole disk that survives, 0 for none.
    fn choose_last_kept(&mut self, loss: Loss) -> Sequence {
        if loss != Loss::Prefix {
            return 0;
        }
        let pending = self.files.values().flat_map(|file| file.pending.iter().map(|(s, _)| *s));
        let mut sequences: Vec<Sequence> = pending.chain(self.names.pending_sequences()).collect();
        sequences.sort_unstable();
        let kept = self.generator.below_len(sequences.len() + 1);
        if kept == 0 { 0 } else { sequences[kept - 1] }
    }
}

/// Applies to one file what survives of its unsynced effects; returns how many did not survive
/// whole.
fn lose(file: &mut File, loss: Loss, last_kept: Sequence, chance: &mut Generator) -> u64 {
    let mut lost = 0;
    for (sequence, effect) in std::mem::take(&mut file.pending) {
        let survived_whole = match loss {
            Loss::None => true,
            Loss::All => false,
            Loss::Prefix => keep_prefix(&mut file.durable, sequence, last_kept, &effect, chance),
            Loss::Subset | Loss::Torn => {
                keep_sectors(&mut file.durable, loss == Loss::Torn, &effect, chance)
            }
        };
        lost += u64::from(!survived_whole);
    }
    file.current.clone_from(&file.durable);
    lost
}

/// [`Loss::Prefix`]: effects before the last kept one survive; a write that is the last one may
/// survive up to some sector only.
fn keep_prefix(
    durable: &mut Vec<u8>,
    sequence: Sequence,
    last_kept: Sequence,
    effect: &Effect,
    chance: &mut Generator,
) -> bool {
    if sequence > last_kept {
        return false;
    }
    match effect {
        Effect::Write { offset, data } if sequence == last_kept && chance.coin() => {
            let sectors = data.len() / SECTOR_BYTES;
            let kept = chance.below_len(sectors + 1) * SECTOR_BYTES;
            put(durable, *offset, &data[..kept]);
            kept == data.len()
        }
        _ => {
            effect.apply(durable);
            true
        }
    }
}

/// [`Loss::Subset`] and [`Loss::Torn`]: each sector of a write meets its own fate.
fn keep_sectors(
    durable: &mut Vec<u8>,
    torn: bool,
    effect: &Effect,
    chance: &mut Generator,
) -> bool {
    let (offset, data) = match effect {
        Effect::Write { offset, data } => (*offset, data),
        Effect::SetLen(_) => {
            let kept = chance.coin();
            if kept {
                effect.apply(durable);
            }
            return kept;
        }
    };
    let mut whole = true;
    let mut start = 0;
    while start < data.len() {
        let at = offset + start;
        // Sectors are aligned to the file, not to the write.
        let end = (start + SECTOR_BYTES - at % SECTOR_BYTES).min(data.len());
        let part = &data[start..end];
        // Four in eight survive, four are lost; torn adds one half written and one garbage.
        match chance.below(if torn { 10 } else { 8 }) {
            0..4 => put(durable, at, part),
            8 => {
                put(durable, at, &part[..chance.below_len(part.len() + 1)]);
                whole = false;
            }
            9 => {
                let garbage: Vec<u8> = part.iter().map(|_| chance.next_u64() as u8).collect();
                put(durable, at, &garbage);
                whole = false;
            }
            _ => whole = false,
        }
        start = end;
    }
    whole
}
