//! SHA-256 fingerprints of certificates, and lists of them.
//!
//! Invariants: two spellings of one fingerprint are equal; a list with a line that cannot be read is
//! refused as a whole, naming the line, so a typing error never locks out or lets in silently.
//!
//! Not here: reading files.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use types::Invalid;

/// SHA-256 of a certificate's DER encoding. Reads `sha256:<hex>`, plain hex and hex with colons, in
/// either case; writes 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// The fingerprint of a certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(Sha256::digest(certificate.as_ref()).into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{self}")
    }
}

impl FromStr for Fingerprint {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let lower = text.trim().to_ascii_lowercase();
        let digits = lower.strip_prefix("sha256:").unwrap_or(&lower).replace(':', "");
        let mut bytes = [0; 32];
        match hex::decode_to_slice(&digits, &mut bytes) {
            Ok(()) => Ok(Self(bytes)),
            Err(_) => Err(Invalid::new(
                "fingerprint",
                format!(
                    "{text:?} is not a SHA-256 fingerprint: 64 hexadecimal digits, colons between them allowed"
                ),
            )),
        }
    }
}

/// The certificates that may connect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowlist(BTreeSet<Fingerprint>);

impl Allowlist {
    /// The list with these too.
    #[must_use]
    pub fn with(mut self, more: &[Fingerprint]) -> Self {
        self.0.extend(more);
        self
    }

    /// Whether the certificate with this fingerprint may connect.
    pub fn contains(&self, fingerprint: &Fingerprint) -> bool {
        self.0.contains(fingerprint)
    }

    /// Number of certificates.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody may connect.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Fingerprint> for Allowlist {
    fn from_iter<I: IntoIterator<Item = Fingerprint>>(all: I) -> Self {
        Self(all.into_iter().collect())
    }
}

impl FromStr for Allowlist {
    type Err = Invalid;

    /// One fingerprint per line; `#` starts a comment; empty lines don't count.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let mut all = BTreeSet::new();
        for (index, line) in text.lines().enumerate() {
            let entry = line.split('#').next().unwrap_or_default().trim();
            if entry.is_empty() {
                continue;
            }
            let fingerprint = entry.parse().map_err(|error: Invalid| {
                Invalid::new("allowlist", format!("line {}: {}", index + 1, error.problem))
            })?;
            all.insert(fingerprint);
        }
        Ok(Self(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Fingerprint {
        let mut bytes = [0; 32];
        for (byte, value) in bytes.iter_mut().zip(0xa0..) {
            *byte = value;
        }
        Fingerprint(bytes)
    }

    /// Every spelling that tools print.
    fn spellings(fingerprint: Fingerprint) -> Vec<String> {
        let plain = fingerprint.to_string();
        let pairs: Vec<&str> = (0..32).map(|i| &plain[2 * i..2 * i + 2]).collect();
        let colons = pairs.join(":");
        vec![
            plain.clone(),
            plain.to_uppercase(),
            colons.clone(),
            colons.to_uppercase(),
            format!("sha256:{plain}"),
            format!("SHA256:{}", colons.to_uppercase()),
            format!("  {colons}\t"),
        ]
    }

    #[test]
    fn every_spelling_is_the_same_fingerprint() {
        for text in spellings(sample()) {
            assert_eq!(text.parse(), Ok(sample()), "{text}");
        }
    }

    #[test]
    fn what_is_no_fingerprint_is_refused() {
        let plain = sample().to_string();
        for bad in ["", "zz", &plain[..63], &format!("{plain}00"), &plain.replace('a', "g")] {
            assert_eq!(bad.parse::<Fingerprint>().expect_err(bad).field, "fingerprint");
        }
    }

    #[test]
    fn a_list_takes_comments_and_names_the_bad_line() {
        let text = format!("# peers\n\n{}  # node b\n\t{}\n", sample(), Fingerprint([1; 32]));
        let list: Allowlist = text.parse().expect("a list");
        assert_eq!(list.len(), 2);
        assert!(list.contains(&sample()) && !list.contains(&Fingerprint([2; 32])));
        let error = format!("{text}oops # typo").parse::<Allowlist>().expect_err("bad line");
        assert!(error.problem.starts_with("line 5:"), "{error}");
        assert!("# nobody\n".parse::<Allowlist>().expect("a list").is_empty());
    }
}
