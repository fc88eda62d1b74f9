//! Filters and pages as a client writes them.
//!
//! Invariant: a filter only narrows; what the caller may see is decided elsewhere and cannot be
//! widened from here.
//!
//! Not here: visibility.

use serde::{Deserialize, Serialize};
use storage::request::{ListQuery, MemoryFilter, NamespaceFilter};
use types::{
    Invalid,
    limits::{PAGE_DEFAULT, PAGE_MAX},
};
use utoipa::{IntoParams, ToSchema};

use super::{
    memory::{permille, tags},
    time,
    vocabulary::{AgentName, InstantText, KindName, NamespacePath, TagText, TierName},
};

/// Narrows what is returned. Lists are comma-separated in a query string.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct FilterInput {
    /// Only this namespace; see `namespace_mode`. Default any.
    #[schema(value_type = Option<NamespacePath>)]
    #[param(value_type = Option<NamespacePath>)]
    pub namespace: Option<String>,
    /// `ancestors` (default: this one and those above it), `exact`, or `within` (and those below).
    #[schema(pattern = "^(ancestors|exact|within)$")]
    #[param(pattern = "^(ancestors|exact|within)$")]
    pub namespace_mode: Option<String>,
    /// Only these kinds.
    #[schema(value_type = Vec<KindName>)]
    #[param(value_type = Vec<KindName>, style = Form, explode = false)]
    pub kinds: Vec<String>,
    /// Only these tiers.
    #[schema(value_type = Vec<TierName>)]
    #[param(value_type = Vec<TierName>, style = Form, explode = false)]
    pub tiers: Vec<String>,
    /// All of these tags.
    #[schema(value_type = Vec<TagText>)]
    #[param(value_type = Vec<TagText>, style = Form, explode = false)]
    pub tags: Vec<String>,
    /// At least one of these tags.
    #[schema(value_type = Vec<TagText>)]
    #[param(value_type = Vec<TagText>, style = Form, explode = false)]
    pub tags_any: Vec<String>,
    /// Only this author.
    #[schema(value_type = Option<AgentName>)]
    #[param(value_type = Option<AgentName>)]
    pub agent_id: Option<String>,
    /// Created at or after (RFC 3339).
    #[schema(value_type = Option<InstantText>)]
    #[param(value_type = Option<InstantText>)]
    pub created_from: Option<String>,
    /// Created before (RFC 3339).
    #[schema(value_type = Option<InstantText>)]
    #[param(value_type = Option<InstantText>)]
    pub created_until: Option<String>,
    /// At least this priority.
    #[schema(minimum = 0, maximum = 255)]
    #[param(minimum = 0, maximum = 255)]
    pub min_priority: Option<u8>,
    /// At least this confidence, 0 to 1.
    #[schema(minimum = 0, maximum = 1)]
    #[param(minimum = 0, maximum = 1)]
    pub min_confidence: Option<f64>,
    /// What was true at this instant (RFC 3339). Default now.
    #[schema(value_type = Option<InstantText>)]
    #[param(value_type = Option<InstantText>)]
    pub as_of: Option<String>,
    /// Return memories outside their validity too.
    #[param(required = false)]
    pub include_invalid: bool,
}

fn namespace_filter(namespace: &str, mode: Option<&str>) -> Result<NamespaceFilter, Invalid> {
    let namespace = namespace.parse()?;
    match mode.unwrap_or("ancestors") {
        "ancestors" => Ok(NamespaceFilter::WithAncestors(namespace)),
        "exact" => Ok(NamespaceFilter::Exactly(namespace)),
        "within" => Ok(NamespaceFilter::Within(namespace)),
        other => Err(Invalid::new(
            "namespace_mode",
            format!("unknown value {other:?}; use ancestors, exact or within"),
        )),
    }
}

impl FilterInput {
    /// Validates everything.
    ///
    /// # Errors
    /// [`Invalid`] naming the first field that breaks a rule.
    pub fn to_filter(&self) -> Result<MemoryFilter, Invalid> {
        Ok(MemoryFilter {
            namespaces: self
                .namespace
                .as_deref()
                .map(|n| namespace_filter(n, self.namespace_mode.as_deref()))
                .transpose()?,
            kinds: self.kinds.iter().map(|k| k.parse()).collect::<Result<_, _>>()?,
            tiers: self.tiers.iter().map(|t| t.parse()).collect::<Result<_, _>>()?,
            tags_all: tags(&self.tags)?,
            tags_any: tags(&self.tags_any)?,
            author: self.agent_id.as_deref().map(str::parse).transpose()?,
            created_from_ms: time::from_option("created_from", self.created_from.as_deref())?,
            created_until_ms: time::from_option("created_until", self.created_until.as_deref())?,
            priority_min: self.min_priority,
            confidence_min_permille: self.min_confidence.map(permille).transpose()?,
            as_of_ms: time::from_option("as_of", self.as_of.as_deref())?,
            include_invalid: self.include_invalid,
        })
    }
}

/// A page of a listing, newest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListInput {
    /// What may be returned.
    pub filter: FilterInput,
    /// The `next` of the page before.
    pub after: Option<String>,
    /// At most so many, 1 to 1000. Default 50.
    pub limit: Option<u32>,
}

/// Checks a page size.
///
/// # Errors
/// [`Invalid`] naming `limit`.
pub(crate) fn page_limit(limit: Option<u32>, max: u32) -> Result<u32, Invalid> {
    match limit.unwrap_or(PAGE_DEFAULT.min(max)) {
        n if (1..=max).contains(&n) => Ok(n),
        n => Err(Invalid::new("limit", format!("needs 1 to {max}, got {n}"))),
    }
}

impl ListInput {
    /// Validates everything.
    ///
    /// # Errors
    /// [`Invalid`] naming the first field that breaks a rule.
    pub fn to_query(&self, archived: bool, now_ms: u64) -> Result<ListQuery, Invalid> {
        Ok(ListQuery {
            filter: self.filter.to_filter()?,
            archived,
            after: self.after.clone(),
            limit: page_limit(self.limit, PAGE_MAX)?,
            now_ms,
        })
    }
}
