//! The node's identity: the Ed25519 key that signs its audit rows, its history and its export.
//!
//! Files, in `identity/` below the data folder: `node.key` (PKCS#8 PEM, mode 0600), `node.pub` (hexadecimal), and
//! `retired/<key id>.pub` for every key that signed before.
//!
//! Invariants: `ID-1` a private key file that others may read is refused, not repaired in silence;
//! `ID-2` a key is never overwritten without being asked to, and its public half is kept for ever so that
//! old rows still verify; `ID-3` the private key is never logged or exported.
//!
//! Not here: certificates (`wire::tls`) and the registry of other nodes' keys.

mod keyfile;

use std::path::{Path, PathBuf};

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use runtime::disk::DiskRef;
use sha2::{Digest, Sha256};
use storage::port::Signer;
use thiserror::Error;

pub use keyfile::{SecretError, read_secret};

/// Why an identity could not be loaded, made or changed. Each message names the file and the fix.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// The key file is readable by others, missing, or not readable at all.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The key file does not contain an Ed25519 key.
    #[error("{} is not an Ed25519 private key in PKCS#8 PEM: {problem}; restore it from your backup, or make a new one with `hivemem identity generate --force`", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What the parser says.
        problem: String,
    },
    /// There is an identity already.
    #[error("{} exists; rotate it with --force (the old public key is kept for verifying)", path.display())]
    Exists {
        /// Which file.
        path: PathBuf,
    },
    /// The disk refused.
    #[error("cannot write {}: {cause}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// The cause.
        cause: std::io::Error,
    },
}

/// What a key signed for, in public.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PublicIdentity {
    /// First 8 bytes of SHA-256 of the public key, hexadecimal; how audit rows name it.
    pub key_id: String,
    /// The public key, hexadecimal.
    pub public_key: String,
    /// SHA-256 of the public key in colon-separated hexadecimal, to compare by eye.
    pub fingerprint: String,
    /// Whether it signs now.
    pub current: bool,
}

/// A node's signing key.
pub struct Identity {
    key: SigningKey,
}

fn key_id(key: &VerifyingKey) -> [u8; 8] {
    let digest = Sha256::digest(key.as_bytes());
    let mut id = [0; 8];
    id.copy_from_slice(&digest[..8]);
    id
}

fn describe(key: &VerifyingKey, current: bool) -> PublicIdentity {
    let digest = Sha256::digest(key.as_bytes());
    let pairs: Vec<String> = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    PublicIdentity {
        key_id: hex::encode(key_id(key)),
        public_key: hex::encode(key.as_bytes()),
        fingerprint: pairs.join(":"),
        current,
    }
}

/// Where identities lie below a data folder.
pub struct Keyring {
    disk: DiskRef,
    folder: PathBuf,
}

impl Keyring {
    /// The key ring of a data folder.
    pub fn new(disk: DiskRef, data_dir: &Path) -> Self {
        Self { disk, folder: data_dir.join("identity") }
    }

    fn key_path(&self) -> PathBuf {
        self.folder.join("node.key")
    }

    /// Loads the identity, or makes one on the first start.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn load_or_generate(&self) -> Result<Identity, IdentityError> {
        match self.load()? {
            Some(identity) => Ok(identity),
            None => self.generate(false),
        }
    }

    /// Loads the identity, if there is one.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn load(&self) -> Result<Option<Identity>, IdentityError> {
        let path = self.key_path();
        let exists = self
            .disk
            .exists(&path)
            .map_err(|cause| SecretError::Unreadable { path: path.clone(), cause })?;
        if !exists {
            return Ok(None);
        }
        let pem = read_secret(&*self.disk, &path)?;
        keyfile::parse(&path, &pem).map(|key| Some(Identity { key }))
    }

    /// Makes a new key. With `force` the old one is retired, its public half kept.
    ///
    /// # Errors
    /// [`IdentityError::Exists`] without `force`.
    pub fn generate(&self, force: bool) -> Result<Identity, IdentityError> {
        let mut seed = zeroize::Zeroizing::new([0; 32]);
        runtime::random::fill(&mut *seed);
        self.install(SigningKey::from_bytes(&seed), force)
    }

    /// Takes over a key from a PEM file.
    ///
    /// # Errors
    /// [`IdentityError`]; the file must be mode 0600 like our own.
    pub fn import(&self, from: &Path, force: bool) -> Result<Identity, IdentityError> {
        let pem = read_secret(&*self.disk, from)?;
        self.install(keyfile::parse(from, &pem)?, force)
    }

    fn install(&self, key: SigningKey, force: bool) -> Result<Identity, IdentityError> {
        let path = self.key_path();
        let written = |path: &Path| {
            let path = path.to_owned();
            move |cause| IdentityError::Write { path, cause }
        };
        let retired = self.folder.join("retired");
        self.disk.create_dir_all(&retired).map_err(written(&retired))?;
        if self.disk.exists(&path).map_err(written(&path))? {
            if !force {
                return Err(IdentityError::Exists { path });
            }
            self.retire(&retired)?;
        }
        let pem = keyfile::to_pem(&path, &key)?;
        let write = |path: &Path, bytes: &[u8], mode| {
            runtime::disk::write_atomically(&*self.disk, path, bytes, mode).map_err(written(path))
        };
        write(&path, pem.as_bytes(), 0o600)?;
        let public = hex::encode(key.verifying_key().as_bytes());
        write(&self.folder.join("node.pub"), format!("{public}\n").as_bytes(), 0o644)?;
        Ok(Identity { key })
    }

    /// Keeps the public half of the current key. A private key that can no longer be read has no
    /// public half to derive, so the one beside it is kept instead.
    fn retire(&self, retired: &Path) -> Result<(), IdentityError> {
        let public = match self.load() {
            Ok(Some(old)) => hex::encode(old.key.verifying_key().as_bytes()),
            _ => {
                let beside = self.folder.join("node.pub");
                let bytes = runtime::disk::read_all(&*self.disk, &beside).unwrap_or_default();
                String::from_utf8_lossy(&bytes).trim().to_owned()
            }
        };
        let Some(key) = keyfile::public(&public) else { return Ok(()) };
        let path = retired.join(format!("{}.pub", hex::encode(key_id(&key))));
        runtime::disk::write_atomically(&*self.disk, &path, format!("{public}\n").as_bytes(), 0o644)
            .map_err(|cause| IdentityError::Write { path, cause })
    }

    /// The public halves of the keys that signed before.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn retired(&self) -> Result<Vec<VerifyingKey>, IdentityError> {
        let all = self.list()?.into_iter().filter(|identity| !identity.current);
        Ok(all.filter_map(|identity| keyfile::public(&identity.public_key)).collect())
    }

    /// The current identity and all retired ones, the current first.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn list(&self) -> Result<Vec<PublicIdentity>, IdentityError> {
        let current = self.load()?.map(|identity| describe(&identity.key.verifying_key(), true));
        let mut all: Vec<PublicIdentity> = current.into_iter().collect();
        let retired = self.folder.join("retired");
        for name in self.disk.list(&retired).unwrap_or_default() {
            let bytes =
                runtime::disk::read_all(&*self.disk, &retired.join(name)).unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes).trim().to_owned();
            if let Some(key) = keyfile::public(&text) {
                all.push(describe(&key, false));
            }
        }
        Ok(all)
    }
}

impl Identity {
    /// What may be shown of it.
    pub fn public(&self) -> PublicIdentity {
        describe(&self.key.verifying_key(), true)
    }
}

impl Identity {
    /// The public key.
    pub fn verifying_key(&self) -> VerifyingKey {
        self.key.verifying_key()
    }
}

impl federation::sealed::Identity for Identity {
    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }
}

impl Signer for Identity {
    fn sign(&self, digest: &[u8; 32]) -> [u8; 64] {
        self.key.sign(digest).to_bytes()
    }

    fn key_id(&self) -> [u8; 8] {
        key_id(&self.key.verifying_key())
    }

    fn public_key(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }
}

#[cfg(test)]
mod tests {
    use runtime::disk::OsDisk;

    use super::*;

    fn ring(folder: &tempfile::TempDir) -> Keyring {
        Keyring::new(OsDisk::shared(), folder.path())
    }

    #[test]
    fn the_first_start_makes_a_key_that_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = ring(&folder).load_or_generate().expect("made").public();
        let again = ring(&folder).load_or_generate().expect("loaded").public();
        assert_eq!(first, again);
        assert!(matches!(ring(&folder).generate(false), Err(IdentityError::Exists { .. })), "ID-2");
    }

    #[test]
    fn rotation_keeps_the_old_public_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let old = ring(&folder).generate(false).expect("made").public();
        let new = ring(&folder).generate(true).expect("rotated").public();
        let all = ring(&folder).list().expect("listed");
        assert_eq!((all.len(), &all[0]), (2, &new));
        assert_eq!((&all[1].public_key, all[1].current), (&old.public_key, false), "ID-2");
    }

    #[test]
    fn lax_permissions_and_damage_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        ring(&folder).generate(false).expect("made");
        let path = folder.path().join("identity/node.key");
        OsDisk::shared().set_mode(&path, 0o644).expect("changed");
        let lax = ring(&folder).load().err().expect("ID-1").to_string();
        assert!(lax.contains("chmod 600"), "{lax}");
        OsDisk::shared().set_mode(&path, 0o600).expect("changed");
        std::fs::write(&path, "-----BEGIN nonsense").expect("written");
        let damaged = ring(&folder).load().err().expect("not a key").to_string();
        assert!(damaged.contains("node.key") && damaged.contains("--force"), "{damaged}");
        ring(&folder).generate(true).expect("a damaged key can be replaced");
    }
}
