//! Making a failing seed small: as few faults as possible, then as few clients.
//!
//! Strikes are left out one after the other, the largest parts first (Zeller and Hildebrandt, "Simplifying
//! and Isolating Failure-Inducing Input", 2002, ddmin without its complement step). Leaving one out
//! moves what comes after it, so a smaller run may fail by another rule: only the same rules count.
//!
//! Invariant: what is printed was run, and failed.
//!
//! Not here: what a strike is (`schedule`).

use super::simulator::{Seed, Simulator};

/// A smaller run of the same seed.
#[derive(Clone)]
struct Smaller {
    only: Vec<usize>,
    clients: Option<u64>,
}

impl Smaller {
    fn arguments(&self) -> Vec<String> {
        let only: Vec<String> = self.only.iter().map(usize::to_string).collect();
        let mut arguments = vec!["--only".to_owned(), only.join(",")];
        if let Some(clients) = self.clients {
            arguments.extend(["--clients".to_owned(), clients.to_string()]);
        }
        arguments
    }
}

struct Hunt<'s> {
    simulator: &'s Simulator,
    seed: u64,
    scenario: &'s str,
    rules: Vec<String>,
    runs: u64,
}

impl Hunt<'_> {
    /// Whether it still fails, by one of the same rules.
    fn fails(&mut self, smaller: &Smaller) -> Result<bool, String> {
        self.runs += 1;
        let seed = self.simulator.run(self.seed, self.scenario, &smaller.arguments())?;
        Ok(!seed.passed && seed.broken().iter().any(|rule| self.rules.contains(rule)))
    }

    fn fewer_strikes(&mut self, mut best: Smaller) -> Result<Smaller, String> {
        let mut part = best.only.len().div_ceil(2);
        while part > 0 && !best.only.is_empty() {
            let mut at = 0;
            while at < best.only.len() {
                let mut tried = best.clone();
                tried.only.drain(at..(at + part).min(best.only.len()));
                if self.fails(&tried)? {
                    best = tried;
                } else {
                    at += part;
                }
            }
            part /= 2;
        }
        Ok(best)
    }

    fn fewer_clients(&mut self, mut best: Smaller, clients: u64) -> Result<Smaller, String> {
        for fewer in [1, 2, 3, 4, 6, 8].into_iter().filter(|fewer| *fewer < clients) {
            let tried = Smaller { clients: Some(fewer), ..best.clone() };
            if self.fails(&tried)? {
                best = tried;
                break;
            }
        }
        Ok(best)
    }
}

/// Shrinks a seed and prints the command that replays what is left.
pub(super) fn run(simulator: &Simulator, seed: u64, scenario: &str) -> Result<bool, String> {
    let whole: Seed = simulator.run(seed, scenario, &[])?;
    if whole.passed {
        println!("seed {seed} of {scenario} passes");
        return Ok(true);
    }
    let strikes = whole.line["strikes"].as_u64().unwrap_or(0);
    let clients = whole.line["clients"].as_u64().unwrap_or(0);
    let all = (0..usize::try_from(strikes).unwrap_or(0)).collect();
    let mut hunt = Hunt { simulator, seed, scenario, rules: whole.broken(), runs: 1 };
    let best = hunt.fewer_strikes(Smaller { only: all, clients: None })?;
    let best = hunt.fewer_clients(best, clients)?;
    let arguments = best.arguments();
    let last = simulator.run(seed, scenario, &arguments)?;
    println!(
        "{strikes} faults and {clients} clients became {} and {} in {} runs; broken: {}",
        best.only.len(),
        best.clients.unwrap_or(clients),
        hunt.runs,
        last.line["verdict"]
    );
    for strike in last.line["schedule"].as_array().into_iter().flatten() {
        println!("  {}", strike.as_str().unwrap_or_default());
    }
    println!("cargo sim run --seed {seed} --scenario {scenario} {}", arguments.join(" "));
    Ok(false)
}
