//! MCP over stdio and Streamable HTTP, spoken by hand: what a client would send, byte for byte.
//!
//! Not here: the SDKs of others (they are tried by hand; this test needs nothing but the binary).

mod daemon;

use std::{
    io::{BufRead, BufReader, Write},
    process::{ChildStdin, ChildStdout, Stdio},
};

use daemon::Daemon;
use http::Method;
use serde_json::{Value, json};

/// One session over stdio.
struct Session {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    next: u64,
}

impl Session {
    fn send(&mut self, message: &Value) {
        writeln!(self.input, "{message}").expect("the server reads");
    }

    /// Calls a method and returns its result. Every line of standard output must be protocol.
    fn call(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        let id = self.next;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).expect("readable") > 0, "the server ended");
            let message: Value =
                serde_json::from_str(&line).expect("MCP-1: only protocol on stdout");
            assert_eq!(message["jsonrpc"], "2.0", "MCP-1");
            if message["id"] == json!(id) {
                assert!(message.get("error").is_none(), "{message}");
                return message["result"].clone();
            }
        }
    }

    fn tool(&mut self, name: &str, arguments: Value) -> Value {
        self.call("tools/call", json!({ "name": name, "arguments": arguments }))
    }
}

fn initialize(version: &str) -> Value {
    let client = json!({ "name": "test", "version": "1" });
    json!({ "protocolVersion": version, "capabilities": {}, "clientInfo": client })
}

#[test]
fn a_session_over_stdio_stores_and_recalls() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = daemon::hivemem(folder.path())
        .arg("mcp")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    let mut session = Session {
        input: child.stdin.take().expect("piped"),
        output: BufReader::new(child.stdout.take().expect("piped")),
        next: 0,
    };
    let hello = session.call("initialize", initialize("2025-06-18"));
    assert_eq!(hello["serverInfo"]["name"], "hivemem");
    session.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));

    let tools = session.call("tools/list", json!({}));
    let tools = tools["tools"].as_array().cloned().expect("tools");
    let names: Vec<&str> = tools.iter().filter_map(|t| t["name"].as_str()).collect();
    assert_eq!(names, ["store", "recall", "get", "list", "update", "forget", "propose", "status"]);
    assert!(tools.iter().all(|t| t["outputSchema"]["type"] == "object"), "MCP-3");

    let stored =
        session.tool("store", json!({ "title": "Tea", "content": "Ann drinks green tea." }));
    assert_eq!(stored["isError"], false, "{stored}");
    let id = stored["structuredContent"]["id"].as_str().expect("an id").to_owned();
    let once = |content: &str| {
        let arguments = json!({ "title": "Pot", "content": content, "on_conflict": "new" });
        let meta = json!({ "hivemem/idempotency-key": "k" });
        json!({ "name": "store", "arguments": arguments, "_meta": meta })
    };
    let first = session.call("tools/call", once("blue"));
    let again = session.call("tools/call", once("blue"));
    assert_eq!(first["structuredContent"]["id"], again["structuredContent"]["id"], "{again}");
    assert_eq!(again["structuredContent"]["replayed"], true, "{again}");
    let other = session.call("tools/call", once("red"));
    let words = other["content"][0]["text"].as_str().expect("text");
    assert!(words.starts_with("idempotency_mismatch"), "{words}");
    let answer = session.tool("recall", json!({ "query": "what does ann drink" }));
    assert_eq!(answer["structuredContent"]["hits"][0]["memory"]["id"], json!(id), "{answer}");
    let refused = session.tool("store", json!({ "title": "", "content": "x" }));
    assert_eq!(refused["isError"], true);
    assert!(refused["content"][0]["text"].as_str().expect("text").contains("title"), "{refused}");
    let resource =
        session.call("resources/read", json!({ "uri": format!("hivemem://memory/{id}") }));
    assert!(resource["contents"][0]["text"].as_str().expect("text").contains("green tea"));

    drop(session);
    assert!(child.wait().expect("it ends").success(), "closing the input ends the session");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streamable_http_carries_the_callers_credentials() {
    let folder = tempfile::tempdir().expect("a folder");
    let running = Daemon::start(folder.path(), &["auth.api_key=secret"]);
    let accept = "application/json, text/event-stream";
    let hello = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": initialize("2025-06-18") });
    let nobody = running.client().with("accept", accept);
    let refused = nobody.send(Method::POST, "/mcp", Some(&hello)).await.expect("an answer");
    assert_eq!(refused.status, 401);

    let api = running.client().with("accept", accept).with("x-api-key", "secret");
    let answer = api.send(Method::POST, "/mcp", Some(&hello)).await.expect("an answer");
    assert_eq!(answer.status, 200);
    let session = answer.headers["mcp-session-id"].to_str().expect("ASCII").to_owned();
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(text.contains("\"hivemem\""), "{text}");

    let api = api.with("mcp-session-id", &session).with("x-agent-id", "ann");
    let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    assert_eq!(api.send(Method::POST, "/mcp", Some(&ready)).await.expect("an answer").status, 202);
    let call = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call",
        "params": { "name": "status", "arguments": {} } });
    let answer = api.send(Method::POST, "/mcp", Some(&call)).await.expect("an answer");
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(
        text.contains("\\\"agent_id\\\":\\\"ann\\\"") || text.contains("\"agent_id\":\"ann\""),
        "{text}"
    );
    assert!(text.contains("\"operator\":false"), "MCP-2: a key over TCP is no operator: {text}");
}
