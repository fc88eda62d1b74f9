//! `hivemem.v1.WatchService`: changes as a stream that can be resumed.
//!
//! The stream is pulled: the next batch is read when the client has taken the last one, so at most one
//! batch is held and a slow client slows only itself.
//!
//! Invariants: `WATCH-1` every position shown covers all changes before it, so that resuming there
//! misses nothing; `WATCH-2` a stream that has nothing to show says how far it has come at least once
//! per heartbeat; `WATCH-3` an agent that was revoked sees nothing more after the batch under way.
//!
//! Not here: reading changes (`node::service::watch`), the client's deadline (`wire::grpc`).

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures::stream::{self, BoxStream, StreamExt};
use runtime::clock::Instant;
use tokio::sync::OwnedSemaphorePermit;
use tonic::{Request, Response, Status};
use types::{Invalid, Namespace, Reason, Reject};
use wire::{
    errors::status,
    v1::{self, watch_response::Message, watch_service_server::WatchService},
};

use super::{
    Answer, Door, auth,
    convert::{change, selector},
    place,
};
use crate::node::{
    model::graph::ChangeOut,
    service::{Caller, Credentials, Reply},
};

/// Least, greatest and usual time between heartbeats, in milliseconds.
const HEARTBEAT_MIN_MS: u32 = 1_000;
const HEARTBEAT_MAX_MS: u32 = 60_000;
const HEARTBEAT_MS: u32 = 10_000;

/// The service over the shared door.
pub(super) struct Watches(pub Arc<Door>);

/// Which changes a watcher wants.
#[derive(Default)]
struct Wanted {
    /// A namespace and how far around it.
    namespace: Option<(Namespace, &'static str)>,
    /// Kinds of change; empty is any.
    event_types: BTreeSet<String>,
}

impl Wanted {
    fn wants(&self, change: &ChangeOut) -> bool {
        if !self.event_types.is_empty() && !self.event_types.contains(&change.event_type) {
            return false;
        }
        let (Some((wanted, mode)), Some(memory)) = (&self.namespace, &change.memory) else {
            // A watcher must learn of a deletion, and what is gone has no namespace to go by.
            return true;
        };
        let Ok(found) = memory.namespace.parse::<Namespace>() else { return true };
        match *mode {
            "exact" => found == *wanted,
            "within" => found.is_within(wanted),
            _ => wanted.is_within(&found),
        }
    }
}

/// One open watch.
struct Watch {
    door: Arc<Door>,
    credentials: Credentials,
    caller: Caller,
    wanted: Wanted,
    heartbeat: Duration,
    /// Everything up to here has been shown or is none of the watcher's business.
    covered: u64,
    /// What is still to be shown of the last batch.
    pending: VecDeque<ChangeOut>,
    /// When the watcher last got a message; `None` before the first.
    last_message: Option<Instant>,
    _place: OwnedSemaphorePermit,
}

impl Watch {
    /// The next message, as soon as there is one.
    async fn next(&mut self) -> Reply<v1::WatchResponse> {
        let message = match (self.last_message, self.pending.pop_front()) {
            (None, _) => self.heartbeat(),
            (Some(_), Some(next)) => Message::Change(change(next)),
            (Some(last), None) => self.wait(last).await?,
        };
        self.last_message = Some(Instant::now());
        Ok(v1::WatchResponse { message: Some(message) })
    }

    fn heartbeat(&self) -> Message {
        Message::Heartbeat(v1::Heartbeat { covered_position: self.covered })
    }

    /// Reads batches until one has something to show or a heartbeat is due.
    async fn wait(&mut self, last_message: Instant) -> Reply<Message> {
        let due = last_message + self.heartbeat;
        loop {
            let now = Instant::now();
            if due <= now {
                return Ok(self.heartbeat());
            }
            self.read(due - now).await?;
            if let Some(next) = self.pending.pop_front() {
                return Ok(Message::Change(change(next)));
            }
        }
    }

    /// Waits for a batch and keeps what is wanted of it.
    async fn read(&mut self, wait: Duration) -> Reply<()> {
        let door = self.door.clone();
        self.caller.viewer = door.service.authenticate(&self.credentials)?;
        let batch = tokio::select! {
            batch = door.service.next_changes(&self.caller, self.covered, wait) => batch?,
            () = door.settings.shutdown.cancelled() => return Err(stopping()),
        };
        self.covered = self.covered.max(batch.covered);
        let wanted = &self.wanted;
        self.pending.extend(batch.changes.into_iter().filter(|change| wanted.wants(change)));
        Ok(())
    }
}

fn stopping() -> Reject {
    Reject::new(Reason::Stopping, "the node is stopping; resume the watch after the last position")
}

fn heartbeat_of(ms: u32) -> Result<Duration, Invalid> {
    match if ms == 0 { HEARTBEAT_MS } else { ms } {
        ms if (HEARTBEAT_MIN_MS..=HEARTBEAT_MAX_MS).contains(&ms) => {
            Ok(Duration::from_millis(u64::from(ms)))
        }
        ms => Err(Invalid::new(
            "heartbeat_ms",
            format!("needs {HEARTBEAT_MIN_MS} to {HEARTBEAT_MAX_MS}, got {ms}"),
        )),
    }
}

impl Watches {
    fn open(&self, call: Request<v1::WatchRequest>) -> Reply<Watch> {
        let door = self.0.clone();
        let credentials = auth::credentials(call.metadata(), call.extensions())?;
        let caller = auth::caller(&door.service, call.metadata(), call.extensions())?;
        let request = call.into_inner();
        let namespace = match selector(request.namespace) {
            None => None,
            Some((namespace, mode)) => Some((namespace.parse()?, mode)),
        };
        if door.settings.shutdown.is_cancelled() {
            return Err(stopping());
        }
        Ok(Watch {
            credentials,
            caller,
            wanted: Wanted { namespace, event_types: request.event_types.into_iter().collect() },
            heartbeat: heartbeat_of(request.heartbeat_ms)?,
            covered: request.after_position.unwrap_or_else(|| door.service.watch_start()),
            pending: VecDeque::new(),
            last_message: None,
            _place: place(&door.streams, "watches")?,
            door,
        })
    }
}

#[tonic::async_trait]
impl WatchService for Watches {
    type WatchStream = BoxStream<'static, Result<v1::WatchResponse, Status>>;

    async fn watch(&self, call: Request<v1::WatchRequest>) -> Answer<Self::WatchStream> {
        let watch = self.open(call).map_err(|refusal| status(&refusal))?;
        let messages = stream::unfold(Some(watch), |watch| async move {
            let mut watch = watch?;
            match watch.next().await {
                Ok(message) => Some((Ok(message), Some(watch))),
                Err(refusal) => Some((Err(status(&refusal)), None)),
            }
        });
        Ok(Response::new(messages.boxed()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::node::model::MemoryOut;

    fn memory_in(namespace: &str) -> MemoryOut {
        serde_json::from_value(json!({
            "id": "0192", "namespace": namespace, "title": "t", "content": "c",
            "content_sha256": "", "tier": "mid", "tags": [], "priority": 5, "confidence": 1.0,
            "source": "", "kind": "claim", "scope": "private", "agent_id": "ann", "metadata": {},
            "version": 1, "access_count": 0, "created_at": "", "updated_at": "",
            "legal_hold": false, "fence": 0, "hlc": "", "version_vector": {},
        }))
        .expect("a memory")
    }

    fn change_in(namespace: Option<&str>) -> ChangeOut {
        ChangeOut {
            position: 1,
            op: "n:1".into(),
            at: String::new(),
            agent_id: "ann".into(),
            event_type: "memory.store".into(),
            memory_id: None,
            memory: namespace.map(memory_in),
        }
    }

    fn wanted(namespace: &str, mode: &'static str) -> Wanted {
        let namespace = namespace.parse().expect("a namespace");
        Wanted { namespace: Some((namespace, mode)), ..Wanted::default() }
    }

    #[test]
    fn namespaces_narrow_a_watch_as_they_narrow_a_list() {
        let sees = |wanted: &Wanted, namespace: &str| wanted.wants(&change_in(Some(namespace)));
        let exact = wanted("acme/eng", "exact");
        assert!(sees(&exact, "acme/eng") && !sees(&exact, "acme") && !sees(&exact, "acme/eng/db"));
        let within = wanted("acme/eng", "within");
        assert!(sees(&within, "acme/eng/db") && !sees(&within, "acme/engine"));
        let above = wanted("acme/eng", "ancestors");
        assert!(sees(&above, "acme") && sees(&above, "acme/eng") && !sees(&above, "acme/eng/db"));
    }

    #[test]
    fn what_is_gone_is_shown_and_kinds_narrow() {
        assert!(wanted("acme", "exact").wants(&change_in(None)));
        let event_types = BTreeSet::from(["memory.delete".to_owned()]);
        let deletions = Wanted { event_types, ..Wanted::default() };
        assert!(!deletions.wants(&change_in(None)));
    }

    #[test]
    fn heartbeats_have_a_range() {
        assert_eq!(heartbeat_of(0), Ok(Duration::from_secs(10)));
        assert_eq!(heartbeat_of(1_000), Ok(Duration::from_secs(1)));
        for bad in [1, 999, 60_001] {
            assert_eq!(heartbeat_of(bad).expect_err("out of range").field, "heartbeat_ms");
        }
    }
}
