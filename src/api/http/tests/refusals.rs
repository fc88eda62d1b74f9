//! Everything that goes wrong before the service is asked.

use axum::{Router, middleware, routing};
use http::StatusCode;
use serde_json::json;
use storage::request::QuotaLimits;

use super::{Door, HttpLimits, call, draft, get, post};

#[tokio::test]
async fn the_routers_own_refusals_are_problems_too() {
    let door = Door::open().await;
    let lost = door.send(get("/api/v1/nowhere").without("x-api-key")).await;
    assert_eq!(lost.problem(404, "not_found")["instance"], "/api/v1/nowhere");
    let odd = door.send(call("PUT", "/api/v1/memories")).await;
    odd.problem(405, "unimplemented");
    let allowed: Vec<&str> = odd.header("allow").split(',').map(str::trim).collect();
    assert!(allowed.contains(&"GET") && allowed.contains(&"POST"), "{allowed:?}");
    let head = door.send(call("HEAD", "/api/v1/nowhere")).await;
    assert_eq!((head.status, head.bytes.len()), (StatusCode::NOT_FOUND, 0));
    assert_eq!(door.send(call("HEAD", "/livez")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn bodies_of_another_type_or_shape_are_refused_by_name() {
    let door = Door::open().await;
    let store = |kind: &str, body: &str| post("/api/v1/memories").body(kind, body.to_owned());
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx"] {
        let refused = door.send(store(kind, "{}")).await;
        assert_eq!(refused.problem(415, "malformed")["field"], "content-type", "{kind}");
    }
    let untyped = post("/api/v1/memories").json(&json!({})).without("content-type");
    door.send(untyped).await.problem(415, "malformed");
    let json = |body: &str| store("application/json; charset=utf-8", body);
    let broken = door.send(json("{\"title\": }")).await.problem(400, "malformed");
    assert_eq!((&broken["line"], &broken["column"]), (&json!("1"), &json!("11")));
    for (body, field) in [
        ("[]", "body"),
        ("{\"title\":\"a\"}", "content"),
        ("{\"title\":\"a\",\"content\":\"b\",\"x\":1}", "x"),
        ("{\"title\":\"a\",\"content\":\"b\",\"priority\":11}", "priority"),
        ("{\"title\":\"a\",\"content\":\"b\",\"priority\":1.5}", "priority"),
        ("{\"title\":\"a\",\"content\":\"b\",\"confidence\":1.01}", "confidence"),
        ("{\"title\":\"a\",\"content\":\"b\\u0000\"}", "content"),
        ("{\"title\":\"\",\"content\":\"b\"}", "title"),
        ("{\"title\":\"a\",\"content\":\"b\",\"tier\":\"eternal\"}", "tier"),
        ("{\"title\":\"a\",\"content\":\"b\",\"expires_at\":\"soon\"}", "expires_at"),
        ("{\"title\":\"a\",\"content\":\"b\",\"namespace\":\"A b\"}", "namespace"),
        ("{\"title\":\"a\",\"content\":\"b\",\"metadata\":[]}", "metadata"),
        ("{\"title\":\"a\",\"content\":\"b\",\"on_conflict\":\"maybe\"}", "on_conflict"),
    ] {
        let refused = door.send(json(body)).await;
        assert_eq!(refused.problem(400, "invalid_argument")["field"], field, "{body}");
    }
    let not_utf8 = post("/api/v1/memories").body("application/json", vec![b'"', 0xff, b'"']);
    door.send(not_utf8).await.problem(400, "malformed");
}

#[tokio::test]
async fn bad_parameters_are_named_and_never_fail_inside() {
    let door = Door::open().await;
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=99999999999999999999", "limit"),
        ("limit=1e3", "limit"),
        ("limt=5", "limt"),
        ("namespace=%00", "namespace"),
        ("kinds=thought", "kind"),
        ("created_from=1969-01-01T00:00:00Z", "created_from"),
        ("min_confidence=inf", "min_confidence"),
        ("tags=%00", "tags"),
        ("namespace=a&namespace=b", "namespace"),
    ] {
        let refused = door.send(get(&format!("/api/v1/memories?{query}"))).await;
        assert_eq!(refused.problem(400, "invalid_argument")["field"], field, "{query}");
    }
    for query in ["tags=%ff", "%ff=1", "namespace=%zz", "namespace=%f"] {
        let refused = door.send(get(&format!("/api/v1/memories?{query}"))).await;
        refused.problem(400, "malformed");
    }
    for path in [
        "/api/v1/memories/%ff",
        "/api/v1/memories/zzzz",
        "/api/v1/memories/abc",
        "/api/v1/memories/%00%00%00%00",
        "/api/v1/memories/abcd?nonsense=1",
    ] {
        let refused = door.send(get(path)).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{path} {}", refused.text());
    }
    let garbage = door.send(get("/api/v1/memories?after=garbage%00")).await;
    assert_eq!(garbage.problem(400, "invalid_argument")["field"], "after");
    let nul = door.send(get("/api/v1/recall?q=%00%01")).await;
    assert!(!nul.status.is_server_error(), "{}", nul.text());
}

#[tokio::test]
async fn large_bodies_are_refused_whether_or_not_they_say_so() {
    let limits = HttpLimits { body_bytes_max: 1000, ..HttpLimits::default() };
    let door = Door::open_with(limits, QuotaLimits::default(), true).await;
    let body = draft("a", &"x".repeat(2000));
    let refused = door.send(post("/api/v1/memories").json(&body)).await;
    assert_eq!(refused.problem(413, "too_large")["limit_bytes"], 1000);
    let pieces = futures::stream::iter((0..20).map(|_| Ok::<_, std::io::Error>(vec![b' '; 100])));
    let streamed =
        post("/api/v1/memories").body("application/json", axum::body::Body::from_stream(pieces));
    door.send(streamed).await.problem(413, "too_large");
    door.ok(post("/api/v1/memories").json(&draft("a", "b"))).await;
    let content = draft("a", &"x".repeat(65_537));
    let door = Door::open().await;
    let refused = door.send(post("/api/v1/memories").json(&content)).await;
    assert_eq!(refused.problem(400, "invalid_argument")["field"], "content");
}

#[tokio::test]
async fn a_full_node_sheds_requests_and_not_probes() {
    let limits = HttpLimits { running_max: 0, waiting_max: 0, ..HttpLimits::default() };
    let door = Door::open_with(limits, QuotaLimits::default(), true).await;
    let shed = door.send(get("/api/v1/status")).await;
    shed.problem(503, "overloaded");
    assert_eq!(shed.header("retry-after"), "1");
    assert_eq!(door.send(get("/livez")).await.status, StatusCode::OK);
    assert_eq!(door.send(get("/readyz")).await.status, StatusCode::OK);
    let limits = HttpLimits { streams_max: 0, ..HttpLimits::default() };
    let door = Door::open_with(limits, QuotaLimits::default(), true).await;
    for path in ["/api/v1/watch", "/api/v1/export"] {
        door.send(get(path)).await.problem(503, "overloaded");
    }
}

#[tokio::test]
async fn a_client_sets_its_time_and_its_request_id() {
    let door = Door::open().await;
    for bad in ["0", "x", "999999999999"] {
        let refused = door.send(get("/api/v1/status").header("x-timeout-ms", bad)).await;
        assert_eq!(refused.problem(400, "invalid_argument")["field"], "x-timeout-ms");
    }
    let named = door.send(get("/api/v1/status").header("x-request-id", "req-7.a_B")).await;
    assert_eq!(named.header("x-request-id"), "req-7.a_B");
    let odd = door.send(get("/api/v1/status").header("x-request-id", "a b")).await;
    assert_ne!(odd.header("x-request-id"), "a b");
    assert_eq!(odd.header("x-request-id").len(), 36);
}

#[tokio::test]
async fn a_panic_is_a_500_without_details() {
    let door = Door::open().await;
    async fn boom() -> &'static str {
        panic!("secret detail")
    }
    let app = super::super::shared(
        door.service.clone(),
        HttpLimits::default(),
        Default::default(),
        super::ReadyProbe::always(),
    );
    let router = Router::new()
        .route("/boom", routing::get(boom))
        .layer(middleware::from_fn_with_state(app, super::super::finish::finish));
    let door = Door { router, ..door };
    let answer = door.send(get("/boom")).await;
    answer.problem(500, "internal");
    assert!(!answer.text().contains("secret detail"), "{}", answer.text());
}
