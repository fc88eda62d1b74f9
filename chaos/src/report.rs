//! The files of a run and its verdict.
//!
//! Invariant: everything but the load and the rounds is derived from the recorded history, so judging
//! a folder again needs nothing else.
//!
//! Not here: what rules there are (`sim::judge`).

use std::{fs, io, path::Path};

use serde_json::{Value, json};
use sim::judge::{
    History, Verdict,
    timeline::{html, timeline},
    verdict,
};

use crate::{
    figures::{median_and_max, outages, outcomes, quiet_gap_us},
    scenario::Run,
};

/// File of the history, JSON lines.
pub const HISTORY: &str = "history.jsonl";
/// File of the figures and the verdict.
pub const REPORT: &str = "report.json";
/// File of the timeline.
pub const TIMELINE: &str = "timeline.html";

/// Exit code of a verdict.
pub fn exit_code(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Pass => 0,
        Verdict::Fail(_) => 1,
        Verdict::Unknown(_) => 3,
    }
}

/// Judges a history and measures it.
pub fn report(history: &History) -> (Verdict, Value) {
    let findings = verdict::findings(history);
    let verdict = if !findings.violations.is_empty() {
        Verdict::Fail(findings.violations)
    } else if !findings.undecided.is_empty() {
        Verdict::Unknown(findings.undecided)
    } else {
        Verdict::Pass
    };
    let outages = outages(history);
    let summary = |values: Vec<u64>| {
        median_and_max(values)
            .map_or(Value::Null, |(p50, max)| json!({ "p50_us": p50, "max_us": max }))
    };
    let rounds: Vec<Value> = outages
        .iter()
        .map(|outage| {
            json!({
                "fault": outage.fault, "kind": outage.kind, "at": outage.at,
                "from_us": outage.from_us, "lasted_us": outage.lasted_us,
                "first_success_us": outage.first_us, "without_success_us": outage.gap_us,
            })
        })
        .collect();
    let value = json!({
        "run": history.header().run,
        "verdict": verdict.to_string(),
        "events": history.events().len(),
        "without_success": summary(outages.iter().filter_map(|o| o.gap_us).collect()),
        "first_success": summary(outages.iter().filter_map(|o| o.first_us).collect()),
        "longest_gap_before_faults_us": quiet_gap_us(history),
        "outages": rounds,
        "outcomes": outcomes(history),
    });
    (verdict, value)
}

fn write_timeline(history: &History, folder: &Path) -> io::Result<()> {
    let page = html::page(&timeline(history, &verdict::findings(history)));
    fs::write(folder.join(TIMELINE), page)
}

/// Writes the history of a run first, then judges it and writes the rest.
///
/// # Errors
/// Of the file system.
pub fn write(run: &Run, folder: &Path) -> io::Result<(Verdict, Value)> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join(HISTORY), run.history.to_lines())?;
    let (verdict, mut value) = report(&run.history);
    let rounds: Vec<Value> = run
        .rounds
        .iter()
        .map(|round| {
            let injection = round.injection.to_string();
            json!({ "nemesis": round.nemesis.name(), "injection": injection, "fault": round.fault })
        })
        .collect();
    value["rounds"] = json!(rounds);
    value["load"] = json!(run.load.to_string());
    fs::write(folder.join(REPORT), format!("{value:#}\n"))?;
    write_timeline(&run.history, folder)?;
    Ok((verdict, value))
}

/// Judges a recorded run again and draws its timeline anew.
///
/// # Errors
/// In words: the history cannot be read, or the timeline not written.
pub fn judge_again(folder: &Path) -> Result<(Verdict, Value), String> {
    let path = folder.join(HISTORY);
    let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let history = History::from_lines(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    write_timeline(&history, folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    Ok(report(&history))
}
