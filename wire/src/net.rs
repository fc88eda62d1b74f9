//! Addresses and sockets: TCP in both worlds, Unix sockets in the real one.
//!
//! Invariants: every socket has no-delay set and a flush guard on it; a Unix socket is reachable by
//! its owner alone.
//!
//! Not here: TLS, HTTP. Unix sockets have no simulation: a simulated node must not be given one.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};

use runtime::disk::Disk;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use types::Invalid;

use crate::io::FlushGuard;

/// Where a node listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An IP address and port; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// Whether only this machine can reach it, so that no key is needed (requirement C11).
    pub fn is_local(&self) -> bool {
        match self {
            Address::Tcp(addr) => addr.ip().is_loopback(),
            Address::Unix(_) => true,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(addr) => addr.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for Address {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                return Err(Invalid::new("address", "unix: needs a path behind it"));
            }
            return Ok(Address::Unix(path.into()));
        }
        text.parse().map(Address::Tcp).map_err(|_| {
            Invalid::new("address", format!("{text:?} is neither ip:port nor unix:/path"))
        })
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerAddress {
    /// Over TCP.
    Tcp(SocketAddr),
    /// Over a Unix socket.
    Unix,
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerAddress::Tcp(addr) => addr.fmt(f),
            PeerAddress::Unix => f.write_str("unix"),
        }
    }
}

/// A socket that accepts connections.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener, PathBuf),
}

impl Listener {
    /// Listens on `address`. A Unix socket that a dead process left behind is replaced.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`] when another process listens there.
    pub async fn bind(address: &Address, disk: &dyn Disk) -> io::Result<Self> {
        match address {
            Address::Tcp(addr) => Ok(Listener::Tcp(TcpListener::bind(*addr).await?)),
            Address::Unix(path) => {
                remove_stale(path, disk).await?;
                let listener = UnixListener::bind(path)?;
                disk.set_mode(path, 0o600)?;
                Ok(Listener::Unix(listener, path.clone()))
            }
        }
    }

    /// Where it listens, with the port that the system chose.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn local_address(&self) -> io::Result<Address> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().map(Address::Tcp),
            Listener::Unix(_, path) => Ok(Address::Unix(path.clone())),
        }
    }

    /// Waits for the next connection. Safe to drop and call again.
    pub(crate) async fn accept(&self) -> io::Result<(Socket, PeerAddress)> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, addr) = listener.accept().await?;
                Ok((Socket::tcp(stream)?, PeerAddress::Tcp(addr)))
            }
            Listener::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok((Socket::Unix(FlushGuard::new(stream)), PeerAddress::Unix))
            }
        }
    }
}

async fn remove_stale(path: &Path, disk: &dyn Disk) -> io::Result<()> {
    if !disk.exists(path)? {
        return Ok(());
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => disk.remove(path),
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            format!("another process listens on {}", path.display()),
        )),
    }
}

/// A connected socket with its flush guard.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(FlushGuard<TcpStream>),
    /// A Unix socket.
    Unix(FlushGuard<UnixStream>),
}

impl Socket {
    fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Socket::Tcp(FlushGuard::new(stream)))
    }

    /// Connects to `address`.
    ///
    /// # Errors
    /// As the system's connect; nothing was sent.
    pub async fn connect(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(addr) => Self::tcp(TcpStream::connect(*addr).await?),
            Address::Unix(path) => {
                Ok(Socket::Unix(FlushGuard::new(UnixStream::connect(path).await?)))
            }
        }
    }

    /// Connects to `host:port`, resolving the name.
    ///
    /// # Errors
    /// When the name does not resolve or nobody listens; nothing was sent.
    pub async fn connect_host(authority: &str) -> io::Result<Self> {
        Self::tcp(TcpStream::connect(authority).await?)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Socket::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Socket::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Socket::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Socket::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Socket::Tcp(stream) => stream.is_write_vectored(),
            Socket::Unix(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Socket::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_round_trip_and_say_whether_they_are_local() {
        let samples = [
            ("127.0.0.1:7700", true),
            ("[::1]:7700", true),
            ("10.0.0.1:7700", false),
            ("0.0.0.0:0", false),
            ("unix:/run/hivemem.sock", true),
        ];
        for (text, local) in samples {
            let address: Address = text.parse().expect(text);
            assert_eq!((address.to_string().as_str(), address.is_local()), (text, local));
        }
        for bad in ["", "localhost", "1.2.3.4", "unix:", ":80"] {
            assert_eq!(bad.parse::<Address>().expect_err(bad).field, "address");
        }
    }
}
