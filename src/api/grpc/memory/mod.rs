//! `hivemem.v1.MemoryService`: one line per method, one function per operation.
//!
//! | module | operations |
//! |---|---|
//! | [`write`] | store, bulk store, update, promote, delete, consolidate |
//! | [`archive`] | forget, archive list, restore, purge |
//! | [`read`] | get, list, duplicates, timeline, namespaces, conflicts, entities |
//! | [`links`] | links, graph, paths, lineage, aliases |
//!
//! Invariant: every operation takes the service, the caller and its message, and nothing else.
//!
//! Not here: authentication and deadlines, which every call has passed through before.

mod archive;
mod links;
mod read;
mod write;

use std::sync::Arc;

use tonic::Request;
use wire::v1::{self, memory_service_server::MemoryService};

use super::{Answer, Door};

/// The service over the shared door.
pub(super) struct Memories(pub Arc<Door>);

#[tonic::async_trait]
impl MemoryService for Memories {
    async fn store(&self, call: Request<v1::StoreRequest>) -> Answer<v1::StoreResponse> {
        self.0.call(call, write::store).await
    }

    async fn bulk_store(
        &self,
        call: Request<v1::BulkStoreRequest>,
    ) -> Answer<v1::BulkStoreResponse> {
        self.0.call(call, write::bulk_store).await
    }

    async fn get(&self, call: Request<v1::GetRequest>) -> Answer<v1::GetResponse> {
        self.0.call(call, read::get).await
    }

    async fn list(&self, call: Request<v1::ListRequest>) -> Answer<v1::ListResponse> {
        self.0.call(call, read::list).await
    }

    async fn update(&self, call: Request<v1::UpdateRequest>) -> Answer<v1::UpdateResponse> {
        self.0.call(call, write::update).await
    }

    async fn delete(&self, call: Request<v1::DeleteRequest>) -> Answer<v1::DeleteResponse> {
        self.0.call(call, write::delete).await
    }

    async fn promote(&self, call: Request<v1::PromoteRequest>) -> Answer<v1::PromoteResponse> {
        self.0.call(call, write::promote).await
    }

    async fn forget(&self, call: Request<v1::ForgetRequest>) -> Answer<v1::ForgetResponse> {
        self.0.call(call, archive::forget).await
    }

    async fn archive_list(
        &self,
        call: Request<v1::ArchiveListRequest>,
    ) -> Answer<v1::ArchiveListResponse> {
        self.0.call(call, archive::list).await
    }

    async fn restore(&self, call: Request<v1::RestoreRequest>) -> Answer<v1::RestoreResponse> {
        self.0.call(call, archive::restore).await
    }

    async fn purge(&self, call: Request<v1::PurgeRequest>) -> Answer<v1::PurgeResponse> {
        self.0.call(call, archive::purge).await
    }

    async fn consolidate(
        &self,
        call: Request<v1::ConsolidateRequest>,
    ) -> Answer<v1::ConsolidateResponse> {
        self.0.call(call, write::consolidate).await
    }

    async fn check_duplicate(
        &self,
        call: Request<v1::CheckDuplicateRequest>,
    ) -> Answer<v1::CheckDuplicateResponse> {
        self.0.call(call, read::check_duplicate).await
    }

    async fn link(&self, call: Request<v1::LinkRequest>) -> Answer<v1::LinkResponse> {
        self.0.call(call, links::link).await
    }

    async fn update_link(
        &self,
        call: Request<v1::UpdateLinkRequest>,
    ) -> Answer<v1::UpdateLinkResponse> {
        self.0.call(call, links::update_link).await
    }

    async fn unlink(&self, call: Request<v1::UnlinkRequest>) -> Answer<v1::UnlinkResponse> {
        self.0.call(call, links::unlink).await
    }

    async fn list_links(
        &self,
        call: Request<v1::ListLinksRequest>,
    ) -> Answer<v1::ListLinksResponse> {
        self.0.call(call, links::list_links).await
    }

    async fn graph(&self, call: Request<v1::GraphRequest>) -> Answer<v1::GraphResponse> {
        self.0.call(call, links::graph).await
    }

    async fn find_paths(
        &self,
        call: Request<v1::FindPathsRequest>,
    ) -> Answer<v1::FindPathsResponse> {
        self.0.call(call, links::find_paths).await
    }

    async fn timeline(&self, call: Request<v1::TimelineRequest>) -> Answer<v1::TimelineResponse> {
        self.0.call(call, read::timeline).await
    }

    async fn lineage(&self, call: Request<v1::LineageRequest>) -> Answer<v1::LineageResponse> {
        self.0.call(call, links::lineage).await
    }

    async fn namespaces(
        &self,
        call: Request<v1::NamespacesRequest>,
    ) -> Answer<v1::NamespacesResponse> {
        self.0.call(call, read::namespaces).await
    }

    async fn list_conflicts(
        &self,
        call: Request<v1::ListConflictsRequest>,
    ) -> Answer<v1::ListConflictsResponse> {
        self.0.call(call, read::list_conflicts).await
    }

    async fn entities(&self, call: Request<v1::EntitiesRequest>) -> Answer<v1::EntitiesResponse> {
        self.0.call(call, read::entities).await
    }

    async fn list_aliases(
        &self,
        call: Request<v1::ListAliasesRequest>,
    ) -> Answer<v1::ListAliasesResponse> {
        self.0.call(call, links::list_aliases).await
    }

    async fn add_alias(&self, call: Request<v1::AddAliasRequest>) -> Answer<v1::AddAliasResponse> {
        self.0.call(call, links::add_alias).await
    }

    async fn remove_alias(
        &self,
        call: Request<v1::RemoveAliasRequest>,
    ) -> Answer<v1::RemoveAliasResponse> {
        self.0.call(call, links::remove_alias).await
    }
}
