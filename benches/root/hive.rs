//! Three voters of ours, each a process, and their clients.

use std::{
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use runtime::clock::{self, Instant};
use tonic::Request;
use wire::{
    client::Channel,
    v1::{
        self, governance_service_client::GovernanceServiceClient,
        lock_service_client::LockServiceClient, root_service_client::RootServiceClient,
    },
};

use super::{
    load::Work,
    place::{Place, addresses},
};

const CLUSTER: &str = "3f1f6dcb-6d4f-4f5a-9d2f-0a4f5f1c2b3d";
/// How long a lock is waited for.
const WAIT_MS: u64 = 60_000;
/// Time for the voters to come up.
const SOON: Duration = Duration::from_secs(60);

/// The voters; killed when dropped.
pub struct Cluster {
    place: Arc<Place>,
    addresses: [String; 3],
    children: [Option<Child>; 3],
}

impl Cluster {
    pub async fn new(place: &Arc<Place>) -> Result<Self> {
        let (place, addresses) = (place.clone(), addresses()?);
        let mut cluster = Self { place, addresses, children: [None, None, None] };
        for node in 0..3 {
            cluster.start(node).await?;
        }
        let member = |node: usize| v1::RootMember {
            member: node as u64 + 1,
            endpoint: cluster.addresses[node].clone(),
            voter: true,
        };
        let members = (0..3).map(member).collect();
        let until = Instant::now() + SOON;
        loop {
            let init = v1::RootInitRequest { members: Vec::clone(&members) };
            match cluster.root(0)?.init(init).await {
                Ok(_) => break,
                Err(status) if Instant::now() > until => bail!("it is not founded: {status}"),
                Err(_) => clock::sleep(Duration::from_millis(100)).await,
            }
        }
        cluster.leader().await?;
        Ok(cluster)
    }

    fn channel(&self, node: usize) -> Result<Channel> {
        self.place.channel(&self.addresses[node], Some("operator"))
    }

    fn root(&self, node: usize) -> Result<RootServiceClient<Channel>> {
        Ok(RootServiceClient::new(self.channel(node)?))
    }

    pub async fn start(&mut self, node: usize) -> Result<()> {
        let path = |name: &str| self.place.path(name).display().to_string();
        let folder = self.place.path(&format!("hivemem-{node}"));
        std::fs::create_dir_all(&folder)?;
        let log = std::fs::File::create(folder.join("log"))?;
        let address = &self.addresses[node];
        let settings = [
            format!("server.listen={address}"),
            format!("server.tls_cert={}", path("leaf.pem")),
            format!("server.tls_key={}", path("leaf.key")),
            format!("server.tls_client_allowlist={}", path("allowed")),
            format!("auth.operator_key_file={}", path("operator.key")),
            format!("auth.api_key_file={}", path("operator.key")),
            format!("root.member={}", node + 1),
            format!("root.cluster={CLUSTER}"),
            format!("root.endpoint={address}"),
            format!("root.peer_key_file={}", path("peer.key")),
            format!("root.peer_ca_file={}", path("ca.pem")),
        ];
        let mut command = Command::new(env!("CARGO_BIN_EXE_hivemem"));
        // Three voters share this machine's cores with their clients.
        command.env_clear().env("TOKIO_WORKER_THREADS", "1").arg("--data-dir").arg(&folder);
        for setting in settings {
            command.arg("--set").arg(setting);
        }
        command.arg("serve").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.children[node] = Some(command.spawn()?);
        let until = Instant::now() + SOON;
        while let Err(status) = self.root(node)?.status(v1::RootStatusRequest {}).await {
            if Instant::now() > until {
                bail!("voter {node} does not come up: {status}");
            }
            clock::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    pub fn kill(&mut self, node: usize) -> Result<()> {
        let mut child = self.children[node].take().context("it runs")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Who leads, once all that run have confirmed their rules.
    pub async fn leader(&self) -> Result<usize> {
        let until = Instant::now() + SOON;
        loop {
            let mut leaders = Vec::new();
            for node in 0..3 {
                let status = self.root(node)?.status(v1::RootStatusRequest {}).await;
                let status = status.map(tonic::Response::into_inner).ok().filter(|s| s.confirmed);
                leaders.push(status.map_or(0, |status| status.leader));
            }
            if leaders[0] > 0 && leaders.iter().all(|leader| *leader == leaders[0]) {
                return Ok(leaders[0] as usize - 1);
            }
            if Instant::now() > until {
                bail!("they do not agree on a leader: {leaders:?}");
            }
            clock::sleep(Duration::from_millis(50)).await;
        }
    }

    pub async fn client(&self, number: usize, node: usize) -> Result<Client> {
        let channel = self.channel(node)?;
        let mut locks = LockServiceClient::new(channel.clone());
        let open = v1::OpenSessionRequest { ttl_ms: 600_000, lock_delay_ms: 0 };
        let opened = locks.open_session(open).await?.into_inner();
        Ok(Client {
            number,
            rules: GovernanceServiceClient::new(channel),
            locks,
            session: opened.session,
            wait_until_ms: opened.root_time_ms + WAIT_MS,
            seq: 0,
            puts: 0,
        })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.children.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// One client with a session of its own.
pub struct Client {
    number: usize,
    rules: GovernanceServiceClient<Channel>,
    locks: LockServiceClient<Channel>,
    session: u64,
    wait_until_ms: u64,
    seq: u64,
    puts: u64,
}

impl Client {
    pub async fn act(&mut self, work: Work) -> Result<()> {
        match work {
            Work::Put => self.put().await,
            Work::Read => self.read().await,
            Work::Lock => self.cycle(format!("own/{}", self.number)).await,
            Work::HotLock => self.cycle("hot".to_owned()).await,
        }
    }

    pub async fn leave(&mut self) -> Result<()> {
        let session = v1::CloseSessionRequest { session: self.session };
        self.locks.close_session(session).await?;
        Ok(())
    }

    /// About 100 bytes: a policy of a namespace of this client's.
    async fn put(&mut self) -> Result<()> {
        self.puts += 1;
        let policy = v1::Policy {
            namespace: format!("bench/client-{:04}", self.number),
            hot_keys: vec![format!("deploy-{:040}-*", self.puts)],
            retention_days: Some(1 + (self.puts % 30_000) as u32),
            ..v1::Policy::default()
        };
        let request = v1::PutPolicyRequest { policy: Some(policy), expected_version: None };
        self.rules.put_policy(request).await?;
        Ok(())
    }

    async fn read(&mut self) -> Result<()> {
        let request = v1::ExplainLockRequest { key: format!("own/{}", self.number) };
        self.locks.explain(request).await?;
        Ok(())
    }

    async fn cycle(&mut self, key: String) -> Result<()> {
        self.seq += 1;
        let (session, seq) = (self.session, self.seq);
        let wants = vec![v1::LockWant { key, mode: String::new() }];
        let wait_until_ms = Some(self.wait_until_ms);
        let acquire = v1::AcquireRequest { session, seq, wants, wait_until_ms };
        let mut call = Request::new(acquire);
        call.set_timeout(Duration::from_secs(25));
        let granted = self.locks.acquire(call).await?.into_inner();
        if granted.state != "granted" {
            bail!("the lock is not granted: {}", granted.state);
        }
        self.seq += 1;
        let release = v1::ReleaseRequest { session, seq: self.seq, locks: granted.grants };
        self.locks.release(release).await?;
        Ok(())
    }
}
