//! Links, walks along them, and other names of entities.
//!
//! Invariant: a lineage is two walks over the same relations, one each way.
//!
//! Not here: the walks themselves (`storage`).

use std::{collections::BTreeMap, sync::Arc};

use types::{Invalid, Relation, limits::GRAPH_DEPTH_MAX};
use wire::v1;

use super::super::{
    auth::{reading, writing},
    convert::{
        direction, graph_node, link as shown, path, receipt, relations, some_count, time_in,
        validity_in, word,
    },
};
use crate::node::{
    model::{
        GraphInput, LinkInput, PathInput, Written,
        graph::{GraphNode, GraphOut},
        write::MemoryRef,
    },
    service::{Caller, Reply, Service},
};

/// The relations that say what a memory was made from.
const DESCENT: [Relation; 3] = [Relation::DerivedFrom, Relation::ReflectsOn, Relation::Supersedes];

pub(super) async fn link(
    service: Arc<Service>,
    caller: Caller,
    request: v1::LinkRequest,
) -> Reply<v1::LinkResponse> {
    let caller = writing(caller, request.write)?;
    let (valid_from, valid_until) = validity_in(request.validity.as_ref())?;
    let relation = word::<Relation>(request.relation)?
        .ok_or_else(|| Invalid::new("relation", "is required"))?;
    let (source, target) = (request.source_id, request.target_id);
    let input = LinkInput { source, target, relation, valid_from, valid_until };
    let written = service.link(&caller, input).await?;
    Ok(v1::LinkResponse {
        link_id: written.result.id,
        receipt: receipt(written.durability, written.replayed, written.warnings),
    })
}

pub(super) async fn update_link(
    service: Arc<Service>,
    caller: Caller,
    request: v1::UpdateLinkRequest,
) -> Reply<v1::UpdateLinkResponse> {
    let caller = writing(caller, request.write)?;
    let (from, until) = validity_in(request.validity.as_ref())?;
    let written = service.update_link(&caller, &request.link_id, from, until).await?;
    Ok(v1::UpdateLinkResponse {
        receipt: receipt(written.durability, written.replayed, written.warnings),
    })
}

pub(super) async fn unlink(
    service: Arc<Service>,
    caller: Caller,
    request: v1::UnlinkRequest,
) -> Reply<v1::UnlinkResponse> {
    let caller = writing(caller, request.write)?;
    let written = service.unlink(&caller, &request.link_id).await?;
    Ok(v1::UnlinkResponse {
        receipt: receipt(written.durability, written.replayed, written.warnings),
    })
}

pub(super) async fn list_links(
    service: Arc<Service>,
    caller: Caller,
    request: v1::ListLinksRequest,
) -> Reply<v1::ListLinksResponse> {
    reading(&service, &caller, request.read).await?;
    let links = service.links(&caller, &request.id).await?;
    Ok(v1::ListLinksResponse { links: links.into_iter().map(shown).collect() })
}

pub(super) async fn graph(
    service: Arc<Service>,
    caller: Caller,
    request: v1::GraphRequest,
) -> Reply<v1::GraphResponse> {
    let input = GraphInput {
        id: request.id,
        depth: some_count(request.depth),
        relations: relations(&request.relations)?,
        direction: direction(request.direction)?,
        as_of: time_in("as_of", request.as_of.as_ref())?,
    };
    reading(&service, &caller, request.read).await?;
    let graph = service.graph(&caller, &input).await?;
    Ok(v1::GraphResponse {
        nodes: graph.nodes.into_iter().map(graph_node).collect(),
        links: graph.links.into_iter().map(shown).collect(),
        truncated: graph.truncated,
    })
}

pub(super) async fn find_paths(
    service: Arc<Service>,
    caller: Caller,
    request: v1::FindPathsRequest,
) -> Reply<v1::FindPathsResponse> {
    let input = PathInput {
        from: request.from_id,
        to: request.to_id,
        depth: some_count(request.depth),
        limit: some_count(request.limit),
        as_of: time_in("as_of", request.as_of.as_ref())?,
    };
    reading(&service, &caller, request.read).await?;
    let paths = service.find_paths(&caller, &input).await?;
    Ok(v1::FindPathsResponse { paths: paths.into_iter().map(path).collect() })
}

pub(super) async fn lineage(
    service: Arc<Service>,
    caller: Caller,
    request: v1::LineageRequest,
) -> Reply<v1::LineageResponse> {
    reading(&service, &caller, request.read).await?;
    let walk = |direction: &str| GraphInput {
        id: request.id.clone(),
        depth: Some(some_count(request.depth).unwrap_or(GRAPH_DEPTH_MAX)),
        relations: DESCENT.iter().map(Relation::to_string).collect(),
        direction: Some(direction.to_owned()),
        as_of: None,
    };
    let back = service.graph(&caller, &walk("outgoing")).await?;
    let forth = service.graph(&caller, &walk("incoming")).await?;
    Ok(lineage_of(back, forth))
}

/// Joins the two walks; a link that both followed is shown once.
fn lineage_of(back: GraphOut, forth: GraphOut) -> v1::LineageResponse {
    let beyond_start = |nodes: Vec<GraphNode>| {
        nodes.into_iter().filter(|node| node.distance > 0).map(graph_node).collect()
    };
    let links: BTreeMap<String, v1::Link> = back
        .links
        .into_iter()
        .chain(forth.links)
        .map(|link| (link.id.clone(), shown(link)))
        .collect();
    v1::LineageResponse {
        ancestors: beyond_start(back.nodes),
        descendants: beyond_start(forth.nodes),
        links: links.into_values().collect(),
    }
}

pub(super) async fn list_aliases(
    service: Arc<Service>,
    caller: Caller,
    request: v1::ListAliasesRequest,
) -> Reply<v1::ListAliasesResponse> {
    reading(&service, &caller, request.read).await?;
    Ok(v1::ListAliasesResponse { aliases: service.aliases(&caller, &request.id).await? })
}

fn alias_receipt(written: Written<MemoryRef>) -> Option<v1::Receipt> {
    receipt(written.durability, written.replayed, written.warnings)
}

pub(super) async fn add_alias(
    service: Arc<Service>,
    caller: Caller,
    request: v1::AddAliasRequest,
) -> Reply<v1::AddAliasResponse> {
    let caller = writing(caller, request.write)?;
    let written = service.alias(&caller, &request.id, &request.alias, false).await?;
    Ok(v1::AddAliasResponse { receipt: alias_receipt(written) })
}

pub(super) async fn remove_alias(
    service: Arc<Service>,
    caller: Caller,
    request: v1::RemoveAliasRequest,
) -> Reply<v1::RemoveAliasResponse> {
    let caller = writing(caller, request.write)?;
    let written = service.alias(&caller, &request.id, &request.alias, true).await?;
    Ok(v1::RemoveAliasResponse { receipt: alias_receipt(written) })
}
