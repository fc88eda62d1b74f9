//! Randomness and identifiers.
//!
//! Real world: the operating system's entropy. Simulator: the run's seeded generator, so the same
//! seed draws the same numbers, keys and identifiers.
//!
//! Invariant: identifiers of one process (one node) strictly increase, even when the clock stands
//! still or goes back.

use uuid::Uuid;

/// Fills `bytes` with random bytes fit for keys. Stops the node if the system has no entropy to
/// give: nothing it could do instead would be safe.
pub fn fill(bytes: &mut [u8]) {
    #[cfg(madsim)]
    if madsim::runtime::Handle::try_current().is_ok() {
        use madsim::rand::RngCore as _;
        madsim::rand::thread_rng().fill_bytes(bytes);
        let drawn = bytes.iter().fold(0, |all: u64, byte| all.rotate_left(8) ^ u64::from(*byte));
        crate::trace::note(2, drawn, bytes.len() as u64);
        return;
    }
    use rand::TryRngCore as _;
    if let Err(error) = rand::rngs::OsRng.try_fill_bytes(bytes) {
        crate::fatal::stop_node(&format!("the operating system gives no random bytes: {error}"));
    }
}

/// 64 random bits.
pub fn u64() -> u64 {
    let mut bytes = [0; 8];
    fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// A number in `0..bound`, for jitter and choices; 0 if `bound` is 0. The bias is below
/// `bound / 2^64`.
pub fn below(bound: u64) -> u64 {
    // The high half of the product maps 2^64 values evenly onto the range (Lemire).
    ((u128::from(u64()) * u128::from(bound)) >> 64) as u64
}

/// A new identifier (UUID version 7, RFC 9562) whose time is `now_unix_ms`, or the time of the
/// previous one if that is later.
pub fn uuid_v7(now_unix_ms: u64) -> Uuid {
    with_sequence(|sequence| sequence.next(now_unix_ms))
}

/// The last identifier given out: method 2 ("monotonic random") of RFC 9562, section 6.2.
#[derive(Clone, Copy, Debug, Default)]
struct Sequence {
    unix_ms: u64,
    /// The 74 bits behind the time, as one number.
    tail: u128,
}

const TAIL_BITS: u32 = 74;
/// A 48-bit field: until the year 10889.
const MAX_UNIX_MS: u64 = (1 << 48) - 1;

impl Sequence {
    fn next(&mut self, now_unix_ms: u64) -> Uuid {
        if now_unix_ms > self.unix_ms {
            self.restart(now_unix_ms);
        } else {
            // A random step keeps the next identifier from being guessed.
            self.tail += 1 + u128::from(u64() >> 32);
            if self.tail >> TAIL_BITS != 0 {
                self.restart(self.unix_ms + 1);
            }
        }
        self.uuid()
    }

    fn restart(&mut self, unix_ms: u64) {
        self.unix_ms = unix_ms.min(MAX_UNIX_MS);
        // The top bit starts clear, which leaves room to count up within a millisecond.
        self.tail = (u128::from(u64()) << 9) | u128::from(u64() >> 55);
    }

    fn uuid(&self) -> Uuid {
        let high = self.tail >> 62;
        let low = self.tail & ((1 << 62) - 1);
        let time = u128::from(self.unix_ms & MAX_UNIX_MS) << 80;
        Uuid::from_u128(time | (7 << 76) | (high << 64) | (0b10 << 62) | low)
    }
}

#[cfg(not(madsim))]
fn with_sequence<T>(f: impl FnOnce(&mut Sequence) -> T) -> T {
    static SEQUENCE: parking_lot::Mutex<Sequence> =
        parking_lot::Mutex::new(Sequence { unix_ms: 0, tail: 0 });
    f(&mut SEQUENCE.lock())
}

/// One sequence per node: nodes share a process here, and one node's fast clock must not push
/// another's identifiers into the future.
#[cfg(madsim)]
fn with_sequence<T>(f: impl FnOnce(&mut Sequence) -> T) -> T {
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    thread_local! {
        static SEQUENCES: RefCell<BTreeMap<madsim::task::NodeId, Sequence>> =
            const { RefCell::new(BTreeMap::new()) };
    }
    SEQUENCES.with_borrow_mut(|all| f(all.entry(madsim::plugin::node()).or_default()))
}

#[cfg(all(test, not(madsim)))]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_version_7_and_carry_the_time() {
        let mut sequence = Sequence::default();
        let id = sequence.next(1_700_000_000_123);
        assert_eq!(id.get_version_num(), 7);
        assert_eq!(id.get_variant(), uuid::Variant::RFC4122);
        let (seconds, nanos) = id.get_timestamp().unwrap().to_unix();
        assert_eq!((seconds, nanos), (1_700_000_000, 123_000_000));
    }

    #[test]
    fn identifiers_increase_when_the_clock_stands_or_goes_back() {
        let mut sequence = Sequence::default();
        let mut last = sequence.next(1000);
        for now in [1000, 1000, 999, 1, 1000, 1001, 500] {
            let id = sequence.next(now);
            assert!(id > last, "{id} after {last}");
            last = id;
        }
        sequence.tail = (1 << TAIL_BITS) - 1;
        let before = sequence.uuid();
        assert!(sequence.next(0) > before);
    }

    #[test]
    fn numbers_stay_below_their_bound_and_differ() {
        assert_eq!(below(0), 0);
        let drawn: std::collections::BTreeSet<u64> = (0..200).map(|_| below(10)).collect();
        assert!(drawn.iter().all(|n| *n < 10) && drawn.len() > 5, "{drawn:?}");
        assert_ne!(u64(), u64());
    }
}
