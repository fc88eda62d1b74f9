//! Reading memories: get, list, duplicates, namespaces, entities, history.
//!
//! Invariant: every read goes through the caller's own eyes; an operator sees everything only in
//! `transfer` and `admin`, where it is asked for by name.
//!
//! Not here: recall.

use runtime::clock;
use storage::request::{DuplicateQuery, Reader};
use types::{Content, Title};

use super::{Caller, Reply, Service, reject};
use crate::node::model::{
    ListInput, MemoryOut, TimelineInput,
    graph::ChangeOut,
    memory::{namespace_or_global, permille},
    write::{DuplicateInput, DuplicateOut},
};

/// A page as a client reads it.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct MemoryPage {
    /// The memories, newest first.
    pub items: Vec<MemoryOut>,
    /// Pass as `after` for the next page; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A namespace as a client reads it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct NamespaceOut {
    /// Which.
    pub namespace: String,
    /// Live memories in it that the caller may see.
    pub memories: u64,
}

impl Service {
    /// One memory by id or unique prefix.
    ///
    /// # Errors
    /// `not_found`, `ambiguous_prefix`.
    pub async fn get(&self, caller: &Caller, id: &str) -> Reply<MemoryOut> {
        let id = id.parse()?;
        let view = self.store.get(Reader::Agent(&caller.viewer), id, clock::now_unix_ms()).await;
        view.map(Into::into).map_err(reject)
    }

    /// A page of memories, newest first; `archived` lists the archive instead.
    ///
    /// # Errors
    /// `invalid_argument`.
    pub async fn list(
        &self,
        caller: &Caller,
        input: &ListInput,
        archived: bool,
    ) -> Reply<MemoryPage> {
        let query = input.to_query(archived, clock::now_unix_ms())?;
        let page = self.store.list(Reader::Agent(&caller.viewer), query).await.map_err(reject)?;
        Ok(MemoryPage { items: page.items.into_iter().map(Into::into).collect(), next: page.next })
    }

    /// Stored memories that say nearly the same as a text.
    ///
    /// # Errors
    /// `invalid_argument`.
    pub async fn check_duplicate(
        &self,
        caller: &Caller,
        input: DuplicateInput,
    ) -> Reply<Vec<DuplicateOut>> {
        let title: Title = input.title.parse()?;
        let content = Content::try_from(input.content)?;
        let query = DuplicateQuery {
            title: title.to_string(),
            content: content.to_string(),
            namespace: namespace_or_global(input.namespace.as_deref())?,
            similarity_min_permille: permille(input.min_similarity.unwrap_or(0.7))
                .map_err(|e| types::Invalid::new("min_similarity", e.problem))?,
            now_ms: clock::now_unix_ms(),
        };
        let found =
            self.store.duplicates(Reader::Agent(&caller.viewer), query).await.map_err(reject)?;
        Ok(found
            .into_iter()
            .map(|(permille, memory)| DuplicateOut {
                similarity: f64::from(permille) / 1000.0,
                memory: memory.into(),
            })
            .collect())
    }

    /// Namespaces with what the caller may see in them.
    ///
    /// # Errors
    /// A store failure.
    pub async fn namespaces(&self, caller: &Caller) -> Reply<Vec<NamespaceOut>> {
        let reader = Reader::Agent(&caller.viewer);
        let all = self.store.namespaces(reader, clock::now_unix_ms()).await.map_err(reject)?;
        Ok(all
            .into_iter()
            .map(|n| NamespaceOut { namespace: n.namespace.to_string(), memories: n.memories })
            .collect())
    }

    /// Entities known by a name or alias.
    ///
    /// # Errors
    /// `invalid_argument`.
    pub async fn entities(
        &self,
        caller: &Caller,
        namespace: Option<&str>,
        name: &str,
    ) -> Reply<Vec<MemoryOut>> {
        let namespace = namespace.map(str::parse).transpose()?;
        let reader = Reader::Agent(&caller.viewer);
        let found =
            self.store.entities(reader, namespace, name.to_owned()).await.map_err(reject)?;
        Ok(found.into_iter().map(Into::into).collect())
    }

    /// History of a memory, or of those a filter names.
    ///
    /// # Errors
    /// `invalid_argument`, `not_found`.
    pub async fn timeline(&self, caller: &Caller, input: &TimelineInput) -> Reply<Vec<ChangeOut>> {
        let query = input.to_query(clock::now_unix_ms())?;
        let all =
            self.store.timeline(Reader::Agent(&caller.viewer), query).await.map_err(reject)?;
        Ok(all.into_iter().map(Into::into).collect())
    }
}
