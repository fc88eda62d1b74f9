//! What certificates say: whose, where, until when, and the fingerprint that lists name them by.
//!
//! Not here: whether they are believed.

use std::{net::IpAddr, path::Path};

use runtime::disk::{Disk, read_all};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use wire::tls::Fingerprint;
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer};

use super::{Host, PkiError};

/// A certificate.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Its common name, or nothing.
    pub name: String,
    /// Where a server with it is reached.
    pub hosts: Vec<Host>,
    /// The last instant at which it is good.
    pub until: OffsetDateTime,
    /// What lists name it by.
    pub fingerprint: Fingerprint,
}

impl Shown {
    /// The end of its time, RFC 3339.
    pub fn until_text(&self) -> String {
        self.until.format(&Rfc3339).unwrap_or_else(|_| self.until.to_string())
    }
}

/// The certificates in a PEM file.
///
/// # Errors
/// [`PkiError::Content`] when there is none, or one that cannot be read.
pub fn shown(disk: &dyn Disk, path: &Path) -> Result<Vec<Shown>, PkiError> {
    let content = |problem: String| PkiError::Content { path: path.to_owned(), problem };
    let bytes = read_all(disk, path).map_err(|cause| PkiError::File {
        action: "read",
        path: path.to_owned(),
        cause,
    })?;
    let mut all = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        let der = certificate.map_err(|error| content(format!("is no PEM file: {error}")))?;
        all.push(read(&der).map_err(&content)?);
    }
    if all.is_empty() {
        return Err(content("has no certificate".to_owned()));
    }
    Ok(all)
}

fn read(der: &CertificateDer<'_>) -> Result<Shown, String> {
    let unreadable = |error| format!("has a certificate that cannot be read: {error}");
    let (_, certificate) = X509Certificate::from_der(der).map_err(unreadable)?;
    let name = certificate.subject().iter_common_name().next();
    let name = name.and_then(|name| name.as_str().ok()).unwrap_or_default().to_owned();
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    let names = alternatives.map(|extension| extension.value.general_names.iter());
    let hosts = names.into_iter().flatten().filter_map(host).collect();
    let until = certificate.validity().not_after.to_datetime();
    Ok(Shown { name, hosts, until, fingerprint: Fingerprint::of(der) })
}

fn host(name: &GeneralName<'_>) -> Option<Host> {
    match name {
        GeneralName::DNSName(name) => Some(Host::Dns((*name).to_owned())),
        GeneralName::IPAddress(bytes) => {
            let four = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let any = four.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
            any.ok().map(Host::Ip)
        }
        _ => None,
    }
}
