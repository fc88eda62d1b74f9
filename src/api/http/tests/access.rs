//! Who may do what.

use axum::body::Body;
use http::StatusCode;
use serde_json::json;
use storage::request::QuotaLimits;
use wire::net::PeerAddress;

use super::{Door, HttpLimits, call, draft, get, post};

fn remote() -> PeerAddress {
    PeerAddress::Tcp("192.0.2.7:4000".parse().unwrap())
}

fn loopback() -> PeerAddress {
    PeerAddress::Tcp("127.0.0.1:4000".parse().unwrap())
}

#[tokio::test]
async fn credentials_are_needed_and_checked() {
    let door = Door::open().await;
    let path = "/api/v1/status";
    let none = door.send(get(path).without("x-api-key")).await;
    none.problem(401, "unauthenticated");
    assert!(none.header("www-authenticate").starts_with("Bearer"));
    let wrong = door.send(get(path).header("x-api-key", "wrong")).await;
    wrong.problem(401, "unauthenticated");
    let basic = get(path).without("x-api-key").header("authorization", "Basic YTpi");
    door.send(basic).await.problem(401, "unauthenticated");

    let bearer = get(path).without("x-api-key").header("authorization", "Bearer api");
    let status = door.ok(bearer.header("x-agent-id", "ann")).await;
    assert_eq!((&status["agent_id"], &status["operator"]), (&json!("ann"), &json!(false)));
    assert_eq!(door.ok(get(path)).await["operator"], true);
    let socket = get(path).without("x-api-key").sent_from(PeerAddress::Unix);
    assert_eq!(door.ok(socket).await["operator"], true);
    let odd = door.send(get(path).header("x-agent-id", "no spaces")).await;
    assert_eq!(odd.problem(400, "invalid_argument")["field"], "agent_id");
    // Credentials come before the body, so that a stranger learns nothing about it.
    let stranger = post("/api/v1/memories").without("x-api-key").body("text/plain", "x");
    door.send(stranger).await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn without_a_configured_key_only_web_pages_are_refused() {
    let door = Door::open_with(HttpLimits::default(), QuotaLimits::default(), false).await;
    let call = || get("/api/v1/status").without("x-api-key").sent_from(loopback());
    let status = door.ok(call().header("host", "127.0.0.1:9077")).await;
    assert_eq!((&status["agent_id"], &status["operator"]), (&json!("local"), &json!(false)));
    let rebound = door.send(call().header("host", "evil.example")).await;
    assert_eq!(rebound.problem(403, "forbidden")["field"], "host");
    let page = call().header("host", "localhost").header("origin", "https://evil.example");
    assert_eq!(door.send(page).await.problem(403, "forbidden")["field"], "origin");
}

#[tokio::test]
async fn operators_alone_look_after_the_node() {
    let door = Door::open().await;
    for (method, path) in [
        ("GET", "/api/v1/agents"),
        ("POST", "/api/v1/agents/ann/revoke"),
        ("POST", "/api/v1/admin/verify-chain"),
        ("POST", "/api/v1/admin/doctor"),
        ("GET", "/api/v1/admin/digest"),
        ("GET", "/api/v1/quota/status?agent_id=bob"),
    ] {
        door.send(call(method, path).agent("ann")).await.problem(403, "forbidden");
    }
    let put = post("/api/v1/agents").agent("ann").json(&json!({"agent_id": "ann"}));
    door.send(put).await.problem(403, "forbidden");
    let backup = post("/api/v1/admin/backup").agent("ann").json(&json!({"name": "b"}));
    door.send(backup).await.problem(403, "forbidden");
}

#[tokio::test]
async fn a_token_is_one_agents_and_ends_with_its_revocation() {
    let door = Door::open().await;
    let ann = json!({"agent_id": "ann", "affiliation": "acme/eng/core", "issue_token": true});
    let issued = door.ok(post("/api/v1/agents").json(&ann)).await;
    let token = issued["token"].as_str().unwrap();
    let listed = door.ok(get("/api/v1/agents")).await;
    assert_eq!(listed["items"][0]["has_token"], true);
    assert!(listed["items"][0].get("token").is_none(), "a token is shown once");

    let status = || get("/api/v1/status").header("x-api-key", token);
    assert_eq!(door.ok(status()).await["agent_id"], "ann");
    door.send(status().header("x-agent-id", "bob")).await.problem(403, "forbidden");
    door.send(get("/api/v1/status").agent("ann")).await.problem(403, "forbidden");

    let revoked = door.ok(post("/api/v1/agents/ann/revoke")).await;
    assert_eq!(
        (&revoked["revoked"], &revoked["affiliation"]),
        (&json!(true), &json!("acme/eng/core"))
    );
    door.send(status()).await.problem(403, "agent_revoked");
    door.send(post("/api/v1/agents/nobody/revoke")).await.problem(404, "not_found");
}

#[tokio::test]
async fn what_is_private_does_not_exist_for_others() {
    let door = Door::open().await;
    let secret =
        json!({"title": "Mine", "content": "the password is swordfish", "scope": "private"});
    let stored = door.ok(post("/api/v1/memories").agent("ann").json(&secret)).await;
    let id = stored["id"].as_str().unwrap();
    let path = format!("/api/v1/memories/{id}");
    assert_eq!(door.send(get(&path).agent("ann")).await.status, StatusCode::OK);
    door.send(get(&path).agent("bob")).await.problem(404, "not_found");
    for route in ["/links", "/lineage", "/aliases"] {
        let answer = door.send(get(&format!("{path}{route}")).agent("bob")).await;
        answer.problem(404, "not_found");
    }
    let patch = call("PATCH", &path).agent("bob").json(&json!({"title": "Yours"}));
    door.send(patch).await.problem(404, "not_found");
    for list in
        ["/api/v1/memories", "/api/v1/recall?q=swordfish", "/api/v1/export", "/api/v1/archive"]
    {
        let text = door.send(get(list).agent("bob")).await.text();
        assert!(!text.contains("swordfish"), "{list}: {text}");
    }
}

#[tokio::test]
async fn quotas_say_when_they_reset() {
    let quota = QuotaLimits { memories_per_day: Some(1), ..QuotaLimits::default() };
    let door = Door::open_with(HttpLimits::default(), quota, true).await;
    let store = |title| post("/api/v1/memories").agent("ann").json(&draft(title, "x"));
    door.ok(store("one")).await;
    let refused = door.send(store("two")).await;
    refused.problem(429, "quota_exceeded");
    assert!(!refused.header("retry-after").is_empty());
    let used = door.ok(get("/api/v1/quota/status").agent("ann")).await;
    assert_eq!((&used["memories_today"], &used["memories_per_day"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn probes_are_open_and_metrics_are_for_this_machine() {
    let door = Door::open().await;
    for path in ["/livez", "/readyz", "/startupz", "/api/v1/health", "/api/v1/openapi.json"] {
        let answer = door.send(get(path).without("x-api-key").sent_from(remote())).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
    }
    for path in ["/metrics", "/api/v1/metrics"] {
        let scrape = || get(path).without("x-api-key");
        door.send(scrape().sent_from(remote())).await.problem(401, "unauthenticated");
        door.send(scrape()).await.problem(401, "unauthenticated");
        let local = door.send(scrape().sent_from(loopback())).await;
        assert_eq!(local.status, StatusCode::OK);
        assert_eq!(local.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
        let keyed = door.send(get(path).sent_from(remote())).await;
        assert!(keyed.text().contains("hivemem_memories 0"), "{}", keyed.text());
    }
}

#[tokio::test]
async fn an_empty_body_is_not_a_missing_one() {
    let door = Door::open().await;
    let empty = post("/api/v1/memories").body("application/json", Body::empty());
    door.send(empty).await.problem(400, "malformed");
}
