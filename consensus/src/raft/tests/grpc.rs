//! Three members over real sockets.

use std::{sync::Arc, time::Duration};

use runtime::{disk::OsDisk, task::Shutdown, task::spawn};
use types::Outcome;
use wire::{
    admission::Admission,
    grpc::{CallTimes, GrpcGuard},
    net::Listener,
    serve::{ServeLimits, serve},
};

use super::{
    cluster::{CLUSTER, soon},
    machine::{Table, set},
};
use crate::{
    log::Identity,
    raft::{Group, GroupOptions, GrpcTransport, Home, Member, PeerService, Role, dialer},
};

struct Node {
    group: Group<Table>,
    shutdown: Shutdown,
}

async fn start(id: u64, listener: Listener, dir: &std::path::Path) -> Node {
    let home = Home {
        disk: OsDisk::shared(),
        dir: dir.join(id.to_string()),
        identity: Identity { cluster: CLUSTER, member: id },
    };
    let options = GroupOptions {
        // Two of three are up at first, and the machine may be busy: nobody is to lose patience.
        election_ms: (600, 1200),
        heartbeat_ms: 100,
        snapshot_every: 40,
        entries_kept: 5,
        ..GroupOptions::default()
    };
    let transport = Arc::new(GrpcTransport::new(dialer(|endpoint| endpoint)));
    let quiet = Box::new(|_, _| {});
    let group = Group::start(home, options, Table::default(), quiet, transport).await.unwrap();
    let admission = Admission::new(64, 64, Duration::from_secs(1));
    let guard = GrpcGuard::new(PeerService::server(group.clone()), admission, CallTimes::default());
    let shutdown = Shutdown::new();
    drop(spawn(serve(listener, None, guard, ServeLimits::default(), shutdown.clone())));
    Node { group, shutdown }
}

#[tokio::test]
async fn a_group_lives_over_grpc_and_a_late_member_is_given_the_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let (mut listeners, mut members) = (Vec::new(), std::collections::BTreeMap::new());
    for id in 1..=3u64 {
        let any = "127.0.0.1:0".parse().unwrap();
        let listener = Listener::bind(&any, &OsDisk).await.unwrap();
        let endpoint = match listener.local_address().unwrap() {
            wire::net::Address::Tcp(address) => address.to_string(),
            other => panic!("{other:?}"),
        };
        members.insert(id, Member { endpoint });
        listeners.push(listener);
    }
    let late = listeners.pop().unwrap();
    let mut nodes = Vec::new();
    for (id, listener) in (1..).zip(listeners) {
        nodes.push(start(id, listener, folder.path()).await);
    }
    nodes[0].group.found(members).await.unwrap();
    let status = nodes[0].group.wait_for(soon(), |status| status.leader.is_some()).await.unwrap();
    let leader = nodes[status.leader.unwrap() as usize - 1].group.clone();
    // A leader accepts once a majority has answered it.
    let confirmed = |status: &crate::raft::Status| {
        status.role == Role::Leader && status.committed.is_some_and(|id| id.term == status.term)
    };
    leader.wait_for(soon(), confirmed).await.unwrap();
    for value in 0..120 {
        let done = leader.propose(set(1, value).into(), soon()).await;
        assert!(matches!(done, Outcome::Done(_)), "{value}: {done:?}");
    }
    leader.wait_for(soon(), |status| status.purged.is_some()).await.unwrap();
    nodes.push(start(3, late, folder.path()).await);
    let index = leader.read_index(soon()).await.unwrap();
    let applied =
        |status: &crate::raft::Status| status.applied.is_some_and(|applied| applied.index >= index);
    let status = nodes[2].group.wait_for(soon(), applied).await.unwrap();
    assert!(status.snapshot.is_some(), "{status:?}");
    assert_eq!(nodes[2].group.query(|table| table.values[&1].0), 119);
    for node in nodes {
        node.shutdown.trigger();
        node.group.stop().await.unwrap();
    }
}
