//! A move of all memories: how long it takes, and in how much memory.
//!
//! Not here: what is compared at its end, which `hivemem migrate` does itself.

use std::{
    process::{Child, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use runtime::clock::{self, Instant};
use serde_json::Value;

use super::Sizes;

/// How often a process is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What became of a process.
struct Ended {
    /// Absent where it was killed.
    status: Option<ExitStatus>,
    took: Duration,
    /// Most resident memory that was seen, KiB.
    resident_kib: u64,
}

/// Most resident memory so far, KiB.
fn resident_kib(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Waits for its end, and brings it about after a time.
async fn watch(child: &mut Child, kill_after: Option<Duration>) -> Result<Ended> {
    let (began, mut resident) = (Instant::now(), 0);
    loop {
        resident = resident_kib(child.id()).unwrap_or(0).max(resident);
        let status = child.try_wait()?;
        let is_late = kill_after.is_some_and(|limit| began.elapsed() >= limit);
        if status.is_none() && !is_late {
            clock::sleep(LOOK_EVERY).await;
            continue;
        }
        if status.is_none() {
            child.kill()?;
            child.wait()?;
        } else if kill_after.is_some() {
            bail!("the move was over before it could be killed");
        }
        return Ok(Ended { status, took: began.elapsed(), resident_kib: resident });
    }
}

/// Moves, killed and begun again after each of these times. In words what it took.
pub async fn run(
    name: &str,
    (from, to): &(String, String),
    sizes: &Sizes,
    kills_s: &[u64],
) -> Result<String> {
    let mut command = sizes.hivemem();
    command.args(["--json", "migrate", "--from", from, "--to", to]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut told = format!("{name}:");
    for seconds in kills_s {
        let ended = watch(&mut command.spawn()?, Some(Duration::from_secs(*seconds))).await?;
        told += &format!(" killed after {:.0} s;", ended.took.as_secs_f64());
    }
    let mut child = command.spawn()?;
    let ended = watch(&mut child, None).await?;
    let output = child.wait_with_output()?;
    if !ended.status.is_some_and(|status| status.success()) {
        bail!("{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let answer: Value = serde_json::from_slice(&output.stdout).context("migrate --json")?;
    let digest = answer["content_digest"].as_str().context("a digest")?;
    told += &format!(
        " done in {:.0} s, {} rows, {} MiB resident at most, content digest {digest}",
        ended.took.as_secs_f64(),
        answer["copied_rows"],
        ended.resident_kib >> 10
    );
    Ok(told)
}
