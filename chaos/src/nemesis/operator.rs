//! What people do to a cluster: restarts, lists, new disks, old backups.
//!
//! Invariant: `NEM-3` (see the module's page).
//!
//! Not here: what the daemon makes of it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use http::Method;
use runtime::{
    blocking,
    clock::{self, Instant},
};
use serde_json::json;
use toml::{Table, Value};

use super::{Blow, LOOK, Nemesis, SHOWS, Stroke, Undo, World};

/// For how long an upgrade rests between two nodes, milliseconds.
const MIXED_MS: (u64, u64) = (500, 3000);
/// Longest time until nodes have read their lists again, and a while.
const LISTS: Duration = Duration::from_secs(20);

pub(super) async fn strike(world: &mut World, nemesis: Nemesis) -> Result<Stroke, String> {
    match nemesis {
        Nemesis::RollingRestart => rolling(world).await.map(Ok),
        Nemesis::Upgrade => upgrade(world).await,
        Nemesis::Transfer => transfer(world).await,
        Nemesis::OffTheList => off_the_list(world).await,
        Nemesis::EmptyDisk => empty_disk(world).await,
        _ => old_backup(world).await,
    }
}

async fn rolling(world: &mut World) -> Result<Blow, String> {
    let nodes = world.shuffled();
    let faults = world.record(Nemesis::RollingRestart, &nodes);
    for node in &nodes {
        let one = std::slice::from_ref(node);
        world.hive.command("stop", one).await?;
        world.tell(one, false);
        world.start(one).await?;
    }
    Ok(Blow { faults, nodes, shown: Ok(()), undo: Undo::Nothing })
}

/// For a while each time there are two versions.
async fn upgrade(world: &mut World) -> Result<Stroke, String> {
    let Some(next) = world.next.take() else {
        return Ok(Err("all nodes are of the other version".to_owned()));
    };
    let nodes = world.shuffled();
    let faults = world.record(Nemesis::Upgrade, &nodes);
    let mut shown = Ok(());
    for node in &nodes {
        let one = std::slice::from_ref(node);
        world.hive.command("stop", one).await?;
        world.tell(one, false);
        world.start_as(&next, one).await?;
        let pid = world.hive.pid(node).await.unwrap_or_default();
        if fs::read_link(format!("/proc/{pid}/exe")).ok().as_deref() != Some(next.as_path()) {
            shown = Err(format!("{node} is not of the other version"));
        }
        clock::sleep(Duration::from_millis(world.draw.between(MIXED_MS))).await;
    }
    world.hive.become_version(next);
    Ok(Ok(Blow { faults, nodes, shown, undo: Undo::Nothing }))
}

async fn transfer(world: &mut World) -> Result<Stroke, String> {
    let leader = match world.leader().await {
        Ok(leader) => leader,
        Err(reason) => return Ok(Err(reason)),
    };
    let others: Vec<String> =
        world.hive.names(true).into_iter().filter(|name| *name != leader).collect();
    let Some(to) = others.get(world.draw.place(others.len())) else {
        return Ok(Err("nobody else votes".to_owned()));
    };
    let nodes = vec![leader.clone(), to.clone()];
    let faults = world.record(Nemesis::Transfer, &nodes);
    let member: u64 = to.trim_start_matches('r').parse().map_err(|_| format!("{to}: no number"))?;
    let body = Some(json!({ "member": member }));
    let asked = world.hive.ask(&leader, Method::POST, "/api/v1/root/transfer", body).await;
    let shown = match asked {
        Some(_) => Ok(()),
        None => Err(format!("{leader} did not say that it has handed on the lead")),
    };
    Ok(Ok(Blow { faults, nodes, shown, undo: Undo::Nothing }))
}

fn failed(path: &Path) -> impl Fn(io::Error) -> String + '_ {
    move |error| format!("{}: {error}", path.display())
}

/// The rows of a list.
fn rows(path: &Path) -> Result<Vec<Table>, String> {
    let text = fs::read_to_string(path).map_err(failed(path))?;
    let list: Table = text.parse().map_err(|error| format!("{}: {error}", path.display()))?;
    let rows = list.get("peer").and_then(Value::as_array).into_iter().flatten();
    Ok(rows.filter_map(|row| row.as_table().cloned()).collect())
}

/// Puts a list in place, whole.
fn write_rows(path: &Path, rows: Vec<Table>) -> Result<(), String> {
    let rows = rows.into_iter().map(Value::Table).collect();
    write_list(path, &Table::from_iter([("peer".to_owned(), Value::Array(rows))]).to_string())
}

fn write_list(path: &Path, text: &str) -> Result<(), String> {
    let next = path.with_extension("next");
    fs::write(&next, text).and_then(|()| fs::rename(&next, path)).map_err(failed(path))
}

/// Lists as they were.
pub(super) fn write_lists(files: &[(PathBuf, String)]) -> Result<(), String> {
    files.iter().try_for_each(|(path, text)| write_list(path, text))
}

fn is_of(row: &Table, node: &str) -> bool {
    row.get("name").and_then(Value::as_str) == Some(node)
}

async fn off_the_list(world: &mut World) -> Result<Stroke, String> {
    let peers = world.hive.names(false);
    if peers.len() < 3 {
        return Ok(Err("there are too few peers".to_owned()));
    }
    let node = peers[world.draw.place(peers.len())].clone();
    let others: Vec<String> = peers.into_iter().filter(|name| *name != node).collect();
    let mut files = Vec::new();
    let nodes = vec![node.clone()];
    let faults = world.record(Nemesis::OffTheList, &nodes);
    for other in &others {
        let path = world.hive.list(other);
        let text = fs::read_to_string(&path).map_err(failed(&path))?;
        let kept = rows(&path)?.into_iter().filter(|row| !is_of(row, &node)).collect();
        write_rows(&path, kept)?;
        files.push((path, text));
    }
    let deadline = Instant::now() + LISTS;
    let mut shown = Err(format!("the others did not take {node} off their lists"));
    while shown.is_err() && Instant::now() < deadline {
        clock::sleep(LOOK).await;
        let told = world.hive.ask(&others[0], Method::GET, "/api/v1/peers", None).await;
        let there = |told: &serde_json::Value| {
            told["items"].as_array().is_some_and(|all| all.iter().any(|p| p["name"] == *node))
        };
        if told.is_some_and(|told| !there(&told)) {
            shown = Ok(());
        }
    }
    Ok(Ok(Blow { faults, nodes, shown, undo: Undo::Lists(files) }))
}

/// A peer that can be without what it had; `Err` says why there is none.
fn spared(world: &mut World) -> Result<String, String> {
    if world.losses == 0 {
        return Err("as many peers as a quorum can spare have lost what they had".to_owned());
    }
    let peers = world.hive.names(false);
    Ok(peers[world.draw.place(peers.len())].clone())
}

async fn empty_disk(world: &mut World) -> Result<Stroke, String> {
    let node = match spared(world) {
        Ok(node) => node,
        Err(reason) => return Ok(Err(reason)),
    };
    let nodes = vec![node.clone()];
    let faults = world.record(Nemesis::EmptyDisk, &nodes);
    world.hive.command("kill", &nodes).await?;
    world.tell(&nodes, false);
    world.set_back(&node);
    begin_anew(world, &node).await?;
    Ok(Ok(Blow { faults, nodes, shown: Ok(()), undo: Undo::Nothing }))
}

/// Empties a node's folder for data.
fn wipe(world: &mut World, node: &str) -> Result<(), String> {
    let (data, seed) = (world.hive.data(node), world.draw.bits());
    match world.disks.get_mut(node) {
        Some(disk) => disk.wipe(seed),
        // The folder itself may be where something is mounted.
        None => empty(&data),
    }
    .map_err(failed(&data))
}

/// Removes all that is in a folder.
fn empty(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
    }
    Ok(())
}

/// Gives a peer that does not run an empty disk, hands its new row to all, and starts it. What it said before is still
/// believed: its old row stays, under another name and without an endpoint.
pub(super) async fn begin_anew(world: &mut World, node: &str) -> Result<(), String> {
    wipe(world, node)?;
    let row = row_of(world, node).await?;
    let peers = world.hive.names(false);
    for peer in &peers {
        let path = world.hive.list(peer);
        let mut rows = rows(&path)?;
        let former = rows.len();
        for old in rows.iter_mut().filter(|old| is_of(old, node)) {
            old.insert("name".to_owned(), Value::String(format!("{node}-before-{former}")));
            old.remove("endpoint");
        }
        rows.push(row.clone());
        write_rows(&path, rows)?;
    }
    world.start(&[node.to_owned()]).await?;
    let path = "/api/v1/peers";
    let deadline = Instant::now() + LISTS;
    let new = row.get("node").and_then(Value::as_str).unwrap_or_default();
    for other in peers.iter().filter(|peer| *peer != node) {
        loop {
            let told = world.hive.ask(other, Method::GET, path, None).await;
            if told.is_some_and(|told| told.to_string().contains(new)) {
                break;
            }
            if Instant::now() >= deadline {
                return Err(format!("{other} does not know the new {node}"));
            }
            clock::sleep(LOOK).await;
        }
    }
    Ok(())
}

/// A node's row, as it says it itself.
async fn row_of(world: &World, node: &str) -> Result<Table, String> {
    let plan = world.hive.plan();
    let config = plan.folder.join(node).join("hivemem.toml");
    let member = world.hive.members.iter().find(|member| member.name == node);
    let endpoint = member.map(|member| member.place.endpoint.clone()).unwrap_or_default();
    let mut command = Command::new(&plan.binary);
    command.env_clear().arg("--config").arg(config).args(["peers", "row", "--name", node]);
    command.args(["--endpoint", &endpoint]);
    let output = blocking::run(move || command.output()).await;
    let output = output.map_err(|error| format!("the row of {node}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let list: Table = text.parse().map_err(|error| {
        format!("the row of {node}: {error}: {}", String::from_utf8_lossy(&output.stderr).trim())
    })?;
    let row = list.get("peer").and_then(Value::as_array).and_then(|rows| rows.first()?.as_table());
    row.cloned().ok_or_else(|| format!("the row of {node} has none: {text}"))
}

async fn old_backup(world: &mut World) -> Result<Stroke, String> {
    let node = match spared(world) {
        Ok(node) => node,
        Err(reason) => return Ok(Err(reason)),
    };
    let nodes = vec![node.clone()];
    let faults = world.record(Nemesis::OldBackup, &nodes);
    let (data, copy) = (world.hive.data(&node), world.hive.data(&node).with_extension("copy"));
    // While it stands still its files are those of one moment.
    world.hive.command("pause", &nodes).await?;
    let (from, to) = (data.clone(), copy.clone());
    let copied = blocking::run(move || copy_all(&from, &to)).await;
    world.hive.command("resume", &nodes).await?;
    copied.map_err(failed(&copy))?;
    Ok(Ok(Blow { faults, nodes, shown: Ok(()), undo: Undo::Backup(node, copy) }))
}

/// A peer is put back to a copy.
pub(super) async fn put_back(world: &mut World, node: &str, copy: &Path) -> Result<(), String> {
    let nodes = [node.to_owned()];
    world.hive.command("kill", &nodes).await?;
    world.tell(&nodes, false);
    world.set_back(node);
    wipe(world, node)?;
    let data = world.hive.data(node);
    copy_all(copy, &data).and_then(|()| fs::remove_dir_all(copy)).map_err(failed(&data))?;
    world.start(&nodes).await?;
    let path = "/api/v1/peers";
    let deadline = Instant::now() + SHOWS;
    while world.hive.ask(node, Method::GET, path, None).await.is_none() {
        if Instant::now() >= deadline {
            return Err(format!("{node} does not answer after it was put back"));
        }
        clock::sleep(LOOK).await;
    }
    Ok(())
}

/// Whether the others have the row that a node says of itself: one that has lost its disk is another node.
pub(super) async fn is_known(world: &World, node: &str) -> Result<bool, String> {
    let row = row_of(world, node).await?;
    let known = rows(&world.hive.list(node))?;
    Ok(known.iter().any(|known| known.get("node") == row.get("node")))
}

/// Copies all files and folders below a folder, and syncs them; sockets stay behind.
///
/// # Errors
/// The system's.
pub fn copy_all(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy_all(&entry.path(), &target)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), &target)?;
            fs::File::open(target)?.sync_all()?;
        }
    }
    fs::File::open(to)?.sync_all()
}
