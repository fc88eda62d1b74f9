//! Words as PostgreSQL's text search keeps them.
//!
//! A term (`index::text`) is a lexeme of eleven characters, and its impact is the lexeme's only position. So the server finds
//! rows by its own index, and what they score is what an index in memory would say.
//!
//! Invariant: no text of a memory gets into a lexeme.
//!
//! Not here: searching (`recall`).

use std::fmt::Write as _;

use crate::index::{Prepared, text::Term};

/// What eleven characters are taken from, 6 bits each.
const DIGITS: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz-";

/// The lexeme of a term.
pub(crate) fn lexeme(term: Term) -> String {
    (0..11).map(|at| char::from(DIGITS[(term >> (6 * at) & 63) as usize])).collect()
}

/// The words of a memory as a `tsvector` is written.
pub(crate) fn vector(words: &Prepared) -> String {
    let mut text = String::with_capacity(words.terms.len() * 18);
    for (term, impact) in &words.terms {
        let _ = write!(text, "'{}':{impact} ", lexeme(*term));
    }
    text
}

/// Lexemes as a `tsquery` is written that wants any of them, or all.
pub(crate) fn query<'l>(lexemes: impl Iterator<Item = &'l str>, all: bool) -> String {
    let quoted: Vec<String> = lexemes.map(|lexeme| format!("'{lexeme}'")).collect();
    quoted.join(if all { " & " } else { " | " })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::index::prepare;

    #[test]
    fn different_terms_have_different_lexemes() {
        let terms = (0..64).map(|bit| 1u64 << bit).chain([0, u64::MAX]);
        let lexemes: BTreeSet<String> = terms.map(lexeme).collect();
        assert_eq!(lexemes.len(), 66);
        assert!(lexemes.iter().all(|lexeme| lexeme.len() == 11));
    }

    #[test]
    fn a_vector_has_each_impact_as_a_position() {
        let prepared = prepare("disk", "", []);
        let (term, impact) = prepared.terms[0];
        assert_eq!(vector(&prepared), format!("'{}':{impact} ", lexeme(term)));
        assert_eq!(query(["a", "b"].into_iter(), false), "'a' | 'b'");
        assert_eq!(query(["a", "b"].into_iter(), true), "'a' & 'b'");
    }
}
