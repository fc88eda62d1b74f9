//! A campaign: checks that follow a script, then storms, from a file.
//!
//! ```toml
//! checks = ["S1", "S2", "S3", "S4", "S5"]
//! [[storm]]
//! shape = "mesh5"
//! minutes = 20            # or rounds
//! seed = 1
//! nemeses = ["all"]       # or names; all when left out
//! plain = false           # true: no privileges, neither network nor disks that fail
//! ```
//!
//! Invariants: what the file says and nobody knows is refused before anything is started; the table at the end is
//! written from what was seen.
//!
//! Not here: one storm (`storm`), one check (`checks`).

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use runtime::clock::Instant;
use serde::Deserialize;
use serde_json::{Value, json};
use sim::judge::Verdict;

use crate::{
    checks::{self, Check, Found},
    nemesis::Nemesis,
    options::nemeses,
    report,
    storm::{self, Storm},
};

/// The file when nobody names one.
pub const DEFAULT: &str = include_str!("../campaign.toml");

/// What the file says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    checks: Vec<String>,
    #[serde(default)]
    storm: Vec<Entry>,
}

/// A storm in the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    shape: String,
    seed: u64,
    minutes: Option<u64>,
    rounds: Option<u64>,
    clients: Option<u64>,
    nemeses: Option<Vec<String>>,
    #[serde(default)]
    plain: bool,
    #[serde(default)]
    settings: Vec<String>,
}

/// A campaign to be.
#[derive(Debug)]
pub struct Campaign {
    checks: Vec<Check>,
    storms: Vec<Storm>,
}

impl Campaign {
    /// Reads a file's text.
    ///
    /// # Errors
    /// In words what nobody knows.
    pub fn read(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
        let check =
            |name: &String| Check::from_name(name).ok_or_else(|| format!("unknown check {name:?}"));
        let checks = file.checks.iter().map(check).collect::<Result<_, _>>()?;
        let storms = file.storm.into_iter().map(|entry| {
            let nemeses = match &entry.nemeses {
                Some(names) => nemeses(names.iter().map(String::as_str))?,
                None => Nemesis::ALL.to_vec(),
            };
            let lasts = entry.minutes.map(|minutes| Duration::from_secs(60 * minutes));
            let rounds = match (entry.rounds, lasts) {
                (Some(rounds), _) => rounds,
                (None, Some(_)) => u64::MAX,
                (None, None) => {
                    return Err(format!("the storm on {} needs minutes or rounds", entry.shape));
                }
            };
            Ok(Storm {
                shape: entry.shape,
                seed: entry.seed,
                rounds,
                lasts,
                clients: entry.clients,
                nemeses,
                deep: !entry.plain,
                settings: entry.settings,
                next: None,
            })
        });
        Ok(Self { checks, storms: storms.collect::<Result<_, String>>()? })
    }

    /// The same, with a daemon of another version for upgrades.
    #[must_use]
    pub fn with_next(mut self, next: Option<PathBuf>) -> Self {
        for storm in &mut self.storms {
            storm.next.clone_from(&next);
        }
        self
    }
}

/// A line of the table.
struct Line {
    name: String,
    what: String,
    passed: bool,
    seen: String,
}

/// What became of a campaign.
pub struct Outcome {
    /// The worst verdict.
    pub verdict: Verdict,
    /// The table, Markdown.
    pub table: String,
    /// The figures of everything.
    pub value: Value,
    /// Storms that came to no verdict, and why.
    pub failed: Vec<String>,
}

/// Which of the faults that were wanted came in some storm, and which in none, with what kept them out.
fn kinds(storms: &[Storm], figures: &[Value]) -> String {
    let wanted = storms.iter().flat_map(|storm| &storm.nemeses);
    let mut all: BTreeMap<&str, Option<&str>> =
        wanted.map(|nemesis| (nemesis.name(), Some("not drawn"))).collect();
    let seen = figures.iter().filter_map(|figure| figure["report"]["nemeses"].as_object());
    for (name, nemesis) in seen.flatten() {
        let Some(why) = all.get_mut(name.as_str()) else { continue };
        match nemesis["left_out"].as_str() {
            _ if nemesis["installed"] != 0 => *why = None,
            Some(reason) if why.is_some() => *why = Some(reason),
            _ => {}
        }
    }
    let never: Vec<String> =
        all.iter().filter_map(|(name, why)| Some(format!("{name} ({})", (*why)?))).collect();
    let came = all.len() - never.len();
    match never.is_empty() {
        true => format!("\nAll {came} kinds of faults were installed.\n"),
        false => format!("\n{came} kinds of faults were installed; never: {}.\n", never.join(", ")),
    }
}

fn table(lines: &[Line]) -> String {
    let mut text = "| # | what | result | seen |\n|---|---|---|---|\n".to_owned();
    for line in lines {
        let result = if line.passed { "pass" } else { "**FAIL**" };
        // A row is one line.
        let seen = line.seen.lines().map(str::trim).collect::<Vec<_>>().join("; ");
        text.push_str(&format!("| {} | {} | {result} | {seen} |\n", line.name, line.what));
    }
    text
}

/// How long and how wide a storm was, in words.
fn width(value: &Value, minutes: f64) -> String {
    let sides = value["sides"].as_array().into_iter().flatten();
    let events: Vec<String> = sides
        .map(|side| format!("{} {} events", side["side"].as_str().unwrap_or(""), side["events"]))
        .collect();
    let all = value["nemeses"].as_object();
    let count = |installed: bool| {
        let some = all.into_iter().flatten();
        some.filter(|(_, nemesis)| (nemesis["installed"] != 0) == installed).count()
    };
    let rounds = value["rounds"].as_array().map_or(0, Vec::len);
    format!(
        "{minutes:.1} min, {rounds} rounds, {} kinds of faults installed, {} left out; {}",
        count(true),
        count(false),
        events.join(", ")
    )
}

/// Runs a campaign; what is written goes below a folder.
///
/// # Errors
/// In words: something did not come to a verdict.
pub async fn run(
    campaign: &Campaign,
    binary: &Path,
    folder: &Path,
    place: &Path,
) -> Result<Outcome, String> {
    let (mut lines, mut verdict, mut figures) = (Vec::new(), Verdict::Pass, Vec::new());
    let mut failed = Vec::new();
    if !campaign.checks.is_empty() {
        for (check, found) in checks::run(&campaign.checks, binary, &place.join("checks")).await? {
            let Found { passed, seen } = found;
            eprintln!("{}: {} {seen}", check.name(), if passed { "pass:" } else { "FAIL:" });
            if !passed {
                verdict = Verdict::Fail(Vec::new());
            }
            let (name, what) = (check.name().to_owned(), check.about().to_owned());
            lines.push(Line { name, what, passed, seen });
        }
    }
    for (at, storm) in campaign.storms.iter().enumerate() {
        let name = format!("{}-{}", storm.shape, storm.seed);
        eprintln!("storm on {}, seed {}", storm.shape, storm.seed);
        let begun = Instant::now();
        let done = storm::run(storm, binary, &place.join(at.to_string())).await;
        let minutes = begun.elapsed().as_secs_f64() / 60.0;
        let reported = done.and_then(|done| {
            let written = report::write(&done, &folder.join(&name));
            written.map_err(|error| format!("the report: {error}"))
        });
        let (found, value) = match reported {
            Ok(reported) => reported,
            // The others still have something to tell.
            Err(problem) => {
                eprintln!("{name}: {problem}");
                failed.push(format!("{name}: {problem}"));
                let seen = problem.lines().next().unwrap_or_default().to_owned();
                lines.push(Line { name, what: "storm".to_owned(), passed: false, seen });
                continue;
            }
        };
        let passed = found == Verdict::Pass;
        let seen = match passed {
            true => width(&value, minutes),
            false => format!("{found}; {}", width(&value, minutes)),
        };
        lines.push(Line { name: name.clone(), what: "storm".to_owned(), passed, seen });
        if !passed && !matches!(verdict, Verdict::Fail(_)) {
            verdict = found;
        }
        figures.push(json!({ "storm": name, "report": value }));
    }
    let table = table(&lines) + &kinds(&campaign.storms, &figures);
    Ok(Outcome { verdict, table, value: json!({ "storms": figures }), failed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_that_never_came_are_named() {
        let text = "[[storm]]\nshape = \"mesh3\"\nseed = 1\nrounds = 1\nplain = true\n\
                    nemeses = [\"kill-node\", \"stutter\", \"upgrade\"]";
        let storms = Campaign::read(text).unwrap().storms;
        let report = |nemeses: Value| json!({ "report": { "nemeses": nemeses } });
        let none = json!({ "installed": 0, "left_out": "there is no other version" });
        let some = json!({ "installed": 2, "left_out": null });
        let first = report(json!({ "kill-node": some, "upgrade": none }));
        let told = kinds(&storms, std::slice::from_ref(&first));
        let never = "1 kinds of faults were installed; never: stutter (not drawn), upgrade (there is no other version)";
        assert!(told.contains(never), "{told}");
        let second = report(json!({ "stutter": some, "upgrade": some, "kill-node": none }));
        assert!(kinds(&storms, &[first, second]).contains("All 3 kinds"));
    }

    #[test]
    fn a_file_is_understood_or_refused() {
        let own = Campaign::read(DEFAULT).unwrap();
        assert_eq!(own.checks.len(), 5);
        assert!(own.storms.len() >= 3);
        for wrong in [
            "checks = [\"S9\"]",
            "checks = 3",
            "[[storm]]\nshape = \"mesh3\"\nseed = 1",
            "[[storm]]\nshape = \"mesh3\"\nrounds = 1",
            "[[storm]]\nshape = \"mesh3\"\nseed = 1\nrounds = 1\nnemeses = [\"flood\"]",
            "[[storm]]\nshape = \"mesh3\"\nseed = 1\nrounds = 1\nloud = true",
        ] {
            assert!(Campaign::read(wrong).is_err(), "{wrong}");
        }
    }
}
