//! Cutting text into words, without allocating per word.
//!
//! A *word* is a maximal run of letters and digits; an ideograph or kana is a word of its own, since those scripts
//! put no space between words. Words joined by single `_ . - : / @ #` (or `::`) form a *compound*; a word in camel
//! case has *humps*. `FooBar` gives the word and the humps `foo`, `bar`; `a.b.c` the compound and three words.
//!
//! Invariant: words come in text order and their sequence depends on nothing but the text, so a phrase can be checked
//! against a text by cutting both the same way.

/// What a piece of text is to the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// A run of letters and digits.
    Word,
    /// A part of a word in camel case.
    Hump,
    /// Several words and the joiners between them.
    Compound,
}

/// A compound longer than this many bytes is only indexed by its words.
const COMPOUND_MAX_BYTES: usize = 128;

/// Calls `see` with every piece of `text`, lower-cased.
pub fn each_piece(text: &str, mut see: impl FnMut(Piece, &str)) {
    let mut lowered = String::new();
    let mut rest = Cutter { text, at: 0 };
    // The compound being gathered: where it began, where its last word ended, how many words it has.
    let mut compound: Option<(usize, usize, u32)> = None;
    while let Some((start, end)) = rest.next_word() {
        compound = match compound {
            Some((from, last, words)) if joined(&text[last..start]) => Some((from, end, words + 1)),
            finished => {
                emit(text, finished, &mut lowered, &mut see);
                Some((start, end, 1))
            }
        };
        let word = &text[start..end];
        lower(word, &mut lowered);
        see(Piece::Word, &lowered);
        each_hump(word, &mut lowered, &mut see);
    }
    emit(text, compound, &mut lowered, &mut see);
}

/// The lower-cased words of `text` in order, for phrases.
pub fn words(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    each_piece(text, |piece, word| {
        if piece == Piece::Word {
            all.push(word.to_owned());
        }
    });
    all
}

fn emit(
    text: &str,
    compound: Option<(usize, usize, u32)>,
    lowered: &mut String,
    see: &mut impl FnMut(Piece, &str),
) {
    if let Some((from, to, words)) = compound
        && words > 1
        && to - from <= COMPOUND_MAX_BYTES
    {
        lower(&text[from..to], lowered);
        see(Piece::Compound, lowered);
    }
}

fn joined(between: &str) -> bool {
    matches!(between, "_" | "." | "-" | ":" | "/" | "@" | "#" | "::")
}

fn lower(word: &str, into: &mut String) {
    into.clear();
    if word.is_ascii() {
        into.push_str(word);
        into.make_ascii_lowercase();
    } else {
        into.extend(word.chars().flat_map(char::to_lowercase));
    }
}

/// Humps begin at a capital after a small letter (`fooBar`) and at the last of several capitals (`HTTPServer`).
fn each_hump(word: &str, lowered: &mut String, see: &mut impl FnMut(Piece, &str)) {
    let bytes = word.as_bytes();
    if !word.is_ascii() || !bytes.iter().skip(1).any(u8::is_ascii_uppercase) {
        return;
    }
    let mut start = 0;
    for at in 1..=bytes.len() {
        let begins = match bytes.get(at) {
            None => start > 0,
            Some(byte) if !byte.is_ascii_uppercase() => false,
            Some(_) => {
                !bytes[at - 1].is_ascii_uppercase()
                    || bytes.get(at + 1).is_some_and(u8::is_ascii_lowercase)
            }
        };
        if begins {
            lower(&word[start..at], lowered);
            see(Piece::Hump, lowered);
            start = at;
        }
    }
}

struct Cutter<'a> {
    text: &'a str,
    at: usize,
}

impl Cutter<'_> {
    /// Byte range of the next word.
    fn next_word(&mut self) -> Option<(usize, usize)> {
        let rest = &self.text[self.at..];
        let start = self.at + rest.find(|c: char| c.is_alphanumeric())?;
        let mut end = start;
        for c in self.text[start..].chars() {
            if !c.is_alphanumeric() || (stands_alone(c) && end > start) {
                break;
            }
            end += c.len_utf8();
            if stands_alone(c) {
                break;
            }
        }
        self.at = end;
        Some((start, end))
    }
}

/// Scripts written without spaces, cut into single characters.
fn stands_alone(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{323af}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pieces(text: &str) -> String {
        let mut all = Vec::new();
        each_piece(text, |piece, word| {
            all.push(match piece {
                Piece::Word => word.to_owned(),
                Piece::Hump => format!("^{word}"),
                Piece::Compound => format!("<{word}>"),
            });
        });
        all.join(" ")
    }

    #[test]
    fn prose_and_punctuation() {
        assert_eq!(pieces("The cat, (sat)!  on-- 3 mats..."), "the cat sat on 3 mats");
        assert_eq!(pieces("don't"), "don t");
        assert_eq!(pieces("Größe ÉTÉ"), "größe été");
        assert_eq!(pieces(""), "");
    }

    #[test]
    fn identifiers_keep_whole_and_parts() {
        assert_eq!(pieces("foo_bar"), "foo bar <foo_bar>");
        assert_eq!(pieces("a.b.c x"), "a b c <a.b.c> x");
        assert_eq!(pieces("FooBar"), "foobar ^foo ^bar");
        assert_eq!(pieces("parseHTTPResponse2"), "parsehttpresponse2 ^parse ^http ^response2");
        assert_eq!(pieces("std::fs::File"), "std fs file <std::fs::file>");
        assert_eq!(pieces("CVE-2021-44228."), "cve 2021 44228 <cve-2021-44228>");
        assert_eq!(pieces("HTTP"), "http");
    }

    #[test]
    fn ideographs_are_words_of_their_own() {
        assert_eq!(pieces("東京tower"), "東 京 tower");
    }

    proptest! {
        #[test]
        fn any_text_is_cut_without_a_panic_into_nonempty_pieces(text in "\\PC{0,80}") {
            each_piece(&text, |_, word| assert!(!word.is_empty()));
        }
    }
}
