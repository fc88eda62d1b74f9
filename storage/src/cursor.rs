//! Cursors: where the next page of a listing begins.
//!
//! A cursor is the id of the last row returned and a digest of the query it belongs to, in
//! hexadecimal with a version in front. It grants nothing: whoever forges one chooses a place in a list that
//! is filtered for its reader anyway, so it is not signed. The digest only keeps a client from
//! continuing one query with the cursor of another.
//!
//! Invariant: `CUR-1` what decodes was encoded by this module for the same query.
//!
//! Not here: how rows are ordered.

use sha2::{Digest, Sha256};
use types::{Invalid, MemoryId};

use crate::request::ListQuery;

/// Bytes of the query's digest that are kept.
const DIGEST_BYTES: usize = 8;
/// Version of the format.
const PREFIX: &str = "p1-";

/// The cursor behind `last`.
pub fn encode(query: &ListQuery, last: MemoryId) -> String {
    format!("{PREFIX}{}{}", hex::encode(last.as_bytes()), hex::encode(digest(query)))
}

/// The id behind which the page begins.
///
/// # Errors
/// [`Invalid`] naming `after` when it is none, or belongs to another query.
pub fn decode(query: &ListQuery, cursor: &str) -> Result<MemoryId, Invalid> {
    let bytes = cursor
        .strip_prefix(PREFIX)
        .and_then(|digits| hex::decode(digits).ok())
        .filter(|bytes| bytes.len() == 16 + DIGEST_BYTES)
        .ok_or_else(|| {
            Invalid::new("after", "is not one of ours; pass `next` of the page before, or nothing")
        })?;
    let (id, of_query) = bytes.split_at(16);
    if of_query != digest(query) {
        return Err(Invalid::new(
            "after",
            "belongs to a listing with other filters; repeat the filters of the first page",
        ));
    }
    MemoryId::from_slice(id)
}

/// Digest of everything in a query that selects rows; page size, cursor and clock may change
/// between pages.
fn digest(query: &ListQuery) -> [u8; DIGEST_BYTES] {
    let described = format!("{:?} {}", query.filter, query.archived);
    let whole: [u8; 32] = Sha256::digest(described.as_bytes()).into();
    let mut head = [0; DIGEST_BYTES];
    head.copy_from_slice(&whole[..DIGEST_BYTES]);
    head
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::request::MemoryFilter;

    fn query(priority_min: Option<u8>) -> ListQuery {
        ListQuery {
            filter: MemoryFilter { priority_min, ..MemoryFilter::default() },
            archived: false,
            after: None,
            limit: 10,
            now_ms: 1,
        }
    }

    #[test]
    fn a_cursor_leads_back_to_its_id_whatever_the_page_size() {
        let id = MemoryId(Uuid::from_u128(77));
        let cursor = encode(&query(None), id);
        let later = ListQuery { limit: 500, now_ms: 9, ..query(None) };
        assert_eq!(decode(&later, &cursor), Ok(id), "CUR-1");
    }

    #[test]
    fn foreign_and_damaged_cursors_are_refused() {
        let cursor = encode(&query(None), MemoryId(Uuid::from_u128(77)));
        let other = decode(&query(Some(3)), &cursor).expect_err("another query");
        assert!(other.problem.contains("other filters"), "{other}");
        for bad in
            ["", "p1-", "p1-zz", "p2-00", &cursor[..cursor.len() - 2], &format!("{cursor}00")]
        {
            assert_eq!(decode(&query(None), bad).expect_err(bad).field, "after");
        }
    }
}
