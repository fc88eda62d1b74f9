//! What finding near-duplicates has in common wherever the words are searched: which memories are compared, and how.
//!
//! A text is searched for by its first words; the memories that rank highest are compared with it as wholes (`similar`).
//!
//! Invariants: `DUP-1` the order is total: most similar first, ties by id.
//!
//! Not here: the search itself (`candidates`, or the database).

use crate::{
    answer::MemoryView,
    index::Query,
    request::{DuplicateQuery, MemoryFilter, NamespaceFilter},
    similar::Shingles,
};

/// Memories compared with a text.
pub(crate) const DEPTH: usize = 64;
/// Bytes of a text that are searched for; enough words to rank by.
const QUERY_BYTES: usize = 1024;

/// The memories among which duplicates are looked for.
pub(crate) fn filter(query: &DuplicateQuery) -> MemoryFilter {
    let namespaces = Some(NamespaceFilter::Exactly(query.namespace.clone()));
    MemoryFilter { namespaces, ..MemoryFilter::default() }
}

/// The beginning of the text as a question: quotation marks would ask for phrases.
pub(crate) fn question(query: &DuplicateQuery) -> Query {
    let mut text = format!("{} {}", query.title, query.content).replace('"', " ");
    let mut end = text.len().min(QUERY_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    Query::parse(&text)
}

/// Those of the memories that resemble the text enough, each once, with the resemblance in permille.
pub(crate) fn alike(
    query: &DuplicateQuery,
    memories: impl IntoIterator<Item = MemoryView>,
) -> Vec<(u16, MemoryView)> {
    let text = Shingles::of(&query.title, &query.content);
    let resemblance = |memory: MemoryView| {
        let other = Shingles::of(&memory.title, &memory.content);
        (text.resemblance_permille(&other), memory)
    };
    let least = query.similarity_min_permille.max(1);
    let mut alike: Vec<_> =
        memories.into_iter().map(resemblance).filter(|(permille, _)| *permille >= least).collect();
    alike.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.id.cmp(&b.1.id)));
    alike.dedup_by_key(|(_, memory)| memory.id);
    alike
}
