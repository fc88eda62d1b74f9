//! The quorum is lost for ever, and an operator goes on with what is left.
//!
//! Everybody dies at once; of all folders the best is taken, as the tool names it, and the other machines
//! are thrown away. So nothing that was answered is missing, and the judges forgive nothing: the log goes
//! on, and whoever comes back from before the recovery is powerless.
//!
//! Not here: the recovery itself (`hivemem::root::recover`).

use std::{path::PathBuf, sync::Arc, time::Duration};

use hivemem::{
    node,
    root::recover::{self, Inspection},
};
use http::Method;
use runtime::{
    clock::{self, Instant},
    disk::DiskRef,
};
use serde_json::json;

use super::{Blow, members};
use crate::{
    judge::history::{RaftStep, What},
    world::root::{RootWorld, Voter, steps::COPY},
};

/// Time in which new voters join.
const WITHIN: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_millis(250);

pub(super) async fn carry_out(blow: &mut Blow) {
    let Some(world) = blow.root() else { return };
    let _alone = world.membership.lock().await;
    let voters = world.fleet.hosts();
    if voters.len() as u64 != world.options.voters || voters.iter().any(|voter| voter.is_held()) {
        return;
    }
    voters.iter().for_each(|voter| voter.hold());
    voters.iter().for_each(|voter| {
        voter.crash();
        voter.disk.power_on();
        voter.disk.clear_faults();
        voter.disk.set_capacity_bytes(u64::MAX);
    });
    // Clients know the first voters; one of them must be left.
    let known = |voter: &Arc<Voter>| voter.number <= world.options.voters;
    let Some(best) = best(&voters, known).filter(known) else {
        // Or somebody has nothing that could be judged. Then nothing is done to anybody.
        voters.iter().for_each(|voter| voter.let_go());
        return;
    };
    let fault = blow.begin(&voters.iter().map(|voter| voter.name.as_str()).collect::<Vec<_>>());
    go_on(&world, &best).await;
    best.let_go();
    best.restart();
    for voter in voters.iter().filter(|voter| voter.number != best.number) {
        if blow.draw.percent(50) {
            world.rename(voter, &format!("{}{COPY}", voter.name));
            voter.restart();
            blow.last().await;
        }
        voter.let_go();
        world.lose(voter);
    }
    for _ in 1..world.options.voters {
        let new = world.add_machine();
        if !joins(&world, &new).await {
            tracing::info!(new = new.name, "did not join in time");
        }
    }
    blow.over(fault);
}

fn look(voter: &Voter) -> Option<Inspection> {
    let disk: DiskRef = Arc::new(voter.disk.clone());
    recover::inspect(&disk, &[PathBuf::from("data")]).ok()?.pop()
}

/// The voter with the newest entry; of several, one that is liked.
fn best(voters: &[Arc<Voter>], liked: impl Fn(&Arc<Voter>) -> bool) -> Option<Arc<Voter>> {
    let mut judged = Vec::new();
    for voter in voters {
        judged.push((look(voter)?.survivor.last, liked(voter), voter));
    }
    judged.into_iter().max_by_key(|(last, liked, _)| (*last, *liked)).map(|(_, _, v)| v.clone())
}

/// Makes it the only voter, and tells the judges where its log goes on.
async fn go_on(world: &RootWorld, voter: &Voter) {
    let disk: DiskRef = Arc::new(voter.disk.clone());
    let config = voter.config();
    let store = node::open_store(disk.clone(), &config).await.expect("the store of a member opens");
    world.steps.recovering(Some(&voter.name));
    let recovered = recover::recover(disk, &config.data_dir, store.clone(), "a drill").await;
    world.steps.recovering(None);
    let (recovered, _) = recovered.expect("a member that was judged is recovered");
    store.close().await.expect("a disk without faults");
    let (index, term) = (recovered.goes_on_behind.index, recovered.goes_on_behind.term);
    let tell = |step| world.fleet.recorder.record(What::Raft { node: voter.name.clone(), step });
    tell(RaftStep::Snapshot { index, term, state: String::new() });
    tell(RaftStep::Membership { index, voters: vec![vec![voter.name.clone()]] });
}

/// Asks until the new member has a vote; answers whether it came to that.
async fn joins(world: &RootWorld, new: &Voter) -> bool {
    let deadline = Instant::now() + WITHIN;
    let member = json!({ "member": new.number, "endpoint": new.address() });
    while Instant::now() < deadline {
        clock::sleep(AGAIN).await;
        let Some(status) = members::told(world).await else { continue };
        if members::numbers(&status, true).contains(&new.number) {
            return true;
        }
        let base = "/api/v1/root/members";
        let (path, body) = match members::numbers(&status, false).contains(&new.number) {
            true => (format!("{base}/{}/promote", new.number), None),
            false => (base.to_owned(), Some(member.clone())),
        };
        let asked = world.ask_leader(Method::POST, &path, body, Duration::from_secs(6)).await;
        if let Err(problem) = asked {
            tracing::info!(path, problem, "a voter asks again to join");
        }
    }
    false
}
