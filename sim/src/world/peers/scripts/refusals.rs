//! What one peer refuses by its own quota or its own rules, and what another kind of node is told.
//!
//! A policy needs a root: here the peer that has one is the only member of a root of its own.
//!
//! Not here: what a peer may send (`Play::refused`).

use std::time::Duration;

use federation::sealed::{SCHEMA, VERSION};
use http::Method;
use runtime::clock::{self, Instant};
use serde_json::{Value, json};
use types::{Reason, Reject};

use super::{PATIENCE, Play, is_done};
use crate::{
    judge::history::Outcome,
    strike::replay,
    workload::peers::{
        Name, WRITER,
        errands::{self, New},
        look,
    },
};

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(200);
/// The root that peer 3 has for itself.
const CLUSTER: &str = "3f1f6dcb-6d4f-4f5a-9d2f-0a4f5f1c2b3d";
/// What peers refuse, as one tells it.
const LETTERS: (Method, &str) = (Method::GET, "/api/v1/peers/dead-letters");

impl Play<'_> {
    /// Asks a peer as an operator, until it answers as wanted.
    async fn until(
        &self,
        peer: u64,
        (method, path): (Method, &str),
        body: Option<Value>,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let (host, end) = (self.host(peer), Instant::now() + PATIENCE);
        loop {
            let asked = self.world.fleet.ask_at(&host, method.clone(), path, body.clone()).await;
            match asked {
                Ok(answer) if wanted(&answer) => return answer,
                other => assert!(Instant::now() < end, "{path} at p{peer}: {other:?}"),
            }
            clock::sleep(LOOK).await;
        }
    }

    /// Gives a peer settings more than all have, or only those; it is started again.
    async fn reconfigure(&self, peer: u64, more: &[(&'static str, String)]) {
        let host = self.host(peer);
        host.hold();
        host.crash();
        self.world.configure(&host, more);
        host.let_go();
        host.restart();
        self.until(peer, (Method::GET, "/api/v1/peers"), None, |_| true).await;
    }

    /// Waits until a peer shows a memory with this content, or until it has none.
    async fn until_has(&self, peer: u64, content: &str) {
        let (place, end) = (self.host(peer).place(), Instant::now() + PATIENCE);
        while !has(&look::everything(&place).await.unwrap_or_default(), content) {
            assert!(Instant::now() < end, "p{peer} does not show {content:?}");
            clock::sleep(LOOK).await;
        }
    }

    /// What peer 1 stores peer 3 refuses for this reason, and peer 2 takes.
    async fn refused_by_the_third(&mut self, reason: Reason) -> (New<'static>, Name) {
        let content = format!("refused for {reason} {:012x}", self.client.draw.bits() >> 16);
        let new = New {
            namespace: "open/a",
            title: format!("refused for {reason}"),
            content,
            tags: Vec::new(),
            priority: 5,
            expires: "2092-01-01T00:00:00.000Z",
            together: false,
        };
        let ways = self.cut_off(&[2]);
        self.world.fleet.links.cut(&ways);
        let name = self.client.fresh_name();
        let first = errands::store_named(&mut self.client, 0, WRITER, &new, &name).await;
        assert!(!is_done(&first), "a refusal is no acknowledgement: {first:?}");
        self.world.fleet.links.mend(&ways);
        self.until_has(2, &new.content).await;
        self.until(1, LETTERS, None, |all| {
            let mut all = all["items"].as_array().into_iter().flatten();
            all.any(|letter| letter["peer"] == "p3" && letter["reason"] == reason.code())
        })
        .await;
        // It comes the other ways too: by catching up, and by comparing.
        clock::sleep(Duration::from_millis(2 * self.world.options.compare_ms)).await;
        let shown = look::everything(&self.host(3).place()).await.expect("it answers");
        assert!(!has(&shown, &new.content), "p3 has what it refuses");
        (new, name)
    }

    /// What was in the way is gone: peer 3 takes it too.
    async fn taken_by_the_third(&mut self, (new, name): (New<'static>, Name)) {
        let retry = (Method::POST, "/api/v1/peers/dead-letters/retry");
        self.until(1, retry, Some(json!({ "peer": "p3" })), |_| true).await;
        self.until_has(3, &new.content).await;
        self.until(1, LETTERS, None, |all| all["items"] == json!([])).await;
        let again = errands::store_named(&mut self.client, 0, WRITER, &new, &name).await;
        assert!(is_done(&again), "everybody has it: {again:?}");
    }

    pub(super) async fn beyond_quota(&mut self) {
        let two = ("quota.memories_per_day", "2".to_owned());
        self.reconfigure(3, &[two]).await;
        for number in 0..2 {
            let known = self.stored(1, &format!("within the quota {number}")).await;
            self.until_shown(3, &known).await;
        }
        let (outcome, _) = self.store(3, WRITER, "one too many").await;
        match outcome {
            Outcome::Rejected { reason, .. } => assert_eq!(reason, Reason::QuotaExceeded.code()),
            other => panic!("what was stored elsewhere counts: {other:?}"),
        }
        let refused = self.refused_by_the_third(Reason::QuotaExceeded).await;
        self.reconfigure(3, &[]).await;
        self.taken_by_the_third(refused).await;
    }

    pub(super) async fn against_policy(&mut self) {
        let endpoint = self.host(3).address().to_owned();
        let root = [
            ("root.member", "1".to_owned()),
            ("root.cluster", CLUSTER.to_owned()),
            ("root.endpoint", endpoint.clone()),
            ("root.peer_key_file", "peer.key".to_owned()),
        ];
        self.reconfigure(3, &root).await;
        let members = json!({ "members": [{ "member": 1, "endpoint": endpoint }] });
        self.until(3, (Method::POST, "/api/v1/root/init"), Some(members), |_| true).await;
        let status = (Method::GET, "/api/v1/root/status");
        self.until(3, status, None, |status| status["confirmed"] == true).await;
        let known = self.stored(1, "while nothing is forbidden").await;
        self.until_shown(3, &known).await;
        let rule = (Method::PUT, "/api/v1/rules/frozen");
        let refuse = json!({ "operations": ["write"], "effect": "refuse" });
        self.until(3, rule, Some(refuse), |_| true).await;
        let refused = self.refused_by_the_third(Reason::Forbidden).await;
        self.until(3, (Method::DELETE, "/api/v1/rules/frozen"), None, |_| true).await;
        self.taken_by_the_third(refused).await;
    }

    /// Peer 1's word about peer 3, until it is as wanted.
    async fn until_said(&self, wanted: impl Fn(&Value) -> bool) {
        let of_third = |all: &Value| {
            let mut all = all["items"].as_array().into_iter().flatten();
            all.any(|peer| peer["name"] == "p3" && wanted(peer))
        };
        self.until(1, (Method::GET, "/api/v1/peers"), None, of_third).await;
    }

    /// Sends peer 1 a message in peer 3's name, as a node of another build would.
    async fn send_as_third(&mut self, version: u32, schema: u32) -> Result<(), Reject> {
        let nonce = format!("another build {version} {schema}").replace(' ', "-");
        let (from, to) = (self.host(3), self.host(1));
        let message = replay::message(self.world, (&from, &to), nonce, |header| {
            (header.version, header.schema) = (version, schema);
        });
        replay::send(&to, &message.expect("p3 has an identity")).await
    }

    pub(super) async fn another_schema(&mut self) {
        let before = self.stored(1, "before").await;
        self.until_shown(3, &before).await;
        self.until_said(|peer| peer["drifts"] == false && peer["schema"] == SCHEMA).await;
        let other = self.host(3);
        other.hold();
        other.crash();
        // A build with another store is heard, and shown to be another; one with other messages is refused.
        self.send_as_third(VERSION, SCHEMA + 1).await.expect("it is understood");
        self.until_said(|peer| peer["drifts"] == true && peer["schema"] == SCHEMA + 1).await;
        let refused = self.send_as_third(VERSION + 1, SCHEMA + 1).await;
        let reason = refused.map_err(|reject| reject.reason);
        assert_eq!(reason, Err(Reason::Unimplemented), "nobody reads that");
        self.until_said(|peer| peer["version"] == VERSION + 1 && peer["drifts"] == true).await;
        let meanwhile = self.stored(2, "meanwhile").await;
        // The upgrade.
        other.let_go();
        other.restart();
        self.until_shown(3, &meanwhile).await;
        self.until_said(|peer| peer["version"] == VERSION && peer["drifts"] == false).await;
        let after = self.stored(3, "after").await;
        self.until_shown(1, &after).await;
    }
}

fn has(all: &[crate::judge::history::Seen], content: &str) -> bool {
    all.iter().any(|seen| seen.fields.get("content").is_some_and(|there| there == content))
}
