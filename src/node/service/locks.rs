//! Sessions and locks, decided by the root.
//!
//! A client opens a session, keeps it alive, and numbers what it asks in it. The same number with the
//! same request gets the same answer, at any member. Times of the root come with every keep-alive, so
//! that a client can say until when it waits without a clock of its own that agrees.
//!
//! Invariants: `SVC-5` every command is sent in the caller's own name; `SVC-6` a lease is counted by the
//! client from before its request was sent.
//!
//! Not here: granting (`consensus::machine`), and the way to the leader (`root`).

use std::time::Duration;

use consensus::machine::{
    Acquire, Body, CancelWait, CloseSession, Command, ForceRelease, Held, Identity, KeepAlive,
    LockExplanation, Machine, OpenSession, Release, RequestIdentity, Response, SessionOpened,
    SessionSeq, SessionView,
};
use runtime::clock::Instant;
use serde::{Deserialize, Serialize};
use types::{
    Outcome, Reason, Reject,
    lock::{Fence, LockKey, SessionId, Want},
};
use utoipa::ToSchema;

use super::{Caller, Reply, Service};

/// Time for an answer when the caller names none.
const ANSWER: Duration = Duration::from_secs(10);
/// How long the answer to a named request is kept.
const REQUEST_VALID_MS: u64 = 60 * 60 * 1000;

/// A session to open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionInput {
    /// How long it lives without a keep-alive, in milliseconds.
    #[schema(minimum = 1000, maximum = 600000)]
    pub ttl_ms: u64,
    /// How long its exclusive locks rest when it is lost, in milliseconds.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 60000)]
    pub lock_delay_ms: u64,
}

/// A session that lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionOut {
    /// Its number.
    #[schema(minimum = 0)]
    pub session: u64,
    /// How long it lives without a keep-alive, in milliseconds, counted from before the request was sent.
    #[schema(minimum = 0)]
    pub ttl_ms: u64,
    /// The root's time when it was renewed, in milliseconds since 1970.
    #[schema(minimum = 0)]
    pub root_time_ms: u64,
}

/// An open session, as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionLine {
    /// Its number.
    #[schema(minimum = 0)]
    pub session: u64,
    /// Whose it is.
    pub agent_id: String,
    /// How long it lives without a keep-alive, in milliseconds.
    #[schema(minimum = 0)]
    pub ttl_ms: u64,
    /// How long it still lives, in milliseconds.
    #[schema(minimum = 0)]
    pub left_ms: u64,
    /// How many keys it holds.
    #[schema(minimum = 0)]
    pub held: u64,
    /// How many of its requests wait.
    #[schema(minimum = 0)]
    pub waiting: u64,
}

/// A key and how it is wanted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WantInput {
    /// Which key.
    #[schema(min_length = 1, max_length = 256)]
    pub key: String,
    /// `exclusive`, `shared`, or `PERMITS/CAPACITY` of a semaphore. Default exclusive.
    #[serde(default)]
    #[schema(max_length = 16)]
    pub mode: Option<String>,
}

/// A request for keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AcquireInput {
    /// The caller's session.
    #[schema(minimum = 0, maximum = 9007199254740991i64)]
    pub session: u64,
    /// Number of this request in the session, from 1, growing.
    #[schema(minimum = 0, maximum = 9007199254740991i64)]
    pub seq: u64,
    /// What is wanted: all or nothing.
    #[schema(max_items = 16)]
    pub wants: Vec<WantInput>,
    /// Until when to wait, in milliseconds of the root's time; not at all when left out.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 9007199254740991i64)]
    pub wait_until_ms: Option<u64>,
}

/// A key that is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantOut {
    /// Which.
    #[schema(min_length = 1, max_length = 256)]
    pub key: String,
    /// Its fencing token.
    #[schema(minimum = 0, maximum = 9007199254740991i64)]
    pub fence: u64,
    /// How many releases give it back.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1024)]
    pub count: u32,
}

/// What became of a request for keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AcquireOut {
    /// `granted`, `waiting` (ask again with the same number to go on waiting), or why waiting ended:
    /// `timed_out`, `cancelled`, `hold_lost`.
    pub state: String,
    /// All keys asked for, when granted.
    pub grants: Vec<GrantOut>,
    /// What was left of the session at the grant, in milliseconds, counted from before the request was
    /// first sent.
    #[schema(minimum = 0)]
    pub lease_ms: u64,
    /// Log index that gave a request that waits its place in the queues: the smallest is next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0)]
    pub place: Option<u64>,
}

/// Keys to give back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseInput {
    /// The caller's session.
    #[schema(minimum = 0, maximum = 9007199254740991i64)]
    pub session: u64,
    /// Number of this request in the session.
    #[schema(minimum = 0, maximum = 9007199254740991i64)]
    pub seq: u64,
    /// What is given back, each with the fence of its grant.
    #[schema(max_items = 16)]
    pub locks: Vec<GrantOut>,
}

/// A wait to end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelInput {
    /// The caller's session.
    #[schema(minimum = 0, maximum = 9007199254740991i64)]
    pub session: u64,
    /// Number of this request in the session.
    #[schema(minimum = 0, maximum = 9007199254740991i64)]
    pub seq: u64,
    /// Number of the request that waits.
    #[schema(minimum = 0, maximum = 9007199254740991i64)]
    pub of: u64,
}

/// A key to take from its holder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ForceInput {
    /// Which.
    #[schema(min_length = 1, max_length = 256)]
    pub key: String,
    /// The fence of the grant that is taken.
    #[schema(minimum = 0, maximum = 9007199254740991i64)]
    pub fence: u64,
    /// Why, for the audit chain.
    #[schema(min_length = 1, max_length = 1024)]
    pub reason: String,
}

/// Who holds a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HolderOut {
    /// Its session.
    #[schema(minimum = 0)]
    pub session: u64,
    /// Whose session that is.
    pub agent_id: String,
    /// How it holds the key.
    pub mode: String,
    /// By which grant.
    #[schema(minimum = 0)]
    pub fence: u64,
    /// How many releases give it back.
    #[schema(minimum = 0)]
    pub count: u32,
    /// Since when, in milliseconds.
    #[schema(minimum = 0)]
    pub age_ms: u64,
    /// How long its session still lives, in milliseconds.
    #[schema(minimum = 0)]
    pub session_left_ms: u64,
}

/// Who waits for a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WaiterOut {
    /// Its session.
    #[schema(minimum = 0)]
    pub session: u64,
    /// Whose session that is.
    pub agent_id: String,
    /// How it wants the key.
    pub mode: String,
    /// Since when it waits, in milliseconds.
    #[schema(minimum = 0)]
    pub age_ms: u64,
    /// How long it still waits, in milliseconds.
    #[schema(minimum = 0)]
    pub left_ms: u64,
    /// The other keys that it needs at the same time.
    pub with: Vec<String>,
}

/// Everything about one lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LockOut {
    /// Which.
    pub key: String,
    /// Who holds it.
    pub holders: Vec<HolderOut>,
    /// Who waits, next first.
    pub queue: Vec<WaiterOut>,
    /// How long it still rests after a lost session, in milliseconds.
    #[schema(minimum = 0)]
    pub rests_ms: u64,
}

impl From<LockExplanation> for LockOut {
    fn from(lock: LockExplanation) -> Self {
        let holders = lock.holders.into_iter().map(|h| HolderOut {
            session: h.session.0,
            agent_id: h.agent.to_string(),
            mode: h.mode.to_string(),
            fence: h.fence.0,
            count: h.count,
            age_ms: h.age_ms,
            session_left_ms: h.session_left_ms,
        });
        let queue = lock.queue.into_iter().map(|w| WaiterOut {
            session: w.session.0,
            agent_id: w.agent.to_string(),
            mode: w.mode.to_string(),
            age_ms: w.age_ms,
            left_ms: w.left_ms,
            with: w.with.iter().map(ToString::to_string).collect(),
        });
        Self {
            key: lock.key.to_string(),
            holders: holders.collect(),
            queue: queue.collect(),
            rests_ms: lock.rests_ms,
        }
    }
}

impl From<SessionOpened> for SessionOut {
    fn from(opened: SessionOpened) -> Self {
        let root_time_ms = opened.expires_ms.saturating_sub(opened.ttl_ms);
        Self { session: opened.session.0, ttl_ms: opened.ttl_ms, root_time_ms }
    }
}

impl From<SessionView> for SessionLine {
    fn from(view: SessionView) -> Self {
        Self {
            session: view.session.0,
            agent_id: view.agent.to_string(),
            ttl_ms: view.ttl_ms,
            left_ms: view.left_ms,
            held: view.held,
            waiting: view.waiting,
        }
    }
}

/// Milliseconds of the root's time since the newest entry: without one it stands still in the state.
fn since(machine: &Machine, now_ms: u64) -> u64 {
    now_ms.saturating_sub(machine.time_ms())
}

/// When a command's answer is wanted: the caller's time, less some for the way back.
pub(super) fn deadline(caller: &Caller) -> Instant {
    let now = Instant::now();
    match caller.deadline {
        None => now + ANSWER,
        Some(deadline) => now + deadline.saturating_duration_since(now) * 9 / 10,
    }
}

/// An outcome in the words of the doors: what is unknown is refused with a reason that says so.
pub(super) fn certain<T>(outcome: Outcome<T>) -> Reply<T> {
    match outcome {
        Outcome::Done(answer) => Ok(answer),
        Outcome::Rejected(refused) => Err(refused),
        Outcome::Unknown { detail } => Err(Reject::new(
            Reason::OutcomeUnknown,
            format!(
                "the root has not answered, and whether this happened is unknown: {detail}; the same \
                 request with the same session and number, or idempotency key, finds out"
            ),
        )),
    }
}

pub(super) fn unexpected(response: &Response) -> Reject {
    tracing::error!(?response, "the root answered another kind of thing than it was asked for");
    Reject::new(Reason::Internal, "the root's answer does not fit the request")
}

/// The identity of a command under the caller's key, if it gave one.
pub(super) fn identity(caller: &Caller, root_time_ms: u64) -> Reply<Option<Identity>> {
    let Some(key) = &caller.idempotency_key else { return Ok(None) };
    let valid_until_ms = root_time_ms.saturating_add(REQUEST_VALID_MS);
    Ok(Some(Identity::Request(RequestIdentity { id: key.parse()?, valid_until_ms })))
}

fn held(locks: &[GrantOut]) -> Reply<Vec<Held>> {
    let held =
        |lock: &GrantOut| Ok(Held { key: lock.key.parse::<LockKey>()?, fence: Fence(lock.fence) });
    locks.iter().map(held).collect()
}

fn acquired(response: Response) -> Reply<AcquireOut> {
    let none = |state: &str, place: Option<u64>| {
        let (state, grants) = (state.to_owned(), Vec::new());
        AcquireOut { state, grants, lease_ms: 0, place }
    };
    Ok(match response {
        Response::Granted(granted) => AcquireOut {
            state: "granted".to_owned(),
            lease_ms: granted.lease_ms,
            place: None,
            grants: granted
                .grants
                .into_iter()
                .map(|g| GrantOut { key: g.key.to_string(), fence: g.fence.0, count: g.count })
                .collect(),
        },
        Response::Waiting(waiting) => none("waiting", Some(waiting.wait.0)),
        Response::WaitEnded(ended) => none(ended.cause.as_str(), None),
        other => return Err(unexpected(&other)),
    })
}

impl Service {
    pub(super) async fn ask_root(&self, caller: &Caller, body: Body) -> Reply<Response> {
        let by = caller.viewer.agent.clone();
        let root = self.need_root()?;
        let command = Command { by, identity: identity(caller, root.time_ms())?, body };
        certain(root.propose(command, deadline(caller)).await)
    }

    async fn in_session(
        &self,
        caller: &Caller,
        session: u64,
        seq: u64,
        body: Body,
    ) -> Reply<Response> {
        let by = caller.viewer.agent.clone();
        let command = Command::in_session(by, SessionId(session), seq, body);
        certain(self.need_root()?.propose(command, deadline(caller)).await)
    }

    /// Opens a session in the caller's name.
    ///
    /// # Errors
    /// `invalid_argument`, `overloaded`, and what [`Root::propose`](crate::root::Root::propose) says.
    pub async fn open_session(&self, caller: &Caller, input: &SessionInput) -> Reply<SessionOut> {
        let SessionInput { ttl_ms, lock_delay_ms } = *input;
        let body = Body::OpenSession(OpenSession { ttl_ms, lock_delay_ms });
        match self.ask_root(caller, body).await? {
            Response::Session(opened) => Ok(opened.into()),
            other => Err(unexpected(&other)),
        }
    }

    /// Gives a session its whole time again.
    ///
    /// # Errors
    /// `session_expired`, `not_found`, `forbidden`.
    pub async fn keep_alive(&self, caller: &Caller, session: u64) -> Reply<SessionOut> {
        let body = Body::KeepAlive(KeepAlive { session: SessionId(session) });
        match self.ask_root(caller, body).await? {
            Response::Session(opened) => Ok(opened.into()),
            other => Err(unexpected(&other)),
        }
    }

    /// Ends a session; its locks are free at once.
    ///
    /// # Errors
    /// `session_expired`, `not_found`, `forbidden`.
    pub async fn close_session(&self, caller: &Caller, session: u64) -> Reply<()> {
        let body = Body::CloseSession(CloseSession { session: SessionId(session) });
        self.ask_root(caller, body).await.map(drop)
    }

    /// All open sessions.
    ///
    /// # Errors
    /// What [`Root::read`](crate::root::Root::read) says.
    pub async fn sessions(&self, caller: &Caller) -> Reply<Vec<SessionLine>> {
        let root = self.need_root()?;
        let now_ms = root.time_ms();
        let all = |machine: &Machine| {
            let sessions = machine.sessions().map(|s| s.after(since(machine, now_ms)).into());
            sessions.collect()
        };
        root.read(deadline(caller), all).await
    }

    /// Asks for keys, and waits for them as long as the caller does.
    ///
    /// # Errors
    /// `lock_busy`, `cycle`, `session_expired` and what else the root refuses.
    pub async fn acquire(&self, caller: &Caller, input: &AcquireInput) -> Reply<AcquireOut> {
        let want = |want: &WantInput| {
            let mode = want.mode.as_deref().unwrap_or("exclusive").parse()?;
            Ok(Want { key: want.key.parse()?, mode })
        };
        let wants = input.wants.iter().map(want).collect::<Reply<Vec<_>>>()?;
        let acquire = Acquire { wants, wait_until_ms: input.wait_until_ms };
        let at = SessionSeq { session: SessionId(input.session), seq: input.seq };
        let by = caller.viewer.agent.clone();
        acquired(certain(self.need_root()?.acquire(by, at, acquire, deadline(caller)).await)?)
    }

    /// Gives keys back, all or none.
    ///
    /// # Errors
    /// `not_holder`, `fence_too_small`, `session_expired`.
    pub async fn release(&self, caller: &Caller, input: &ReleaseInput) -> Reply<()> {
        let body = Body::Release(Release { locks: held(&input.locks)? });
        self.in_session(caller, input.session, input.seq, body).await.map(drop)
    }

    /// Takes a request of the caller's out of the queues. The answer is what became of it.
    ///
    /// # Errors
    /// `not_found`, `session_expired`.
    pub async fn cancel_wait(&self, caller: &Caller, input: &CancelInput) -> Reply<AcquireOut> {
        let body = Body::CancelWait(CancelWait { seq: input.of });
        acquired(self.in_session(caller, input.session, input.seq, body).await?)
    }

    /// Takes a key from its holder. For operators.
    ///
    /// # Errors
    /// `forbidden`, `not_holder`, `fence_too_small`.
    pub async fn force_release(&self, caller: &Caller, input: &ForceInput) -> Reply<()> {
        caller.require_operator()?;
        let body = Body::ForceRelease(ForceRelease {
            key: input.key.parse()?,
            fence: Fence(input.fence),
            reason: input.reason.clone(),
        });
        self.ask_root(caller, body).await.map(drop)
    }

    /// Who holds a key and who waits for it.
    ///
    /// # Errors
    /// `invalid_argument`, and what [`Root::read`](crate::root::Root::read) says.
    pub async fn explain_lock(&self, caller: &Caller, key: &str) -> Reply<LockOut> {
        let key: LockKey = key.parse()?;
        let root = self.need_root()?;
        let now_ms = root.time_ms();
        let look = |machine: &Machine| machine.explain(&key).after(since(machine, now_ms)).into();
        root.read(deadline(caller), look).await
    }

    /// Keys that are held, waited for or rest, by key, after `after` and beginning with `prefix`.
    ///
    /// # Errors
    /// What [`Root::read`](crate::root::Root::read) says.
    pub async fn list_locks(
        &self,
        caller: &Caller,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Reply<Vec<LockOut>> {
        let root = self.need_root()?;
        let now_ms = root.time_ms();
        let list = |machine: &Machine| {
            let keys = machine.lock_keys().filter(|key| {
                key.as_str().starts_with(prefix) && (after.is_empty() || key.as_str() > after)
            });
            let passed_ms = since(machine, now_ms);
            keys.take(limit).map(|key| machine.explain(key).after(passed_ms).into()).collect()
        };
        root.read(deadline(caller), list).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_is_neither_done_nor_refused() {
        let unknown = certain::<()>(Outcome::Unknown { detail: "cut off".to_owned() });
        let told = unknown.expect_err("not done");
        assert_eq!(told.reason, Reason::OutcomeUnknown);
        assert!(told.detail.contains("cut off"), "{told}");
        assert!(matches!(wire::errors::outcome_of::<()>(told), Outcome::Unknown { .. }));
        let refused = Reject::new(Reason::LockBusy, "held");
        assert_eq!(certain::<()>(Outcome::Rejected(refused.clone())), Err(refused));
        assert_eq!(certain(Outcome::Done(7)), Ok(7));
    }
}
