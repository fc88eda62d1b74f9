//! Outputs as lines.

use std::fmt::Write;

use types::VersionVector;

use super::name;
use crate::engine::{Engine, Output, Short};
use types::DeadLetter;

fn vector(vector: &VersionVector) -> String {
    let entries: Vec<String> =
        vector.iter().map(|(origin, seq)| format!("{}={seq}", name(origin))).collect();
    if entries.is_empty() { "-".to_owned() } else { entries.join(",") }
}

fn letter(letter: &DeadLetter) -> String {
    let next = match letter.next_ms {
        Some(at_ms) => format!("again at {at_ms}"),
        None => "in quarantine".to_owned(),
    };
    format!("{} {} x{}, {next}", letter.id.seq, letter.reason.code(), letter.tries)
}

fn short(short: Short) -> String {
    match short {
        Short::Timeout => "timeout".to_owned(),
        Short::Refused(reason) => format!("refused {}", reason.code()),
        Short::TooFewNodes => "too few nodes".to_owned(),
    }
}

fn output(output: &Output) -> String {
    match output {
        Output::Push { peer, push, first, last, lacks } => {
            let before = lacks.as_ref().map(|has| format!(" with what {} lacks", vector(has)));
            format!("push {}#{} {first}..{last}{}", name(*peer), push.0, before.unwrap_or_default())
        }
        Output::Retry { peer, push, ids } => {
            let seqs: Vec<u64> = ids.iter().map(|id| id.seq).collect();
            format!("retry {}#{} {seqs:?}", name(*peer), push.0)
        }
        Output::Pull { peer } => format!("pull {}", name(*peer)),
        Output::Compare { peer, all } => {
            format!("compare with {}{}", name(*peer), if *all { ", take all" } else { "" })
        }
        Output::Met { write, got, needed } => format!("write {} met {got}/{needed}", write.0),
        Output::NotMet { write, got, needed, short: why } => {
            format!("write {} not met {got}/{needed}: {}", write.0, short(*why))
        }
        Output::KeepLetter { peer, letter: kept } => {
            format!("keep letter to {}: {}", name(*peer), letter(kept))
        }
        Output::DropLetter { peer, id } => format!("drop letter to {}: {}", name(*peer), id.seq),
        Output::Stable(stable) => format!("stable {}", vector(stable)),
    }
}

pub(super) fn outputs(out: &[Output]) -> String {
    out.iter().fold(String::new(), |mut text, one| {
        let _ = writeln!(text, "  {}", output(one));
        text
    })
}

pub(super) fn peers(engine: &Engine) -> String {
    let mut text = String::new();
    for view in engine.peers() {
        let _ = writeln!(
            text,
            "  {} settled {} lag {} in flight {} failures {} quiet until {}",
            name(view.peer),
            view.settled,
            view.lag,
            view.in_flight,
            view.failures,
            view.quiet_until_ms
        );
        for kept in &view.letters {
            let _ = writeln!(text, "    letter {}", letter(kept));
        }
    }
    let next = engine.next_ms().map_or("never".to_owned(), |at_ms| at_ms.to_string());
    let _ = writeln!(text, "  next at {next}, {} waiting", engine.waiting());
    text
}
