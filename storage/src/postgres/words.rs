//! Words as PostgreSQL keeps and finds them.
//!
//! The terms of a memory (`index::text`) are an array of numbers, which the server's inverted index (GIN) finds rows by, and their
//! impacts are a byte each in the same order. So what a row scores is what an index in memory would say, and takes one look
//! into the array for each term of a question.
//!
//! Behind the terms those of great impact stand once more, as other numbers: where a term is in very many memories, those that
//! are about it are found without the others (an index in layers of impact: Anh and Moffat 2002).
//!
//! Invariants: no text of a memory gets into a number; array and bytes are of one length, so a number that is there has an
//! impact, and that of a great one's second number is 0.
//!
//! Not here: searching (`recall`).

use std::fmt::Write as _;

use crate::index::{Prepared, text::Term};

/// Impact from which on it is great: those of about one in eight words of a text are.
pub(crate) const GREAT: u8 = 160;

/// The number of a term.
pub(crate) fn number(term: Term) -> i64 {
    term.cast_signed()
}

/// The number of a term whose impact is great.
pub(crate) fn great(term: Term) -> i64 {
    term.rotate_left(1).cast_signed()
}

/// Numbers as an array is written.
pub(crate) fn array(numbers: impl IntoIterator<Item = i64>) -> String {
    let mut text = String::from("{");
    for (at, number) in numbers.into_iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let _ = write!(text, "{comma}{number}");
    }
    text.push('}');
    text
}

/// The words of a memory: the array as it is written, and the impacts.
pub(crate) fn kept(words: &Prepared) -> (String, Vec<u8>) {
    let greats = || words.terms.iter().filter(|(_, impact)| *impact >= GREAT);
    let numbers = words.terms.iter().map(|(term, _)| number(*term));
    let array = array(numbers.chain(greats().map(|(term, _)| great(*term))));
    let impacts = words.terms.iter().map(|(_, impact)| *impact).chain(greats().map(|_| 0));
    (array, impacts.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::prepare;

    #[test]
    fn each_number_has_an_impact() {
        let prepared = prepare("disk", "and so on", []);
        let (array, impacts) = kept(&prepared);
        assert_eq!(array.split(',').count(), impacts.len());
        let greats = prepared.terms.iter().filter(|(_, impact)| *impact >= GREAT).count();
        assert!(greats > 0, "a word of a title in a short text");
        assert_eq!(impacts.len(), prepared.terms.len() + greats);
        assert!(impacts.ends_with(&vec![0; greats]));
    }

    #[test]
    fn arrays_are_written_as_the_server_reads_them() {
        assert_eq!(array([]), "{}");
        assert_eq!(array([number(1), great(1 << 63), number(u64::MAX)]), "{1,1,-1}");
        assert_ne!(great(7), number(7));
    }
}
