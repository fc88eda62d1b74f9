//! Clients that ask as fast as they are answered, and what that comes to.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use parking_lot::Mutex;
use runtime::{
    clock::{self, Instant},
    task,
};

use super::{Client, System};

/// Share of a measurement that does not count.
const WARM: u32 = 4;
/// Clients that notice the loss of a leader.
const WATCHERS: usize = 8;
/// Time for one operation while a leader is lost.
const PATIENCE: Duration = Duration::from_millis(250);

/// What clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Write one's own register.
    Put,
    /// Read what is decided.
    Read,
    /// Take one's own lock and give it back.
    Lock,
    /// Take the lock that all want and give it back.
    HotLock,
}

/// What a measurement came to.
#[derive(Clone, Debug, Default)]
pub struct Figure {
    pub per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub errors: u64,
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { per_second, p50_ms, p99_ms, errors } = self;
        write!(f, "{per_second:.0}/s, p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms, {errors} errors")
    }
}

fn quantile(sorted: &[Duration], permille: usize) -> f64 {
    let at = (sorted.len() * permille / 1000).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(0.0, |took| took.as_secs_f64() * 1000.0)
}

/// Lets all clients work for a while.
pub async fn drive(clients: Vec<Client>, work: Work, length: Duration) -> Figure {
    let (begin, end) = (Instant::now() + length / WARM, Instant::now() + length + length / WARM);
    let workers: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            task::spawn_named("client", async move {
                let (mut took, mut errors) = (Vec::new(), 0);
                loop {
                    let started = Instant::now();
                    if started >= end {
                        client.leave().await;
                        return (took, errors);
                    }
                    match client.act(work).await {
                        Ok(()) if started >= begin => took.push(started.elapsed()),
                        Ok(()) => {}
                        Err(error) => {
                            if errors == 0 {
                                eprintln!("a client: {error}");
                            }
                            errors += 1;
                            clock::sleep(Duration::from_millis(10)).await;
                        }
                    }
                }
            })
        })
        .collect();
    let (mut all, mut errors) = (Vec::new(), 0);
    for worker in workers {
        if let Ok((took, failed)) = worker.await {
            all.extend(took);
            errors += failed;
        }
    }
    all.sort_unstable();
    Figure {
        per_second: all.len() as f64 / length.as_secs_f64(),
        p50_ms: quantile(&all, 500),
        p99_ms: quantile(&all, 990),
        errors,
    }
}

/// Kills the leader under load: the longest time from then on in which nothing succeeded, in the place
/// of both quantiles.
pub async fn failover(system: &mut System) -> Result<Figure> {
    let leader = system.leader().await?;
    let clients = system.clients(WATCHERS, Some(leader)).await?;
    let successes: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let stop = Arc::new(AtomicBool::new(false));
    let watchers: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            let (successes, stop) = (successes.clone(), stop.clone());
            task::spawn_named("watcher", async move {
                while !stop.load(Ordering::Relaxed) {
                    match clock::timeout(PATIENCE, client.act(Work::Put)).await {
                        Ok(Ok(())) => successes.lock().push(Instant::now()),
                        _ => clock::sleep(Duration::from_millis(2)).await,
                    }
                }
                client.leave().await;
            })
        })
        .collect();
    clock::sleep(Duration::from_secs(1)).await;
    let killed = Instant::now();
    system.kill(leader)?;
    clock::sleep(Duration::from_secs(5)).await;
    stop.store(true, Ordering::Relaxed);
    for watcher in watchers {
        let _ = watcher.await;
    }
    system.start(leader).await?;
    let mut last = killed;
    let mut gap = Duration::ZERO;
    let mut all = successes.lock().clone();
    all.sort_unstable();
    for at in all.into_iter().filter(|at| *at > killed) {
        gap = gap.max(at - last);
        last = at;
    }
    let ms = gap.as_secs_f64() * 1000.0;
    Ok(Figure { per_second: 0.0, p50_ms: ms, p99_ms: ms, errors: 0 })
}

/// Figures by measurement and system.
#[derive(Default)]
pub struct Table {
    order: Vec<String>,
    figures: BTreeMap<(String, &'static str), Vec<Figure>>,
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

impl Table {
    pub fn add(&mut self, system: &'static str, figures: Vec<(String, Figure)>) {
        for (name, figure) in figures {
            if !self.order.contains(&name) {
                self.order.push(name.clone());
            }
            self.figures.entry((name, system)).or_default().push(figure);
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| what | system | per second | p50 ms | p99 ms | errors | rounds |")?;
        writeln!(f, "|---|---|---|---|---|---|---|")?;
        for name in &self.order {
            for system in ["hivemem", "etcd"] {
                let Some(all) = self.figures.get(&(name.clone(), system)) else { continue };
                let of = |pick: fn(&Figure) -> f64| median(all.iter().map(pick).collect());
                let errors: u64 = all.iter().map(|figure| figure.errors).sum();
                writeln!(
                    f,
                    "| {name} | {system} | {:.0} | {:.2} | {:.2} | {errors} | {} |",
                    of(|figure| figure.per_second),
                    of(|figure| figure.p50_ms),
                    of(|figure| figure.p99_ms),
                    all.len()
                )?;
            }
        }
        Ok(())
    }
}
