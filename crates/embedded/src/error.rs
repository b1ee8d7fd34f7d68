//! How the store fails: opening it, and anything after.

use core::time::Duration;
use std::{io, path::PathBuf};

use sidehook_store::{StoreError, format::OtherFormat};

use crate::tables::Index;

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
    #[error(transparent)]
    Format(#[from] OtherFormat),
    /// The file is a database, but not a store of ours.
    #[error("the file holds a database that sidehook did not write")]
    Foreign,
    /// It is another store than the one that was open before.
    #[error("the file holds another store than before")]
    Other,
    /// The directory or the file cannot be used.
    #[error("cannot open the store: {0}")]
    Io(String),
    /// The file cannot be read.
    #[error("the store's file is damaged: {0}")]
    Corrupt(String),
}

/// How the medium failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It has no room left.
    Full,
    /// Something failed earlier, perhaps under someone else, and the engine refuses
    /// everything since.
    Earlier,
    /// Anything else.
    Failed,
}

/// A row that stands in the way: where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Culprit {
    pub(crate) index: Index,
    pub(crate) key: Vec<u8>,
}

/// An operation failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The medium failed: the database must be opened anew. What was not committed
    /// is gone; whether a commit that failed was made is not known.
    Io(Trouble, String, Option<Culprit>),
    /// What lies there cannot be read. Nothing was changed. If it was met on behalf
    /// of a row of an index, all else of the index can go on without that row.
    Corrupt(String, Option<Culprit>),
}

impl Fault {
    /// What lies there contradicts itself.
    pub(crate) const fn corrupt(detail: String) -> Self {
        Self::Corrupt(detail, None)
    }

    /// The medium failed in no way that matters.
    pub(crate) const fn failed(detail: String) -> Self {
        Self::Io(Trouble::Failed, detail, None)
    }

    /// Adds where it is: the key of the row.
    pub(crate) fn at(self, key: &[u8]) -> Self {
        match self {
            Self::Corrupt(detail, culprit) => {
                Self::Corrupt(format!("{detail} (key {})", hex(key)), culprit)
            }
            fault @ Self::Io(..) => fault,
        }
    }

    /// Adds on behalf of which row of an index it was met; whoever was nearer knows
    /// better.
    pub(crate) fn blame(mut self, index: Index, key: &[u8]) -> Self {
        let (Self::Io(_, _, culprit) | Self::Corrupt(_, culprit)) = &mut self;
        culprit.get_or_insert_with(|| Culprit {
            index,
            key: key.to_vec(),
        });
        self
    }

    /// The same as a failure of the medium: where no row is read, what cannot be
    /// read is none.
    pub(crate) fn of_the_medium(self) -> Self {
        match self {
            Self::Corrupt(detail, _) => Self::failed(detail),
            fault @ Self::Io(..) => fault,
        }
    }

    /// What happened, and the row on whose behalf.
    pub(crate) fn told(self) -> (String, Option<Culprit>) {
        let (Self::Io(_, detail, culprit) | Self::Corrupt(detail, culprit)) = self;
        (detail, culprit)
    }

    fn of(error: redb::Error) -> Self {
        match error {
            redb::Error::Corrupted(detail) => Self::corrupt(detail),
            redb::Error::PreviousIo | redb::Error::DatabaseClosed => {
                Self::Io(Trouble::Earlier, error.to_string(), None)
            }
            redb::Error::Io(error) if is_full(&error) => {
                Self::Io(Trouble::Full, error.to_string(), None)
            }
            error => Self::failed(error.to_string()),
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// A key, for people.
pub(crate) fn hex(key: &[u8]) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
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
            Fault::Io(_, detail, _) => unavailable(detail),
            Fault::Corrupt(detail, _) => Self::Corrupt { detail },
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
