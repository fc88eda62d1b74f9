//! From nothing to a cluster that answers, and back to nothing that runs.
//!
//! Invariant: `LOC-6` a cluster that was begun and did not come up is gone on with by asking again.
//!
//! Not here: single nodes (`process`).

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use http::Method;
use runtime::{
    blocking,
    clock::{self, Instant},
};
use serde_json::{Value, json};

use super::{
    LocalError,
    files::Files,
    network::Network,
    process::{Process, Signal, State},
    shape::Shape,
    state::{Cluster, Held, Node, Stage},
    talk::Talk,
};

/// The shape of a cluster for which none is asked.
const SHAPE: Shape = Shape::Mesh(3);
/// Longest time for a node to start, to stop, or to take part.
const SOON: Duration = Duration::from_secs(60);
/// Time for one question.
const QUESTION: Duration = Duration::from_secs(5);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(20);

fn node_error(files: &Files, node: &Node, problem: impl Into<String>) -> LocalError {
    LocalError::Node {
        node: node.name.clone(),
        problem: problem.into(),
        log: files.log(&node.name),
    }
}

/// This binary.
fn program() -> Result<PathBuf, LocalError> {
    std::env::current_exe().map_err(|cause| LocalError::system("find this program", cause))
}

/// Makes a cluster in a folder and starts it, its nodes with these settings; goes on with one that is there as it was
/// made.
///
/// # Errors
/// [`LocalError`] that names the node and its log, or what the system refused; [`LocalError::Other`] when there is one
/// of another shape or with other settings.
pub async fn up(
    folder: &Path,
    shape: Option<Shape>,
    settings: &[String],
    network: impl FnOnce() -> Result<Network, LocalError>,
) -> Result<Held, LocalError> {
    let mut held = match Cluster::read(folder) {
        Ok(_) => {
            let held = Held::take(folder)?;
            is_that(&held, shape, settings)?;
            held
        }
        Err(LocalError::NoCluster { .. }) => {
            let shape = shape.unwrap_or(SHAPE);
            let network = network()?;
            fits(folder, shape)?;
            let addresses = network.addresses(shape.nodes().len())?;
            Held::begin(folder, Cluster::planned(shape, network, settings, &addresses))?
        }
        Err(error) => return Err(error),
    };
    let files = Files::of(folder);
    set_up_network(&mut held)?;
    if held.cluster.stage < Stage::Written {
        files.write(&held.cluster)?;
        let rows = rows(&files, &held.cluster).await?;
        files.list(&held.cluster, &rows)?;
        held.reach(Stage::Written)?;
    }
    start_all(&mut held).await?;
    if held.cluster.stage < Stage::Founded {
        found_root(&files, &held.cluster).await?;
        held.reach(Stage::Founded)?;
    }
    ready(&files, &held.cluster).await?;
    Ok(held)
}

/// Whether a cluster that is there is what was asked for.
fn is_that(held: &Held, shape: Option<Shape>, settings: &[String]) -> Result<(), LocalError> {
    let other = |made: String, asked: String| {
        Err(LocalError::Other { folder: held.folder.clone(), made, asked })
    };
    match shape.filter(|shape| *shape != held.cluster.shape) {
        Some(shape) => {
            other(format!("with --shape {}", held.cluster.shape), format!("--shape {shape}"))
        }
        None if settings.is_empty() || *settings == held.cluster.settings => Ok(()),
        None if held.cluster.settings.is_empty() => {
            other("without --set".to_owned(), format!("--set {}", settings.join(" --set ")))
        }
        None => other(
            format!("with --set {}", held.cluster.settings.join(" --set ")),
            format!("--set {}", settings.join(" --set ")),
        ),
    }
}

/// Makes the network where it is not there; it is noted first that it is this cluster's (`LOC-5`).
fn set_up_network(held: &mut Held) -> Result<(), LocalError> {
    if held.cluster.network.is_there(&held.cluster.nodes) {
        return Ok(());
    }
    held.cluster.owns_network = true;
    held.save()?;
    held.cluster.network.make(&held.cluster.nodes)
}

/// Whether the nodes' local sockets have room below a folder.
fn fits(folder: &Path, shape: Shape) -> Result<(), LocalError> {
    let files = Files::of(folder);
    let socket = |name: &str| crate::doors::socket_path(&files.data(name));
    match shape.nodes().iter().all(|node| socket(&node.name).is_some()) {
        true => Ok(()),
        false => Err(LocalError::LongPath { folder: folder.to_owned() }),
    }
}

/// The rows of all peers, as they say themselves.
async fn rows(files: &Files, cluster: &Cluster) -> Result<String, LocalError> {
    let program = program()?;
    let asked = cluster.peers().into_iter().map(|node| {
        let mut command = std::process::Command::new(&program);
        command.arg("--config").arg(files.config(&node.name)).args(["peers", "row", "--name"]);
        command.arg(&node.name).arg("--endpoint").arg(node.address.to_string());
        let output = blocking::run(move || command.output());
        async move {
            let output =
                output.await.map_err(|cause| LocalError::system("ask for a row", cause))?;
            if output.status.success() {
                return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
            }
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(node_error(files, node, said))
        }
    });
    Ok(futures::future::try_join_all(asked).await?.concat())
}

/// Starts nodes that do not run, and waits until all of them would take requests.
///
/// # Errors
/// [`LocalError::Node`] when one ends, or does not answer in time.
pub async fn start_some(held: &mut Held, names: &[String]) -> Result<(), LocalError> {
    for name in names {
        held.cluster.node(name)?;
    }
    for name in names {
        start(held, name)?;
    }
    let (files, talk) = (Files::of(&held.folder), Talk::with(&held.folder)?);
    let nodes: Result<Vec<&Node>, LocalError> =
        names.iter().map(|name| held.cluster.node(name)).collect();
    let ready = nodes?.into_iter();
    let ready = ready.map(|node| until(&files, &talk, node, "/readyz", "it serves", |_| true));
    futures::future::try_join_all(ready).await.map(drop)
}

/// Starts what does not run, and waits until all answer.
async fn start_all(held: &mut Held) -> Result<(), LocalError> {
    let names: Vec<String> = held.cluster.nodes.iter().map(|node| node.name.clone()).collect();
    for name in &names {
        start(held, name)?;
    }
    let (files, talk) = (Files::of(&held.folder), Talk::with(&held.folder)?);
    let nodes = held.cluster.nodes.iter();
    let serve = nodes.map(|node| until(&files, &talk, node, "/livez", "it serves", |_| true));
    futures::future::try_join_all(serve).await.map(drop)
}

/// Starts a node if it does not run.
fn start(held: &mut Held, name: &str) -> Result<(), LocalError> {
    let files = Files::of(&held.folder);
    let node = held.cluster.node(name)?;
    if node.state() != State::Gone {
        return Ok(());
    }
    let mut command = held.cluster.network.command(node, &program()?)?;
    command.arg("--config").arg(files.config(name));
    for setting in &held.cluster.settings {
        command.arg("--set").arg(setting);
    }
    command.arg("serve");
    let started = Process::start(command, &files.log(name));
    let process = started.map_err(|cause| LocalError::system(format!("start {name}"), cause))?;
    held.note(name, Some(process))
}

/// Waits until a node's answer fits.
async fn until(
    files: &Files,
    talk: &Talk,
    node: &Node,
    path: &str,
    what: &str,
    fits: impl Fn(&Value) -> bool,
) -> Result<(), LocalError> {
    let deadline = Instant::now() + SOON;
    loop {
        let answer = talk.ask(node, Method::GET, path, None, QUESTION).await;
        if answer.as_ref().is_ok_and(&fits) {
            return Ok(());
        }
        if node.state() == State::Gone {
            return Err(node_error(files, node, "it has ended"));
        }
        if Instant::now() >= deadline {
            let seen = answer.map_or_else(|problem| problem, |value| value.to_string());
            let problem = format!("{what}: not within {} s ({seen})", SOON.as_secs());
            return Err(node_error(files, node, problem));
        }
        clock::sleep(LOOK).await;
    }
}

/// Founds the root, if there is one.
async fn found_root(files: &Files, cluster: &Cluster) -> Result<(), LocalError> {
    let voters = cluster.voters();
    let Some((_, first)) = voters.first() else { return Ok(()) };
    let members: Vec<Value> = voters
        .iter()
        .map(|(number, node)| json!({ "member": number, "endpoint": node.address.to_string() }))
        .collect();
    let body = json!({ "members": members });
    let talk = Talk::with(&files.folder())?;
    match talk.ask(first, Method::POST, "/api/v1/root/init", Some(&body), SOON).await {
        Ok(_) => Ok(()),
        // It was founded by a command that did not come to its end.
        Err(problem) if problem.contains("already founded") => Ok(()),
        Err(problem) => {
            Err(node_error(files, first, format!("the root is not founded: {problem}")))
        }
    }
}

/// Waits until every node would take a write, and every voter knows the rules.
async fn ready(files: &Files, cluster: &Cluster) -> Result<(), LocalError> {
    let talk = Talk::with(&files.folder())?;
    let voters = cluster.voters();
    let confirmed = voters.iter().map(|(_, node)| {
        let knows = |status: &Value| status["confirmed"] == true;
        until(files, &talk, node, "/api/v1/root/status", "it takes part in the root", knows)
    });
    futures::future::try_join_all(confirmed).await?;
    let all = cluster.nodes.iter();
    let ready = all.map(|node| until(files, &talk, node, "/readyz", "it is ready", |_| true));
    futures::future::try_join_all(ready).await.map(drop)
}

/// Ends all processes: those that stand still first go on, all finish what they do, and what does not end is killed.
/// Takes away what was made outside of the folder. Everything that was acknowledged stays in it.
///
/// # Errors
/// A process that cannot be ended.
pub async fn down(held: &mut Held) -> Result<(), LocalError> {
    let running: Vec<(String, Process)> = held
        .cluster
        .nodes
        .iter()
        .filter_map(|node| Some((node.name.clone(), node.process?)))
        .filter(|(_, process)| process.state() != State::Gone)
        .collect();
    let ends = running.iter().map(|(name, process)| async move {
        if process.state() == State::Paused {
            // Should it fail, killing it works all the same.
            let _ = process.signal(Signal::Resume, QUESTION).await;
        }
        if process.signal(Signal::Stop, SOON).await.is_ok() || process.state() == State::Gone {
            return Ok(());
        }
        let killed = process.signal(Signal::Kill, QUESTION).await;
        killed.map_err(|cause| LocalError::system(format!("end {name}"), cause))
    });
    futures::future::try_join_all(ends).await?;
    for node in &mut held.cluster.nodes {
        node.process = None;
    }
    held.save()?;
    if held.cluster.owns_network {
        held.cluster.network.tear_down(&held.cluster.nodes);
    }
    Ok(())
}
