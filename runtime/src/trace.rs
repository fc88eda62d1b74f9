//! The run's fingerprint: an order-sensitive hash of what happened.
//!
//! Two fresh processes with the same seed must end with the same fingerprint; the earliest
//! difference is found by tracing. In the real world [`note`] does nothing and costs nothing.
//!
//! Noted here: every draw of chance (2) and every wait for a moment (3), on whichever node.
//!
//! Tags: each crate picks constants of its own; `0x100` upwards in steps of `0x100`.

/// Mixes one event into the fingerprint: what it was and two numbers that describe it.
#[inline]
pub fn note(tag: u64, a: u64, b: u64) {
    #[cfg(madsim)]
    crate::sim::mix(tag, a, b);
    #[cfg(not(madsim))]
    let _ = (tag, a, b);
}
