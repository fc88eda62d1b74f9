//! Names of facts: from the text on the wire back to the static names a [`types::Reject`] holds.
//!
//! Invariant: what a peer sends cannot make this process grow without bound.
//!
//! Not here: what a fact means.

use std::collections::BTreeSet;

use parking_lot::Mutex;

/// Most distinct names that are kept; the program itself uses a few dozen.
const NAMES_MAX: usize = 256;
/// Longest name, in bytes.
const NAME_BYTES_MAX: usize = 64;

static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

/// The static name equal to `name`; `None` for one that is no name of a fact, or when a peer has
/// sent more distinct names than any honest one would.
pub(super) fn static_name(name: &str) -> Option<&'static str> {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(is_word) {
        return None;
    }
    let mut names = NAMES.lock();
    if let Some(known) = names.get(name) {
        return Some(known);
    }
    if names.len() >= NAMES_MAX {
        return None;
    }
    let kept: &'static str = Box::leak(name.to_owned().into_boxed_str());
    names.insert(kept);
    Some(kept)
}

#[cfg(test)]
mod tests {
    use super::static_name;

    #[test]
    fn a_name_is_kept_once_and_rubbish_never() {
        let first = static_name("current_version").expect("a name");
        let again = static_name("current_version").expect("the same name");
        assert!(std::ptr::eq(first, again));
        let long = "x".repeat(65);
        for bad in ["", "Current", "a b", "ä", long.as_str()] {
            assert_eq!(static_name(bad), None, "{bad:?}");
        }
    }
}
