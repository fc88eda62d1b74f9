//! The two places: a file in the node's folder, and a database on a server.
//!
//! A file that a node has open is read beside it, by connections that are as short-lived as a page: a node that is started
//! meanwhile renews its log, and what was read wrongly then is read again when the folder is held.
//!
//! Invariants: `MOV-2`; the file of an unfinished copy has a name of its own, and a database says so in `meta`.
//!
//! Not here: what is copied (`sweep`).

use std::{
    cell::OnceCell,
    path::{Path, PathBuf},
};

use runtime::disk::{DiskRef, OpenMode};
use types::NodeId;

use super::{
    MoveError, Plan, Way,
    tables::{OWN_SPACE, Side},
};
use crate::{
    OpenError,
    postgres::{
        PostgresConfig,
        engine::PostgresEngine,
        schema as server_schema,
        store::{engine, refused},
    },
    rows::{
        engine::{Engine, Role},
        row::unsigned,
        vectors,
    },
    sql::{self, Connection, OptionalExtension, Value, session::LONG_LIMIT},
    sqlite::{DATABASE_FILE, checkpoint, connection, open, schema as file_schema},
};

/// Name of the file of an unfinished copy.
pub(super) const INCOMING_FILE: &str = "hivemem.db.incoming";
/// Name that the file is left under when its memories have gone.
pub(super) const MOVED_FILE: &str = "hivemem.db.moved";
/// What SQLite keeps beside a file.
const BESIDE: [&str; 2] = ["-wal", "-shm"];
/// Page cache of a connection to a file, KiB.
const CACHE_KIB: u32 = 16 * 1024;

/// Says in `meta` that a copy into the database is not finished; the value is whose it is.
const MOVING_IN: &str = "moving_in";
/// Says in `meta` that the memories are in a file again.
const MOVED_AWAY: &str = "moved_away";

/// A place with memories.
pub(super) struct End {
    pub(super) side: Side,
    place: Place,
    /// For what is written, once it is needed.
    writer: OnceCell<Connection>,
}

enum Place {
    File { disk: DiskRef, path: PathBuf },
    Server(Box<PostgresEngine>),
}

impl End {
    fn file(disk: &DiskRef, path: PathBuf) -> Self {
        let place = Place::File { disk: disk.clone(), path };
        Self { side: Side::File, place, writer: OnceCell::new() }
    }

    /// A connection for reading.
    pub(super) fn reader(&self) -> sql::Result<Connection> {
        self.open(Role::Reader)
    }

    /// The connection that writes.
    pub(super) fn writer(&self) -> sql::Result<&Connection> {
        if let Some(open) = self.writer.get() {
            return Ok(open);
        }
        let open = self.open(Role::Writer)?;
        Ok(self.writer.get_or_init(|| open))
    }

    fn open(&self, role: Role) -> sql::Result<Connection> {
        match &self.place {
            Place::Server(engine) => engine.open(role),
            Place::File { disk, path } => {
                let vfs = disk.sqlite_vfs();
                Ok(connection::open(path, vfs.as_deref(), role, CACHE_KIB)?)
            }
        }
    }

    /// Where it is, without a password.
    pub(super) fn name(&self) -> String {
        match &self.place {
            Place::File { path, .. } => path.display().to_string(),
            Place::Server(engine) => engine.place(),
        }
    }

    /// The node whose memories these are; `None` where there are none yet.
    fn node(&self) -> Result<Option<NodeId>, MoveError> {
        let reader = self.reader()?;
        let mut statement = reader.prepare_cached("SELECT node FROM daemons ORDER BY id")?;
        let nodes = statement.query_map([], |row| row.get::<[u8; 16]>(0))?;
        let nodes = nodes.collect::<sql::Result<Vec<_>>>()?;
        match nodes.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(NodeId(uuid::Uuid::from_bytes(*one)))),
            _ => {
                let problem = "has rows of several nodes, and a file is that of one; let the others go on with it";
                Err(MoveError::Taken { place: self.name(), problem })
            }
        }
    }

    /// Sees within a transaction that this is still a copy and not in use already (`MOV-2`).
    pub(super) fn need_unfinished(&self) -> Result<(), MoveError> {
        let text = "SELECT 1 FROM meta WHERE key = ?1";
        if self.side == Side::File || self.writer()?.prepare_cached(text)?.exists([MOVING_IN])? {
            return Ok(());
        }
        let problem = "is in use already; another move into it has come to its end";
        Err(MoveError::Taken { place: self.name(), problem })
    }

    fn meta(&self, key: &str) -> sql::Result<Option<i64>> {
        let reader = self.reader()?;
        let text = "SELECT value FROM meta WHERE key = ?1";
        reader.query_row(text, [key], |row| row.get(0)).optional()
    }

    /// Notes something beside the rows; nothing: forgets it.
    fn note(&self, key: &str, value: Option<i64>) -> sql::Result<()> {
        let text = match value {
            Some(_) => {
                "INSERT INTO meta (key, value) VALUES (?1, ?2)
                ON CONFLICT (key) DO UPDATE SET value = excluded.value"
            }
            None => "DELETE FROM meta WHERE key = ?1",
        };
        let values = [Some(Value::Text(key.to_owned())), value.map(Value::Integer)];
        let writer = self.writer()?;
        let transaction = writer.begin()?;
        writer.execute(text, sql::params_from_iter(values.into_iter().flatten()))?;
        transaction.commit()
    }
}

/// Where the memories come from and where they go.
pub(super) struct Ends {
    pub(super) from: End,
    pub(super) to: End,
    pub(super) node: NodeId,
    way: Way,
    disk: DiskRef,
    folder: PathBuf,
}

impl Ends {
    /// Opens both and sees whether the one may go where the other is.
    pub(super) fn open(disk: &DiskRef, plan: &Plan) -> Result<Self, MoveError> {
        let folder = plan.folder.clone();
        let (from, to, node) = match plan.way {
            Way::ToServer => {
                let from = source_file(disk, &folder)?;
                let node =
                    from.node()?.ok_or_else(|| nothing(&from, "no node was started with it"))?;
                let mut to = server(disk, plan)?;
                need_free_server(&to, node)?;
                let known = vectors::space_known(&from.reader()?, &plan.space)?;
                to.side = agree(to.writer()?, plan, known)?;
                (from, to, node)
            }
            Way::ToFile => {
                let from = server(disk, plan)?;
                if from.meta(MOVING_IN)?.is_some() {
                    return Err(nothing(&from, "a copy into it is not finished"));
                }
                let node =
                    from.node()?.ok_or_else(|| nothing(&from, "no node was started with it"))?;
                let to = target_file(disk, &folder, node)?;
                (from, to, node)
            }
        };
        Ok(Self { from, to, node, way: plan.way, disk: disk.clone(), folder })
    }

    /// Whether nothing was copied yet.
    pub(super) fn is_fresh(&self) -> Result<bool, MoveError> {
        let reader = self.to.reader()?;
        let text =
            "SELECT count(*) FROM (SELECT 1 FROM namespaces UNION ALL SELECT 1 FROM daemons) x";
        Ok(reader.query_row(text, [], |row| row.get::<i64>(0))? == 0)
    }

    /// Has the folder say that its memories are in the other place (`MOV-1`); gives what is left where they were.
    pub(super) fn settle(self) -> Result<String, MoveError> {
        match self.way {
            Way::ToServer => self.settle_on_server(),
            Way::ToFile => self.settle_in_file(),
        }
    }

    fn settle_on_server(self) -> Result<String, MoveError> {
        let Self { from, to, node, disk, folder, .. } = self;
        drop(from);
        // From here on the file is refused, and until the next step the database is too.
        crate::folder::say_elsewhere(&disk, &folder, node)?;
        to.note(MOVING_IN, None)?;
        let (here, left) = (folder.join(DATABASE_FILE), folder.join(MOVED_FILE));
        rename_all(&disk, &here, &left).map_err(|source| io(&here, source))?;
        disk.sync_dir(&folder).map_err(|source| io(&folder, source))?;
        Ok(left.display().to_string())
    }

    fn settle_in_file(self) -> Result<String, MoveError> {
        let Self { from, to, disk, folder, .. } = self;
        let (incoming, here) = (folder.join(INCOMING_FILE), folder.join(DATABASE_FILE));
        to.note("views_due", None)?;
        let left = checkpoint::run(to.writer()?.as_sqlite()?, checkpoint::Extent::Everything)
            .map_err(sql::Error::from)?;
        if left > 0 {
            let problem = format!("{left} pages of {} are in its log alone", incoming.display());
            return Err(MoveError::Differs { problem });
        }
        drop(to);
        from.note(MOVED_AWAY, Some(1))?;
        let done = || -> std::io::Result<()> {
            for suffix in BESIDE {
                runtime::disk::remove_if_exists(disk.as_ref(), &beside(&incoming, suffix))?;
            }
            disk.open(&incoming, OpenMode::Existing)?.sync()?;
            disk.rename(&incoming, &here)?;
            disk.sync_dir(&folder)
        };
        done().map_err(|source| io(&incoming, source))?;
        crate::folder::say_here(&disk, &folder)?;
        Ok(from.name())
    }
}

fn nothing(end: &End, problem: &'static str) -> MoveError {
    MoveError::Nothing { place: end.name(), problem }
}

fn io(path: &Path, source: std::io::Error) -> MoveError {
    MoveError::Io { path: path.to_path_buf(), source }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Renames a file with what SQLite keeps beside it, the log first: a file without its log would be an older one.
fn rename_all(disk: &DiskRef, from: &Path, to: &Path) -> std::io::Result<()> {
    for suffix in ["-wal", ""] {
        let (from, to) = (beside(from, suffix), beside(to, suffix));
        if disk.exists(&from)? {
            disk.rename(&from, &to)?;
        }
    }
    runtime::disk::remove_if_exists(disk.as_ref(), &beside(from, "-shm")).map(drop)
}

fn exists(disk: &DiskRef, path: &Path) -> Result<bool, MoveError> {
    disk.exists(path).map_err(|source| io(path, source))
}

fn source_file(disk: &DiskRef, folder: &Path) -> Result<End, MoveError> {
    let path = folder.join(DATABASE_FILE);
    if !exists(disk, &path)? {
        let problem = match exists(disk, &folder.join(MOVED_FILE))? {
            true => "they were moved before",
            false => "there is no such file; name the data folder of a node",
        };
        return Err(MoveError::Nothing { place: path.display().to_string(), problem });
    }
    let end = End::file(disk, path);
    let found = end.reader().and_then(|reader| file_schema::version(&reader));
    match found {
        Ok(found) if found == file_schema::VERSION => Ok(end),
        Ok(found) if found > file_schema::VERSION => {
            let path = folder.join(DATABASE_FILE);
            Err(OpenError::Newer { path, found, known: file_schema::VERSION }.into())
        }
        Ok(_) => Err(nothing(&end, "it is that of an older build; start this one with it once")),
        Err(error) => Err(open::refused(&folder.join(DATABASE_FILE), error).into()),
    }
}

fn target_file(disk: &DiskRef, folder: &Path, node: NodeId) -> Result<End, MoveError> {
    let failed = |source| io(folder, source);
    disk.create_dir_all(folder).map_err(failed)?;
    let (here, incoming) = (folder.join(DATABASE_FILE), folder.join(INCOMING_FILE));
    let end = End::file(disk, incoming.clone());
    let named = crate::folder::named(disk, folder)?;
    if named.is_some_and(|named| named != node) {
        let problem = "is the data folder of another node than the database's";
        return Err(MoveError::Taken { place: folder.display().to_string(), problem });
    }
    if exists(disk, &here)? {
        if named.is_none() {
            let problem = "is there already; name the node's data folder, or an empty one";
            return Err(MoveError::Taken { place: here.display().to_string(), problem });
        }
        // A move that ended after the file had its name.
        rename_all(disk, &here, &incoming).map_err(failed)?;
    }
    drop(disk.open(&incoming, OpenMode::OpenOrCreate).map_err(failed)?);
    disk.set_mode(&incoming, 0o600).map_err(failed)?;
    {
        let mut writer = end.open(Role::Writer)?;
        file_schema::migrate(writer.as_sqlite_mut()?, &incoming)
            .map_err(|error| open::unfit(&incoming, error))?;
    }
    match end.node()? {
        Some(other) if other != node => {
            let problem = "is an unfinished copy of another node; remove it";
            Err(MoveError::Taken { place: end.name(), problem })
        }
        _ => Ok(end),
    }
}

fn server(disk: &DiskRef, plan: &Plan) -> Result<End, MoveError> {
    // A node's limits are those of its requests.
    let (statement_timeout, lock_timeout) = (LONG_LIMIT, LONG_LIMIT);
    let patient = PostgresConfig { statement_timeout, lock_timeout, ..plan.server.clone() };
    let engine = engine(&patient, disk.clone())?;
    let place = engine.place();
    let ready = || {
        engine.reach()?;
        let connection = engine.open(Role::Writer)?;
        server_schema::migrate(&connection)?;
        Ok(vectors::space_known(&connection, &plan.space)?.unwrap_or(0))
    };
    let space = ready().map_err(|unfit| refused(&place, unfit))?;
    let side = Side::Server { space, is_made: plan.space.vectorizer.is_some() };
    Ok(End { side, place: Place::Server(Box::new(engine)), writer: OnceCell::new() })
}

/// Gives the node's space of vectors the number that the source has for it, or one that the source will never give.
fn agree(writer: &Connection, plan: &Plan, known: Option<i64>) -> sql::Result<Side> {
    let side = |space| Side::Server { space, is_made: plan.space.vectorizer.is_some() };
    let transaction = writer.begin()?;
    if let Some(space) = known {
        // The source had none when an earlier try began.
        for text in [
            "DELETE FROM texts WHERE row IN (SELECT row FROM vectors WHERE space = ?1)",
            "DELETE FROM vectors WHERE space = ?1",
            "DELETE FROM spaces WHERE id = ?1",
        ] {
            writer.execute(text, [OWN_SPACE])?;
        }
        transaction.commit()?;
        return Ok(side(space));
    }
    let space = &plan.space;
    writer.execute(
        "INSERT INTO spaces (id, model, version, dimension) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO NOTHING",
        (OWN_SPACE, &space.model, &space.version, space.dimension),
    )?;
    transaction.commit()?;
    Ok(side(OWN_SPACE))
}

/// Sees that nothing but an unfinished copy of the same node is there (`MOV-2`), and has the database say that one is.
fn need_free_server(to: &End, node: NodeId) -> Result<(), MoveError> {
    let taken = |problem| MoveError::Taken { place: to.name(), problem };
    let (_, whose) = node.0.as_u64_pair();
    let whose = whose.cast_signed();
    match to.meta(MOVING_IN)? {
        Some(other) if other == whose => Ok(()),
        Some(_) => Err(taken("has an unfinished copy of another node; name another database")),
        None if to.node()?.is_some() => {
            Err(taken("has memories already; name an empty database, or start the node with it"))
        }
        None => Ok(to.note(MOVING_IN, Some(whose))?),
    }
}

/// What `meta` says of a database that no node may open, in words (`MOV-2`).
pub(crate) fn hindrance(connection: &Connection) -> sql::Result<Option<&'static str>> {
    let text = "SELECT key FROM meta WHERE key IN ('moving_in', 'moved_away') ORDER BY key LIMIT 1";
    let found: Option<String> = connection.query_row(text, [], |row| row.get(0)).optional()?;
    Ok(found.map(|key| match key.as_str() {
        MOVING_IN => {
            "has an unfinished copy of a file; give the same `hivemem migrate` again to finish it"
        }
        _ => "has memories that were moved into a file; use that one, or name another database",
    }))
}

/// The position of the last audit row.
pub(super) fn position(connection: &Connection) -> sql::Result<u64> {
    let text = "SELECT coalesce(max(sequence), 0) FROM signed_events";
    connection.query_row(text, [], |row| row.get(0)).map(unsigned)
}
