//! An authority's folder: `ca.crt` and `ca.key`, and of each that it issued `NAME.crt` and `NAME.key`.
//!
//! Invariants: `PKI-1`, `PKI-2`, `PKI-3` of the parent module; `PKI-4` a rotation that was interrupted is ended by
//! asking again.
//!
//! Not here: reading certificates of others (`shown`).

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber,
};
use runtime::{
    clock,
    disk::{Disk, read_all, write_atomically},
};
use time::{Duration, OffsetDateTime};

use super::{
    DAYS_MAX, Host, Name, PkiError,
    shown::{Shown, shown},
};
use crate::identity::read_secret;

/// How far a clock may be behind that of the machine that issues, in minutes.
const BEHIND_MINUTES: i64 = 60;
/// Name of the authority's files.
const AUTHORITY: &str = "ca";

/// What is issued to one node or agent.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// Its name.
    pub name: Name,
    /// Where it is reached; nowhere for one that is only a client.
    pub hosts: Vec<Host>,
    /// Days that it is good for, 1 to [`DAYS_MAX`].
    pub days: u32,
}

/// A rotation that has begun: the new certificate waits beside the old one.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// In use.
    pub old: Shown,
    /// To be put on lists first.
    pub new: Shown,
}

/// An authority.
pub struct Authority<'d> {
    disk: &'d dyn Disk,
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    until: OffsetDateTime,
}

fn file(folder: &Path, name: &str, end: &str) -> PathBuf {
    folder.join(format!("{name}.{end}"))
}

/// From when to when something issued now is good.
fn span(days: u32) -> Result<(OffsetDateTime, OffsetDateTime), PkiError> {
    if !(1..=DAYS_MAX).contains(&days) {
        let problem = format!("{days} is not between 1 and {DAYS_MAX}");
        return Err(PkiError::Value { field: "days", problem });
    }
    let seconds = i64::try_from(clock::now_unix_ms() / 1000).unwrap_or(i64::MAX);
    let now = OffsetDateTime::from_unix_timestamp(seconds).map_err(|error| PkiError::Value {
        field: "clock",
        problem: format!("this machine's time cannot stand in a certificate: {error}"),
    })?;
    Ok((now - Duration::minutes(BEHIND_MINUTES), now + Duration::days(i64::from(days))))
}

fn serial() -> SerialNumber {
    // 127 bits: positive, and of one length (RFC 5280, section 4.1.2.2).
    let mut bytes = [0; 16];
    runtime::random::fill(&mut bytes);
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    SerialNumber::from_slice(&bytes)
}

/// Writes a key and a certificate; neither is there yet.
fn write(
    disk: &dyn Disk,
    folder: &Path,
    name: &str,
    key: &KeyPair,
    certificate: &str,
) -> Result<(), PkiError> {
    let key_text = zeroize::Zeroizing::new(key.serialize_pem());
    for (end, text, mode) in [("key", key_text.as_str(), 0o600), ("crt", certificate, 0o644)] {
        let path = file(folder, name, end);
        write_atomically(disk, &path, text.as_bytes(), mode).map_err(|cause| PkiError::File {
            action: "write",
            path,
            cause,
        })?;
    }
    Ok(())
}

fn is_there(disk: &dyn Disk, path: &Path) -> Result<bool, PkiError> {
    let unreadable = |cause| PkiError::File { action: "read", path: path.to_owned(), cause };
    disk.exists(path).map_err(unreadable)
}

/// Fails when one of a pair is there.
fn vacant(disk: &dyn Disk, folder: &Path, name: &str, fix: &'static str) -> Result<(), PkiError> {
    for path in ["crt", "key"].map(|end| file(folder, name, end)) {
        if is_there(disk, &path)? {
            return Err(PkiError::Exists { path, fix });
        }
    }
    Ok(())
}

impl<'d> Authority<'d> {
    /// Makes an authority in a folder, which is made too where it is not there.
    ///
    /// # Errors
    /// [`PkiError::Exists`] when there is one already.
    pub fn found(
        disk: &'d dyn Disk,
        folder: &Path,
        name: &Name,
        days: u32,
    ) -> Result<Shown, PkiError> {
        let made = disk.create_dir_all(folder);
        made.map_err(|cause| PkiError::File { action: "make", path: folder.to_owned(), cause })?;
        vacant(disk, folder, AUTHORITY, "an authority is made once; choose another --dir")?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name.to_string());
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.serial_number = Some(serial());
        (params.not_before, params.not_after) = span(days)?;
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        write(disk, folder, AUTHORITY, &key, &certificate.pem())?;
        one(disk, &file(folder, AUTHORITY, "crt"))
    }

    /// The authority in a folder.
    ///
    /// # Errors
    /// [`PkiError::NoAuthority`], or one that names the file that cannot be used.
    pub fn open(disk: &'d dyn Disk, folder: &Path) -> Result<Self, PkiError> {
        let (certificate, key) = (file(folder, AUTHORITY, "crt"), file(folder, AUTHORITY, "key"));
        for path in [&certificate, &key] {
            if !is_there(disk, path)? {
                let (path, folder) = (path.clone(), folder.to_owned());
                return Err(PkiError::NoAuthority { path, folder });
            }
        }
        let until = one(disk, &certificate)?.until;
        let bytes = read_all(disk, &certificate).map_err(|cause| PkiError::File {
            action: "read",
            path: certificate.clone(),
            cause,
        })?;
        let content =
            |path: &Path, problem: String| PkiError::Content { path: path.to_owned(), problem };
        let pair = KeyPair::from_pem(&read_secret(disk, &key)?)
            .map_err(|error| content(&key, format!("is no private key: {error}")))?;
        let pem = String::from_utf8_lossy(&bytes);
        let issuer = Issuer::from_ca_cert_pem(&pem, pair)
            .map_err(|error| content(&certificate, format!("is no authority's: {error}")))?;
        Ok(Self { disk, folder: folder.to_owned(), issuer, until })
    }

    /// Issues a certificate and its key.
    ///
    /// # Errors
    /// [`PkiError::Exists`] when the name is taken.
    pub fn issue(&self, leaf: &Leaf) -> Result<Shown, PkiError> {
        let fix = "replace it with `hivemem pki rotate`, or choose another name";
        vacant(self.disk, &self.folder, &leaf.name.0, fix)?;
        self.sign(leaf, &leaf.name.0)
    }

    /// Issues the next certificate of a name, for the same hosts, beside the one that is in use.
    ///
    /// # Errors
    /// [`PkiError::Missing`] when there is none to follow, [`PkiError::Exists`] when a rotation has begun already.
    pub fn rotate(&self, name: &Name, days: u32) -> Result<Rotation, PkiError> {
        let path = file(&self.folder, &name.0, "crt");
        if !is_there(self.disk, &path)? {
            let fix = format!("issue it with `hivemem pki issue {name}`");
            return Err(PkiError::Missing { path, fix });
        }
        let next = next(name);
        vacant(
            self.disk,
            &self.folder,
            &next,
            "a rotation has begun; end it with --finish, or remove it",
        )?;
        let old = one(self.disk, &path)?;
        let hosts = old.hosts.clone();
        let new = self.sign(&Leaf { name: name.clone(), hosts, days }, &next)?;
        Ok(Rotation { old, new })
    }

    fn sign(&self, leaf: &Leaf, files: &str) -> Result<Shown, PkiError> {
        if leaf.name.0 == AUTHORITY {
            let problem = format!("{AUTHORITY} is the authority's own");
            return Err(PkiError::Value { field: "name", problem });
        }
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, leaf.name.to_string());
        params.subject_alt_names = leaf.hosts.iter().map(san).collect::<Result<_, _>>()?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // Nodes listen and dial with the same certificate.
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(serial());
        (params.not_before, params.not_after) = span(leaf.days)?;
        if params.not_after > self.until {
            let left = (self.until - params.not_before).whole_days();
            let problem = format!(
                "the authority itself ends {}; choose at most {left}, or make a new authority",
                self.until.date()
            );
            return Err(PkiError::Value { field: "days", problem });
        }
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        write(self.disk, &self.folder, files, &key, &certificate.pem())?;
        one(self.disk, &file(&self.folder, files, "crt"))
    }
}

fn san(host: &Host) -> Result<SanType, PkiError> {
    Ok(match host {
        Host::Ip(ip) => SanType::IpAddress(*ip),
        Host::Dns(name) => SanType::DnsName(name.as_str().try_into()?),
    })
}

fn next(name: &Name) -> String {
    format!("{name}.next")
}

/// The first certificate of a file.
fn one(disk: &dyn Disk, path: &Path) -> Result<Shown, PkiError> {
    let empty =
        || PkiError::Content { path: path.to_owned(), problem: "has no certificate".to_owned() };
    shown(disk, path)?.into_iter().next().ok_or_else(empty)
}

/// Puts the certificate that waits in the place of the old one.
///
/// # Errors
/// [`PkiError::Missing`] when none waits.
pub fn finish(disk: &dyn Disk, folder: &Path, name: &Name) -> Result<Shown, PkiError> {
    let mut moved = false;
    // The key first: a pair that does not fit is refused by who reads it, and the pair before stays in use.
    for end in ["key", "crt"] {
        let (from, to) = (file(folder, &next(name), end), file(folder, &name.0, end));
        if is_there(disk, &from)? {
            let done = disk.rename(&from, &to).and_then(|()| disk.sync_dir(folder));
            done.map_err(|cause| PkiError::File { action: "replace", path: to, cause })?;
            moved = true;
        }
    }
    if !moved {
        let path = file(folder, &next(name), "crt");
        return Err(PkiError::Missing {
            path,
            fix: format!("begin with `hivemem pki rotate {name}`"),
        });
    }
    one(disk, &file(folder, &name.0, "crt"))
}
