//! Three voters of etcd, each a process, and their clients: the same channel, the same codec, and its
//! messages as far as they are used here.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use http::uri::PathAndQuery;
use prost::Message;
use runtime::clock::{self, Instant};
use tonic::{Request, client::Grpc};
use tonic_prost::ProstCodec;
use wire::client::Channel;

use super::{
    load::Work,
    place::{Place, addresses},
};

/// Time for the voters to come up.
const SOON: Duration = Duration::from_secs(60);

#[derive(Clone, PartialEq, Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct RangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct LeaseGrantRequest {
    #[prost(int64, tag = "1")]
    ttl_seconds: i64,
}

#[derive(Clone, PartialEq, Message)]
struct LeaseGrantResponse {
    #[prost(int64, tag = "2")]
    id: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct LeaseRevokeRequest {
    #[prost(int64, tag = "1")]
    id: i64,
}

#[derive(Clone, PartialEq, Message)]
struct LockRequest {
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
    #[prost(int64, tag = "2")]
    lease: i64,
}

#[derive(Clone, PartialEq, Message)]
struct LockResponse {
    #[prost(bytes = "vec", tag = "2")]
    key: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct UnlockRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
    #[prost(uint64, tag = "4")]
    leader: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct ResponseHeader {
    #[prost(uint64, tag = "2")]
    member_id: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Empty {}

async fn ask<Q, A>(grpc: &mut Grpc<Channel>, path: &'static str, request: Q) -> Result<A>
where
    Q: Message + 'static,
    A: Message + Default + 'static,
{
    grpc.ready().await?;
    let codec = ProstCodec::<Q, A>::default();
    let mut call = Request::new(request);
    call.set_timeout(Duration::from_secs(25));
    Ok(grpc.unary(call, PathAndQuery::from_static(path), codec).await?.into_inner())
}

/// The voters; killed when dropped.
pub struct Cluster {
    place: Arc<Place>,
    binary: PathBuf,
    clients: [String; 3],
    peers: [String; 3],
    children: [Option<Child>; 3],
}

impl Cluster {
    pub async fn new(place: &Arc<Place>, binary: PathBuf) -> Result<Self> {
        let [a, b, c, d, e, f] = addresses()?;
        let (place, children) = (place.clone(), [None, None, None]);
        let mut cluster = Self { place, binary, clients: [a, b, c], peers: [d, e, f], children };
        for node in 0..3 {
            cluster.spawn(node)?;
        }
        cluster.leader().await?;
        Ok(cluster)
    }

    fn grpc(&self, node: usize) -> Result<Grpc<Channel>> {
        Ok(Grpc::new(self.place.channel(&self.clients[node], None)?))
    }

    fn spawn(&mut self, node: usize) -> Result<()> {
        let path = |name: &str| self.place.path(name).display().to_string();
        let folder = self.place.path(&format!("etcd-{node}"));
        std::fs::create_dir_all(&folder)?;
        std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        let log = std::fs::File::create(self.place.path(&format!("etcd-{node}.log")))?;
        let (client, peer) = (&self.clients[node], &self.peers[node]);
        let all: Vec<String> =
            self.peers.iter().enumerate().map(|(n, at)| format!("n{n}=https://{at}")).collect();
        let mut command = Command::new(&self.binary);
        command.env_clear().arg("--name").arg(format!("n{node}")).arg("--data-dir").arg(&folder);
        command.args(["--initial-cluster-state", "new", "--log-level", "error"]);
        command.arg("--initial-cluster").arg(all.join(","));
        for (name, at) in [
            ("--listen-client-urls", client),
            ("--advertise-client-urls", client),
            ("--listen-peer-urls", peer),
            ("--initial-advertise-peer-urls", peer),
        ] {
            command.arg(name).arg(format!("https://{at}"));
        }
        for prefix in ["--", "--peer-"] {
            for (name, file) in
                [("cert-file", "leaf.pem"), ("key-file", "leaf.key"), ("trusted-ca-file", "ca.pem")]
            {
                command.arg(format!("{prefix}{name}")).arg(path(file));
            }
            command.arg(format!("{prefix}client-cert-auth"));
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.children[node] = Some(command.spawn()?);
        Ok(())
    }

    pub async fn start(&mut self, node: usize) -> Result<()> {
        self.spawn(node)?;
        self.leader().await.map(drop)
    }

    pub fn kill(&mut self, node: usize) -> Result<()> {
        let mut child = self.children[node].take().context("it runs")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Who leads, once all agree.
    pub async fn leader(&self) -> Result<usize> {
        let until = Instant::now() + SOON;
        loop {
            let (mut ids, mut leaders) = (Vec::new(), Vec::new());
            for node in 0..3 {
                let path = "/etcdserverpb.Maintenance/Status";
                let status: Result<StatusResponse> =
                    ask(&mut self.grpc(node)?, path, Empty {}).await;
                let status = status.unwrap_or_default();
                ids.push(status.header.unwrap_or_default().member_id);
                leaders.push(status.leader);
            }
            let agreed = leaders[0] > 0 && leaders.iter().all(|leader| *leader == leaders[0]);
            match ids.iter().position(|id| *id == leaders[0]) {
                Some(node) if agreed => return Ok(node),
                _ if Instant::now() > until => bail!("they do not agree on a leader: {leaders:?}"),
                _ => clock::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    pub async fn client(&self, number: usize, node: usize) -> Result<Client> {
        let mut grpc = self.grpc(node)?;
        let grant = LeaseGrantRequest { ttl_seconds: 600 };
        let path = "/etcdserverpb.Lease/LeaseGrant";
        let granted: LeaseGrantResponse = ask(&mut grpc, path, grant).await?;
        Ok(Client { number, grpc, lease: granted.id, puts: 0 })
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

/// One client with a lease of its own.
pub struct Client {
    number: usize,
    grpc: Grpc<Channel>,
    lease: i64,
    puts: u64,
}

impl Client {
    pub async fn act(&mut self, work: Work) -> Result<()> {
        match work {
            Work::Put => {
                self.puts += 1;
                let key = format!("bench/client-{:04}", self.number).into_bytes();
                let value = format!("{:0100}", self.puts).into_bytes();
                let put = PutRequest { key, value };
                ask::<_, Empty>(&mut self.grpc, "/etcdserverpb.KV/Put", put).await.map(drop)
            }
            Work::Read => {
                let range = RangeRequest { key: format!("own/{}", self.number).into_bytes() };
                ask::<_, Empty>(&mut self.grpc, "/etcdserverpb.KV/Range", range).await.map(drop)
            }
            Work::Lock => self.cycle(format!("own/{}", self.number)).await,
            Work::HotLock => self.cycle("hot".to_owned()).await,
        }
    }

    pub async fn leave(&mut self) -> Result<()> {
        let revoke = LeaseRevokeRequest { id: self.lease };
        ask::<_, Empty>(&mut self.grpc, "/etcdserverpb.Lease/LeaseRevoke", revoke).await.map(drop)
    }

    async fn cycle(&mut self, name: String) -> Result<()> {
        let lock = LockRequest { name: name.into_bytes(), lease: self.lease };
        let held: LockResponse = ask(&mut self.grpc, "/v3lockpb.Lock/Lock", lock).await?;
        let unlock = UnlockRequest { key: held.key };
        ask::<_, Empty>(&mut self.grpc, "/v3lockpb.Lock/Unlock", unlock).await.map(drop)
    }
}
