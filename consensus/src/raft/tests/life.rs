//! What a group does when nothing is broken: serve, grow, shrink, hand over, restart.

use std::collections::BTreeSet;

use types::{Outcome, Reason};

use super::{
    cluster::{Cluster, soon},
    machine::set,
};
use crate::raft::{Group, Role};

fn voters(ids: impl IntoIterator<Item = u64>) -> BTreeSet<u64> {
    ids.into_iter().collect()
}

#[tokio::test]
async fn what_is_proposed_reaches_everybody_once_and_survives_a_restart_of_all() {
    let cluster = Cluster::founded(3).await;
    for value in 0..30 {
        let leader = cluster.leader().await;
        let before = leader.propose(set(1, value).into(), soon()).await;
        let Outcome::Done(before) = before else { panic!("{before:?}") };
        assert_eq!(before, value.saturating_sub(1).to_be_bytes());
    }
    cluster.settle().await;
    for id in 1..=3 {
        let table = cluster.get(id).query(Clone::clone);
        assert_eq!((table.values[&1].0, table.applied), (29, 30), "member {id}");
    }
    let term = cluster.leader().await.status().term;
    cluster.stop_all().await;
    for id in 1..=3 {
        cluster.start(id).await;
    }
    cluster.settle().await;
    assert!(cluster.leader().await.status().term > term, "a restarted leader stands again");
    for id in 1..=3 {
        let table = cluster.get(id).query(Clone::clone);
        assert_eq!((table.values[&1].0, table.applied), (29, 30), "member {id}");
    }
    cluster.stop_all().await;
}

#[tokio::test]
async fn only_the_leader_accepts_and_the_others_name_it() {
    let cluster = Cluster::founded(3).await;
    let leader = cluster.leader().await.id();
    let follower = cluster.get(leader % 3 + 1);
    follower.wait_for(soon(), |status| status.leader == Some(leader)).await.unwrap();
    let Outcome::Rejected(refused) = follower.propose(set(1, 1).into(), soon()).await else {
        panic!("a follower accepted");
    };
    assert_eq!(refused.reason, Reason::NotLeader);
    assert_eq!(refused.fact("leader"), Some(leader.to_string().as_str()));
    assert_eq!(refused.fact("leader_endpoint"), Some(format!("hub/{leader}").as_str()));
    assert_eq!(follower.read_index(soon()).await.unwrap_err().reason, Reason::NotLeader);
    let large = vec![0; 9 << 10];
    let Outcome::Rejected(refused) = cluster.get(leader).propose(large.into(), soon()).await else {
        panic!("a command larger than a quarter of a segment was accepted");
    };
    assert_eq!(refused.reason, Reason::TooLarge);
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_member_joins_as_a_learner_becomes_a_voter_and_another_leaves() {
    let cluster = Cluster::founded(3).await;
    cluster.put(1, 11).await;
    cluster.start(4).await;
    let leader = cluster.leader().await;
    let early = leader.change_voters(voters(1..=4), false, soon()).await;
    assert!(matches!(early, Outcome::Rejected(_)), "no learner yet: {early:?}");
    assert_eq!(leader.add_learner(4, Cluster::member(4), soon()).await, Outcome::Done(()));
    let copied = |s: &crate::raft::Status| s.applied.is_some() && s.role == Role::Learner;
    cluster.get(4).wait_for(soon(), copied).await.unwrap();
    assert_eq!(leader.change_voters(voters(1..=4), false, soon()).await, Outcome::Done(()));
    // The leader itself leaves: it sees the change through and then another one leads.
    let rest = voters((1..=4).filter(|id| *id != leader.id()));
    assert_eq!(leader.change_voters(rest.clone(), false, soon()).await, Outcome::Done(()));
    cluster.hub.cut(leader.id());
    let next = cluster.leader().await;
    let status = next.wait_for(soon(), |s| s.voters == rest && !s.is_joint).await.unwrap();
    assert_eq!(status.members.len(), 3);
    cluster.put(1, 12).await;
    cluster.settle().await;
    assert_eq!(cluster.value(4, 1), Some(12));
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_leader_that_hands_over_to_itself_goes_on() {
    let cluster = Cluster::founded(1).await;
    cluster.put(1, 0).await;
    cluster.leader().await.transfer_leader(1, soon()).await.unwrap();
    cluster.put(1, 1).await;
    cluster.stop_all().await;
}

#[tokio::test]
async fn the_leadership_is_handed_over_on_request() {
    let cluster = Cluster::founded(3).await;
    cluster.put(1, 5).await;
    for _ in 0..3 {
        let leader = cluster.leader().await;
        let to = leader.id() % 3 + 1;
        leader.transfer_leader(to, soon()).await.unwrap();
        assert_eq!(cluster.leader().await.id(), to);
        let refused = leader.transfer_leader(to, soon()).await.unwrap_err();
        assert_eq!(refused.reason, Reason::NotLeader);
    }
    let leader = cluster.leader().await;
    let refused = leader.transfer_leader(9, soon()).await.unwrap_err();
    assert_eq!(refused.reason, Reason::InvalidArgument);
    cluster.put(1, 6).await;
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_group_is_founded_once_and_one_voter_is_a_group() {
    let cluster = Cluster::founded(1).await;
    cluster.put(3, 4).await;
    let again = [(1, Cluster::member(1))].into();
    assert_eq!(cluster.get(1).found(again).await.unwrap_err().reason, Reason::AlreadyExists);
    let leaders = cluster.get(1).query(|table| table.leaders);
    assert_eq!(leaders, 1, "the machine hears of a new leader");
    cluster.stop_all().await;
}

#[tokio::test]
async fn the_effects_of_entries_are_heard_in_order() {
    let cluster = Cluster::founded(1).await;
    cluster.stop(1).await;
    let heard = std::sync::Arc::new(parking_lot::Mutex::new(Vec::new()));
    let sink = heard.clone();
    let home = crate::raft::Home {
        disk: runtime::disk::OsDisk::shared(),
        dir: cluster.dir(1),
        identity: crate::log::Identity { cluster: super::cluster::CLUSTER, member: 1 },
    };
    let effects = Box::new(move |index, effects| sink.lock().push((index, effects)));
    struct Nobody;
    impl crate::raft::Transport for Nobody {
        fn call(
            &self,
            member: u64,
            _: &crate::raft::Member,
            _: wire::v1::RaftRequest,
            _: std::time::Duration,
        ) -> futures::future::BoxFuture<
            'static,
            Result<wire::v1::RaftResponse, crate::raft::NoAnswer>,
        > {
            let silent =
                crate::raft::NoAnswer { member, endpoint: String::new(), detail: String::new() };
            Box::pin(std::future::ready(Err(silent)))
        }

        fn stream(
            &self,
            member: u64,
            _: &crate::raft::Member,
            _: futures::stream::BoxStream<'static, wire::v1::RaftRequest>,
            _: std::time::Duration,
        ) -> futures::future::BoxFuture<'static, Result<crate::raft::Answers, crate::raft::NoAnswer>>
        {
            let silent =
                crate::raft::NoAnswer { member, endpoint: String::new(), detail: String::new() };
            Box::pin(std::future::ready(Err(silent)))
        }
    }
    let options = cluster.options.clone();
    let fresh = super::machine::Table::default();
    let group =
        Group::start(home, options, fresh, effects, std::sync::Arc::new(Nobody)).await.unwrap();
    group.wait_for(soon(), |status| status.role == Role::Leader).await.unwrap();
    for value in 0..5 {
        let done = group.propose(set(1, value).into(), soon()).await;
        assert!(matches!(done, Outcome::Done(_)), "{done:?}");
    }
    let values: Vec<u64> =
        heard.lock().iter().map(|(_, e): &(u64, Vec<(u8, u64)>)| e[0].1).collect();
    assert_eq!(values, [0, 1, 2, 3, 4]);
    assert!(heard.lock().is_sorted_by_key(|(index, _)| *index));
    group.stop().await.unwrap();
}
