//! `hivemem pki`: certificates of one's own.
//!
//! Not here: how they are made (`crate::pki`).

use std::path::Path;

use runtime::disk::Disk;
use serde_json::{Value, json};

use super::show;
use crate::{
    cli::{
        exit::{Code, Failure},
        pki_args::PkiCommand,
    },
    pki::{Authority, Host, Leaf, Name, PkiError, Rotation, Shown, finish, shown},
};

impl From<PkiError> for Failure {
    fn from(error: PkiError) -> Self {
        let code = match &error {
            PkiError::Exists { .. } => Code::Conflict,
            PkiError::NoAuthority { .. } | PkiError::Missing { .. } => Code::NotFound,
            _ => Code::Usage,
        };
        Failure::new(code, error.to_string())
    }
}

fn named(name: &str) -> Result<Name, Failure> {
    Ok(name.parse::<Name>()?)
}

fn facts(path: &Path, shown: &Shown) -> Value {
    let hosts: Vec<String> = shown.hosts.iter().map(Host::to_string).collect();
    json!({
        "certificate": path, "name": shown.name, "hosts": hosts,
        "until": shown.until_text(), "fingerprint": shown.fingerprint.to_string(),
    })
}

/// A line as lists have it, and what it is about.
fn line(shown: &Shown) -> String {
    format!("{} # {} until {}\n", shown.fingerprint, shown.name, shown.until_text())
}

/// Runs the command.
///
/// # Errors
/// [`Failure`] that names the file and the fix.
pub fn run(disk: &dyn Disk, command: &PkiCommand, as_json: bool) -> Result<(), Failure> {
    match command {
        PkiCommand::Init { folder, name, days } => {
            let made = Authority::found(disk, &folder.dir, &named(name)?, *days)?;
            let path = folder.dir.join("ca.crt");
            show(as_json, &facts(&path, &made), |_| {
                let (dir, until) = (folder.dir.display(), made.until_text());
                format!("{dir}/ca.crt and ca.key: good until {until}; keep the key to yourself\n")
            });
        }
        PkiCommand::Issue { name, hosts, days, folder } => {
            let hosts: Result<Vec<Host>, PkiError> = hosts.iter().map(|h| h.parse()).collect();
            let leaf = Leaf { name: named(name)?, hosts: hosts?, days: *days };
            let issued = Authority::open(disk, &folder.dir)?.issue(&leaf)?;
            let path = folder.dir.join(format!("{name}.crt"));
            show(as_json, &facts(&path, &issued), |_| line(&issued));
        }
        PkiCommand::Rotate { name, folder, finish: true, .. } => {
            let path = folder.dir.join(format!("{name}.crt"));
            let done = finish(disk, &folder.dir, &named(name)?)?;
            show(as_json, &facts(&path, &done), |_| line(&done));
        }
        PkiCommand::Rotate { name, days, folder, .. } => {
            let begun = Authority::open(disk, &folder.dir)?.rotate(&named(name)?, *days)?;
            rotation(&folder.dir, name, &begun, as_json);
        }
        PkiCommand::Fingerprint { files } => fingerprints(disk, files, as_json)?,
    }
    Ok(())
}

fn rotation(folder: &Path, name: &str, rotation: &Rotation, as_json: bool) {
    let Rotation { old, new } = rotation;
    let told = json!({
        "old": facts(&folder.join(format!("{name}.crt")), old),
        "new": facts(&folder.join(format!("{name}.next.crt")), new),
    });
    show(as_json, &told, |_| {
        let dir = folder.display();
        format!(
            "1. put this on every list that has the old one:\n   {}2. hivemem pki rotate {name} --finish --dir {dir}\n   \
             and give the node {dir}/{name}.crt and {name}.key; it takes them over within ten seconds\n\
             3. take this off the lists:\n   {}",
            line(new),
            line(old)
        )
    });
}

fn fingerprints(
    disk: &dyn Disk,
    files: &[std::path::PathBuf],
    as_json: bool,
) -> Result<(), Failure> {
    let mut all = Vec::new();
    for path in files {
        all.extend(shown(disk, path)?.into_iter().map(|shown| (path, shown)));
    }
    let told: Value = all.iter().map(|(path, shown)| facts(path, shown)).collect();
    show(as_json, &told, |_| all.iter().map(|(_, shown)| line(shown)).collect());
    Ok(())
}
