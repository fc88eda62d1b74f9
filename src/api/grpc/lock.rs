//! `hivemem.v1.LockService`: sessions and locks.
//!
//! Invariant: a watcher that lags too far behind is told so, and a revoked one is not told any more.
//!
//! Not here: granting (`consensus::machine`).

use std::sync::Arc;

use consensus::machine::Effect;
use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, broadcast};
use tonic::{Request, Response, Status};
use types::{Invalid, Reason, Reject};
use wire::{
    errors::status,
    v1::{self, lock_service_server::LockService},
};

use super::{Answer, Door, auth, convert::some_text, place};
use crate::{
    node::service::{
        Caller, Credentials, Reply, Service,
        locks::{
            AcquireInput, AcquireOut, CancelInput, ForceInput, GrantOut, LockOut, ReleaseInput,
            SessionInput, SessionOut, WantInput,
        },
    },
    root::Happened,
};

/// Locks in one answer, unless asked otherwise, and at most.
const PAGE: u32 = 100;
const PAGE_MAX: u32 = 1000;

/// The service over the shared door.
pub(super) struct Locks(pub Arc<Door>);

fn session(out: SessionOut) -> v1::Session {
    v1::Session { session: out.session, ttl_ms: out.ttl_ms, root_time_ms: out.root_time_ms }
}

fn grant(out: GrantOut) -> v1::LockGrant {
    v1::LockGrant { key: out.key, fence: out.fence, count: out.count }
}

fn acquired(out: AcquireOut) -> v1::AcquireResponse {
    let grants = out.grants.into_iter().map(grant).collect();
    v1::AcquireResponse { state: out.state, grants, lease_ms: out.lease_ms, place: out.place }
}

fn lock(out: LockOut) -> v1::Lock {
    let holders = out.holders.into_iter().map(|h| v1::LockHolder {
        session: h.session,
        agent_id: h.agent_id,
        mode: h.mode,
        fence: h.fence,
        count: h.count,
        age_ms: h.age_ms,
        session_left_ms: h.session_left_ms,
    });
    let queue = out.queue.into_iter().map(|w| v1::LockWaiter {
        session: w.session,
        agent_id: w.agent_id,
        mode: w.mode,
        age_ms: w.age_ms,
        left_ms: w.left_ms,
        with: w.with,
    });
    v1::Lock {
        key: out.key,
        holders: holders.collect(),
        queue: queue.collect(),
        rests_ms: out.rests_ms,
    }
}

async fn open(
    service: Arc<Service>,
    caller: Caller,
    request: v1::OpenSessionRequest,
) -> Reply<v1::Session> {
    let v1::OpenSessionRequest { ttl_ms, lock_delay_ms } = request;
    service.open_session(&caller, &SessionInput { ttl_ms, lock_delay_ms }).await.map(session)
}

async fn acquire(
    service: Arc<Service>,
    caller: Caller,
    request: v1::AcquireRequest,
) -> Reply<v1::AcquireResponse> {
    let wants = request.wants.into_iter();
    let input = AcquireInput {
        session: request.session,
        seq: request.seq,
        wants: wants.map(|w| WantInput { key: w.key, mode: some_text(w.mode) }).collect(),
        wait_until_ms: request.wait_until_ms,
    };
    service.acquire(&caller, &input).await.map(acquired)
}

async fn release(
    service: Arc<Service>,
    caller: Caller,
    request: v1::ReleaseRequest,
) -> Reply<v1::ReleaseResponse> {
    let locks = request.locks.into_iter();
    let input = ReleaseInput {
        session: request.session,
        seq: request.seq,
        locks: locks.map(|l| GrantOut { key: l.key, fence: l.fence, count: 0 }).collect(),
    };
    service.release(&caller, &input).await?;
    Ok(v1::ReleaseResponse {})
}

async fn list(
    service: Arc<Service>,
    caller: Caller,
    request: v1::ListLocksRequest,
) -> Reply<v1::ListLocksResponse> {
    let v1::ListLocksRequest { prefix, after, limit } = request;
    let limit = if limit == 0 { PAGE } else { limit };
    if limit > PAGE_MAX {
        return Err(Invalid::new("limit", format!("needs 0 to {PAGE_MAX}")).into());
    }
    let locks = service.list_locks(&caller, &prefix, &after, limit as usize).await?;
    Ok(v1::ListLocksResponse { locks: locks.into_iter().map(lock).collect() })
}

/// One open watch.
struct Watch {
    door: Arc<Door>,
    credentials: Credentials,
    happenings: broadcast::Receiver<Arc<Happened>>,
    prefix: String,
    _place: OwnedSemaphorePermit,
}

impl Watch {
    /// The changes of the next entry that has some; `None` at the end.
    async fn next(&mut self) -> Option<Reply<Vec<v1::LockChange>>> {
        loop {
            let heard = tokio::select! {
                () = self.door.settings.shutdown.cancelled() => {
                    return Some(Err(Reject::new(Reason::Stopping, "the node is stopping")));
                }
                heard = self.happenings.recv() => heard,
            };
            if let Err(refused) = self.door.service.authenticate(&self.credentials) {
                return Some(Err(refused));
            }
            let changes = match heard {
                Ok(happened) => self.changes(&happened),
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    vec![v1::LockChange { lagged: true, ..v1::LockChange::default() }]
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            };
            if !changes.is_empty() {
                return Some(Ok(changes));
            }
        }
    }

    fn changes(&self, happened: &Happened) -> Vec<v1::LockChange> {
        let changed = |effect: &Effect| match effect {
            Effect::LockChanged { key, fence, holders }
                if key.as_str().starts_with(&self.prefix) =>
            {
                Some(v1::LockChange {
                    index: happened.index,
                    key: key.to_string(),
                    fence: fence.0,
                    holders: holders.iter().map(|session| session.0).collect(),
                    lagged: false,
                })
            }
            _ => None,
        };
        happened.effects.iter().filter_map(changed).collect()
    }
}

#[tonic::async_trait]
impl LockService for Locks {
    type WatchStream = BoxStream<'static, Result<v1::LockChange, Status>>;

    async fn open_session(&self, call: Request<v1::OpenSessionRequest>) -> Answer<v1::Session> {
        self.0.call(call, open).await
    }

    async fn keep_alive(&self, call: Request<v1::KeepAliveRequest>) -> Answer<v1::Session> {
        let run = |service: Arc<Service>, caller: Caller, request: v1::KeepAliveRequest| async move {
            service.keep_alive(&caller, request.session).await.map(session)
        };
        self.0.call(call, run).await
    }

    async fn close_session(
        &self,
        call: Request<v1::CloseSessionRequest>,
    ) -> Answer<v1::CloseSessionResponse> {
        let run = |service: Arc<Service>, caller: Caller, request: v1::CloseSessionRequest| async move {
            service.close_session(&caller, request.session).await?;
            Ok(v1::CloseSessionResponse {})
        };
        self.0.call(call, run).await
    }

    async fn acquire(&self, call: Request<v1::AcquireRequest>) -> Answer<v1::AcquireResponse> {
        self.0.call(call, acquire).await
    }

    async fn release(&self, call: Request<v1::ReleaseRequest>) -> Answer<v1::ReleaseResponse> {
        self.0.call(call, release).await
    }

    async fn cancel_wait(
        &self,
        call: Request<v1::CancelWaitRequest>,
    ) -> Answer<v1::AcquireResponse> {
        let run = |service: Arc<Service>, caller: Caller, request: v1::CancelWaitRequest| async move {
            let v1::CancelWaitRequest { session, seq, of } = request;
            service.cancel_wait(&caller, &CancelInput { session, seq, of }).await.map(acquired)
        };
        self.0.call(call, run).await
    }

    async fn force_release(
        &self,
        call: Request<v1::ForceReleaseRequest>,
    ) -> Answer<v1::ForceReleaseResponse> {
        let run = |service: Arc<Service>, caller: Caller, request: v1::ForceReleaseRequest| async move {
            let v1::ForceReleaseRequest { key, fence, reason } = request;
            service.force_release(&caller, &ForceInput { key, fence, reason }).await?;
            Ok(v1::ForceReleaseResponse {})
        };
        self.0.call(call, run).await
    }

    async fn explain(&self, call: Request<v1::ExplainLockRequest>) -> Answer<v1::Lock> {
        let run = |service: Arc<Service>, caller: Caller, request: v1::ExplainLockRequest| async move {
            service.explain_lock(&caller, &request.key).await.map(lock)
        };
        self.0.call(call, run).await
    }

    async fn list(&self, call: Request<v1::ListLocksRequest>) -> Answer<v1::ListLocksResponse> {
        self.0.call(call, list).await
    }

    async fn watch(&self, call: Request<v1::WatchLocksRequest>) -> Answer<Self::WatchStream> {
        let credentials = auth::credentials(call.metadata(), call.extensions());
        let credentials = credentials.map_err(|refusal| status(&refusal))?;
        let door = self.0.clone();
        let open = |service: Arc<Service>, _: Caller, request: v1::WatchLocksRequest| async move {
            let place = place(&door.streams, "watches")?;
            let happenings = service.need_root()?.happenings();
            Ok(Watch { door, credentials, happenings, prefix: request.prefix, _place: place })
        };
        let watch = self.0.attend(call, open).await.map_err(|refusal| status(&refusal))?;
        let batches = stream::unfold(Some(watch), |watch| async {
            let mut watch = watch?;
            match watch.next().await? {
                Ok(changes) => Some((changes.into_iter().map(Ok).collect(), Some(watch))),
                Err(refusal) => Some((vec![Err(status(&refusal))], None)),
            }
        });
        Ok(Response::new(batches.flat_map(stream::iter).boxed()))
    }
}
