//! Members in one process, joined by a hub that carries the very bytes and can be cut.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use parking_lot::Mutex;
use prost::Message;
use runtime::{
    clock::{self, Instant},
    disk::OsDisk,
};
use tempfile::TempDir;
use types::Outcome;
use wire::v1::{RaftRequest, RaftResponse};

use super::machine::{Table, set};
use crate::{
    log::{Identity, LogOptions},
    raft::{Answers, Group, GroupOptions, Home, Member, MemberId, NoAnswer, StartError, Transport},
};

pub(super) const CLUSTER: [u8; 16] = [7; 16];

pub(super) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// Who is there and which ways are cut.
#[derive(Default)]
pub(super) struct Hub {
    members: Mutex<BTreeMap<MemberId, Group<Table>>>,
    cut: Mutex<BTreeSet<MemberId>>,
    calls: AtomicU64,
    /// To whom nobody could open a stream, and how often.
    unopened: Mutex<BTreeMap<MemberId, u64>>,
}

impl Hub {
    /// Lets nothing in or out of a member.
    pub(super) fn cut(&self, id: MemberId) {
        self.cut.lock().insert(id);
    }

    pub(super) fn heal(&self) {
        self.cut.lock().clear();
    }

    /// Single questions that were asked so far.
    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// How often a stream to a member could not be opened.
    pub(super) fn unopened(&self, to: MemberId) -> u64 {
        self.unopened.lock().get(&to).copied().unwrap_or_default()
    }

    fn reach(&self, from: MemberId, to: MemberId) -> Result<Group<Table>, NoAnswer> {
        let silent = |detail: &str| NoAnswer {
            member: to,
            endpoint: format!("hub/{to}"),
            detail: detail.into(),
        };
        let cut = self.cut.lock();
        if cut.contains(&from) || cut.contains(&to) {
            return Err(silent("the way is cut"));
        }
        self.members.lock().get(&to).cloned().ok_or_else(|| silent("it is down"))
    }
}

/// One member's end of the hub.
pub(super) struct Way {
    pub(super) hub: Arc<Hub>,
    pub(super) me: MemberId,
}

fn over_the_wire<M: Message + Default>(message: &M) -> M {
    M::decode(message.encode_to_vec().as_slice()).unwrap()
}

impl Transport for Way {
    fn call(
        &self,
        to: MemberId,
        _: &Member,
        request: RaftRequest,
        within: Duration,
    ) -> BoxFuture<'static, Result<RaftResponse, NoAnswer>> {
        let (hub, me) = (self.hub.clone(), self.me);
        async move {
            hub.calls.fetch_add(1, Ordering::Relaxed);
            let peer = hub.reach(me, to)?;
            let answer = clock::timeout(within, peer.answer(over_the_wire(&request))).await;
            // The answer has the way back to go.
            hub.reach(me, to)?;
            let late = |_| NoAnswer { member: to, endpoint: "hub".into(), detail: "late".into() };
            answer.map_err(late).map(|answer| over_the_wire(&answer))
        }
        .boxed()
    }

    fn stream(
        &self,
        to: MemberId,
        _: &Member,
        requests: BoxStream<'static, RaftRequest>,
        _: Duration,
    ) -> BoxFuture<'static, Result<Answers, NoAnswer>> {
        let (hub, me) = (self.hub.clone(), self.me);
        async move {
            let unopened = |_: &NoAnswer| *hub.unopened.lock().entry(to).or_default() += 1;
            let peer = hub.reach(me, to).inspect_err(unopened)?;
            let way = hub.clone();
            let passes = move |_: &RaftRequest| {
                let passes = way.reach(me, to).is_ok();
                async move { passes }
            };
            let requests = requests.take_while(passes).map(|r| over_the_wire(&r)).boxed();
            let answers = peer.answer_stream(requests);
            let state = (hub, answers);
            let answers = stream::unfold(state, move |(hub, mut answers)| async move {
                let answer = answers.next().await?;
                let passed = hub.reach(me, to).map(|_| over_the_wire(&answer));
                Some((passed, (hub, answers)))
            });
            Ok(answers.boxed())
        }
        .boxed()
    }
}

/// Members and their folders.
pub(super) struct Cluster {
    pub(super) hub: Arc<Hub>,
    folder: TempDir,
    pub(super) options: GroupOptions,
}

impl Cluster {
    /// A group of members 1 to `voters`, founded and led by one of them.
    pub(super) async fn founded(voters: u64) -> Self {
        let cluster = Cluster {
            hub: Arc::default(),
            folder: tempfile::tempdir().unwrap(),
            options: GroupOptions {
                snapshot_every: 50,
                entries_kept: 10,
                log: LogOptions { segment_bytes: 32 << 10, cache_bytes: 4 << 10, spares_max: 1 },
                ..GroupOptions::default()
            },
        };
        for id in 1..=voters {
            cluster.start(id).await;
        }
        let members = (1..=voters).map(|id| (id, Self::member(id))).collect();
        cluster.get(1).found(members).await.unwrap();
        cluster.leader().await;
        cluster
    }

    pub(super) fn member(id: MemberId) -> Member {
        Member { endpoint: format!("hub/{id}") }
    }

    pub(super) fn dir(&self, id: MemberId) -> PathBuf {
        self.folder.path().join(id.to_string())
    }

    pub(super) async fn try_start(&self, id: MemberId) -> Result<Group<Table>, StartError> {
        let home = Home {
            disk: OsDisk::shared(),
            dir: self.dir(id),
            identity: Identity { cluster: CLUSTER, member: id },
        };
        let way = Arc::new(Way { hub: self.hub.clone(), me: id });
        let quiet = Box::new(|_, _| {});
        Group::start(home, self.options.clone(), Table::default(), quiet, way).await
    }

    pub(super) async fn start(&self, id: MemberId) -> Group<Table> {
        let group = self.try_start(id).await.unwrap();
        self.hub.members.lock().insert(id, group.clone());
        group
    }

    /// Takes a member down.
    pub(super) async fn stop(&self, id: MemberId) {
        let group = self.hub.members.lock().remove(&id).unwrap();
        group.stop().await.unwrap();
    }

    pub(super) fn get(&self, id: MemberId) -> Group<Table> {
        self.hub.members.lock()[&id].clone()
    }

    /// Members that are up and not cut off.
    pub(super) fn reachable(&self) -> Vec<Group<Table>> {
        let cut = self.hub.cut.lock().clone();
        let members = self.hub.members.lock();
        members.iter().filter(|(id, _)| !cut.contains(id)).map(|(_, group)| group.clone()).collect()
    }

    /// Waits until the reachable members agree on a leader among them that can read.
    pub(super) async fn leader(&self) -> Group<Table> {
        let deadline = soon();
        while Instant::now() < deadline {
            let up = self.reachable();
            let ids: BTreeSet<MemberId> = up.iter().map(Group::id).collect();
            let led = up[0].wait_for(deadline, |s| s.leader.is_some_and(|l| ids.contains(&l)));
            let Some(status) = led.await else { break };
            let leader = self.get(status.leader.unwrap());
            if leader
                .read_index(deadline.min(Instant::now() + Duration::from_secs(1)))
                .await
                .is_ok()
            {
                return leader;
            }
            runtime::task::yield_now().await;
        }
        panic!(
            "no leader in time: {:#?}",
            self.reachable().iter().map(Group::status).collect::<Vec<_>>()
        );
    }

    /// Writes through whoever leads, again if that was not certain.
    pub(super) async fn put(&self, key: u8, value: u64) {
        let deadline = soon();
        while Instant::now() < deadline {
            let leader = self.leader().await;
            if let Outcome::Done(_) = leader.propose(set(key, value).into(), deadline).await {
                return;
            }
        }
        panic!("not written in time");
    }

    /// Waits until every reachable member has applied the leader's last entry.
    pub(super) async fn settle(&self) {
        let leader = self.leader().await;
        let index = leader.read_index(soon()).await.unwrap();
        for group in self.reachable() {
            let there = |applied: Option<crate::log::EntryId>| {
                applied.is_some_and(|applied| applied.index >= index)
            };
            let status = group.wait_for(soon(), |status| there(status.applied)).await;
            assert!(status.is_some(), "{:#?}", group.status());
        }
    }

    pub(super) fn value(&self, id: MemberId, key: u8) -> Option<u64> {
        self.get(id).query(|table| table.values.get(&key).map(|(value, _)| *value))
    }

    pub(super) async fn stop_all(&self) {
        let ids: Vec<MemberId> = self.hub.members.lock().keys().copied().collect();
        for id in ids {
            self.stop(id).await;
        }
    }
}
