//! Where it happens: a folder, and a PostgreSQL with PgBouncer in it.
//!
//! Invariant: a run begins with a new server, which is stopped in good order at the end, and removed with a folder that was
//! not named.
//!
//! Not here: how servers are made (`deploy/postgres`).

use std::{
    env,
    fs::File,
    io,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

/// Data folder that is filled, and only copied from.
pub const FILLED: &str = "filled";
/// Data folder of the node whose memories are in a file.
pub const FILE: &str = "file";
/// Data folder of the node whose memories are in the database.
pub const DATABASE: &str = "database";

/// A folder with a server.
pub struct Place {
    folder: PathBuf,
    /// The database.
    pub direct: String,
    /// The same, through PgBouncer.
    pub pooled: String,
    /// Removed at the end.
    temporary: Option<TempDir>,
}

/// What the server reads before it is measured.
const READ_ALL: &str = "CREATE EXTENSION IF NOT EXISTS pg_prewarm;
    SELECT sum(pg_prewarm(oid)) FROM pg_class
    WHERE relkind IN ('r', 'i') AND relnamespace = CAST('public' AS regnamespace)";

fn server(command: &str, folder: &Path) -> Result<String> {
    server_does(command, folder, &[])
}

fn server_does(command: &str, folder: &Path, words: &[&str]) -> Result<String> {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/postgres");
    let mut server = Command::new(scripts.join("server.sh"));
    // Indexes are made by several processes in memory that they share: it should not be a file.
    server.arg(command).arg(folder).args(words).env("DYNAMIC_SHARED_MEMORY", "sysv");
    if env::var_os("SHARED_BUFFERS").is_none() {
        server.env("SHARED_BUFFERS", "4GB");
    }
    let output = server.output().context("deploy/postgres/server.sh")?;
    if !output.status.success() {
        bail!("server.sh {command}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn url(told: &str, name: &str) -> Result<String> {
    let line = told.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    Ok(line
        .with_context(|| format!("server.sh did not tell {name}"))?
        .trim_matches('\'')
        .to_owned())
}

impl Place {
    /// Starts it.
    pub fn new() -> Result<Self> {
        let install = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/postgres/install.sh");
        let installed = Command::new(install).output().context("deploy/postgres/install.sh")?;
        if !installed.status.success() {
            bail!("install.sh: {}", String::from_utf8_lossy(&installed.stderr));
        }
        let named = env::var_os("HIVEMEM_BENCH_FOLDER").map(PathBuf::from);
        let temporary = if named.is_none() { Some(tempfile::tempdir()?) } else { None };
        let folder = named.or_else(|| Some(temporary.as_ref()?.path().to_owned()));
        let folder = folder.context("a folder was named, or made")?;
        std::fs::create_dir_all(&folder)?;
        let folder = folder.canonicalize()?;
        let servers = folder.join("server");
        if servers.exists() {
            server("destroy", &servers)?;
        }
        server("start", &servers)?;
        let mut place = Self { direct: String::new(), pooled: String::new(), folder, temporary };
        let told = server("bouncer", &servers)?;
        place.direct = url(&told, "HIVEMEM_TEST_POSTGRES_URL")?;
        place.pooled = url(&told, "HIVEMEM_TEST_POSTGRES_BOUNCER_URL")?;
        Ok(place)
    }

    /// Has the server read all into memory, as if it had run for long, and the system what is in the file.
    pub fn warm(&self) -> Result<()> {
        let words = ["-U", "postgres", "-v", "ON_ERROR_STOP=1", "-c", READ_ALL];
        server_does("psql", &self.path("server"), &words)?;
        read_all(&self.path(FILE))
    }

    /// Something in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

fn read_all(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => read_all(&path)?,
            false => drop(io::copy(&mut File::open(path)?, &mut io::sink())?),
        }
    }
    Ok(())
}

impl Drop for Place {
    fn drop(&mut self) {
        let servers = self.path("server");
        let ended = server("stop", &servers).and_then(|told| match self.temporary {
            Some(_) => server("destroy", &servers),
            None => Ok(told),
        });
        if let Err(error) = ended {
            eprintln!("the server may still run: {error:#}");
        }
    }
}
