//! Changes of who is in the group, transfers of the lead, and copies from an older time.
//!
//! Invariants: `STR-3` only one change of membership is carried out at a time; `STR-4` a machine is thrown
//! away only after the leader has said that its member has no vote, unless its disk is lost already.
//!
//! Not here: how a change is made safe (`consensus::raft`).

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use http::Method;
use runtime::clock::{self, Instant};
use serde_json::{Value, json};

use super::{Blow, disk};
use crate::{
    schedule::Kind,
    world::root::{RootWorld, Voter, steps::COPY},
};

/// Time for one change.
const WITHIN: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_millis(250);

pub(super) async fn carry_out(blow: &mut Blow) {
    let Some(world) = blow.root() else { return };
    match blow.strike.kind {
        Kind::Transfer => transfer(blow, &world).await,
        Kind::Snapshot => snapshot(blow).await,
        Kind::AddRemove | Kind::Replace | Kind::OldNodeReturns => change(blow, &world).await,
        Kind::RestoreBackup => restore(blow, &world).await,
        _ => {}
    }
}

async fn transfer(blow: &mut Blow, world: &RootWorld) {
    let Some(to) = blow.host() else { return };
    let body = json!({ "member": to.number });
    let path = "/api/v1/root/transfer";
    let Some(leader) = world.leader().await else { return };
    let asked = blow.fleet.ask_at(&leader, Method::POST, path, Some(body)).await;
    if asked.is_ok() {
        let fault = blow.begin(&[&to.name]);
        blow.over(fault);
    }
}

async fn snapshot(blow: &mut Blow) {
    let Some(voter) = blow.host() else { return };
    let path = "/api/v1/root/snapshot";
    if blow.fleet.ask_at(&voter, Method::POST, path, None).await.is_ok() {
        let fault = blow.begin(&[&voter.name]);
        blow.over(fault);
    }
}

/// A voter that can be lost: one that clients do not need, while enough others live.
pub(super) async fn spare_one(blow: &mut Blow, world: &RootWorld) -> Option<Arc<Voter>> {
    let (fleet, options) = (&world.fleet, &world.options);
    let lost = fleet.all().len() as u64 - options.voters;
    if lost >= options.losses || fleet.hosts().len() as u64 > options.voters {
        return None;
    }
    blow.target().await
}

pub(super) fn numbers(value: &Value, voters_only: bool) -> BTreeSet<u64> {
    let members = value["members"].as_array().cloned().unwrap_or_default();
    let wanted = members.iter().filter(|m| !voters_only || m["voter"] == true);
    wanted.filter_map(|member| member["member"].as_u64()).collect()
}

/// What the leader says about the members.
pub(super) async fn told(world: &RootWorld) -> Option<Value> {
    let leader = world.leader().await?;
    let status = world.status_of(&leader).await?;
    (status["role"] == "leader" && status["changing"] == false).then_some(status)
}

/// Asks until the new member has a vote and the old one is out; answers whether it came to that.
async fn settle(world: &RootWorld, old: &Voter, new: &Voter, joint: bool) -> bool {
    let deadline = Instant::now() + WITHIN;
    let member = json!({ "member": new.number, "endpoint": new.address() });
    while Instant::now() < deadline {
        clock::sleep(AGAIN).await;
        let Some(status) = told(world).await else { continue };
        let (all, voters) = (numbers(&status, false), numbers(&status, true));
        let (has_new, has_old) = (voters.contains(&new.number), voters.contains(&old.number));
        if has_new && !all.contains(&old.number) {
            return true;
        }
        let base = "/api/v1/root/members";
        let (method, path, body) = match (has_new, has_old) {
            (false, true) if joint => {
                (Method::POST, format!("{base}/{}/replace", old.number), Some(member.clone()))
            }
            (false, _) if !all.contains(&new.number) => {
                (Method::POST, base.to_owned(), Some(member.clone()))
            }
            (false, _) => (Method::POST, format!("{base}/{}/promote", new.number), None),
            (true, _) => (Method::DELETE, format!("{base}/{}", old.number), None),
        };
        let asked = world.ask_leader(method, &path, body, Duration::from_secs(6)).await;
        if let Err(problem) = asked {
            tracing::info!(path, problem, "a change of membership is asked for again");
        }
    }
    false
}

/// Throws a machine away whose disk is lost, and puts a new one in its place.
pub(super) async fn replace(world: &RootWorld, lost: &Arc<Voter>) {
    world.lose(lost);
    let new = world.add_machine();
    if !settle(world, lost, &new, true).await {
        tracing::info!(lost = lost.name, "was not replaced in time");
    }
}

/// Puts a new voter in the place of a healthy one.
async fn change(blow: &mut Blow, world: &RootWorld) {
    let _alone = world.membership.lock().await;
    let Some(old) = spare_one(blow, world).await else { return };
    let returns = blow.strike.kind == Kind::OldNodeReturns;
    let new = world.add_machine();
    if returns {
        // It does not hear that it is removed.
        old.hold();
        old.crash();
    }
    let done = settle(world, &old, &new, blow.strike.kind == Kind::Replace).await;
    let fault = done.then(|| blow.begin(&[&old.name, &new.name]));
    if returns {
        old.let_go();
        old.restart();
    }
    blow.last().await;
    if let Some(fault) = fault {
        world.lose(&old);
        blow.over(fault);
    }
}

/// Puts the root's files of a voter back to an older time. It must find out and take no part.
async fn restore(blow: &mut Blow, world: &RootWorld) {
    let _alone = world.membership.lock().await;
    let Some(voter) = spare_one(blow, world).await else { return };
    // A start that nobody has met goes on after a restart: a copy made in it would be the same member.
    if !lives(world, &voter, false).await {
        return;
    }
    voter.hold();
    voter.crash();
    let files = disk::backup(&voter);
    voter.restart();
    // All its peers must remember the start after the backup, as the guarantee has it, and it must have
    // promised something since.
    if !lives(world, &voter, true).await {
        voter.let_go();
        return;
    }
    blow.last().await;
    let fault = blow.begin(&[&voter.name]);
    voter.crash();
    disk::put_back(&voter, &files);
    world.rename(&voter, &format!("{}{COPY}", voter.name));
    voter.restart();
    blow.last().await;
    voter.let_go();
    replace(world, &voter).await;
    blow.over(fault);
}

/// Whether a voter that was started hears of a leader in time, and a peer of it, or all of them.
async fn lives(world: &RootWorld, voter: &Voter, known_to_all: bool) -> bool {
    for _ in 0..40 {
        clock::sleep(AGAIN).await;
        if !voter.is_up() {
            voter.restart();
            continue;
        }
        let status = world.status_of(voter).await.unwrap_or_default();
        let known_to = status["known_to"].as_array().cloned().unwrap_or_default();
        let is_known = |member: &u64| *member == voter.number || known_to.contains(&json!(member));
        let enough = !known_to_all || numbers(&status, false).iter().all(is_known);
        if status["confirmed"] == true && enough {
            return true;
        }
    }
    false
}
