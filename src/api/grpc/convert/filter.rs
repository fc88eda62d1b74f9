//! Filters, namespaces and pages.
//!
//! Invariant: a filter only narrows, as in the model.
//!
//! Not here: visibility.

use types::{Invalid, Kind, Tier, limits::PAGE_MAX};
use wire::v1::{self, namespace_selector::Select};

use super::{memory::priority, some_count, some_text, time_in, words};
use crate::node::model::{FilterInput, ListInput};

/// A namespace and how far around it to look, as the model's words.
pub(in crate::api::grpc) fn selector(
    selector: Option<v1::NamespaceSelector>,
) -> Option<(String, &'static str)> {
    Some(match selector?.select? {
        Select::Exactly(namespace) => (namespace, "exact"),
        Select::WithAncestors(namespace) => (namespace, "ancestors"),
        Select::Within(namespace) => (namespace, "within"),
    })
}

/// What a read may return.
///
/// # Errors
/// [`Invalid`] naming the field that has no meaning.
pub(in crate::api::grpc) fn filter(
    filter: Option<v1::MemoryFilter>,
) -> Result<FilterInput, Invalid> {
    let filter = filter.unwrap_or_default();
    let (namespace, mode) = selector(filter.namespace).unzip();
    let min_priority = filter.priority_min.map(|p| priority("priority_min", p)).transpose()?;
    Ok(FilterInput {
        namespace,
        namespace_mode: mode.map(str::to_owned),
        kinds: words::<Kind>("kinds", &filter.kinds)?,
        tiers: words::<Tier>("tiers", &filter.tiers)?,
        tags: filter.tags_all,
        tags_any: filter.tags_any,
        agent_id: some_text(filter.agent_id),
        created_from: time_in("created_from", filter.created_from.as_ref())?,
        created_until: time_in("created_until", filter.created_until.as_ref())?,
        min_priority,
        min_confidence: filter.confidence_min,
        as_of: time_in("as_of", filter.as_of.as_ref())?,
        include_invalid: filter.include_invalid,
    })
}

/// A page of a listing.
///
/// # Errors
/// [`Invalid`] naming the field that has no meaning.
pub(in crate::api::grpc) fn list(
    filter: Option<v1::MemoryFilter>,
    page_size: u32,
    page_token: String,
) -> Result<ListInput, Invalid> {
    if page_size > PAGE_MAX {
        return Err(Invalid::new("page_size", format!("needs 1 to {PAGE_MAX}, got {page_size}")));
    }
    Ok(ListInput {
        filter: self::filter(filter)?,
        after: some_text(page_token),
        limit: some_count(page_size),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unset_filter_narrows_nothing() {
        assert_eq!(filter(None), Ok(FilterInput::default()));
        assert_eq!(filter(Some(v1::MemoryFilter::default())), Ok(FilterInput::default()));
        assert_eq!(list(None, 0, String::new()), Ok(ListInput::default()));
    }

    #[test]
    fn namespaces_keep_their_mode() {
        let modes = [
            (Select::Exactly("a".into()), "exact"),
            (Select::WithAncestors("a".into()), "ancestors"),
            (Select::Within("a".into()), "within"),
        ];
        for (select, mode) in modes {
            let namespace = Some(v1::NamespaceSelector { select: Some(select) });
            let found = filter(Some(v1::MemoryFilter { namespace, ..Default::default() }));
            let found = found.expect("a filter");
            assert_eq!(found.namespace.as_deref(), Some("a"));
            assert_eq!(found.namespace_mode.as_deref(), Some(mode));
        }
    }

    #[test]
    fn bad_numbers_are_named() {
        let refused = |change: fn(&mut v1::MemoryFilter)| {
            let mut filter = v1::MemoryFilter::default();
            change(&mut filter);
            super::filter(Some(filter)).expect_err("no meaning").field
        };
        assert_eq!(refused(|f| f.kinds = vec![99]), "kinds");
        assert_eq!(refused(|f| f.tiers = vec![0]), "tiers");
        assert_eq!(refused(|f| f.priority_min = Some(256)), "priority_min");
        assert_eq!(list(None, 1001, String::new()).expect_err("too many").field, "page_size");
    }
}
