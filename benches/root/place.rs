//! Where it happens: a folder, ports, certificates that everybody shows and believes.

use std::{fs, os::unix::fs::OpenOptionsExt, path::PathBuf};

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use wire::{
    client::{Channel, ChannelTimes},
    dial::Endpoint,
    tls::{ClientIdentity, Fingerprint, ServerTrust, client_config},
    vacant::{self, vacant},
};

/// A folder with certificates; removed at the end.
pub struct Place {
    folder: TempDir,
}

fn secret(path: PathBuf, text: &str) -> Result<()> {
    let options =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).clone();
    std::io::Write::write_all(&mut options.open(path)?, text.as_bytes())?;
    Ok(())
}

impl Place {
    pub fn new() -> Result<Self> {
        let place = Self { folder: tempfile::tempdir()? };
        let authority_key = KeyPair::generate()?;
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = authority.self_signed(&authority_key)?;
        fs::write(place.path("ca.pem"), certificate.pem())?;
        let issuer = Issuer::new(authority, authority_key);
        let key = KeyPair::generate()?;
        let names = vec!["localhost".to_owned(), vacant::host().to_string()];
        let mut leaf = CertificateParams::new(names)?;
        leaf.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let leaf = leaf.signed_by(&key, &issuer)?;
        fs::write(place.path("leaf.pem"), leaf.pem())?;
        secret(place.path("leaf.key"), &key.serialize_pem())?;
        secret(place.path("peer.key"), "between members")?;
        secret(place.path("operator.key"), "operator")?;
        fs::write(place.path("allowed"), Fingerprint::of(leaf.der()).to_string())?;
        Ok(place)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A connection of its own, with TLS on both sides.
    pub fn channel(&self, address: &str, presents: Option<&str>) -> Result<Channel> {
        let identity =
            ClientIdentity { certificate: self.path("leaf.pem"), key: self.path("leaf.key") };
        let trust = ServerTrust::AuthorityFile(self.path("ca.pem"));
        let disk = runtime::disk::OsDisk::shared();
        let config = client_config(&*disk, &trust, Some(&identity))?;
        let endpoint = address.parse::<Endpoint>()?.with_tls(config);
        let endpoint = match presents {
            Some(key) => endpoint.presenting(key)?,
            None => endpoint,
        };
        Ok(Channel::new(endpoint, ChannelTimes::default()))
    }
}

/// Addresses that nobody listens on.
pub fn addresses<const N: usize>() -> Result<[String; N]> {
    let addresses: std::io::Result<Vec<String>> =
        (0..N).map(|_| vacant().map(|a| a.to_string())).collect();
    Ok(addresses?.try_into().unwrap_or_else(|_| unreachable!("N calls give N addresses")))
}
