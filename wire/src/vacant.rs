//! Addresses for clusters of processes on one machine: tests, benchmarks, chaos.
//!
//! Invariant: two calls never give the same address, in one process or in two: the host part is the
//! process's number, and the ports lie below those that a system gives to outgoing connections. Asking
//! the system for a port and closing it again has no such promise: by the time of its use it may belong
//! to somebody's outgoing connection.
//!
//! Not here: addresses for users, who choose their own. Systems other than Linux answer on 127.0.0.1 alone.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::atomic::{AtomicU16, Ordering},
};

const PORTS: std::ops::Range<u16> = 10_000..30_000;

static NEXT: AtomicU16 = AtomicU16::new(PORTS.start);

/// The host part of this process's addresses.
pub fn host() -> Ipv4Addr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    // Away from 127.0, where the machine's own services are.
    Ipv4Addr::new(127, 64 | high, middle, low)
}

/// A loopback address that is this process's own and that nobody listens on.
///
/// # Errors
/// No port is left.
pub fn vacant() -> io::Result<SocketAddr> {
    let host = host();
    loop {
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        if !PORTS.contains(&port) {
            return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, "no port is left"));
        }
        // A process of the same number, in another container on the same network, may be there.
        match TcpListener::bind((host, port)) {
            Ok(listener) => return listener.local_addr(),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_address_is_another_one() {
        let (first, second) = (super::vacant().unwrap(), super::vacant().unwrap());
        assert_ne!(first, second);
        assert!(first.ip().is_loopback());
        let _held = std::net::TcpListener::bind(first).unwrap();
    }
}
