//! Operators, reflection, and what no service answers.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream;
use http_body_util::Full;
use tonic::{Code, Request};
use tonic_reflection::pb::{v1 as current, v1alpha as alpha};
use tower::ServiceExt;
use types::{Reason, Reject};
use wire::{errors::reject_from_status, v1};

use super::{
    super::{Door, GrpcSettings},
    World, as_operator, assert_refused,
};
use crate::telemetry::health::ReadyProbe;

#[tokio::test]
async fn an_agent_is_registered_used_and_revoked() {
    let world = World::new().await;
    let register = v1::RegisterAgentRequest {
        agent_id: "ann".into(),
        affiliation: "acme/eng/core".into(),
        issue_token: true,
        ..Default::default()
    };
    let mut admin = world.admin();
    let refused = admin.register_agent(register.clone()).await;
    assert_refused(refused, Code::PermissionDenied, Reason::Forbidden);
    let made = admin.register_agent(as_operator(register)).await.expect("registered").into_inner();
    let agent = made.agent.expect("an agent");
    assert!(agent.has_token && !made.token.is_empty() && !agent.revoked);

    let with_token = || {
        let mut call = Request::new(v1::QuotaStatusRequest::default());
        let bearer = format!("Bearer {}", made.token).parse().expect("a value");
        call.metadata_mut().insert("authorization", bearer);
        call
    };
    let quota = admin.quota_status(with_token()).await.expect("her own").into_inner();
    assert_eq!((quota.agent_id.as_str(), quota.namespace.as_str()), ("ann", "global"));
    assert_eq!(quota.memories_today.expect("a meter").limit, None);

    let revoke = as_operator(v1::RevokeAgentRequest { agent_id: "ann".into() });
    let revoked = admin.revoke_agent(revoke).await.expect("revoked").into_inner();
    let revoked = revoked.agent.expect("an agent");
    assert!(revoked.revoked && revoked.affiliation == "acme/eng/core");
    let after = admin.quota_status(with_token()).await;
    assert_refused(after, Code::PermissionDenied, Reason::AgentRevoked);
}

#[tokio::test]
async fn a_node_tells_its_state_and_proves_its_chain() {
    let world = World::new().await;
    world.store("t", "c").await;
    let mut admin = world.admin();
    let status = admin.status(v1::StatusRequest {}).await.expect("a status").into_inner();
    assert!(status.ready && status.uptime.is_some() && status.topology == "single");
    assert!(status.time.is_some());
    assert_eq!(status.store.expect("figures").memories, 1);
    let chain = admin.verify_chain(as_operator(v1::VerifyChainRequest { since: 0 })).await;
    let chain = chain.expect("a report").into_inner();
    assert!(chain.chain_holds && chain.rows_checked >= 1);
    assert_eq!(chain.head.expect("a head").hash.len(), 32);
    let doctor = admin.doctor(as_operator(v1::DoctorRequest {})).await;
    assert!(doctor.expect("a report").into_inner().healthy);
    let can = admin.capabilities(v1::CapabilitiesRequest {}).await.expect("known").into_inner();
    assert!(can.features.contains(&"recall.hybrid".to_owned()));
    assert_eq!(can.limits.get("bulk_items"), Some(&1000));
}

#[tokio::test]
async fn a_backup_goes_where_it_is_told() {
    let world = World::new().await;
    let (_, position) = world.store("t", "c").await;
    let mut admin = world.admin();
    let nowhere = admin.backup(as_operator(v1::BackupRequest::default())).await;
    assert_refused(nowhere, Code::InvalidArgument, Reason::InvalidArgument);
    let folder = world.folder.path().join("copy").display().to_string();
    let backup = as_operator(v1::BackupRequest { folder: folder.clone() });
    let done = admin.backup(backup).await.expect("a backup").into_inner();
    assert_eq!((done.folder, done.position), (folder.clone(), position));
    assert!(std::path::Path::new(&folder).read_dir().expect("a folder").next().is_some());
}

/// What the two versions of reflection answer has the same shape under different names.
macro_rules! services_by {
    ($world:expr, $version:ident) => {{
        use $version::{
            ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
            server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
        };
        let ask = |message| ServerReflectionRequest {
            host: String::new(),
            message_request: Some(message),
        };
        let symbol = "hivemem.v1.MemoryService".to_owned();
        let questions = vec![
            ask(MessageRequest::ListServices(String::new())),
            ask(MessageRequest::FileContainingSymbol(symbol)),
        ];
        let mut client = ServerReflectionClient::new($world.router.clone());
        let answers = client.server_reflection_info(stream::iter(questions)).await;
        let mut answers = answers.expect("a stream").into_inner();
        let first = answers.message().await.expect("a message").expect("an answer");
        let Some(MessageResponse::ListServicesResponse(list)) = first.message_response else {
            panic!("a list")
        };
        let second = answers.message().await.expect("a message").expect("an answer");
        let Some(MessageResponse::FileDescriptorResponse(file)) = second.message_response else {
            panic!("a file")
        };
        assert!(!file.file_descriptor_proto[0].is_empty());
        list.service.into_iter().map(|s| s.name).collect::<Vec<String>>()
    }};
}

#[tokio::test]
async fn both_versions_of_reflection_show_every_service() {
    let world = World::new().await;
    for services in [services_by!(world, current), services_by!(world, alpha)] {
        for name in ["Memory", "Recall", "Watch", "Admin"] {
            assert!(services.contains(&format!("hivemem.v1.{name}Service")), "{services:?}");
        }
        assert!(services.contains(&"grpc.health.v1.Health".to_owned()), "{services:?}");
    }
}

/// Sends bytes as a call and returns the refusal, which is in the headers.
async fn refused_call(world: &World, path: &str, bytes: Vec<u8>) -> (Code, Reject) {
    let request = http::Request::post(path)
        .header("content-type", "application/grpc")
        .body(axum::body::Body::new(Full::new(Bytes::from(bytes))))
        .expect("a request");
    let answer = world.router.clone().oneshot(request).await.expect("an answer");
    assert_eq!(answer.status(), http::StatusCode::OK);
    let status = tonic::Status::from_header_map(answer.headers()).expect("a status");
    assert!(!status.details().is_empty(), "GRPC-1: {status:?}");
    (status.code(), reject_from_status(&status))
}

#[tokio::test]
async fn what_no_handler_sees_is_refused_with_a_reason_too() {
    let world = World::new().await;
    let health = "/grpc.health.v1.Health/Nonsense";
    for path in ["/nonsense.Service/Method", "/hivemem.v1.MemoryService/Nonsense", health] {
        let (code, reject) = refused_call(&world, path, Vec::new()).await;
        assert_eq!((code, reject.reason), (Code::Unimplemented, Reason::Unimplemented), "{path}");
        assert!(reject.detail.contains(path), "{reject}");
    }
    let store = "/hivemem.v1.MemoryService/Store";
    // No compression, and the length of the message: more than any door takes.
    let (code, reject) = refused_call(&world, store, vec![0, 0x7f, 0, 0, 0]).await;
    assert_eq!((code, reject.reason), (Code::ResourceExhausted, Reason::TooLarge), "{reject}");
    assert_eq!(reject.fact("limit"), Some("16777216"));
    // Two bytes that end in the middle of a field.
    let (code, reject) = refused_call(&world, store, vec![0, 0, 0, 0, 2, 0x0a, 9]).await;
    assert_eq!((code, reject.reason), (Code::InvalidArgument, Reason::Malformed), "{reject}");
}

#[tokio::test]
async fn a_panic_is_an_internal_error_without_details() {
    let world = World::new().await;
    let settings = GrpcSettings::new(ReadyProbe::always(), world.shutdown.clone());
    let streams = Arc::new(tokio::sync::Semaphore::new(1));
    let door = Door { service: world.service.clone(), settings, streams };
    let answer = door
        .call(Request::new(()), |_, _, ()| async {
            if true { panic!("secret detail") } else { Ok(()) }
        })
        .await;
    let status = answer.expect_err("a refusal");
    assert_eq!(
        (status.code(), reject_from_status(&status).reason),
        (Code::Internal, Reason::Internal)
    );
    assert!(!format!("{status:?}").contains("secret detail"));
}
