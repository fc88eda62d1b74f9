//! `hivemem up` and `hivemem down`: a cluster of this machine, and what may befall it.
//!
//! Invariant: what a command says has happened: signals have done their work, nodes that are started answer.
//!
//! Not here: how it is done (`crate::local`).

use std::{
    io::{IsTerminal, Read, Seek, SeekFrom},
    path::Path,
    time::Duration,
};

use http::Method;
use runtime::clock::{self, Instant};
use serde_json::{Value, json};

use super::show;
use crate::{
    cli::{
        exit::{Code, Failure},
        render,
        up_args::{ClusterFolder, NetworkChoice, UpArgs, UpCommand},
    },
    config::{Layers, Origin},
    local::{self, Cluster, Held, LocalError, Network, Node, Part, Shape, Signal, State, Talk},
};

/// Longest time for a signal to do its work.
const SOON: Duration = Duration::from_secs(30);
/// Time for a node to say how it is.
const QUESTION: Duration = Duration::from_millis(800);
/// Time between two looks at a cluster or a log.
const LOOK: Duration = Duration::from_secs(1);

impl From<LocalError> for Failure {
    fn from(error: LocalError) -> Self {
        let code = match &error {
            LocalError::NoCluster { .. } | LocalError::NoNode { .. } => Code::NotFound,
            LocalError::Exists { .. }
            | LocalError::Other { .. }
            | LocalError::NotEmpty { .. }
            | LocalError::CannotCut
            | LocalError::Format { .. } => Code::Conflict,
            LocalError::Busy { .. } => Code::Later,
            LocalError::Node { .. } | LocalError::System { .. } => Code::Unavailable,
            LocalError::Groups { .. } | LocalError::LongPath { .. } | LocalError::Pki(_) => {
                Code::Usage
            }
        };
        Failure::new(code, error.to_string())
    }
}

/// Runs `hivemem up`.
///
/// # Errors
/// [`Failure`] that names the node and its log, or what the system refused.
pub async fn run(args: &UpArgs, set: &[String], as_json: bool) -> Result<(), Failure> {
    let folder = absolute(&args.folder)?;
    match &args.command {
        None => up(args, &folder, set, as_json).await,
        Some(UpCommand::Status { once }) => status(&folder, *once, as_json).await,
        Some(UpCommand::Logs { node, lines, follow }) => logs(&folder, node, *lines, *follow).await,
        Some(UpCommand::Down) => down(&args.folder, as_json).await,
        Some(UpCommand::Heal) => {
            Held::take(&folder)?.cluster.network.heal()?;
            told(as_json, &json!({ "healed": true }), "every node reaches every other")
        }
        Some(UpCommand::Partition { sides }) => partition(&folder, sides, as_json),
        Some(UpCommand::Start { nodes }) => {
            let mut held = Held::take(&folder)?;
            local::start_some(&mut held, nodes).await?;
            let (told_of, verb) =
                (nodes.join(", "), if nodes.len() > 1 { "answer" } else { "answers" });
            let value = json!({ "nodes": nodes, "state": "running" });
            told(as_json, &value, &format!("{told_of} {verb}"))
        }
        Some(command) => signal(&folder, command, as_json).await,
    }
}

fn absolute(folder: &ClusterFolder) -> Result<std::path::PathBuf, Failure> {
    std::path::absolute(&folder.folder)
        .map_err(|error| Failure::usage(format!("--folder {}: {error}", folder.folder.display())))
}

fn told(as_json: bool, value: &Value, text: &str) -> Result<(), Failure> {
    show(as_json, value, |_| format!("{text}\n"));
    Ok(())
}

/// Which network a new cluster gets, and why not the better one.
fn network(choice: NetworkChoice) -> Result<(Network, Option<String>), LocalError> {
    let obstacle = match choice {
        NetworkChoice::Loopback => return Ok((Network::Loopback, None)),
        NetworkChoice::Namespaces(Some(number)) => {
            return Ok((Network::Namespaces(number), None));
        }
        NetworkChoice::Namespaces(None) => None,
        NetworkChoice::Auto => local::obstacle(),
    };
    match obstacle {
        Some(obstacle) => Ok((Network::Loopback, Some(obstacle))),
        None => Ok((Network::free_namespaces()?, None)),
    }
}

/// Refuses what no node would understand.
fn check(set: &[String]) -> Result<(), Failure> {
    let mut layers = Layers::default();
    for pair in set {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| Failure::usage(format!("--set {pair}: write key=value")))?;
        let added = layers.add(key, value.to_owned(), Origin::Flag);
        added.map_err(|error| Failure::usage(error.to_string()))?;
    }
    Ok(())
}

async fn up(args: &UpArgs, folder: &Path, set: &[String], as_json: bool) -> Result<(), Failure> {
    check(set)?;
    let begun = Instant::now();
    let shape: Option<Shape> = args
        .shape
        .as_deref()
        .map(str::parse)
        .transpose()
        .map_err(|problem: String| Failure::usage(format!("--shape: {problem}")))?;
    let mut obstacle = None;
    let held = local::up(folder, shape, set, || {
        let (network, why) = network(args.network)?;
        obstacle = why;
        Ok(network)
    })
    .await?;
    let took_ms = begun.elapsed().as_millis();
    let rows = rows(&held.folder, &held.cluster).await?;
    let told = json!({
        "folder": held.folder, "shape": held.cluster.shape.to_string(), "network": held.cluster.network,
        "took_ms": took_ms, "nodes": rows, "obstacle": obstacle,
    });
    show(as_json, &told, |_| {
        let shape = held.cluster.shape.to_string();
        let mut text = format!(
            "{shape}: {} nodes, up in {:.1} s\n\n{}\n",
            rows.len(),
            took_ms as f64 / 1000.0,
            table(&rows)
        );
        text.push_str(&next(&args.folder.folder, &held.cluster));
        if let Some(obstacle) = &obstacle {
            text.push_str(&format!(
                "\nwithout namespaces nothing can be partitioned: {obstacle}\n"
            ));
        }
        text
    });
    Ok(())
}

/// Commands to try.
fn next(folder: &Path, cluster: &Cluster) -> String {
    let memories: Vec<&Node> = match cluster.peers() {
        peers if peers.is_empty() => cluster.nodes.iter().collect(),
        peers => peers,
    };
    let (Some(first), Some(last)) = (memories.first(), memories.last()) else {
        return String::new();
    };
    let (dir, more) = (
        folder.display(),
        if *folder == *Path::new("hive") {
            String::new()
        } else {
            format!(" --folder {}", folder.display())
        },
    );
    let mut text = format!(
        "next:\n  hivemem --data-dir {dir}/{}/data store \"Deploy window\" \"Tuesdays before noon\" --scope collective\n  \
         hivemem --data-dir {dir}/{}/data recall \"when do we deploy\"\n",
        first.name, last.name
    );
    if let Some((_, voter)) = cluster.voters().first() {
        let data = format!("{dir}/{}/data", voter.name);
        text.push_str(&format!("  hivemem --data-dir {data} lock run deploy -- echo mine\n"));
    }
    text.push_str(&format!("  hivemem up status{more}\n  hivemem up kill {}{more}\n", first.name));
    if matches!(cluster.network, Network::Namespaces(_)) && cluster.nodes.len() > 1 {
        text.push_str(&format!("  hivemem up partition '{}|{}'{more}\n", first.name, last.name));
    }
    text.push_str(&format!("  hivemem down{more}\n"));
    text
}

fn word(state: State) -> &'static str {
    match state {
        State::Running => "running",
        State::Paused => "paused",
        State::Gone => "gone",
    }
}

fn part(part: &Part) -> &'static str {
    match part {
        Part::Alone => "alone",
        Part::Voter(_) => "voter",
        Part::Peer => "peer",
    }
}

/// What each node is, and says of itself.
async fn rows(folder: &Path, cluster: &Cluster) -> Result<Vec<Value>, Failure> {
    let talk = Talk::with(folder)?;
    let all = cluster.nodes.iter().map(|node| async {
        let state = node.state();
        let mut row = json!({
            "node": node.name, "part": part(&node.part), "region": node.region, "endpoint": format!("https://{}", node.address),
            "process": word(state), "pid": node.process.map(|process| process.pid),
            "memory_mib": node.process.and_then(|process| process.resident_bytes()).map(|b| b >> 20),
        });
        if state == State::Running {
            said(&talk, node, &mut row).await;
        }
        row
    });
    Ok(futures::future::join_all(all).await)
}

/// What a node says of itself, where it answers.
async fn said(talk: &Talk, node: &Node, row: &mut Value) {
    match talk.ask(node, Method::GET, "/api/v1/status", None, QUESTION).await {
        Ok(status) => {
            row["answers"] = json!(true);
            row["memories"] = status["memories"].clone();
            if let Some(root) = status.get("root").filter(|root| root.is_object()) {
                row["role"] = root["role"].clone();
            }
        }
        Err(_) => row["answers"] = json!(false),
    }
    if node.part != Part::Peer {
        return;
    }
    row["role"] = json!("peer");
    if let Ok(peers) = talk.ask(node, Method::GET, "/api/v1/peers", None, QUESTION).await {
        let lags = peers["items"].as_array().into_iter().flatten();
        row["lag"] = json!(lags.filter_map(|peer| peer["lag"].as_u64()).max());
    }
}

fn table(rows: &[Value]) -> String {
    let mut columns =
        vec!["node", "role", "endpoint", "process", "answers", "memories", "lag", "memory_mib"];
    if rows.iter().any(|row| row["region"].is_string()) {
        columns.insert(1, "region");
    }
    render::table(rows, &columns)
}

async fn status(folder: &Path, once: bool, as_json: bool) -> Result<(), Failure> {
    let live = !once && !as_json && std::io::stdout().is_terminal();
    loop {
        let cluster = Cluster::read(folder)?;
        let rows = rows(folder, &cluster).await?;
        let told = json!({ "shape": cluster.shape, "network": cluster.network, "nodes": rows });
        // From the top of a cleared screen.
        let clear = if live { "\x1b[H\x1b[2J" } else { "" };
        show(as_json, &told, |_| format!("{clear}{}", table(&rows)));
        if !live {
            return Ok(());
        }
        clock::sleep(LOOK).await;
    }
}

async fn signal(folder: &Path, command: &UpCommand, as_json: bool) -> Result<(), Failure> {
    let (names, signal, state, done) = match command {
        UpCommand::Kill { nodes } => (nodes, Signal::Kill, "gone", "killed"),
        UpCommand::Stop { nodes } => (nodes, Signal::Stop, "gone", "stopped"),
        UpCommand::Pause { nodes } => (nodes, Signal::Pause, "paused", "paused"),
        UpCommand::Resume { nodes } => (nodes, Signal::Resume, "running", "resumed"),
        _ => return Ok(()),
    };
    let held = Held::take(folder)?;
    let mut running = Vec::new();
    for name in names {
        let process = held.cluster.node(name)?.process;
        match process.filter(|process| process.state() != State::Gone) {
            Some(process) => running.push((name, process)),
            None => {
                let fix = format!("{name} does not run; `hivemem up start {name}` starts it");
                return Err(Failure::new(Code::Conflict, fix));
            }
        }
    }
    let sent = running.iter().map(|(name, process)| async move {
        let sent = process.signal(signal, SOON).await;
        sent.map_err(|error| Failure::start(format!("{name}: {error}")))
    });
    futures::future::try_join_all(sent).await?;
    let value = json!({ "nodes": names, "state": state });
    told(as_json, &value, &format!("{done}: {}", names.join(", ")))
}

/// The sides of a partition; who is not named stays with the first.
fn sides<'c>(cluster: &'c Cluster, text: &str) -> Result<Vec<Vec<&'c Node>>, LocalError> {
    let groups = |problem: String| LocalError::Groups { problem };
    let mut sides: Vec<Vec<&Node>> = Vec::new();
    for side in text.split('|') {
        let names = side.split(',').map(str::trim).filter(|name| !name.is_empty());
        let nodes = names.map(|name| cluster.node(name)).collect::<Result<Vec<_>, _>>()?;
        if nodes.is_empty() {
            return Err(groups(format!("{text:?} has an empty side")));
        }
        for node in &nodes {
            if sides.iter().flatten().any(|other| other.name == node.name) {
                return Err(groups(format!("{} is on two sides", node.name)));
            }
        }
        sides.push(nodes);
    }
    if sides.len() < 2 {
        return Err(groups(format!("{text:?} has one side")));
    }
    let named: Vec<&str> = sides.iter().flatten().map(|node| node.name.as_str()).collect();
    let rest = cluster.nodes.iter().filter(|node| !named.contains(&node.name.as_str()));
    let rest: Vec<&Node> = rest.collect();
    sides[0].extend(rest);
    Ok(sides)
}

fn partition(folder: &Path, text: &str, as_json: bool) -> Result<(), Failure> {
    let held = Held::take(folder)?;
    let sides = sides(&held.cluster, text)?;
    held.cluster.network.partition(&sides)?;
    let names: Vec<Vec<&str>> =
        sides.iter().map(|side| side.iter().map(|node| node.name.as_str()).collect()).collect();
    let shown: Vec<String> = names.iter().map(|side| side.join(",")).collect();
    told(as_json, &json!({ "sides": names }), &format!("cut: {}", shown.join(" | ")))
}

/// Prints the end of a log, and what comes.
async fn logs(folder: &Path, name: &str, lines: usize, follow: bool) -> Result<(), Failure> {
    let cluster = Cluster::read(folder)?;
    let path = local::log(folder, &cluster.node(name)?.name);
    let unreadable = |e: std::io::Error| Failure::start(format!("{}: {e}", path.display()));
    let mut file = std::fs::File::open(&path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(unreadable)?;
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    let last = &all[all.len().saturating_sub(lines)..];
    render::print(&last.iter().map(|line| format!("{line}\n")).collect::<String>());
    if !follow {
        return Ok(());
    }
    let mut at = bytes.len() as u64;
    loop {
        clock::sleep(LOOK / 4).await;
        let mut more = Vec::new();
        file.seek(SeekFrom::Start(at)).map_err(unreadable)?;
        at += file.read_to_end(&mut more).map_err(unreadable)? as u64;
        render::print(&String::from_utf8_lossy(&more));
    }
}

/// Ends a cluster's processes.
///
/// # Errors
/// [`Failure`].
pub async fn down(folder: &ClusterFolder, as_json: bool) -> Result<(), Failure> {
    let mut held = Held::take(&absolute(folder)?)?;
    local::down(&mut held).await?;
    let text = format!(
        "all nodes have stopped; what they know is in {}, and `hivemem up` starts them again",
        held.folder.display()
    );
    told(as_json, &json!({ "down": true, "folder": held.folder }), &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> Cluster {
        let addresses: Vec<std::net::SocketAddr> =
            (1..=5).map(|n| ([127, 9, 9, n], 7747).into()).collect();
        Cluster::planned(Shape::Mesh(5), Network::Loopback, &[], &addresses)
    }

    #[test]
    fn sides_are_read_and_the_rest_stays_with_the_first() {
        let cluster = cluster();
        let names = |text: &str| -> Result<Vec<String>, String> {
            let sides = sides(&cluster, text).map_err(|error| error.to_string())?;
            let side = |side: &Vec<&Node>| {
                side.iter().map(|node| node.name.as_str()).collect::<Vec<_>>().join(",")
            };
            Ok(sides.iter().map(side).collect())
        };
        assert_eq!(names("n1|n5").unwrap(), ["n1,n2,n3,n4", "n5"]);
        assert_eq!(names("n1, n2 | n3,n4|n5").unwrap(), ["n1,n2", "n3,n4", "n5"]);
        for (bad, why) in [
            ("n1", "one side"),
            ("n1|", "an empty side"),
            ("n1|n1", "on two sides"),
            ("n1|n9", "no node of this cluster"),
        ] {
            let problem = names(bad).unwrap_err();
            assert!(problem.contains(why), "{bad}: {problem}");
        }
        assert!(matches!(cluster.network.heal(), Err(LocalError::CannotCut)));
    }
}
