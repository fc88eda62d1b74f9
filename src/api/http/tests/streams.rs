//! Watching, exporting and importing.

use std::time::Duration;

use axum::body::Body;
use http::StatusCode;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use storage::request::QuotaLimits;
use tower::ServiceExt as _;

use super::{Call, Door, HttpLimits, draft, get, post};

/// A stream of events being read.
struct Events {
    body: Body,
    text: String,
}

impl Events {
    async fn open(door: &Door, call: Call) -> Self {
        let response = door.router.clone().oneshot(call.0).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body(), text: String::new() }
    }

    /// The next event: name, id and data.
    async fn next(&mut self) -> (String, u64, Value) {
        while !self.text.contains("\n\n") {
            let wait = Duration::from_secs(20);
            let frame = runtime::clock::timeout(wait, self.body.frame()).await.expect("an event");
            let data = frame.expect("the stream goes on").unwrap().into_data().unwrap();
            self.text.push_str(std::str::from_utf8(&data).unwrap());
        }
        let (event, rest) = self.text.split_once("\n\n").unwrap();
        let field = |name: &str| {
            event.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned()
        };
        let parsed = (
            field("event: "),
            field("id: ").parse().unwrap(),
            serde_json::from_str(&field("data: ")).unwrap(),
        );
        self.text = rest.to_owned();
        parsed
    }

    /// The next change: id and title.
    async fn change(&mut self) -> (u64, String) {
        loop {
            let (event, id, data) = self.next().await;
            if event == "change" {
                return (id, data["memory"]["title"].as_str().unwrap().to_owned());
            }
        }
    }
}

#[tokio::test]
async fn a_watch_resumes_without_loss_and_without_repeats() {
    let door = Door::open().await;
    door.stored(draft("before", "x")).await;
    let mut events = Events::open(&door, get("/api/v1/watch")).await;
    let (first, start, _) = events.next().await;
    assert_eq!(first, "covered", "a stream says at once where it is");
    door.stored(draft("one", "x")).await;
    door.stored(draft("two", "x")).await;
    let (one, title) = events.change().await;
    assert_eq!(title, "one");
    drop(events);
    door.stored(draft("three", "x")).await;

    let resume = get("/api/v1/watch?after=0").header("last-event-id", &one.to_string());
    let mut events = Events::open(&door, resume).await;
    assert_eq!(events.change().await.1, "two");
    assert_eq!(events.change().await.1, "three");

    let mut from = Events::open(&door, get(&format!("/api/v1/watch?after={start}"))).await;
    assert_eq!(from.change().await.1, "one");
    let ahead = door.send(get("/api/v1/watch?after=1000000")).await;
    assert_eq!(ahead.problem(400, "invalid_argument")["field"], "after");
    let odd = door.send(get("/api/v1/watch").header("last-event-id", "-1")).await;
    assert_eq!(odd.problem(400, "invalid_argument")["field"], "last-event-id");
}

#[tokio::test]
async fn a_quiet_watch_beats_and_a_revoked_agent_stops_hearing() {
    let limits = HttpLimits { heartbeat: Duration::from_millis(20), ..HttpLimits::default() };
    let door = Door::open_with(limits, QuotaLimits::default(), true).await;
    let ann = json!({"agent_id": "ann", "issue_token": true});
    let issued = door.ok(post("/api/v1/agents").json(&ann)).await;
    let watch = get("/api/v1/watch").header("x-api-key", issued["token"].as_str().unwrap());
    let mut events = Events::open(&door, watch).await;
    for _ in 0..3 {
        assert_eq!(events.next().await.0, "covered");
    }
    door.ok(post("/api/v1/agents/ann/revoke")).await;
    let last = loop {
        let event = events.next().await;
        if event.0 != "covered" {
            break event;
        }
    };
    assert_eq!((last.0.as_str(), &last.2["reason"]), ("problem", &json!("agent_revoked")));
    assert!(events.body.frame().await.is_none(), "nothing follows a problem");
}

#[tokio::test]
async fn an_export_is_an_import() {
    let door = Door::open().await;
    let a = door.stored(json!({"title": "A", "content": "a", "tags": ["x"], "tier": "long"})).await;
    let b = door.stored(draft("B", "b")).await;
    let link = json!({"source": a, "target": b, "relation": "related_to"});
    door.ok(post("/api/v1/links").json(&link)).await;
    let export = door.send(get("/api/v1/export")).await;
    assert_eq!(export.header("content-type"), "application/x-ndjson");
    let lines: Vec<Value> =
        export.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0], json!({"hivemem_export": 1}));
    assert_eq!(lines.len(), 4);

    let other = Door::open().await;
    let import = || post("/api/v1/import").body("application/x-ndjson", export.bytes.clone());
    let done = other.ok(import()).await;
    assert_eq!((&done["imported"], &done["failed"]), (&json!(3), &json!([])), "{done}");
    let again = other.ok(import()).await;
    assert_eq!((&again["imported"], &again["skipped"]), (&json!(0), &json!(3)), "{again}");
    let copy = other.ok(get(&format!("/api/v1/memories/{a}"))).await;
    assert_eq!((&copy["title"], &copy["tags"]), (&json!("A"), &json!(["x"])));
}

#[tokio::test]
async fn bad_lines_are_refused_alone_and_too_many_at_once() {
    let door = Door::open().await;
    let import = |text: &str| post("/api/v1/import").body("application/x-ndjson", text.to_owned());
    let text =
        "{\"title\":\"A\",\"content\":\"a\"}\nnonsense\n\n{\"title\":\"\",\"content\":\"\"}\n";
    let done = door.ok(import(text)).await;
    assert_eq!(done["imported"], 1);
    let failed: Vec<&Value> =
        done["failed"].as_array().unwrap().iter().map(|f| &f["line"]).collect();
    assert_eq!(failed, [&json!(2), &json!(4)]);
    door.send(import(&"{}\n".repeat(1001))).await.problem(413, "too_large");
    door.send(import("{\"hivemem_export\":99}")).await.problem(400, "invalid_argument");
    let bytes = post("/api/v1/import").body("application/x-ndjson", vec![0xff]);
    door.send(bytes).await.problem(400, "malformed");
    let kind = post("/api/v1/import").json(&json!({}));
    door.send(kind).await.problem(415, "malformed");
}
