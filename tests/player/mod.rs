//! A node that a test plays: it has a key, a feed of its own, and speaks to daemons as a peer does, over gRPC
//! and over HTTP.
//!
//! Not here: what is tested, and daemons.
#![allow(dead_code)] // Each test binary uses its own part of this.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use ed25519_dalek::{Signer as _, SigningKey};
use federation::sealed::{self, Identity};
use hivemem::{
    node::model::sync::{SyncFeed, SyncPushInput, SyncPushOut, SyncSinceOut},
    peers::list::{Row, show},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use prost::Message as _;
use runtime::clock;
use serde_json::Value;
use tonic::Request;
use types::{
    Audience, FeedHead, Hlc, MemoryId, NewMemory, NodeId, Op, OpId, Payload, Reason, Reject, Scope,
    VersionVector, codec,
};
use uuid::Uuid;
use wire::{
    client::{Channel, ChannelTimes},
    dial::Endpoint,
    errors::reject_from_status,
    http_client::{HttpAnswer, HttpClient, HttpError},
    v1::{
        SyncHeader, SyncJudged, SyncOperation, SyncProof, SyncPurpose, SyncPush, SyncQuestion,
        SyncTold, sync_operation::Said, sync_peer_client::SyncPeerClient,
    },
};

/// A node's key.
pub struct Key(SigningKey);

impl Identity for Key {
    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

/// A node that the test plays.
pub struct Player {
    pub node: NodeId,
    pub key: Key,
    /// What it has made, as it stands in its feed.
    pub feed: Vec<Vec<u8>>,
}

/// A new nonce.
pub fn nonce() -> String {
    let mut bytes = [0; 16];
    runtime::random::fill(&mut bytes);
    hex::encode(bytes)
}

pub fn now_ms() -> u64 {
    clock::now_unix_ms()
}

/// What a header says of a question that is in order.
pub fn header(purpose: SyncPurpose, to: NodeId) -> SyncHeader {
    sealed::header(purpose, to, now_ms(), &VersionVector::default())
}

impl Player {
    pub fn new(number: u8) -> Self {
        let key = Key(SigningKey::from_bytes(&[number; 32]));
        Self { node: NodeId(Uuid::from_u128(u128::from(number))), key, feed: Vec::new() }
    }

    /// Its row of a list; nobody can call it.
    pub fn row(&self, name: &str, agents: &[&str], namespaces: &[&str]) -> String {
        let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect();
        show(Row {
            name: name.to_owned(),
            node: self.node.to_string(),
            endpoint: None,
            public_keys: vec![hex::encode(self.key.0.verifying_key().as_bytes())],
            certificates: Vec::new(),
            agents: texts(agents),
            namespaces: texts(namespaces),
        })
    }

    /// The next operation of its feed: a memory that everybody may see.
    pub fn stores(&mut self, author: &str, title: &str) -> OpId {
        self.stores_at(author, title, now_ms())
    }

    pub fn stores_at(&mut self, author: &str, title: &str, wall_ms: u64) -> OpId {
        let id = OpId { origin: self.node, seq: self.feed.len() as u64 + 1 };
        let memory = MemoryId(runtime::random::uuid_v7(now_ms()));
        let (title, content) =
            (title.parse().expect("a title"), "about it".parse().expect("content"));
        let new = NewMemory::new(memory, title, content, Audience::everyone());
        let new = NewMemory { scope: Scope::Collective, ..new };
        let op = Op {
            id,
            hlc: Hlc::new(wall_ms, u16::try_from(id.seq).expect("a short feed")),
            author: author.parse().expect("an agent"),
            fence: 0,
            context: VersionVector::default(),
            payload: Payload::Store(Box::new(new)),
        };
        self.feed.push(codec::encode_op(&op));
        id
    }

    /// Operations of its feed, from one to another.
    pub fn operations(&self, first: u64, last: u64) -> Vec<SyncOperation> {
        let one = |seq: u64| SyncOperation {
            origin: self.node.as_bytes().to_vec(),
            seq,
            said: Some(Said::Whole(self.feed[seq as usize - 1].clone())),
        };
        (first..=last).map(one).collect()
    }

    /// The head of its feed at a place, signed by somebody.
    pub fn proof_by(&self, last: u64, key: &Key) -> SyncProof {
        let chain = |feed: FeedHead, bytes: &Vec<u8>| feed.with(&codec::op_hash(bytes));
        let head = self.feed[..last as usize].iter().fold(FeedHead::empty(self.node), chain);
        SyncProof {
            origin: self.node.as_bytes().to_vec(),
            seq: head.seq,
            chain: head.chain.to_vec(),
            signature: key.sign(&head.digest()).to_vec(),
            tail: Vec::new(),
        }
    }

    /// A push of its own operations that is in order.
    pub fn push(&self, to: NodeId, first: u64, last: u64) -> SyncPush {
        SyncPush {
            header: Some(header(SyncPurpose::Push, to)),
            operations: self.operations(first, last),
            proofs: vec![self.proof_by(last, &self.key)],
        }
    }

    pub fn question(&self, body: Vec<u8>, nonce: &str) -> SyncQuestion {
        sealed::question(&self.key, self.node, body, nonce.to_owned())
    }

    /// The signature header over what is asked and a nonce.
    pub fn signature(&self, asked: &[u8], nonce: &str) -> String {
        let signed = self.key.sign(&[asked, &[0], nonce.as_bytes()].concat());
        format!("ed25519={}", STANDARD.encode(signed))
    }

    /// The headers of a question in order.
    pub fn headers(&self, asked: &[u8]) -> Vec<(&'static str, String)> {
        let nonce = nonce();
        vec![
            ("x-peer-id", self.node.to_string()),
            ("x-memory-sig", self.signature(asked, &nonce)),
            ("x-memory-nonce", nonce),
        ]
    }

    /// The target of a question for everything behind what `covers` says.
    pub fn target(&self, to: NodeId, covers: &[SyncFeed]) -> String {
        let covers = covers.iter().map(|feed| format!("{}:{}", feed.origin, feed.seq));
        let covers = covers.collect::<Vec<_>>().join(",");
        format!(
            "/api/v1/sync/since?to={to}&sent_ms={}&version={}&covers={covers}",
            now_ms(),
            sealed::VERSION
        )
    }
}

/// A push as the body of HTTP.
pub fn json_of_push(push: SyncPush) -> SyncPushInput {
    let header = push.header.expect("a header");
    let node = |bytes: &[u8]| Uuid::from_slice(bytes).expect("a node").to_string();
    // The answer's form of operations and heads is the one that a push takes.
    let told = SyncTold {
        covers: header.covers,
        operations: push.operations,
        proofs: push.proofs,
        ..SyncTold::default()
    };
    let SyncSinceOut { covers, operations, proofs, .. } = told.into();
    SyncPushInput {
        to: node(&header.to),
        sent_ms: header.sent_ms,
        version: header.version,
        covers,
        schema: header.schema,
        capabilities: header.capabilities,
        operations,
        proofs,
    }
}

/// A daemon, as a peer reaches it.
pub struct Reached {
    pub node: NodeId,
    http: HttpClient,
    grpc: Channel,
    key: Option<String>,
}

impl Reached {
    pub fn new(node: NodeId, endpoint: Endpoint, key: Option<&str>) -> Self {
        Self {
            node,
            http: HttpClient::new(endpoint.clone()),
            grpc: Channel::new(endpoint, ChannelTimes::default()),
            key: key.map(str::to_owned),
        }
    }

    /// The same reached with another key, or none.
    pub fn with_key(&self, key: Option<&str>) -> Self {
        let endpoint = self.http.endpoint().clone();
        Self::new(self.node, endpoint, key)
    }

    /// Sends bytes with exactly these headers, and the key.
    pub async fn http(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, String)],
        body: Vec<u8>,
    ) -> HttpAnswer {
        self.try_http(method, path, headers, body).await.expect("an answer")
    }

    /// The same where the connection may be closed before all of the body was sent.
    pub async fn try_http(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, String)],
        body: Vec<u8>,
    ) -> Result<HttpAnswer, HttpError> {
        let mut all = HeaderMap::new();
        let key = self.key.iter().map(|key| ("x-api-key", key.clone()));
        for (name, value) in headers.iter().cloned().chain(key) {
            let value = HeaderValue::from_str(&value).expect("a header value");
            all.insert(HeaderName::from_static(name), value);
        }
        if method == Method::POST {
            all.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        self.http.request_bytes(method, path, &all, Bytes::from(body)).await
    }

    /// Pushes a body of JSON, signed by the player.
    pub async fn post(&self, player: &Player, body: &Value) -> HttpAnswer {
        let body = body.to_string().into_bytes();
        self.http(Method::POST, PUSH, &player.headers(&body), body).await
    }

    /// Asks a target, signed by the player.
    pub async fn get(&self, player: &Player, target: &str) -> HttpAnswer {
        self.http(Method::GET, target, &player.headers(target.as_bytes()), Vec::new()).await
    }

    /// Everything that the player lacks.
    pub async fn since(&self, player: &Player, covers: &[SyncFeed]) -> SyncSinceOut {
        let answer = self.get(player, &player.target(self.node, covers)).await;
        assert_eq!(answer.status, 200, "{:?}", answer.json());
        serde_json::from_slice(&answer.body).expect("the answer of since")
    }

    /// Asks a question over gRPC.
    pub async fn grpc(
        &self,
        question: SyncQuestion,
        named: Option<NodeId>,
    ) -> Result<SyncJudged, Reject> {
        let mut client = SyncPeerClient::new(self.grpc.clone()).max_encoding_message_size(64 << 20);
        let mut request = Request::new(question);
        if let Some(node) = named {
            let name = node.to_string().parse().expect("a value");
            request.metadata_mut().insert("x-peer-id", name);
        }
        if let Some(key) = &self.key {
            request.metadata_mut().insert("x-api-key", key.parse().expect("a value"));
        }
        let answer = client.push(request).await.map_err(|status| reject_from_status(&status))?;
        Ok(SyncJudged::decode(&*answer.into_inner().body).expect("an answer"))
    }

    /// Pushes over one door or the other and says what came of it in the words of HTTP.
    pub async fn push(
        &self,
        over: Over,
        player: &Player,
        push: SyncPush,
    ) -> Result<SyncPushOut, Reject> {
        match over {
            Over::Grpc => {
                let question = player.question(push.encode_to_vec(), &nonce());
                self.grpc(question, Some(player.node)).await.map(SyncPushOut::from)
            }
            Over::Http => {
                let body = serde_json::to_value(json_of_push(push)).expect("JSON");
                judged(&self.post(player, &body).await)
            }
        }
    }
}

pub const PUSH: &str = "/api/v1/sync/push";

/// What an answer to a push says.
pub fn judged(answer: &HttpAnswer) -> Result<SyncPushOut, Reject> {
    match answer.status {
        200 => Ok(serde_json::from_slice(&answer.body).expect("the answer of push")),
        _ => Err(answer.reject().unwrap_or_else(|| {
            Reject::new(Reason::Internal, String::from_utf8_lossy(&answer.body).into_owned())
        })),
    }
}

/// Which door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    Grpc,
    Http,
}

pub const BOTH: [Over; 2] = [Over::Grpc, Over::Http];

/// What became of each operation: `applied`, or the reason of its refusal.
pub fn results(out: &SyncPushOut) -> Vec<String> {
    let word = |item: &hivemem::node::model::sync::SyncItemOut| {
        item.reason.clone().unwrap_or_else(|| item.result.clone())
    };
    out.verdicts.iter().map(word).collect()
}
