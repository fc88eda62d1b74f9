//! Checks that follow a script, of three peers and of one daemon on a database, with a table of what was seen.
//!
//! | check | what |
//! |---|---|
//! | S1 | a write is acknowledged by a quorum and comes to all |
//! | S2 | without a quorum it is told so |
//! | S3 | who is not on the allowlist does not get past the handshake |
//! | S4 | a peer that comes back with an empty disk has everything |
//! | S5 | a daemon on PostgreSQL keeps what psql and AGE see beside it |
//!
//! Invariant: a check says what it saw, whether it passed or not.
//!
//! Not here: faults by chance (`storm`).

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Method};
use runtime::{
    blocking,
    clock::{self, Instant},
};
use serde_json::{Value, json};
use sim::workload::root::{NodeAt, Papers};
use wire::http_client::{HttpAnswer, HttpError};

use crate::{
    database,
    hive::{Hive, Plan},
    nemesis::World,
};

/// Longest time until a memory is where it must be.
const SOON: Duration = Duration::from_secs(60);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// Memories that there are before a peer loses its disk.
const BEFORE: usize = 20;
/// Time for an answer, milliseconds.
const ANSWER_MS: u64 = 10_000;

/// A check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// S1.
    QuorumWrite,
    /// S2.
    QuorumNotMet,
    /// S3.
    Allowlist,
    /// S4.
    Convergence,
    /// S5.
    Database,
}

impl Check {
    const ALL: [(&'static str, Self, &'static str); 5] = [
        ("S1", Self::QuorumWrite, "quorum write: 201 with quorum_acks, present on all"),
        (
            "S2",
            Self::QuorumNotMet,
            "quorum not met: 503 quorum_not_met {got, needed}, Retry-After: 2",
        ),
        (
            "S3",
            Self::Allowlist,
            "allowlist: a rogue certificate and none are refused in the handshake",
        ),
        ("S4", Self::Convergence, "rejoin with an empty disk: what was written meanwhile is there"),
        (
            "S5",
            Self::Database,
            "PostgreSQL and AGE: boots, migrates, serves; psql and Cypher see the same beside it",
        ),
    ];

    fn row(self) -> &'static (&'static str, Self, &'static str) {
        Self::ALL.iter().find(|(_, check, _)| *check == self).unwrap_or(&Self::ALL[0])
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// What it expects.
    pub fn about(self) -> &'static str {
        self.row().2
    }

    /// The one of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(n, ..)| *n == name).map(|(_, check, _)| *check)
    }
}

/// What a check saw.
#[derive(Clone, Debug)]
pub struct Found {
    /// Whether it is as it should be.
    pub passed: bool,
    /// In words.
    pub seen: String,
}

/// Runs checks, one after another, on one cluster below a folder.
///
/// # Errors
/// In words: the cluster cannot be had.
pub async fn run(
    checks: &[Check],
    binary: &Path,
    folder: &Path,
) -> Result<Vec<(Check, Found)>, String> {
    let hive = Hive::found(Plan {
        binary: binary.to_owned(),
        folder: folder.to_owned(),
        shape: "mesh3".to_owned(),
        network: "loopback".to_owned(),
        // The log tells why a connection was refused.
        settings: vec!["log.filter=info,wire=debug".to_owned()],
    })
    .await?;
    let mut world = World::of(hive);
    let mut all = Vec::new();
    for check in checks {
        let found = match check {
            Check::QuorumWrite => quorum_write(&world.hive).await?,
            Check::QuorumNotMet => quorum_not_met(&world.hive).await?,
            Check::Allowlist => allowlist(&world.hive, folder).await?,
            Check::Convergence => convergence(&mut world).await?,
            Check::Database => {
                let (binary, folder) = (binary.to_owned(), folder.to_owned());
                blocking::run(move || database::check(&binary, &folder)).await?
            }
        };
        all.push((*check, found));
    }
    Ok(all)
}

async fn ask(
    place: &NodeAt,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<HttpAnswer, HttpError> {
    let client = place
        .client(ANSWER_MS)
        .map_err(|invalid| HttpError::NotSent { detail: invalid.to_string() })?;
    let mut headers = HeaderMap::new();
    headers.insert("x-agent-id", HeaderValue::from_static("checker"));
    if let Some(key) = place.api_key.as_deref().and_then(|key| HeaderValue::from_str(key).ok()) {
        headers.insert("x-api-key", key);
    }
    client.request(method, path, &headers, body).await
}

async fn stored(hive: &Hive, at: usize, title: &str) -> Result<HttpAnswer, String> {
    let body = json!({ "title": title, "content": "as the check wrote it", "scope": "collective" });
    let place = &hive.members[at].place;
    let asked = ask(place, Method::POST, "/api/v1/memories", Some(&body)).await;
    asked.map_err(|error| format!("a write at {}: {error}", place.name))
}

/// Waits until a node has a memory.
async fn comes(hive: &Hive, at: usize, id: &str) -> Result<(), String> {
    let (begun, place) = (Instant::now(), &hive.members[at].place);
    let path = format!("/api/v1/memories/{id}");
    loop {
        let answer = ask(place, Method::GET, &path, None).await;
        let there = answer.as_ref().is_ok_and(|answer| answer.status == 200);
        if there {
            return Ok(());
        }
        if begun.elapsed() > SOON {
            return Err(format!("{} does not have it after {} s", place.name, SOON.as_secs()));
        }
        clock::sleep(LOOK).await;
    }
}

fn id_of(answer: &HttpAnswer) -> String {
    let body = answer.json().unwrap_or_default();
    body["id"].as_str().unwrap_or_default().to_owned()
}

async fn quorum_write(hive: &Hive) -> Result<Found, String> {
    let answer = stored(hive, 0, "quorum write").await?;
    let (body, id) = (answer.json().unwrap_or_default(), id_of(&answer));
    let acks = body["quorum_acks"].as_u64().unwrap_or(0);
    let mut seen = format!("{}, quorum_acks {acks}", answer.status);
    let mut passed = answer.status == 201 && acks >= 2;
    for at in 0..hive.members.len() {
        match comes(hive, at, &id).await {
            Ok(()) => seen.push_str(&format!(", {} has it", hive.members[at].name)),
            Err(problem) => {
                passed = false;
                seen.push_str(&format!(", {problem}"));
            }
        }
    }
    Ok(Found { passed, seen })
}

async fn quorum_not_met(hive: &Hive) -> Result<Found, String> {
    let others = [hive.members[1].name.clone(), hive.members[2].name.clone()];
    hive.command("kill", &others).await?;
    let answer = stored(hive, 0, "quorum not met").await;
    hive.command("start", &others).await?;
    let answer = answer?;
    let body = answer.json().unwrap_or_default();
    let after = answer.headers.get("retry-after").and_then(|value| value.to_str().ok());
    let after = after.unwrap_or("none");
    let (reason, got, needed) =
        (body["reason"].clone(), body["got"].clone(), body["needed"].clone());
    let passed = answer.status == 503
        && reason == "quorum_not_met"
        && (got == 1 && needed == 2)
        && body["cause"] == "timeout"
        && after == "2";
    let seen = format!(
        "{} {} got {got} needed {needed} cause {}, Retry-After: {after}",
        answer.status,
        reason.as_str().unwrap_or_default(),
        body["cause"].as_str().unwrap_or_default()
    );
    Ok(Found { passed, seen })
}

/// Runs the binary on its own.
async fn call(binary: PathBuf, words: Vec<String>) -> Result<(), String> {
    let told = words.join(" ");
    let output = blocking::run(move || Command::new(binary).env_clear().args(words).output()).await;
    let output = output.map_err(|error| format!("hivemem {told}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("hivemem {told}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

/// Asks what must be refused in the handshake, which the node's log says then; whether it was, and in words.
async fn refused(
    hive: &Hive,
    node: &str,
    asked: impl Future<Output = Result<HttpAnswer, HttpError>>,
) -> (bool, String) {
    let before = handshakes(hive, node).len();
    match asked.await {
        Ok(answer) => return (false, format!("answered {}", answer.status)),
        Err(HttpError::NotSent { .. } | HttpError::Unknown { .. }) => {}
    }
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(said) = handshakes(hive, node).get(before) {
            return (true, said.clone());
        }
        if Instant::now() >= deadline {
            return (false, format!("not answered, and {node} does not say why"));
        }
        clock::sleep(LOOK).await;
    }
}

/// What a node said of handshakes that failed.
fn handshakes(hive: &Hive, node: &str) -> Vec<String> {
    let log = hive.last_lines(node, usize::MAX);
    let said = log.lines().filter_map(|line| line.split_once("TLS handshake: "));
    said.map(|(_, why)| why.to_owned()).collect()
}

async fn allowlist(hive: &Hive, folder: &Path) -> Result<Found, String> {
    let rogue = folder.join("rogue");
    let dir = rogue.display().to_string();
    let binary = &hive.plan().binary;
    for command in ["pki init --dir", "pki issue mallory --dir"] {
        let words = command.split(' ').map(str::to_owned).chain([dir.clone()]).collect();
        call(binary.clone(), words).await?;
    }
    let place = &hive.members[0].place;
    let papers = place.papers.clone().ok_or("the cluster speaks no TLS")?;
    let (certificate, key) = (rogue.join("mallory.crt"), rogue.join("mallory.key"));
    let stranger = Papers { authority: papers.authority.clone(), certificate, key };
    let nobody = NodeAt { papers: Some(stranger), ..place.clone() };
    let name = &place.name;
    let (rogue_refused, rogue) =
        refused(hive, name, ask(&nobody, Method::GET, "/livez", None)).await;
    let client = place.without_certificate(ANSWER_MS).map_err(|invalid| invalid.to_string())?;
    let none = HeaderMap::new();
    let (bare_refused, bare) =
        refused(hive, name, client.request(Method::GET, "/livez", &none, None)).await;
    let control = ask(place, Method::GET, "/livez", None).await;
    let served = control.as_ref().is_ok_and(|answer| answer.status == 200);
    let passed = rogue_refused && bare_refused && served;
    let control = if served { "200" } else { "not served" };
    Ok(Found { passed, seen: format!("rogue: {rogue}; none: {bare}; its own: {control}") })
}

async fn convergence(world: &mut World) -> Result<Found, String> {
    let gone = world.hive.members[2].name.clone();
    let mut ids = Vec::new();
    for number in 1..=BEFORE {
        ids.push(id_of(&stored(&world.hive, 0, &format!("before {number}")).await?));
    }
    world.hive.command("stop", std::slice::from_ref(&gone)).await?;
    let answer = stored(&world.hive, 0, "while one is away").await?;
    let acks = answer.json().unwrap_or_default()["quorum_acks"].clone();
    ids.push(id_of(&answer));
    let begun = Instant::now();
    world.begin_anew(&gone).await?;
    let seen = format!("{} quorum_acks {acks} while {gone} was away", answer.status);
    for id in &ids {
        if let Err(problem) = comes(&world.hive, 2, id).await {
            return Ok(Found { passed: false, seen: format!("{seen}; {problem}") });
        }
    }
    let (all, took_s) = (ids.len(), begun.elapsed().as_secs_f64());
    let seen = format!(
        "{seen}; {gone}, empty, had all {all} memories {took_s:.1} s after it was to begin anew"
    );
    Ok(Found { passed: answer.status == 201 && acks == 2, seen })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_is_found_by_its_name() {
        for (name, check, about) in Check::ALL {
            assert_eq!((Check::from_name(name), check.about()), (Some(check), about));
        }
        assert_eq!(Check::from_name("S9"), None);
    }
}
