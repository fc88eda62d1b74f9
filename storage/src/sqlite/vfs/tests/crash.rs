//! Power cuts at random effects of real transactions, also inside opening, checkpoints and
//! commits: with `synchronous=FULL` no acknowledged commit is ever lost, with `NORMAL` some are.
//! The second half proves that the first is not an accident of a disk that loses nothing.

use runtime::disk::faulty::{Fault, Loss, When};

use super::*;

/// What happened over the cuts of one or many seeds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    cuts: u64,
    acknowledged: u64,
    /// Cuts after which an acknowledged commit was missing.
    lost: u64,
    /// Cuts after which the database was unreadable or held a state that never was.
    corrupt: u64,
    /// Cuts after which the commit that was under way had happened.
    in_doubt_kept: u64,
    lost_effects: u64,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.cuts += other.cuts;
        self.acknowledged += other.acknowledged;
        self.lost += other.lost;
        self.corrupt += other.corrupt;
        self.in_doubt_kept += other.in_doubt_kept;
        self.lost_effects += other.lost_effects;
    }
}

/// Opens, sets random sizes, and makes sure of the schema.
fn start(
    machine: &Machine,
    synchronous: &str,
    chance: &mut Generator,
) -> rusqlite::Result<Connection> {
    let connection = machine.connect(synchronous)?;
    let checkpoint_pages = 2 + chance.below(60);
    let cache_pages = if chance.coin() { 5 } else { 2000 };
    connection.execute_batch(&format!(
        "PRAGMA wal_autocheckpoint={checkpoint_pages}; PRAGMA cache_size={cache_pages}"
    ))?;
    create_schema(&connection)?;
    Ok(connection)
}

/// Transactions until the power goes out. `history` ends with the last acknowledged state, or with
/// the state of the commit in doubt after it. Returns the number of acknowledged states and the
/// connections of the dead boot.
fn run_until_cut(
    machine: &Machine,
    synchronous: &str,
    chance: &mut Generator,
    history: &mut Vec<Model>,
) -> (usize, Vec<Connection>) {
    let mut stale = Vec::new();
    let Ok(mut writer) = start(machine, synchronous, chance) else {
        return (history.len(), stale);
    };
    let mut reader: Option<Connection> = None;
    loop {
        if chance.below(10) == 0 {
            // A reader with an open snapshot blocks checkpoints and resets of the WAL.
            let taken = reader.take();
            if taken.is_none() {
                reader = machine.connect(synchronous).ok();
                let begun = reader.as_ref().map(|r| r.execute_batch("BEGIN; SELECT * FROM rows"));
                drop(begun);
            }
            stale.extend(taken);
        }
        let last = history.last().expect("the history starts with the empty state").clone();
        let (next, result) = last.transact(&mut writer, chance);
        if result.is_err() {
            assert!(machine.disk.is_off(), "only the cut may fail a commit: {result:?}");
            history.push(next);
            stale.push(writer);
            stale.extend(reader);
            return (history.len() - 1, stale);
        }
        history.push(next);
    }
}

fn crash(seed: u64, synchronous: &str, losses: &[Loss]) -> Tally {
    let machine = Machine::new(seed);
    let mut chance = Generator::new(seed);
    let mut tally = Tally::default();
    let mut history = vec![Model::default()];
    for round in 0..2 + chance.below(3) {
        let loss = losses[chance.below(losses.len() as u64) as usize];
        let cut_at = 1 + chance.below(if round == 0 { 100 } else { 600 });
        machine.disk.inject(Fault::PowerCut(loss), When::Nth(cut_at), "");
        let before = history.len();
        let (acknowledged, stale) = run_until_cut(&machine, synchronous, &mut chance, &mut history);
        assert!(machine.disk.is_off());
        machine.disk.power_on();
        tally.cuts += 1;
        tally.acknowledged += acknowledged.saturating_sub(before) as u64;
        // Connections of the dead boot are closed before or after recovery: it must not matter.
        let closed_late = if chance.coin() { stale } else { Vec::new() };
        let found =
            machine.connect(synchronous).and_then(|c| Ok((is_intact(&c)?, Model::read(&c)?)));
        drop(closed_late);
        let position = match &found {
            Ok((true, model)) => history.iter().position(|state| state == model),
            _ => None,
        };
        let Some(position) = position else {
            tally.corrupt += 1;
            break;
        };
        tally.lost += u64::from(position + 1 < acknowledged);
        tally.in_doubt_kept += u64::from(position + 1 > acknowledged);
        history.truncate(position + 1);
    }
    tally.lost_effects = machine.disk.stats().lost_effects;
    tally
}

fn sweep(seeds: std::ops::Range<u64>, synchronous: &str, losses: &[Loss]) -> Tally {
    let mut all = Tally::default();
    for seed in seeds {
        let tally = crash(seed, synchronous, losses);
        let sound = tally.corrupt == 0 && (synchronous == "NORMAL" || tally.lost == 0);
        assert!(sound, "seed {seed}, {synchronous}, {losses:?}: {tally:?}");
        all.add(tally);
    }
    println!("{synchronous} {losses:?}: {all:?}");
    all
}

#[test]
fn full_loses_no_acknowledged_commit_whatever_the_cut_takes() {
    let mixed = sweep(0..200, "FULL", &Loss::LOSSY);
    assert!(mixed.acknowledged > 2_000 && mixed.lost_effects > 1_000, "{mixed:?}");
    assert!(mixed.in_doubt_kept > 0, "some commits in doubt must turn out to have happened");
    for loss in Loss::LOSSY {
        sweep(1_000..1_060, "FULL", &[loss]);
    }
}

#[test]
fn normal_loses_commits_but_never_integrity() {
    let tally = sweep(0..60, "NORMAL", &Loss::LOSSY);
    assert!(tally.lost > 20, "{tally:?}");
}

#[test]
fn a_lying_disk_loses_what_full_promised() {
    let mut lost = 0;
    for seed in 0..40 {
        let machine = Machine::new(seed);
        let mut chance = Generator::new(seed);
        let mut connection = start(&machine, "FULL", &mut chance).unwrap();
        machine.disk.inject(Fault::SyncLie, When::PerMillion(500_000), "");
        let mut model = Model::default();
        for _ in 0..20 {
            let (next, result) = model.transact(&mut connection, &mut chance);
            result.unwrap();
            model = next;
        }
        machine.disk.clear_faults();
        machine.disk.power_loss(Loss::All);
        let found = machine.connect("FULL").and_then(|c| Model::read(&c));
        lost += u64::from(found.ok() != Some(model));
        drop(connection);
    }
    assert!(lost > 5, "{lost} of 40");
}

/// Set in a child process, to the seed whose fingerprint it shall print.
const CHILD_SEED: &str = "FAULTY_VFS_SEED";

#[test]
fn one_seed_has_one_fingerprint_in_two_fresh_processes() {
    if let Ok(seed) = std::env::var(CHILD_SEED) {
        println!("fingerprint {:016x}", fingerprint(seed.parse().unwrap()));
        return;
    }
    let first = fingerprint_of_a_child(3);
    assert_eq!(first, fingerprint_of_a_child(3));
    assert_ne!(first, fingerprint_of_a_child(4));
}

/// Two machines, power cuts, slow and failing syncs, `random()` and the clock.
fn fingerprint(seed: u64) -> u64 {
    seed_sqlite_prng(seed as u32);
    let mut mixed = 0u64;
    for node in 0..2 {
        let machine = Machine::new(seed * 2 + node);
        let mut chance = Generator::new(seed);
        let mut history = vec![Model::default()];
        for _ in 0..5 {
            machine.disk.inject(Fault::PowerCut(Loss::Torn), When::Nth(1 + chance.below(300)), "");
            machine.disk.inject(
                Fault::SyncSlow(Duration::from_micros(70)),
                When::PerMillion(500_000),
                "",
            );
            run_until_cut(&machine, "FULL", &mut chance, &mut history);
            machine.disk.clear_faults();
            machine.disk.power_on();
            let connection = machine.connect("FULL").unwrap();
            create_schema(&connection).unwrap();
            let insert = "INSERT OR REPLACE INTO rows
                          VALUES(100, CAST(random() || datetime('now') AS BLOB))";
            connection.execute(insert, []).unwrap();
            history = vec![Model::read(&connection).unwrap()];
        }
        let owed = machine.disk.take_latency().as_micros() as u64;
        mixed = mixed.rotate_left(17) ^ machine.disk.fingerprint() ^ owed;
    }
    mixed
}

/// SQLite has one generator per process, which the other tests of this one draw from as well.
fn fingerprint_of_a_child(seed: u64) -> String {
    let this = "sqlite::vfs::tests::crash::one_seed_has_one_fingerprint_in_two_fresh_processes";
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", this, "--nocapture", "--test-threads=1"])
        .env(CHILD_SEED, seed.to_string())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find_map(|line| line.split_once("fingerprint ")).map(|(_, hex)| hex);
    line.unwrap_or_else(|| panic!("no fingerprint in {text}")).to_owned()
}
