//! Secrets in files: permission check, parsing, writing.
//!
//! Invariant: text that held a secret is wiped when it is dropped.
//!
//! Not here: where the files lie.

use std::path::{Path, PathBuf};

use ed25519_dalek::{
    SigningKey, VerifyingKey,
    pkcs8::{DecodePrivateKey, EncodePrivateKey, spki::der::pem::LineEnding},
};
use runtime::disk::Disk;
use thiserror::Error;
use zeroize::Zeroizing;

use super::IdentityError;

/// Why a secret's file was not used.
#[derive(Debug, Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("cannot read {}: {cause}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// The cause.
        cause: std::io::Error,
    },
    /// Others may read it.
    #[error("{} has mode {mode:04o}, so others may read the secret in it; run `chmod 600 {}`", path.display(), path.display())]
    Lax {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is empty or not text.
    #[error("{} does not contain a secret: {problem}", path.display())]
    Empty {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
}

/// Reads a secret, without the white space around it.
///
/// # Errors
/// [`SecretError`]; in particular when group or others have any permission on the file.
pub fn read_secret(disk: &dyn Disk, path: &Path) -> Result<Zeroizing<String>, SecretError> {
    let unreadable = |cause| SecretError::Unreadable { path: path.to_owned(), cause };
    let mode = disk.metadata(path).map_err(unreadable)?.mode;
    if mode & 0o077 != 0 {
        return Err(SecretError::Lax { path: path.to_owned(), mode });
    }
    let bytes = Zeroizing::new(runtime::disk::read_all(disk, path).map_err(unreadable)?);
    let empty = |problem| SecretError::Empty { path: path.to_owned(), problem };
    let text = std::str::from_utf8(&bytes).map_err(|_| empty("it is not UTF-8 text"))?.trim();
    if text.is_empty() {
        return Err(empty("it is empty"));
    }
    Ok(Zeroizing::new(text.to_owned()))
}

pub(super) fn parse(path: &Path, pem: &str) -> Result<SigningKey, IdentityError> {
    SigningKey::from_pkcs8_pem(pem).map_err(|error| IdentityError::Malformed {
        path: path.to_owned(),
        problem: error.to_string(),
    })
}

pub(super) fn to_pem(path: &Path, key: &SigningKey) -> Result<Zeroizing<String>, IdentityError> {
    key.to_pkcs8_pem(LineEnding::LF).map_err(|error| IdentityError::Malformed {
        path: path.to_owned(),
        problem: error.to_string(),
    })
}

/// A public key from its hexadecimal form, if it is one that may be trusted to verify.
pub(super) fn public(text: &str) -> Option<VerifyingKey> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    VerifyingKey::from_bytes(&bytes).ok().filter(|key| !key.is_weak())
}
