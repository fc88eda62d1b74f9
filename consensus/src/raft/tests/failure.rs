//! What a group does when a member dies, is cut off or comes back late.

use std::{collections::BTreeSet, time::Duration};

use runtime::clock::Instant;
use types::{Outcome, Reason};

use super::{
    cluster::{Cluster, soon},
    machine::set,
};
use crate::raft::{GroupOptions, Role};

#[tokio::test]
async fn when_the_leader_dies_another_one_leads_with_everything_acknowledged() {
    let cluster = Cluster::founded(3).await;
    for value in 0..10 {
        cluster.put(value as u8, value).await;
    }
    let old = cluster.leader().await.id();
    cluster.stop(old).await;
    let died = Instant::now();
    let new = cluster.leader().await;
    assert!(died.elapsed() < Duration::from_secs(5), "{:?}", died.elapsed());
    assert_ne!(new.id(), old);
    for value in 0..10 {
        assert_eq!(cluster.value(new.id(), value as u8), Some(value));
    }
    cluster.put(1, 100).await;
    cluster.start(old).await;
    cluster.settle().await;
    assert_eq!(cluster.value(old, 1), Some(100));
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_leader_cut_off_from_the_rest_neither_confirms_nor_reads() {
    let mut cluster = Cluster::founded(3).await;
    cluster.options = GroupOptions { lease_drift_permille: Some(20), ..cluster.options };
    cluster.put(1, 1).await;
    let old = cluster.leader().await;
    cluster.hub.cut(old.id());
    let within = |ms| Instant::now() + Duration::from_millis(ms);
    let proposed = old.propose(set(1, 66).into(), within(400)).await;
    assert!(matches!(proposed, Outcome::Unknown { .. }), "{proposed:?}");
    let read = old.read_index(within(400)).await.unwrap_err();
    assert_ne!(read.reason, Reason::Internal, "{read}");
    let new = cluster.leader().await;
    assert_ne!(new.id(), old.id());
    cluster.put(1, 2).await;
    // The lease of the old one is long over.
    assert!(old.lease_read(within(200)).await.is_err());
    cluster.hub.heal();
    cluster.settle().await;
    for id in 1..=3 {
        assert_eq!(cluster.value(id, 1), Some(2), "the unconfirmed entry lost");
    }
    cluster.stop_all().await;
}

#[tokio::test]
async fn an_entry_that_was_replaced_by_another_leaders_is_unknown_to_its_proposer() {
    let cluster = Cluster::founded(3).await;
    let old = cluster.leader().await;
    cluster.hub.cut(old.id());
    let waiting = runtime::task::spawn({
        let old = old.clone();
        async move { old.propose(set(1, 66).into(), soon()).await }
    });
    old.wait_for(soon(), |status| status.last_index > status.committed.map(|id| id.index))
        .await
        .unwrap();
    cluster.put(1, 2).await;
    cluster.hub.heal();
    let outcome = waiting.await.unwrap();
    assert!(matches!(outcome, Outcome::Unknown { .. }), "{outcome:?}");
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_lease_read_sees_what_was_acknowledged_before() {
    let mut cluster = Cluster::founded(3).await;
    cluster.stop_all().await;
    cluster.options = GroupOptions { lease_drift_permille: Some(20), ..cluster.options };
    for id in 1..=3 {
        cluster.start(id).await;
    }
    for value in 0..20 {
        cluster.put(1, value).await;
        let leader = cluster.leader().await;
        if leader.lease_read(soon()).await.is_ok() {
            assert_eq!(cluster.value(leader.id(), 1), Some(value));
        }
    }
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_follower_that_missed_more_than_the_log_keeps_catches_up_by_snapshot() {
    let cluster = Cluster::founded(3).await;
    cluster.put(1, 0).await;
    let leader = cluster.leader().await.id();
    let late = leader % 3 + 1;
    cluster.stop(late).await;
    for value in 0..150 {
        cluster.put((value % 20) as u8, value).await;
    }
    let leader = cluster.leader().await;
    let purged = |s: &crate::raft::Status| s.purged.is_some_and(|id| id.index > 60);
    leader.wait_for(soon(), purged).await.unwrap();
    let group = cluster.start(late).await;
    cluster.settle().await;
    assert!(group.status().snapshot.is_some_and(|id| id.index > 60), "{:?}", group.status());
    let expected = leader.query(Clone::clone);
    assert_eq!(group.query(Clone::clone), expected);
    // What came by snapshot is there after a restart too, the log behind it short.
    cluster.stop(late).await;
    let group = cluster.start(late).await;
    cluster.settle().await;
    assert_eq!(group.query(|table| table.values.clone()), expected.values);
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_member_without_its_snapshot_does_not_start() {
    let cluster = Cluster::founded(1).await;
    for value in 0..120 {
        cluster.put(1, value).await;
    }
    cluster.get(1).wait_for(soon(), |status| status.purged.is_some()).await.unwrap();
    cluster.stop(1).await;
    std::fs::remove_file(cluster.dir(1).join("snapshot")).unwrap();
    let refused = cluster.try_start(1).await.err().unwrap();
    assert!(refused.to_string().contains("snapshot"), "{refused}");
}

#[tokio::test]
async fn a_change_that_would_stop_the_group_is_refused_unless_forced() {
    let cluster = Cluster::founded(3).await;
    cluster.put(1, 1).await;
    let leader = cluster.leader().await;
    let others: Vec<u64> = (1..=3).filter(|id| *id != leader.id()).collect();
    for id in [8, 9] {
        let added = leader.add_learner(id, Cluster::member(id), soon()).await;
        assert_eq!(added, Outcome::Done(()));
    }
    let unreachable = BTreeSet::from([leader.id(), 8, 9]);
    let refused = leader.change_voters(unreachable, false, soon()).await;
    let Outcome::Rejected(refused) = refused else { panic!("{refused:?}") };
    assert_eq!(refused.fact("answering"), Some("1"), "{refused}");
    // Two of three answer: that is allowed, once the leader has heard of them lately.
    let enough = BTreeSet::from([leader.id(), others[0], 8]);
    let deadline = soon();
    loop {
        match leader.change_voters(enough.clone(), false, deadline).await {
            Outcome::Done(()) => break,
            Outcome::Rejected(refused)
                if refused.fact("answering").is_some() && Instant::now() < deadline =>
            {
                let _ =
                    leader.wait_for(Instant::now() + Duration::from_millis(50), |_| false).await;
            }
            other => panic!("{other:?}"),
        }
    }
    cluster.stop_all().await;
}

#[tokio::test]
async fn who_is_not_there_is_tried_again_after_a_while_and_holds_up_no_deadline() {
    let cluster = Cluster::founded(3).await;
    let leader = cluster.leader().await;
    assert_eq!(leader.add_learner(8, Cluster::member(8), soon()).await, Outcome::Done(()));
    let (before, deadline) = (cluster.hub.calls(), soon());
    // A heartbeat is a call to each that is there.
    while cluster.hub.calls() < before + 40 && Instant::now() < deadline {
        let _ = leader.wait_for(Instant::now() + Duration::from_millis(50), |_| false).await;
    }
    let (calls, tries) = (cluster.hub.calls() - before, cluster.hub.unopened(8));
    assert!(calls >= 40 && tries > 0 && tries <= calls, "{tries} tries, {calls} calls");
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_cut_off_follower_does_not_disturb_the_leader_when_it_comes_back() {
    let cluster = Cluster::founded(3).await;
    let leader = cluster.leader().await;
    let term = leader.status().term;
    let lost = leader.id() % 3 + 1;
    cluster.hub.cut(lost);
    // Long enough for several election timeouts; a vote without Pre-Vote would raise its term.
    for value in 0..20 {
        cluster.put(1, value).await;
    }
    let alone = cluster.get(lost);
    let _ = alone.wait_for(Instant::now() + Duration::from_millis(1500), |_| false).await;
    assert_eq!(alone.status().term, term, "Pre-Vote keeps the term where it is");
    cluster.hub.heal();
    cluster.settle().await;
    let status = leader.status();
    assert_eq!((status.role, status.term), (Role::Leader, term));
    cluster.stop_all().await;
}
