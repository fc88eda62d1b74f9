//! The speed of the root: three real voters on this machine, with TLS on both sides of every connection,
//! fsynced logs and snapshots, and etcd beside them in the same run.
//!
//! ```text
//! cargo bench --bench root
//! HIVEMEM_BENCH_ETCD=/usr/bin/etcd HIVEMEM_BENCH_ROUNDS=5 cargo bench --bench root
//! ```
//!
//! `HIVEMEM_BENCH_SECONDS` (3) is the length of one measurement, `HIVEMEM_BENCH_FAILOVERS` (3) how often a
//! leader is killed. The systems take turns; the table shows medians over the rounds. What is put is a policy
//! register of about 100 bytes (at etcd: a value of 100 bytes), one key for each client, at the three members in
//! turn; what is read, linearizably, is one lock (at etcd: one key). A figure for the one hot lock is a hand-over:
//! from asking for it, through the queue, to having given it back. A machine that does anything else at the
//! same time makes the figures worthless, their ratio less so.
//!
//! Not here: memories (`hivemem bench`).

mod etcd;
mod hive;
mod load;
mod place;

use std::{env, time::Duration};

use anyhow::{Context, Result};

use self::{
    load::{Figure, Work},
    place::Place,
};

/// A system under load.
pub enum System {
    /// Ours.
    Hive(hive::Cluster),
    /// The incumbent.
    Etcd(etcd::Cluster),
}

/// One logical client of it.
pub enum Client {
    /// Of ours.
    Hive(hive::Client),
    /// Of the incumbent.
    Etcd(etcd::Client),
}

impl System {
    fn name(&self) -> &'static str {
        match self {
            Self::Hive(_) => "hivemem",
            Self::Etcd(_) => "etcd",
        }
    }

    async fn clients(&self, count: usize, but: Option<usize>) -> Result<Vec<Client>> {
        let mut clients = Vec::with_capacity(count);
        let nodes: Vec<usize> = (0..3).filter(|node| Some(*node) != but).collect();
        for number in 0..count {
            let node = nodes[number % nodes.len()];
            clients.push(match self {
                Self::Hive(cluster) => Client::Hive(cluster.client(number, node).await?),
                Self::Etcd(cluster) => Client::Etcd(cluster.client(number, node).await?),
            });
        }
        Ok(clients)
    }

    async fn leader(&self) -> Result<usize> {
        match self {
            Self::Hive(cluster) => cluster.leader().await,
            Self::Etcd(cluster) => cluster.leader().await,
        }
    }

    fn kill(&mut self, node: usize) -> Result<()> {
        match self {
            Self::Hive(cluster) => cluster.kill(node),
            Self::Etcd(cluster) => cluster.kill(node),
        }
    }

    async fn start(&mut self, node: usize) -> Result<()> {
        match self {
            Self::Hive(cluster) => cluster.start(node).await,
            Self::Etcd(cluster) => cluster.start(node).await,
        }
    }
}

impl Client {
    async fn act(&mut self, work: Work) -> Result<()> {
        match self {
            Self::Hive(client) => client.act(work).await,
            Self::Etcd(client) => client.act(work).await,
        }
    }

    /// Ends its session, or lets its lease go: there are only so many.
    async fn leave(&mut self) {
        let left = match self {
            Self::Hive(client) => client.leave().await,
            Self::Etcd(client) => client.leave().await,
        };
        if let Err(error) = left {
            eprintln!("a client leaves: {error}");
        }
    }
}

fn number(variable: &str, default: u64) -> Result<u64> {
    match env::var(variable) {
        Ok(text) => text.parse().with_context(|| format!("{variable}={text} is not a number")),
        Err(_) => Ok(default),
    }
}

/// All measurements of one round, by name.
async fn round(system: &System, length: Duration) -> Result<Vec<(String, Figure)>> {
    let mut figures = Vec::new();
    let all =
        [(Work::Put, "put"), (Work::Read, "linearizable read"), (Work::Lock, "lock and unlock")];
    let spread = all.into_iter().flat_map(|work| [1, 16, 64, 256].map(|clients| (work, clients)));
    let hot = [4, 16].map(|clients| ((Work::HotLock, "one hot lock"), clients));
    for ((work, name), clients) in spread.chain(hot) {
        let figure = load::drive(system.clients(clients, None).await?, work, length).await;
        let name = match clients {
            1 => format!("{name}, 1 client"),
            _ => format!("{name}, {clients} clients"),
        };
        figures.push((name, figure));
    }
    for (name, figure) in &figures {
        eprintln!("{:8} {name}: {figure}", system.name());
    }
    Ok(figures)
}

async fn measure() -> Result<()> {
    let length = Duration::from_secs(number("HIVEMEM_BENCH_SECONDS", 3)?);
    let rounds = number("HIVEMEM_BENCH_ROUNDS", 1)?;
    let failovers = number("HIVEMEM_BENCH_FAILOVERS", 3)?;
    let place = std::sync::Arc::new(Place::new()?);
    let mut systems = vec![System::Hive(hive::Cluster::new(&place).await?)];
    if let Some(binary) = env::var_os("HIVEMEM_BENCH_ETCD") {
        systems.push(System::Etcd(etcd::Cluster::new(&place, binary.into()).await?));
    }
    let mut table = load::Table::default();
    for _ in 0..rounds {
        for system in &systems {
            table.add(system.name(), round(system, length).await?);
        }
    }
    for _ in 0..failovers {
        for system in &mut systems {
            let figure = load::failover(system).await?;
            eprintln!("{:8} leader killed: {figure}", system.name());
            table.add(system.name(), vec![("leader killed, time without success".into(), figure)]);
        }
    }
    print!("{table}");
    Ok(())
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure())
}
