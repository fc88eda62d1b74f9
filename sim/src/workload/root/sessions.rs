//! Sessions: opened, kept alive beside everything else, closed, or left to expire.
//!
//! Invariant: a session whose state is in doubt is not used any more; its keep-alives end with their
//! last operation completed.
//!
//! Not here: what is done in a session (`locks`).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::Method;
use parking_lot::Mutex;
use runtime::{
    clock::{self, Instant},
    task::{self, JoinHandle, Shutdown},
};
use serde_json::{Value, json};

use super::{
    client::Client,
    outcome::{Told, done, done_at},
    target::Question,
};
use crate::{
    judge::history::{Answer, Call, Outcome, Request},
    workload::draw::Draw,
};

/// Requests in a session before another is opened.
const REQUESTS_MAX: u64 = 200;
/// Time for the answer to a sign of life, milliseconds: the session's own, within these bounds.
const ANSWER_MS: (u64, u64) = (3000, 6000);
/// Errands of a hundred before which a session is closed and another opened.
const RENEW_PERCENT: u64 = 4;

/// A live session, as far as its client knows.
pub struct Session {
    /// Its number.
    pub id: u64,
    /// In whose name it was opened.
    pub agent: String,
    seq: u64,
    time: Arc<RootTime>,
    lost: Arc<AtomicBool>,
    ended: Shutdown,
    keeper: JoinHandle<()>,
}

/// The root's time when its answer told of it last, and the client's.
struct RootTime(Mutex<(u64, Instant)>);

impl RootTime {
    /// Learns the time of an answer to what was asked at `asked`.
    fn learn(&self, answer: &Value, asked: Instant) {
        if let Some(root_ms) = answer["root_time_ms"].as_u64() {
            *self.0.lock() = (root_ms, asked);
        }
    }
}

impl Session {
    /// The number of the next request.
    pub fn next(&mut self) -> Request {
        self.seq += 1;
        Request { session: self.id, seq: self.seq }
    }

    /// The root's time in so many milliseconds, as well as the client knows.
    pub fn root_ms_in(&self, wait_ms: u64) -> u64 {
        let (root_ms, at) = *self.time.0.lock();
        let passed = u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX);
        root_ms.saturating_add(passed).saturating_add(wait_ms)
    }

    /// Whether a keep-alive was refused.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }
}

/// A lock that an abandoned session held: its token is old sooner or later.
#[derive(Clone, Debug)]
pub struct OldToken {
    /// The hot key that it guarded.
    pub key: String,
    /// The token.
    pub fence: u64,
}

/// A client's sessions: the one in use, and those that it left behind.
#[derive(Default)]
pub struct Sessions {
    current: Option<Session>,
    keepers: Vec<JoinHandle<()>>,
    /// Tokens that are kept longer than they should be.
    pub old: Vec<OldToken>,
}

impl Sessions {
    /// The session in use; another one if there is none, if it is lost, or now and then.
    pub async fn current(&mut self, client: &mut Client) -> Option<&mut Session> {
        let renew = client.draw.percent(RENEW_PERCENT);
        let worn = |s: &Session| s.is_lost() || s.seq >= REQUESTS_MAX;
        if self.current.as_ref().is_some_and(worn) {
            self.abandon();
        } else if renew {
            self.close(client).await;
        }
        if self.current.is_none() {
            self.current = open(client).await;
        }
        self.current.as_mut()
    }

    /// The session in use.
    pub fn here(&mut self) -> Option<&mut Session> {
        self.current.as_mut()
    }

    /// Stops showing signs of life: the session expires with all it holds.
    pub fn abandon(&mut self) {
        if let Some(session) = self.current.take() {
            session.ended.trigger();
            self.keepers.push(session.keeper);
        }
        self.keepers.retain(|keeper| !keeper.is_finished());
    }

    /// Closes the session in use.
    pub async fn close(&mut self, client: &mut Client) {
        let Some(session) = self.current.take() else { return };
        session.ended.trigger();
        self.keepers.push(session.keeper);
        let call = Call::CloseSession { session: session.id };
        let name = (session.agent == client.agent()).then(|| client.maybe_name()).flatten();
        let request = name.as_ref().map(|name| name.request);
        let path = format!("/api/v1/sessions/{}", session.id);
        let question = Question {
            method: Method::DELETE,
            ..Question::get(path, &session.agent, client.ground.load().answer_ms)
        };
        let question = question.named(name.map(|name| name.key));
        client.insist(&call, request, &question, |_| Some(done(Answer::Ok))).await;
    }

    /// Closes or abandons what is open, and waits until no keep-alive is on its way.
    pub async fn end(mut self, client: &mut Client) {
        self.close(client).await;
        for keeper in self.keepers {
            // One that panicked has ended too.
            let _ = keeper.await;
        }
    }
}

async fn open(client: &mut Client) -> Option<Session> {
    let load = client.ground.load().clone();
    let ttl_ms = client.draw.between(load.ttl_ms);
    let lock_delay_ms = client.draw.below(load.lock_delay_ms + 1);
    let name = client.maybe_name();
    let agent = client.agent();
    let call = Call::OpenSession { ttl_ms };
    let request = name.as_ref().map(|name| name.request);
    let body = json!({ "ttl_ms": ttl_ms, "lock_delay_ms": lock_delay_ms });
    let question =
        Question::send(Method::POST, "/api/v1/sessions", &agent, load.answer_ms, body.clone())
            .named(name.map(|name| name.key));
    let at = Instant::now();
    let time = Arc::new(RootTime(Mutex::new((0, at))));
    let outcome = client
        .insist(&call, request, &question, |value| {
            time.learn(value, at);
            let session = value["session"].as_u64()?;
            // Its number is the index of the entry that opened it.
            Some(done_at(Answer::Session { session }, session))
        })
        .await;
    let Outcome::Done(told) = outcome else { return None };
    let Answer::Session { session: id } = told.answer else { return None };
    let (lost, ended) = (Arc::new(AtomicBool::new(false)), Shutdown::new());
    let keeper = Keeper {
        id,
        agent: agent.clone(),
        ttl_ms,
        client: client.name.clone(),
        links: client.links().clone(),
        recorder: client.recorder().clone(),
        draw: Draw::of(load.seed ^ client.number, id),
        lost: lost.clone(),
        ended: ended.clone(),
        time: time.clone(),
    };
    let keeper = task::spawn_named("keep alive", keeper.keep());
    Some(Session { id, agent, seq: 0, time, lost, ended, keeper })
}

/// What keeps a session alive.
struct Keeper {
    id: u64,
    agent: String,
    ttl_ms: u64,
    client: String,
    links: Arc<Vec<super::Link>>,
    recorder: super::Recorder,
    draw: Draw,
    lost: Arc<AtomicBool>,
    ended: Shutdown,
    time: Arc<RootTime>,
}

impl Keeper {
    /// Shows signs of life three times per time to live, at any node, until the session is lost or
    /// its client has ended it.
    async fn keep(mut self) {
        let mut node = self.draw.place(self.links.len());
        let third = Duration::from_millis(self.ttl_ms / 3);
        let mut next = Instant::now() + third;
        while !self.ended.is_cancelled() {
            if clock::timeout_at(next, self.ended.cancelled()).await.is_ok() {
                return;
            }
            let call = Call::KeepAlive { session: self.id };
            let link = &self.links[node];
            let op = self.recorder.invoke(&self.client, &link.name, None, call);
            let path = format!("/api/v1/sessions/{}/keep-alive", self.id);
            let question = Question {
                method: Method::POST,
                ..Question::get(path, &self.agent, self.ttl_ms.clamp(ANSWER_MS.0, ANSWER_MS.1))
            };
            let asked = Instant::now();
            let told = link.ask(&question).await;
            self.recorder.complete(op, told.outcome(|_| Some(done(Answer::Ok))));
            match told {
                Told::Yes(answer) => {
                    self.time.learn(&answer, asked);
                    // The lease runs from when it was asked for at the earliest, not from the answer.
                    next = asked + third;
                }
                Told::No(reject) if !wire::errors::row(reject.reason).retryable => {
                    self.lost.store(true, Ordering::Relaxed);
                    return;
                }
                _ => {
                    node = self.draw.place(self.links.len());
                    next = Instant::now() + Duration::from_millis(50);
                }
            }
        }
    }
}
