//! Trust on first use: a node's row on its way to another's list, compared by people.
//!
//! Invariants: `TRU-1` a row is added only under the fingerprint that somebody compared by another way, and the
//! fingerprint is of everything that the row makes others believe: node, keys and certificates; `TRU-2` a
//! row comes without a scope, so whoever adds it says what it may send and see; `TRU-3` the list is replaced
//! whole or not at all, and only by one that fits.
//!
//! Not here: asking people (`cli`), what the list means (`list`).

use std::path::Path;

use runtime::disk::Disk;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::list::{self, PeersError, Row};

/// Bytes of the digest that people compare.
const COMPARED: usize = 16;
const DOMAIN: &[u8] = b"hivemem peer row v1\0";

/// What people compare of a row: 32 hexadecimal digits in groups of four.
///
/// # Errors
/// The row does not fit.
pub fn fingerprint(row: &Row) -> Result<String, PeersError> {
    let path = Path::new("row");
    let listed = list::parse(path, &list::show(row.clone()))?;
    let mut hash = Sha256::new();
    hash.update(DOMAIN);
    for member in &listed.members {
        hash.update(member.node.as_bytes());
        hash.update((member.keys.len() as u64).to_be_bytes());
        member.keys.iter().for_each(|key| hash.update(key.as_bytes()));
        let certificates = listed.certificates.get(&member.node).into_iter().flatten();
        certificates.for_each(|certificate| hash.update(certificate.0));
    }
    let digits = hex::encode(&hash.finalize()[..COMPARED]);
    let groups: Vec<&str> = (0..digits.len() / 4).map(|at| &digits[4 * at..4 * at + 4]).collect();
    Ok(groups.join("-"))
}

/// Whether two fingerprints are the same, however they are written.
pub fn same(one: &str, other: &str) -> bool {
    let digits = |text: &str| -> String {
        let plain = text.chars().filter(|c| !matches!(c, '-' | ':' | ' '));
        plain.collect::<String>().to_ascii_lowercase()
    };
    digits(one) == digits(other)
}

/// A row as it is handed to others, with its fingerprint for people to find.
///
/// # Errors
/// The row does not fit.
pub fn export(row: Row) -> Result<String, PeersError> {
    let fingerprint = fingerprint(&row)?;
    let shown = list::show(Row { agents: Vec::new(), namespaces: Vec::new(), ..row });
    Ok(format!("# fingerprint, to be compared by another way: {fingerprint}\n{shown}"))
}

/// The one row of a file.
///
/// # Errors
/// [`PeersError`].
pub fn read(disk: &dyn Disk, path: &Path) -> Result<Row, PeersError> {
    let unreadable = |cause| PeersError::Unreadable { path: path.to_path_buf(), cause };
    let bytes = runtime::disk::read_all(disk, path).map_err(unreadable)?;
    let mut rows = list::rows(path, &String::from_utf8_lossy(&bytes))?;
    match (rows.pop(), rows.is_empty()) {
        (Some(row), true) => Ok(row),
        _ => Err(PeersError::Malformed {
            path: path.to_path_buf(),
            problem: "needs exactly one [[peer]], as `hivemem identity export` writes it"
                .to_owned(),
        }),
    }
}

/// Adds a row to a list, which begins with it if there is none yet.
///
/// # Errors
/// [`PeersError`]; the list is as it was.
pub fn add(disk: &dyn Disk, path: &Path, row: Row) -> Result<(), PeersError> {
    let unreadable = |cause| PeersError::Unreadable { path: path.to_path_buf(), cause };
    let mut text = match disk.exists(path).map_err(unreadable)? {
        true => {
            let bytes = runtime::disk::read_all(disk, path).map_err(unreadable)?;
            String::from_utf8_lossy(&bytes).into_owned()
        }
        false => String::new(),
    };
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&list::show(row));
    list::parse(path, &text)?;
    let written = runtime::disk::write_atomically(disk, path, text.as_bytes(), 0o644);
    written.map_err(|cause| PeersError::Unwritable { path: path.to_path_buf(), cause })
}

/// A row of a node that says this of itself.
pub fn row(
    name: &str,
    node: Uuid,
    endpoint: &str,
    keys: Vec<String>,
    certificates: Vec<String>,
) -> Row {
    Row {
        name: name.to_owned(),
        node: node.to_string(),
        endpoint: Some(endpoint.to_owned()),
        public_keys: keys,
        certificates,
        agents: Vec::new(),
        namespaces: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use runtime::disk::OsDisk;

    use super::*;

    const KEY: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

    fn sample() -> Row {
        let certificates = vec!["ab".repeat(32)];
        row("b", Uuid::from_u128(7), "127.0.0.1:7748", vec![KEY.to_owned()], certificates)
    }

    #[test]
    fn a_fingerprint_is_of_everything_that_is_believed_and_nothing_else() {
        let of = |row: &Row| fingerprint(row).expect("it fits");
        let first = of(&sample());
        assert_eq!((first.len(), first.matches('-').count()), (39, 7));
        let renamed = Row { name: "c".to_owned(), endpoint: None, ..sample() };
        let scoped = Row { agents: vec!["*".to_owned()], ..sample() };
        assert!(of(&renamed) == first && of(&scoped) == first);
        let node = Row { node: Uuid::from_u128(8).to_string(), ..sample() };
        let bare = Row { certificates: Vec::new(), ..sample() };
        let keys = Row { public_keys: vec![KEY.to_owned(), KEY.to_owned()], ..sample() };
        for other in [node, bare, keys] {
            assert_ne!(of(&other), first, "TRU-1");
        }
        assert!(same(&first, &first.to_uppercase().replace('-', ":")) && !same(&first, "ab"));
    }

    #[test]
    fn a_row_is_added_whole_or_not_at_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, path) = (folder.path().join("b.toml"), folder.path().join("peers.toml"));
        let generous = Row { agents: vec!["*".to_owned()], ..sample() };
        std::fs::write(&from, export(generous).expect("it fits")).expect("written");
        let row = read(&OsDisk, &from).expect("one row");
        assert_eq!(row, sample(), "TRU-2");
        add(&OsDisk, &path, row.clone()).expect("added");
        let before = std::fs::read(&path).expect("a list");
        assert!(add(&OsDisk, &path, row.clone()).is_err(), "twice");
        let odd = Row { name: "c".to_owned(), node: "x".to_owned(), ..row.clone() };
        assert!(add(&OsDisk, &path, odd).is_err(), "TRU-3");
        assert_eq!(std::fs::read(&path).expect("a list"), before, "TRU-3");
        std::fs::write(&path, "# ours, without an end of line").expect("written");
        add(&OsDisk, &path, row).expect("added");
        let text = std::fs::read_to_string(&path).expect("a list");
        assert!(text.starts_with("# ours, without an end of line\n[[peer]]"), "{text}");
        assert!(read(&OsDisk, &from).is_ok());
        std::fs::write(&from, "").expect("written");
        assert!(read(&OsDisk, &from).expect_err("none").to_string().contains("exactly one"));
    }
}
