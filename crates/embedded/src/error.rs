//! How the store fails: opening it, and anything after.

use core::time::Duration;
use std::path::PathBuf;

use sidehook_store::StoreError;

/// When a caller should try again: reopening after an I/O error takes moments.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Opening the store failed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("{} is in use by another sidehook process ({detail})", directory.display())]
    InUse {
        /// The directory.
        directory: PathBuf,
        /// What the lock says.
        detail: String,
    },
    /// It was written by a version with another format.
    #[error("the store has format {found}; this version of sidehook reads format {known}: {}",
        if found > known { "use a newer version" } else { "export it with the version that wrote it" })]
    Format {
        /// The format that was found.
        found: u32,
        /// The format of this version.
        known: u32,
    },
    /// The file is a database, but not a store of ours.
    #[error("the file holds a database that sidehook did not write")]
    Foreign,
    /// The directory or the file cannot be used.
    #[error("cannot open the store: {0}")]
    Io(String),
    /// The file cannot be read.
    #[error("the store's file is damaged: {0}")]
    Corrupt(String),
}

/// An operation failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The medium failed: the database must be opened anew. What was not committed
    /// is gone; whether a commit that failed was made is not known.
    Io(String),
    /// What lies there cannot be read. Nothing was changed.
    Corrupt(String),
}

impl Fault {
    /// Adds where it is: the key of the row.
    pub(crate) fn at(self, key: &[u8]) -> Self {
        match self {
            Self::Corrupt(detail) => {
                let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
                Self::Corrupt(format!("{detail} (key {key})"))
            }
            Self::Io(_) => self,
        }
    }

    fn of(error: redb::Error) -> Self {
        match error {
            redb::Error::Corrupted(detail) => Self::Corrupt(detail),
            error => Self::Io(error.to_string()),
        }
    }
}

macro_rules! from_redb {
    ($($error:ident),*) => {$(
        impl From<redb::$error> for Fault {
            fn from(error: redb::$error) -> Self {
                Self::of(error.into())
            }
        }
    )*};
}

from_redb!(
    StorageError,
    TableError,
    TransactionError,
    CommitError,
    SetDurabilityError
);

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Io(detail) => unavailable(detail),
            Fault::Corrupt(detail) => Self::Corrupt { detail },
        }
    }
}

/// The store cannot be used right now.
pub(crate) fn unavailable(detail: String) -> StoreError {
    StoreError::Unavailable {
        detail,
        retry_after: RETRY_AFTER,
    }
}
