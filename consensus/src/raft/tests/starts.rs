//! A member put back from a backup, and messages from those who have no business here.

use std::path::Path;

use wire::v1::{RaftBallot, RaftRequest, RaftVote, raft_request::Call, raft_response::Answer};

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
