//! Why a statement failed.
//!
//! Invariant: a failure keeps its cause, so that who stops the node for it can say why.
//!
//! Not here: what a failure means for the node (`rows::fault`).

/// The result of a statement.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a statement failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// SQLite refused.
    #[error(transparent)]
    Sqlite(rusqlite::Error),
    /// PostgreSQL refused, or is not to be reached.
    #[cfg(not(madsim))]
    #[error("PostgreSQL: {0}")]
    Postgres(#[source] sqlx::Error),
    /// The server did not answer in time.
    #[error("the database said nothing for {} ms", limit.as_millis())]
    Late {
        /// How long it was waited for.
        limit: std::time::Duration,
    },
    /// No server can be reached that takes writes.
    #[error("{problem}")]
    Away {
        /// What each of them said.
        problem: String,
    },
    /// All connections that may be had are in use.
    #[error("all {connections} connections are in use")]
    Exhausted {
        /// How many there are.
        connections: u32,
    },
    /// Something was asked that only another database can do.
    #[error("this store's database cannot do that")]
    Elsewhere,
    /// A row was asked for and there is none.
    #[error("there is no such row")]
    NoRow,
    /// A column holds something else than what it was read as.
    #[error("column {column} holds {found}, not {wanted}")]
    Column {
        /// Its place, from 0.
        column: usize,
        /// What it should hold.
        wanted: &'static str,
        /// What it holds.
        found: &'static str,
    },
    /// The statement names another number of parameters than it was given.
    #[error("the statement names {named} parameters and was given {given}")]
    Parameters {
        /// How many it names.
        named: usize,
        /// How many it was given.
        given: usize,
    },
}

impl Error {
    /// What SQLite calls it.
    pub fn sqlite_code(&self) -> Option<rusqlite::ErrorCode> {
        match self {
            Self::Sqlite(error) => error.sqlite_error_code(),
            _ => None,
        }
    }

    /// Whether there is no room left for what was to be written.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Sqlite(error) => error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull),
            #[cfg(not(madsim))]
            Self::Postgres(error) => code(error).is_some_and(|code| code == "53100"),
            _ => false,
        }
    }

    /// Whether the database is a server that could not be reached, or did not do what would have been right, and may do
    /// it later (PostgreSQL's documentation, appendix A): all but wrong data and wrong statements.
    pub fn is_away(&self) -> bool {
        match self {
            Self::Late { .. } | Self::Away { .. } | Self::Exhausted { .. } => true,
            #[cfg(not(madsim))]
            Self::Postgres(error) => match code(error) {
                Some(code) => !["22", "23", "42"].iter().any(|wrong| code.starts_with(wrong)),
                None => !matches!(
                    error,
                    sqlx::Error::ColumnDecode { .. }
                        | sqlx::Error::Decode(_)
                        | sqlx::Error::Encode(_)
                ),
            },
            _ => false,
        }
    }
}

impl Error {
    /// Whether no connection was to be had that would have been free.
    #[cfg(not(madsim))]
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, Self::Postgres(error) if error.as_database_error().is_none())
    }

    /// What a caller may know of a database that may do later what it did not do now ([`Error::is_away`]).
    pub fn trouble(&self) -> &'static str {
        match self {
            Self::Late { .. } => "does not answer",
            Self::Exhausted { .. } => {
                "has no connection free for this node (storage.pool_max bounds them)"
            }
            #[cfg(not(madsim))]
            Self::Postgres(error) => match code(error).as_deref() {
                Some("55P03") => {
                    "is locked by another session for longer than storage.lock_timeout"
                }
                Some("57014") => "took longer than storage.statement_timeout",
                Some("53300") => "gives no more connections to anybody",
                Some("25006") => "takes no writes: it is a standby",
                Some(_) => "refused it for now",
                None => "cannot be reached",
            },
            _ => "cannot be reached",
        }
    }
}

/// The SQLSTATE that a server has answered with.
#[cfg(not(madsim))]
fn code(error: &sqlx::Error) -> Option<std::borrow::Cow<'_, str>> {
    error.as_database_error()?.code()
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        match error {
            rusqlite::Error::QueryReturnedNoRows => Self::NoRow,
            other => Self::Sqlite(other),
        }
    }
}

/// Absence as an answer.
pub trait OptionalExtension<T> {
    /// `None` where there is no such row.
    ///
    /// # Errors
    /// Every other failure.
    fn optional(self) -> Result<Option<T>>;
}

impl<T> OptionalExtension<T> for Result<T> {
    fn optional(self) -> Result<Option<T>> {
        match self {
            Ok(value) => Ok(Some(value)),
            Err(Error::NoRow) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
