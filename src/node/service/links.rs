//! Links and what follows them: link, unlink, graph, paths, lineage, aliases.
//!
//! Invariant: a link is made and shown only between memories that the caller may see.
//!
//! Not here: the walks (`storage`).

use std::collections::BTreeSet;

use runtime::{clock, random};
use storage::request::{Direction, GraphQuery, Intent, Reader};
use types::{
    Invalid, LinkId, Relation,
    limits::{ALIAS_BYTES_MAX, GRAPH_DEPTH_MAX},
    memory::Validity,
};

use super::{
    Caller, Reply, Service, reject,
    write::{Asked, Plan, link_of},
};
use crate::node::model::{
    GraphInput, LinkInput, LinkOut, PathInput, Written,
    graph::{GraphOut, PathOut},
    time,
    write::{LinkRef, MemoryRef},
};

impl Service {
    /// Links two memories; `supersedes` also ends the target's validity.
    ///
    /// # Errors
    /// `not_found`, `cycle`, `forbidden`, `already_exists`, `quota_exceeded`, `invalid_argument`.
    pub async fn link(&self, caller: &Caller, input: LinkInput) -> Reply<Written<LinkRef>> {
        let asked = Asked::new(caller, "link", &input)?;
        let plan = async {
            let link = input.to_link(LinkId(random::uuid_v7(clock::now_unix_ms())))?;
            Ok(Plan::one(Intent::Link(link)))
        };
        self.mutate(asked, plan, |(), receipt| link_of(receipt)).await
    }

    /// Changes when a link holds; an end that is not given is open.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `invalid_argument`.
    pub async fn update_link(
        &self,
        caller: &Caller,
        id: &str,
        valid_from: Option<String>,
        valid_until: Option<String>,
    ) -> Reply<Written<LinkRef>> {
        let asked = Asked::new(caller, "update_link", &(id, &valid_from, &valid_until))?;
        let plan = async {
            let validity = Validity {
                from_ms: time::from_option("valid_from", valid_from.as_deref())?,
                until_ms: time::from_option("valid_until", valid_until.as_deref())?,
            };
            validity.check()?;
            Ok(Plan::one(Intent::LinkValidity { id: id.parse()?, validity }))
        };
        self.mutate(asked, plan, |(), receipt| link_of(receipt)).await
    }

    /// Removes a link for good.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub async fn unlink(&self, caller: &Caller, id: &str) -> Reply<Written<LinkRef>> {
        let asked = Asked::new(caller, "unlink", &id)?;
        let plan = async { Ok(Plan::one(Intent::Unlink { id: id.parse()? })) };
        self.mutate(asked, plan, |(), receipt| link_of(receipt)).await
    }

    /// Links that start or end at a memory.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn links(&self, caller: &Caller, id: &str) -> Reply<Vec<LinkOut>> {
        let reader = Reader::Agent(&caller.viewer);
        let view =
            self.store.get(reader, id.parse()?, clock::now_unix_ms()).await.map_err(reject)?;
        let links = self.store.links(reader, view.id).await.map_err(reject)?;
        Ok(links.into_iter().map(Into::into).collect())
    }

    /// The neighbourhood of a memory.
    ///
    /// # Errors
    /// `not_found`, `invalid_argument`.
    pub async fn graph(&self, caller: &Caller, input: &GraphInput) -> Reply<GraphOut> {
        let query = input.to_query(clock::now_unix_ms())?;
        let graph = self.store.graph(Reader::Agent(&caller.viewer), query).await.map_err(reject)?;
        Ok(graph.into())
    }

    /// What a memory was made from: `derived_from`, `reflects_on` and `supersedes`, followed back.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn lineage(&self, caller: &Caller, id: &str) -> Reply<GraphOut> {
        let query = GraphQuery {
            start: id.parse()?,
            depth: GRAPH_DEPTH_MAX,
            relations: BTreeSet::from([
                Relation::DerivedFrom,
                Relation::ReflectsOn,
                Relation::Supersedes,
            ]),
            direction: Direction::Outgoing,
            as_of_ms: None,
            now_ms: clock::now_unix_ms(),
        };
        let graph = self.store.graph(Reader::Agent(&caller.viewer), query).await.map_err(reject)?;
        Ok(graph.into())
    }

    /// The shortest paths between two memories.
    ///
    /// # Errors
    /// `not_found`, `invalid_argument`.
    pub async fn find_paths(&self, caller: &Caller, input: &PathInput) -> Reply<Vec<PathOut>> {
        let query = input.to_query(clock::now_unix_ms())?;
        let paths = self.store.paths(Reader::Agent(&caller.viewer), query).await.map_err(reject)?;
        Ok(paths.into_iter().map(Into::into).collect())
    }

    /// Gives an entity another name, or takes it away.
    ///
    /// # Errors
    /// `not_found`, `failed_precondition` when the memory is no entity, `invalid_argument`.
    pub async fn alias(
        &self,
        caller: &Caller,
        id: &str,
        alias: &str,
        remove: bool,
    ) -> Reply<Written<MemoryRef>> {
        let alias = alias.trim();
        if alias.is_empty() || alias.len() > ALIAS_BYTES_MAX || alias.chars().any(char::is_control)
        {
            return Err(Invalid::new(
                "alias",
                format!("needs 1 to {ALIAS_BYTES_MAX} bytes on one line"),
            )
            .into());
        }
        let asked = Asked::new(caller, "alias", &(id, alias, remove))?;
        let plan = async {
            Ok(Plan::one(Intent::Alias { id: id.parse()?, alias: alias.to_owned(), remove }))
        };
        self.change(asked, plan).await
    }

    /// Other names of an entity.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn aliases(&self, caller: &Caller, id: &str) -> Reply<Vec<String>> {
        let reader = Reader::Agent(&caller.viewer);
        let view =
            self.store.get(reader, id.parse()?, clock::now_unix_ms()).await.map_err(reject)?;
        self.store.aliases(reader, view.id).await.map_err(reject)
    }
}
