//! Certificates of one's own: an authority in a folder, and what it issues to nodes and agents.
//!
//! Invariants: `PKI-1` nothing that exists is overwritten, but what a rotation replaces when its operator ends it;
//! `PKI-2` a private key is on the disk before the certificate that needs it, with mode 0600; `PKI-3` a certificate
//! does not outlive its authority's.
//!
//! Not here: who believes a certificate (allowlists and lists of peers do, by its fingerprint), revocation lists:
//! taking a fingerprint off a list is how a certificate is revoked.

mod authority;
mod shown;
#[cfg(test)]
mod tests;

use std::{io, net::IpAddr, path::PathBuf};

use thiserror::Error;

pub use self::{
    authority::{Authority, Leaf, Rotation, finish},
    shown::{Shown, shown},
};

/// Longest name of a certificate, in bytes.
const NAME_MAX: usize = 64;
/// Most days that a certificate is good for.
pub const DAYS_MAX: u32 = 36_500;

/// Why a certificate cannot be had.
#[derive(Debug, Error)]
pub enum PkiError {
    /// A file cannot be read or written.
    #[error("cannot {action} {}: {cause}", path.display())]
    File {
        /// Read or write.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// It would overwrite what is there.
    #[error("{} exists; {fix}", path.display())]
    Exists {
        /// Which file.
        path: PathBuf,
        /// What to do instead.
        fix: &'static str,
    },
    /// There is no authority in the folder.
    #[error("{} is not there; make an authority with `hivemem pki init --dir {}`", path.display(), folder.display())]
    NoAuthority {
        /// Which file is missing.
        path: PathBuf,
        /// The folder.
        folder: PathBuf,
    },
    /// There is no certificate to rotate, or none that waits.
    #[error("{} is not there; {fix}", path.display())]
    Missing {
        /// Which file.
        path: PathBuf,
        /// What to do first.
        fix: String,
    },
    /// A value that cannot be used.
    #[error("{field}: {problem}")]
    Value {
        /// Which.
        field: &'static str,
        /// What is wrong, and what would do.
        problem: String,
    },
    /// A file does not contain what it should.
    #[error("{} {problem}", path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A key that others may read.
    #[error(transparent)]
    Secret(#[from] crate::identity::SecretError),
    /// The certificate cannot be made.
    #[error("the certificate cannot be made: {0}")]
    Make(#[from] rcgen::Error),
}

/// What a certificate is called: 1 to 64 letters, digits, dots, dashes and underscores, the first a letter or digit.
/// It is the common name, and the name of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

impl std::str::FromStr for Name {
    type Err = PkiError;

    fn from_str(text: &str) -> Result<Self, PkiError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if begins && text.len() <= NAME_MAX && text.chars().all(fits) {
            return Ok(Self(text.to_owned()));
        }
        Err(PkiError::Value {
            field: "name",
            problem: format!(
                "{text:?} cannot name a file; use 1 to {NAME_MAX} letters, digits, dots, dashes and underscores, \
                 beginning with a letter or digit"
            ),
        })
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a server is reached: what its clients check the certificate against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// An address.
    Ip(IpAddr),
    /// A DNS name.
    Dns(String),
}

impl std::str::FromStr for Host {
    type Err = PkiError;

    fn from_str(text: &str) -> Result<Self, PkiError> {
        if let Ok(ip) = text.parse() {
            return Ok(Self::Ip(ip));
        }
        let label = |label: &str| {
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
            !label.is_empty() && label.len() <= 63 && label.chars().all(fits)
        };
        // A wildcard stands for one whole label, the first (RFC 9525, section 6.3).
        let plain = text.strip_prefix("*.").unwrap_or(text);
        if text.len() <= 253 && plain.split('.').all(label) {
            return Ok(Self::Dns(text.to_owned()));
        }
        Err(PkiError::Value {
            field: "host",
            problem: format!("{text:?} is neither an IP address nor a DNS name (without a port)"),
        })
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Dns(name) => f.write_str(name),
        }
    }
}
