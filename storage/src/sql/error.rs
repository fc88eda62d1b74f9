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
