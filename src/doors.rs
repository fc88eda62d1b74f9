//! The doors: one address for HTTP, gRPC and MCP, and a local socket for this machine's user.
//!
//! Invariants: `DOOR-1` nothing but loopback is served without a key (checked with the
//! configuration); `DOOR-2` the local socket is reachable by its owner alone and grants an
//! operator's rights; `DOOR-3` a stopping node refuses new connections before it drains.
//!
//! Not here: what the doors answer (`api`).

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use runtime::{
    disk::DiskRef,
    task::{self, Shutdown},
};
use thiserror::Error;
use wire::{
    net::{Address, Listener},
    serve::{ServeLimits, serve},
    tls::{TlsError, TlsFiles, TlsReload},
};

use crate::{api, config::Config, node::service::Service, telemetry::health::ReadyProbe};

/// Longest path of a Unix socket on Linux, in bytes.
const SOCKET_PATH_MAX: usize = 107;

/// Why a door cannot be opened.
#[derive(Debug, Error)]
pub enum DoorError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}: {cause}; choose another with --set server.listen=ADDRESS")]
    Listen {
        /// Where.
        address: Address,
        /// The cause.
        cause: std::io::Error,
    },
    /// Certificate, key or allowlist.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Open doors.
pub struct Doors {
    addresses: Vec<String>,
    serving: Vec<task::JoinHandle<()>>,
}

/// Where the local socket of a data folder is; `None` where the path would be too long.
pub fn socket_path(data_dir: &Path) -> Option<PathBuf> {
    let path = data_dir.join("hivemem.sock");
    (path.as_os_str().len() <= SOCKET_PATH_MAX).then_some(path)
}

fn limits(config: &Config) -> ServeLimits {
    ServeLimits {
        connections_max: u32::try_from(config.server.connections_max).unwrap_or(u32::MAX),
        drain_timeout: config.server.drain_timeout,
        ..ServeLimits::default()
    }
}

async fn listen(disk: &DiskRef, address: Address) -> Result<Listener, DoorError> {
    Listener::bind(&address, &**disk).await.map_err(|cause| DoorError::Listen { address, cause })
}

/// Opens all doors of a node; they close when `shutdown` is said.
///
/// # Errors
/// [`DoorError`]; then none is open.
pub async fn open(
    disk: DiskRef,
    config: &Config,
    service: Arc<Service>,
    ready: ReadyProbe,
    shutdown: Shutdown,
) -> Result<Doors, DoorError> {
    let tls = config.server.tls.as_ref().map(|tls| {
        let files = TlsFiles {
            certificate: tls.cert.clone(),
            key: tls.key.clone(),
            client_allowlist: tls.client_allowlist.clone(),
        };
        TlsReload::load(disk.clone(), files).map(Arc::new)
    });
    let tls = tls.transpose()?;
    let reload = Reload { tls: tls.clone(), service: service.clone() };
    reload.now()?;
    let router = api::assemble::router(&service, config, ready, &shutdown);
    let tcp = listen(&disk, Address::Tcp(config.server.listen)).await?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let bound = tcp.local_address().map_err(|cause| DoorError::Listen {
        address: Address::Tcp(config.server.listen),
        cause,
    })?;
    let mut doors = Doors { addresses: vec![format!("{scheme}://{bound}")], serving: Vec::new() };
    #[cfg(feature = "host")]
    doors.open_socket(&disk, config, &router, &shutdown).await?;
    if tls.is_some() {
        let reload = reload.until_stopped(shutdown.clone());
        doors.serving.push(task::spawn_named("tls reload", reload));
    }
    let serve = serve(tcp, tls, router, limits(config), shutdown);
    doors.serving.push(task::spawn_named("door", serve));
    Ok(doors)
}

/// Time between two looks at the certificate, key and allowlist files.
const RELOAD_PERIOD: Duration = Duration::from_secs(10);

/// Takes over changed certificates and allowlists without a restart.
struct Reload {
    tls: Option<Arc<TlsReload>>,
    service: Arc<Service>,
}

impl Reload {
    /// The certificates of peers are on the allowlist without being in its file.
    fn now(&self) -> Result<(), TlsError> {
        let Some(tls) = &self.tls else { return Ok(()) };
        if let Some(peers) = self.service.peers() {
            tls.also(peers.doorway().fingerprints());
        }
        tls.reload()
    }

    async fn until_stopped(self, shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = runtime::clock::sleep(RELOAD_PERIOD) => {}
            }
            if let Err(error) = self.now() {
                tracing::warn!(%error, "certificates and allowlist stay as they are");
            }
        }
    }
}

impl Doors {
    /// Opens the local socket, where the data folder's path leaves room for one.
    #[cfg(feature = "host")]
    async fn open_socket(
        &mut self,
        disk: &DiskRef,
        config: &Config,
        router: &axum::Router,
        shutdown: &Shutdown,
    ) -> Result<(), DoorError> {
        let Some(path) = socket_path(&config.data_dir) else { return Ok(()) };
        self.addresses.push(format!("unix:{}", path.display()));
        let socket = listen(disk, Address::Unix(path)).await?;
        let serve = serve(socket, None, router.clone(), limits(config), shutdown.clone());
        self.serving.push(task::spawn_named("socket", serve));
        Ok(())
    }

    /// Where they are, for people.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// Waits until all are closed.
    pub async fn closed(self) {
        for door in self.serving {
            // A door that panicked is closed too.
            let _ = door.await;
        }
    }
}
