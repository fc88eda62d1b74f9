//! Going on alone: what is judged, what is kept, who is shut out.

use super::{
    cluster::{Cluster, soon},
    machine::Table,
};
use crate::raft::{Role, complete, inspect, recover};

fn disk() -> runtime::disk::DiskRef {
    runtime::disk::OsDisk::shared()
}

#[tokio::test]
async fn a_survivor_goes_on_alone_and_whoever_comes_back_is_shut_out() {
    let cluster = Cluster::founded(3).await;
    for value in 0..20 {
        cluster.put(1, value).await;
    }
    cluster.settle().await;
    let before = cluster.get(2).status();
    cluster.stop_all().await;
    let look = || inspect(&disk(), &cluster.dir(2), Table::default(), Clone::clone).unwrap();
    let (survivor, table) = look();
    assert_eq!(survivor.identity.member, 2);
    assert_eq!(Some(survivor.last.index), before.last_index);
    assert_eq!(survivor.voters, [1, 2, 3].into());
    assert_eq!(table.values[&1].0, 19);
    assert_eq!(look().0, survivor, "a look changes nothing");

    let recovered = recover(disk(), cluster.dir(2), Table::default()).await.unwrap();
    let told: Vec<(u8, u64)> = recovered.effects.iter().flat_map(|(_, of)| of.clone()).collect();
    let put: Vec<(u8, u64)> = (0..20).map(|value| (1, value)).collect();
    assert_eq!(told, put, "nothing is lost with the log that no start applies again");
    assert_eq!(recovered.before, survivor);
    assert_eq!(recovered.goes_on_behind.index, 1 << 40, "RFT-21");
    assert_eq!(recovered.goes_on_behind.term, 1 << 20, "RFT-21");
    assert!(recovered.kept.join("identity").exists(), "the old files are kept");
    let alone = cluster.start(2).await;
    let status = alone.wait_for(soon(), |status| status.role == Role::Leader).await.unwrap();
    assert_eq!((status.voters, status.members.len()), ([2].into(), 1));
    cluster.put(1, 77).await;
    assert_eq!(cluster.value(2, 1), Some(77));
    assert!(alone.status().last_index > Some(1 << 40), "RFT-21");
    // Both of the others come back: neither they together nor one of them decides anything for long.
    for id in [1, 3] {
        cluster.start(id).await;
    }
    for id in [1, 3] {
        let fenced = cluster.get(id).wait_for(soon(), |status| status.fenced).await;
        assert!(fenced.is_some(), "member {id} is shut out");
    }
    assert!(!alone.status().fenced);
    assert_eq!(alone.status().role, Role::Leader);
    cluster.stop_all().await;
    let again = inspect(&disk(), &cluster.dir(2), Table::default(), |_| ()).unwrap().0;
    assert!(again.last.index > 1 << 40);
    assert_eq!(again.voters, [2].into());
}

#[tokio::test]
async fn a_folder_without_a_member_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let refused = inspect(&disk(), folder.path(), Table::default(), |_| ()).unwrap_err();
    assert!(refused.to_string().contains("no member"), "{refused}");
    assert!(recover(disk(), folder.path().to_path_buf(), Table::default()).await.is_err());
}

#[tokio::test]
async fn a_recovery_that_was_interrupted_is_completed_by_the_next() {
    let cluster = Cluster::founded(3).await;
    cluster.put(1, 7).await;
    cluster.settle().await;
    cluster.stop_all().await;
    let dir = cluster.dir(1);
    recover(disk(), dir.clone(), Table::default()).await.unwrap();
    // As if the power had failed between the two renames.
    let making = dir.with_extension("recovering");
    std::fs::rename(&dir, &making).unwrap();
    let refused = cluster.try_start(1).await.map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("interrupted"), "{refused}");
    let refused = inspect(&disk(), &dir, Table::default(), |_| ()).unwrap_err();
    assert!(refused.to_string().contains("interrupted"), "{refused}");
    assert!(!dir.exists(), "nothing was changed");
    for _ in 0..2 {
        complete(&disk(), &dir).unwrap();
        assert!(dir.exists() && !making.exists());
    }
    let alone = cluster.start(1).await;
    alone.wait_for(soon(), |status| status.role == Role::Leader).await.unwrap();
    assert_eq!(cluster.value(1, 1), Some(7));
}
