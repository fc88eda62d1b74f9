//! What signatures cost: how many there were, as the nodes counted them, times what one costs here.
//!
//! The cost of one is measured in this process, on this machine, after the run: Ed25519 with the library and in the
//! build that the nodes use, over a message of the mean size. It grows linearly with the size, so that the mean
//! stands for all. Processor time against processor time: nobody waits for anybody in either.
//!
//! Not here: the hashes of feeds and records, which signatures do not need.

use std::time::Duration;

use ed25519_dalek::{Signer, SigningKey};
use runtime::{blocking, clock::Instant};

use super::figures::Sums;
use crate::bench::machine;

/// How long one cost is measured.
const SAMPLE: Duration = Duration::from_millis(60);
/// Signatures between two looks at the clock.
const BATCH: u32 = 64;
/// Bytes that are signed of a head or of an audit row.
const DIGEST: usize = 32;

/// Processor time of one signature, microseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Each {
    made: f64,
    checked: f64,
}

/// What the signatures of a run cost.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    /// Of messages between peers and of the heads of feeds, microseconds of processor time.
    pub(super) peers_micros: f64,
    /// Of audit rows, which are signed with or without peers.
    pub(super) audit_micros: f64,
}

/// Microseconds of processor time that one call takes.
fn micros(mut call: impl FnMut()) -> f64 {
    let (start, cpu) = (Instant::now(), machine::cpu_time());
    let mut calls = 0u32;
    while start.elapsed() < SAMPLE {
        (0..BATCH).for_each(|_| call());
        calls += BATCH;
    }
    (machine::cpu_time() - cpu).as_secs_f64() * 1e6 / f64::from(calls)
}

/// Costs of signing and checking messages of two sizes.
fn each(signed_bytes: usize, checked_bytes: usize) -> Each {
    let key = SigningKey::from_bytes(&[7; 32]);
    let message = vec![1u8; signed_bytes.max(checked_bytes)];
    let (ours, theirs) = (&message[..signed_bytes], &message[..checked_bytes]);
    let signature = key.sign(theirs);
    let public = key.verifying_key();
    let sign = || {
        std::hint::black_box(key.sign(std::hint::black_box(ours)));
    };
    let check = || {
        let held = public.verify_strict(std::hint::black_box(theirs), &signature).is_ok();
        std::hint::black_box(held);
    };
    Each { made: micros(sign), checked: micros(check) }
}

impl Cost {
    /// Of what was counted.
    pub(super) async fn of(sums: &Sums) -> Self {
        let (sent, received) = (sums.sent.mean_bytes(), sums.received.mean_bytes());
        let (message, digest) =
            blocking::run(move || (each(sent, received), each(DIGEST, DIGEST))).await;
        let count = |count: u64| count as f64;
        // Each message is signed and checked once; the rest are heads of feeds.
        let heads_made = count(sums.signed.saturating_sub(sums.sent.messages));
        let heads_checked = count(sums.checked.saturating_sub(sums.received.messages));
        let messages = count(sums.sent.messages) * message.made
            + count(sums.received.messages) * message.checked;
        let heads = heads_made * digest.made + heads_checked * digest.checked;
        Self { peers_micros: messages + heads, audit_micros: count(sums.rows) * digest.made }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::quorum::figures::Flow;

    #[tokio::test]
    async fn more_signatures_cost_more() {
        let flow = |messages| Flow { messages, bytes: messages * 1000 };
        let sums = |messages, rows| Sums {
            sent: flow(messages),
            received: flow(messages),
            signed: messages,
            checked: messages,
            rows,
            ..Sums::default()
        };
        let none = Cost::of(&sums(0, 0)).await;
        assert_eq!((none.peers_micros, none.audit_micros), (0.0, 0.0));
        let some = Cost::of(&sums(1000, 10)).await;
        // No machine signs and checks in a microsecond, and none needs a second.
        assert!((2_000.0..2e9).contains(&some.peers_micros), "{some:?}");
        assert!(some.audit_micros > 0.0 && some.audit_micros < some.peers_micros, "{some:?}");
    }
}
