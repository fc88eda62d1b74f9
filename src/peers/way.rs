//! How this node reaches its peers: with its certificate and the peers' key, and only those that it knows.
//!
//! Invariant: `WAY-1` over TLS a peer is believed by the certificates that the list names for it, whoever may have
//! signed them; where it names none, by the authority that is set; and by nothing else.
//!
//! Not here: who may come in (`doorway`), connections (`wire::client`).

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use federation::{driver::Dialer, members::Member};
use runtime::disk::DiskRef;
use types::Invalid;
use wire::{
    dial::Endpoint,
    tls::{Allowlist, ServerTrust, TlsError},
};

use super::{doorway::Certificates, list::PeersError};
use crate::{config::TlsConfig, secure::source};

/// The certificates of what can be dialled, by endpoint.
type Pins = Arc<ArcSwap<BTreeMap<String, Allowlist>>>;

/// How peers are reached. Clones are one and the same.
#[derive(Clone)]
pub struct Way {
    disk: DiskRef,
    tls: Option<TlsConfig>,
    authority: Option<PathBuf>,
    key: Option<String>,
    pins: Pins,
}

impl Way {
    /// With the doors' TLS, the authority for those that the list names no certificate of, and the key.
    pub fn new(
        disk: DiskRef,
        tls: Option<TlsConfig>,
        authority: Option<PathBuf>,
        key: Option<String>,
    ) -> Self {
        Self { disk, tls, authority, key, pins: Pins::default() }
    }

    /// Takes a list over.
    ///
    /// # Errors
    /// [`PeersError::Unproven`]: nothing would show that a peer is who it says; nothing was taken over.
    pub fn know(&self, members: &[Member], certificates: &Certificates) -> Result<(), PeersError> {
        let mut pins = BTreeMap::new();
        for member in members {
            let Some(endpoint) = &member.endpoint else { continue };
            let listed: Allowlist =
                certificates.get(&member.node).into_iter().flatten().copied().collect();
            if listed.is_empty() && self.tls.is_some() && self.authority.is_none() {
                return Err(PeersError::Unproven { peer: member.name.clone() });
            }
            pins.insert(endpoint.clone(), listed);
        }
        self.pins.store(Arc::new(pins));
        Ok(())
    }

    /// What is dialled for an endpoint of the list.
    ///
    /// # Errors
    /// [`TlsError`], if this node's certificate cannot be used now.
    pub fn dialer(self) -> Result<Dialer, TlsError> {
        if let Some(tls) = &self.tls {
            // Found out now, rather than with the first connection.
            source(&self.disk, tls, || ServerTrust::OneOf(Allowlist::default()))?;
        }
        Ok(Box::new(move |text| self.endpoint(text)))
    }

    fn endpoint(&self, text: &str) -> Result<Endpoint, Invalid> {
        let mut endpoint = text.parse::<Endpoint>()?;
        if let Some(tls) = &self.tls {
            let (pins, authority, text) =
                (self.pins.clone(), self.authority.clone(), text.to_owned());
            let trust = move || {
                let listed = pins.load().get(&text).cloned().unwrap_or_default();
                match &authority {
                    Some(authority) if listed.is_empty() => {
                        ServerTrust::AuthorityFile(authority.clone())
                    }
                    _ => ServerTrust::OneOf(listed),
                }
            };
            let tls = source(&self.disk, tls, trust)
                .map_err(|error| Invalid::new("server.tls_cert", error.to_string()))?;
            endpoint = endpoint.with_tls_from(tls);
        }
        match &self.key {
            Some(key) => endpoint.presenting(key),
            None => Ok(endpoint),
        }
    }
}
