//! A signer with a key that everybody knows: signing costs what it costs a daemon.
//!
//! Not here: keys worth keeping.

use std::sync::Arc;

use ed25519_dalek::{Signer as _, SigningKey};
use sha2::{Digest, Sha256};
use storage::port::Signer;

struct Key(SigningKey);

impl Signer for Key {
    fn sign(&self, digest: &[u8; 32]) -> [u8; 64] {
        self.0.sign(digest).to_bytes()
    }

    fn key_id(&self) -> [u8; 8] {
        let digest: [u8; 32] = Sha256::digest(self.public_key()).into();
        let mut id = [0; 8];
        id.copy_from_slice(&digest[..8]);
        id
    }

    fn public_key(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }
}

/// The signer of everything a benchmark writes.
pub fn known() -> Arc<dyn Signer> {
    Arc::new(Key(SigningKey::from_bytes(&[7; 32])))
}
