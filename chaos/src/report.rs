//! The files of a run and its verdict.
//!
//! Invariant: everything but the loads and the rounds is derived from the recorded histories and samples, so judging
//! a folder again needs nothing else.
//!
//! Not here: what rules there are (`sim::judge`).

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use sim::judge::{
    History, Verdict,
    converge::took_us,
    timeline::{html, timeline},
    verdict,
};

use crate::{
    figures::{median_and_max, outages, outcomes, quiet_gap_us},
    nemesis::Injection,
    plot::svg,
    samples::{Sample, from_csv, growth, to_csv},
    soak::Soaked,
    storm::{Round, Run},
};

/// End of the names of histories, JSON lines.
const HISTORY: &str = "-history.jsonl";
/// End of the names of timelines.
const TIMELINE: &str = "-timeline.html";
/// File of what a soak has measured.
const SAMPLES: &str = "samples.csv";
/// File of the figures and the verdicts.
const REPORT: &str = "report.json";

/// Exit code of a verdict.
pub fn exit_code(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Pass => 0,
        Verdict::Fail(_) => 1,
        Verdict::Unknown(_) => 3,
    }
}

/// The worse of two.
fn worse(one: Verdict, other: Verdict) -> Verdict {
    match (one, other) {
        (fail @ Verdict::Fail(_), _) | (_, fail @ Verdict::Fail(_)) => fail,
        (unknown @ Verdict::Unknown(_), _) | (_, unknown @ Verdict::Unknown(_)) => unknown,
        (pass, _) => pass,
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
        "converged_us": took_us(history),
        "without_success": summary(outages.iter().filter_map(|o| o.gap_us).collect()),
        "first_success": summary(outages.iter().filter_map(|o| o.first_us).collect()),
        "longest_gap_before_faults_us": quiet_gap_us(history),
        "outages": rounds,
        "outcomes": outcomes(history),
    });
    (verdict, value)
}

fn write_timeline(history: &History, path: &Path) -> io::Result<()> {
    fs::write(path, html::page(&timeline(history, &verdict::findings(history))))
}

/// How often each nemesis took hold, and why others were left out.
pub fn nemeses(rounds: &[Round]) -> Value {
    let mut all: BTreeMap<&str, (u64, Option<&str>)> = BTreeMap::new();
    for round in rounds {
        let entry = all.entry(round.nemesis.name()).or_default();
        match &round.injection {
            Injection::Installed => entry.0 += 1,
            Injection::Skipped { reason } => entry.1 = Some(reason),
            Injection::Indeterminate { detail } => entry.1 = Some(detail),
        }
    }
    let told = all.into_iter().map(|(name, (installed, reason))| {
        (name.to_owned(), json!({ "installed": installed, "left_out": reason }))
    });
    Value::Object(told.collect())
}

/// Writes the histories of a run first, then judges them and writes the rest.
///
/// # Errors
/// Of the file system.
pub fn write(run: &Run, folder: &Path) -> io::Result<(Verdict, Value)> {
    fs::create_dir_all(folder)?;
    for seen in &run.seen {
        let path = folder.join(format!("{}{HISTORY}", seen.name));
        fs::write(path, seen.history.to_lines())?;
    }
    let (mut verdict, mut sides) = (Verdict::Pass, Vec::new());
    for seen in &run.seen {
        let (found, mut value) = report(&seen.history);
        value["side"] = json!(seen.name);
        value["load"] = json!(seen.load);
        verdict = worse(verdict, found);
        sides.push(value);
        write_timeline(&seen.history, &folder.join(format!("{}{TIMELINE}", seen.name)))?;
    }
    let rounds: Vec<Value> = run
        .rounds
        .iter()
        .map(|round| {
            let (nemesis, injection) = (round.nemesis.name(), round.injection.to_string());
            json!({
                "nemesis": nemesis, "nodes": round.nodes, "injection": injection, "fault": round.fault,
            })
        })
        .collect();
    let value = json!({
        "up_ms": run.up_ms, "sides": sides, "rounds": rounds, "nemeses": nemeses(&run.rounds),
    });
    fs::write(folder.join(REPORT), format!("{value:#}\n"))?;
    Ok((verdict, value))
}

/// Writes what a soak saw: the history, all looks as CSV, a picture; and judges both.
///
/// # Errors
/// In words: something cannot be written.
pub fn soak(soaked: &Soaked, folder: &Path) -> Result<(Verdict, Value), String> {
    let failed = |error: io::Error| format!("{}: {error}", folder.display());
    fs::create_dir_all(folder).map_err(failed)?;
    let path = folder.join(format!("peers{HISTORY}"));
    fs::write(path, soaked.history.to_lines()).map_err(failed)?;
    fs::write(folder.join(SAMPLES), to_csv(&soaked.samples)).map_err(failed)?;
    fs::write(folder.join("soak.svg"), svg(&soaked.samples)?).map_err(failed)?;
    let (found, mut side) = report(&soaked.history);
    side["side"] = json!("peers");
    let (verdict, growth) = grown(found, &soaked.samples);
    let value = json!({ "sides": [side], "growth": growth });
    fs::write(folder.join(REPORT), format!("{value:#}\n")).map_err(failed)?;
    Ok((verdict, value))
}

/// A verdict, made worse where something grew that must not.
fn grown(found: Verdict, samples: &[Sample]) -> (Verdict, Value) {
    let (steady, growth) = growth(samples);
    let verdict = if steady { found } else { worse(found, Verdict::Fail(Vec::new())) };
    (verdict, growth)
}

/// The histories in a folder.
fn histories(folder: &Path) -> Result<Vec<(String, PathBuf)>, String> {
    let failed = |error: io::Error| format!("{}: {error}", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        if let Some(side) = name.as_deref().and_then(|name| name.strip_suffix(HISTORY)) {
            found.push((side.to_owned(), path));
        }
    }
    found.sort();
    match found.is_empty() {
        true => Err(format!("{} has no history", folder.display())),
        false => Ok(found),
    }
}

/// Judges a recorded run again and draws its timelines anew; of a soak also what has grown.
///
/// # Errors
/// In words: a record cannot be read, or a timeline not written.
pub fn judge_again(folder: &Path) -> Result<(Verdict, Value), String> {
    let (mut verdict, mut sides) = (Verdict::Pass, Vec::new());
    for (side, path) in histories(folder)? {
        let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let history = History::from_lines(&text).map_err(|e| format!("{}: {e}", path.display()))?;
        let page = folder.join(format!("{side}{TIMELINE}"));
        write_timeline(&history, &page).map_err(|e| format!("{}: {e}", page.display()))?;
        let (found, mut value) = report(&history);
        value["side"] = json!(side);
        verdict = worse(verdict, found);
        sides.push(value);
    }
    let samples = folder.join(SAMPLES);
    if !samples.exists() {
        return Ok((verdict, json!({ "sides": sides })));
    }
    let text = fs::read_to_string(&samples).map_err(|e| format!("{}: {e}", samples.display()))?;
    let samples = from_csv(&text).map_err(|e| format!("{}: {e}", samples.display()))?;
    let (verdict, growth) = grown(verdict, &samples);
    Ok((verdict, json!({ "sides": sides, "growth": growth })))
}
