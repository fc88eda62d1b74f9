//! What was measured again and again, and whether it grew.
//!
//! Invariant: what must not grow is measured against itself: the last quarter against the second one, so that warming up
//! counts for nothing. Of what a process takes the most counts; of times the median of what was seen, because the worst
//! moment is the machine's as often as ours. The database is told and not judged: audit rows stay for ever, and answers to keys
//! for a day.
//!
//! Not here: measuring (`soak`), drawing (`plot`).

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// How much larger what must not grow may be in the last quarter than in the second, in hundredths.
const GROWTH_PERCENT: u64 = 125;
/// What a table or a process may always be larger by: bytes, descriptors, microseconds.
const SLACK: [(&str, u64); 3] = [("rss_bytes", 8 << 20), ("fds", 8), ("p99_us", 20_000)];
/// Everything that is measured.
const NAMES: [&str; 5] = ["disk_bytes", "fds", "p50_us", "p99_us", "rss_bytes"];
/// First line of the table.
const HEADER: &str = "at_s,node,what,value";

/// One look at one value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// When, seconds of the run.
    pub at_s: f64,
    /// Of which node; empty for what clients see.
    pub node: String,
    /// Of what: `rss_bytes`, `disk_bytes`, `fds`, `p50_us`, `p99_us`.
    pub what: &'static str,
    /// How much.
    pub value: u64,
}

/// The samples as comma-separated values.
pub fn to_csv(samples: &[Sample]) -> String {
    let mut lines = format!("{HEADER}\n");
    for Sample { at_s, node, what, value } in samples {
        lines.push_str(&format!("{at_s:.1},{node},{what},{value}\n"));
    }
    lines
}

/// The inverse of [`to_csv`].
///
/// # Errors
/// In words: the line that is no sample.
pub fn from_csv(text: &str) -> Result<Vec<Sample>, String> {
    let mut lines = text.lines().enumerate();
    if lines.next().is_none_or(|(_, line)| line != HEADER) {
        return Err(format!("line 1: not `{HEADER}`"));
    }
    let read = |(number, line): (usize, &str)| {
        sample(line).ok_or_else(|| format!("line {}: not a sample: {line}", number + 1))
    };
    lines.map(read).collect()
}

fn sample(line: &str) -> Option<Sample> {
    let mut fields = line.split(',');
    let (at_s, node) = (fields.next()?.parse().ok()?, fields.next()?.to_owned());
    let what = fields.next()?;
    let what = NAMES.into_iter().find(|name| *name == what)?;
    let value = fields.next()?.parse().ok()?;
    fields.next().is_none().then_some(Sample { at_s, node, what, value })
}

/// What a value was in a part of the run, from and to in quarters: the most, or of times the median.
fn level(samples: &[&Sample], end_s: f64, (from, to): (f64, f64)) -> Option<u64> {
    let within = |sample: &&&Sample| {
        let quarter = sample.at_s / end_s * 4.0;
        quarter > from && quarter <= to
    };
    let mut values: Vec<u64> = samples.iter().filter(within).map(|sample| sample.value).collect();
    values.sort_unstable();
    let is_time = samples.first().is_some_and(|sample| sample.what.ends_with("_us"));
    if is_time { values.get(values.len() / 2).copied() } else { values.last().copied() }
}

/// Of each value: how it began and ended, and whether it grew that must not.
pub fn growth(samples: &[Sample]) -> (bool, Value) {
    let end_s = samples.iter().map(|sample| sample.at_s).fold(0.0, f64::max);
    let mut series: BTreeMap<(&str, &str), Vec<&Sample>> = BTreeMap::new();
    for sample in samples {
        series.entry((sample.what, &sample.node)).or_default().push(sample);
    }
    let (mut steady, mut told) = (true, Vec::new());
    for ((what, node), samples) in series {
        let before = level(&samples, end_s, (1.0, 2.0)).unwrap_or(0);
        let after = level(&samples, end_s, (3.0, 4.0)).unwrap_or(0);
        let slack = SLACK.iter().find(|(name, _)| *name == what).map(|(_, slack)| *slack);
        let grew = slack.is_some_and(|slack| after > before * GROWTH_PERCENT / 100 + slack);
        steady &= !grew;
        told.push(json!({
            "what": what, "node": node, "second_quarter": before, "last_quarter": after, "grew": grew,
        }));
    }
    (steady, Value::Array(told))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(what: &'static str, value: impl Fn(u64) -> u64) -> Vec<Sample> {
        let one =
            |at: u64| Sample { at_s: at as f64, node: "n1".to_owned(), what, value: value(at) };
        (1..=100).map(one).collect()
    }

    #[test]
    fn what_grows_is_told_from_what_has_warmed_up() {
        assert!(growth(&samples("rss_bytes", |at| at.min(20) << 20)).0, "warm after a fifth");
        assert!(!growth(&samples("rss_bytes", |at| at << 20)).0);
        assert!(!growth(&samples("fds", |at| 20 + at)).0);
        assert!(growth(&samples("fds", |at| 20 + at % 7)).0);
        assert!(growth(&samples("p99_us", |at| 1000 + at % 10 / 9 * at * 10_000)).0, "spikes");
        assert!(!growth(&samples("p99_us", |at| at * 10_000)).0);
        let (steady, told) = growth(&samples("disk_bytes", |at| at << 20));
        assert!(steady, "it is told, not judged");
        assert_eq!(told[0]["second_quarter"], 50 << 20);
        assert_eq!(told[0]["last_quarter"], 100 << 20);
    }

    #[test]
    fn samples_are_read_as_they_were_written() {
        let all = samples("fds", |at| at);
        assert_eq!(from_csv(&to_csv(&all)), Ok(all));
        let wrong = format!("{HEADER}\n1.0,n1,colour,3\n");
        assert_eq!(from_csv(&wrong), Err("line 2: not a sample: 1.0,n1,colour,3".to_owned()));
        assert!(from_csv("").is_err());
    }
}
