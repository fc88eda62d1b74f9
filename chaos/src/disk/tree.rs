//! Numbers for names: the kernel speaks of files by number, the disk by name.
//!
//! Invariant: a number means one file until the kernel forgets it, whatever it is called meanwhile.
//!
//! Not here: what is in the files.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Number of the folder that is mounted (FUSE_ROOT_ID).
pub const ROOT: u64 = 1;

/// Numbers and names.
#[derive(Debug)]
pub struct Tree {
    names: BTreeMap<u64, PathBuf>,
    numbers: BTreeMap<PathBuf, u64>,
    last: u64,
}

impl Default for Tree {
    fn default() -> Self {
        let (root, last) = (PathBuf::new(), ROOT);
        Self { names: [(ROOT, root.clone())].into(), numbers: [(root, ROOT)].into(), last }
    }
}

impl Tree {
    /// What a file is called now; `None` once it has no name.
    pub fn name(&self, number: u64) -> Option<&Path> {
        self.names.get(&number).map(PathBuf::as_path)
    }

    /// The number of a name, which gets one.
    pub fn number(&mut self, path: &Path) -> u64 {
        if let Some(number) = self.numbers.get(path) {
            return *number;
        }
        self.last += 1;
        self.names.insert(self.last, path.to_owned());
        self.numbers.insert(path.to_owned(), self.last);
        self.last
    }

    /// A name is gone.
    pub fn removed(&mut self, path: &Path) {
        if let Some(number) = self.numbers.remove(path) {
            self.names.remove(&number);
        }
    }

    /// A file, or a folder with all that is in it, has another name.
    pub fn renamed(&mut self, from: &Path, to: &Path) {
        self.removed(to);
        let below = self.numbers.range(from.to_owned()..);
        let moved: Vec<(PathBuf, u64)> = below
            .take_while(|(path, _)| path.starts_with(from))
            .map(|(path, number)| (path.clone(), *number))
            .collect();
        for (path, number) in moved {
            let rest = path.strip_prefix(from).unwrap_or(Path::new(""));
            let now = if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) };
            self.numbers.remove(&path);
            self.numbers.insert(now.clone(), number);
            self.names.insert(number, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_follows_its_file() {
        let mut tree = Tree::default();
        assert_eq!(tree.number(Path::new("")), ROOT);
        let old = tree.number(Path::new("log/a.tmp"));
        assert_eq!(tree.number(Path::new("log/a.tmp")), old);
        let replaced = tree.number(Path::new("log/a"));
        tree.renamed(Path::new("log/a.tmp"), Path::new("log/a"));
        assert_eq!(tree.name(old), Some(Path::new("log/a")));
        assert_eq!(tree.name(replaced), None);
        tree.number(Path::new("logs"));
        tree.renamed(Path::new("log"), Path::new("old"));
        assert_eq!(tree.name(old), Some(Path::new("old/a")));
        assert!(tree.numbers.contains_key(Path::new("logs")), "another folder");
        tree.removed(Path::new("old/a"));
        assert_eq!(tree.name(old), None);
        assert_ne!(tree.number(Path::new("old/a")), old);
    }
}
