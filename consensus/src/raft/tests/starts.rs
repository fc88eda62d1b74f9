//! A member put back from a backup, and messages from those who have no business here.

use std::path::Path;

use wire::v1::{
    RaftBallot, RaftHello, RaftRequest, RaftVote, raft_request::Call, raft_response::Answer,
};

use super::cluster::{CLUSTER, Cluster, soon};

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[tokio::test]
async fn a_member_put_back_from_a_backup_is_fenced_and_stays_so() {
    let cluster = Cluster::founded(3).await;
    cluster.put(1, 1).await;
    cluster.settle().await;
    let backup = tempfile::tempdir().unwrap();
    cluster.stop(3).await;
    copy(&cluster.dir(3), backup.path());
    for value in 2..5 {
        cluster.start(3).await;
        cluster.put(1, value).await;
        cluster.settle().await;
        cluster.stop(3).await;
    }
    std::fs::remove_dir_all(cluster.dir(3)).unwrap();
    copy(backup.path(), &cluster.dir(3));
    for _ in 0..2 {
        let copy = cluster.start(3).await;
        cluster.put(2, 7).await;
        let fenced = async {
            while !copy.status().fenced {
                runtime::task::yield_now().await;
            }
        };
        runtime::clock::timeout_at(soon(), fenced).await.unwrap();
        assert_eq!(copy.query(|table| table.values.get(&2).copied()), None, "it takes no part");
        cluster.hub.cut(3);
        assert_ne!(cluster.leader().await.id(), 3);
        cluster.stop(3).await;
        cluster.hub.heal();
    }
    cluster.stop_all().await;
}

#[tokio::test]
async fn who_talks_to_a_member_that_has_stopped_changes_nothing_in_its_folder() {
    let cluster = Cluster::founded(1).await;
    let group = cluster.get(1);
    cluster.stop(1).await;
    let kept = tempfile::tempdir().unwrap();
    copy(&cluster.dir(1), kept.path());
    let hello = RaftRequest {
        cluster: CLUSTER.to_vec(),
        from: 2,
        to: 1,
        boot_epoch: 5,
        boot_nonce: 1,
        seen_epoch: 0,
        seen_nonce: 0,
        call: Some(Call::Hello(RaftHello {})),
    };
    match group.answer(hello).await.answer.unwrap() {
        Answer::Refused(refused) => assert_eq!(refused.problem, "the member has stopped"),
        other => panic!("{other:?}"),
    }
    for entry in std::fs::read_dir(kept.path()).unwrap() {
        let name = entry.unwrap().file_name();
        let read = |folder: &Path| std::fs::read(folder.join(&name)).unwrap();
        assert_eq!(read(&cluster.dir(1)), read(kept.path()), "{name:?}");
    }
}

/// Waits until these members remember the newest start of that one.
async fn known_to(cluster: &Cluster, id: u64, whom: &[u64]) {
    let known = async {
        while cluster.get(id).status().known_to.iter().ne(whom) {
            runtime::task::yield_now().await;
        }
    };
    runtime::clock::timeout_at(soon(), known).await.unwrap();
}

#[tokio::test]
async fn every_member_hears_of_a_start() {
    let cluster = Cluster::founded(3).await;
    for id in 1..=3 {
        let others: Vec<u64> = (1..=3).filter(|other| *other != id).collect();
        known_to(&cluster, id, &others).await;
        cluster.stop(id).await;
        cluster.start(id).await;
        known_to(&cluster, id, &others).await;
    }
    cluster.stop_all().await;
}

/// The one that was away has never met the start that the copy lacks, and the two would be a majority.
#[tokio::test]
async fn who_was_away_hears_of_starts_from_others_and_takes_no_copy_for_a_member() {
    let cluster = Cluster::founded(3).await;
    cluster.put(1, 1).await;
    known_to(&cluster, 3, &[1, 2]).await;
    cluster.stop(1).await;
    cluster.stop(3).await;
    let backup = tempfile::tempdir().unwrap();
    copy(&cluster.dir(3), backup.path());
    cluster.start(3).await;
    cluster.put(1, 2).await;
    known_to(&cluster, 3, &[2]).await;
    cluster.stop(3).await;
    cluster.start(1).await;
    // Both have heard of both, also what the one knows of the third.
    known_to(&cluster, 1, &[2]).await;
    known_to(&cluster, 2, &[1, 3]).await;
    cluster.stop(2).await;
    std::fs::remove_dir_all(cluster.dir(3)).unwrap();
    copy(backup.path(), &cluster.dir(3));
    let copy = cluster.start(3).await;
    let fenced = async {
        while !copy.status().fenced {
            runtime::task::yield_now().await;
        }
    };
    runtime::clock::timeout_at(soon(), fenced).await.unwrap();
    cluster.start(2).await;
    cluster.put(1, 3).await;
    assert_eq!(cluster.value(1, 1), Some(3));
    // It may not even have heard that the first was committed.
    assert!(cluster.value(3, 1) < Some(2), "it takes no part");
    cluster.stop_all().await;
}

#[tokio::test]
async fn messages_of_strangers_and_unknown_questions_are_refused() {
    let cluster = Cluster::founded(1).await;
    let group = cluster.get(1);
    let term = group.status().term;
    let vote = RaftVote { term: term + 100, member: 9, committed: false };
    let ballot = RaftBallot { vote: Some(vote), last: None, leadership_transfer: false };
    let good = RaftRequest {
        cluster: CLUSTER.to_vec(),
        from: 9,
        to: 1,
        boot_epoch: 5,
        boot_nonce: 1,
        seen_epoch: 0,
        seen_nonce: 0,
        call: Some(Call::Vote(ballot)),
    };
    let stale = RaftRequest { boot_epoch: 4, ..good.clone() };
    let cases = [
        (RaftRequest { cluster: vec![1; 16], ..good.clone() }, false),
        (RaftRequest { to: 2, ..good.clone() }, false),
        (RaftRequest { call: None, ..good.clone() }, false),
        (RaftRequest { call: Some(Call::Vote(RaftBallot::default())), ..good.clone() }, false),
        (stale, true),
    ];
    for (request, fenced) in cases {
        let answer = group.answer(request).await.answer;
        let Some(Answer::Refused(refused)) = answer else { panic!("{answer:?}") };
        assert_eq!(refused.fenced, fenced, "{refused:?}");
    }
    assert_eq!(group.status().term, term);
    cluster.stop_all().await;
}
