//! Opening: the lock, the format, and the lanes of the process before.

use std::path::Path;

use redb::{Builder, Database, DatabaseError, Durability, ReadableDatabase as _, StorageError};

use crate::{
    error::{Fault, OpenError},
    layout,
    media::Media,
    tables::{Look as _, Rows, Tables, View},
};

/// Bytes of the file that are kept in memory: pages of the trees, mostly, since
/// payloads are read back only when the control plane's own cache has lost them.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// Opens the database, and nothing more: also used after an I/O error.
pub(crate) fn database(media: &dyn Media) -> Result<Database, DatabaseError> {
    media.open(Builder::new().set_cache_size(CACHE_BYTES))
}

/// Says why opening failed.
pub(crate) fn told(directory: &Path, error: DatabaseError) -> OpenError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse {
            directory: directory.to_owned(),
            detail: error.to_string(),
        },
        DatabaseError::Storage(StorageError::Corrupted(detail)) => OpenError::Corrupt(detail),
        error => OpenError::Io(error.to_string()),
    }
}

impl From<Fault> for OpenError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Io(detail) => Self::Io(detail),
            Fault::Corrupt(detail) => Self::Corrupt(detail),
        }
    }
}

/// Makes a new store of an empty database, or takes over the one that is there:
/// checks its format and clears its lanes.
pub(crate) fn prepare(database: &Database) -> Result<(), OpenError> {
    check_format(database)?;
    Ok(write_prelude(database)?)
}

fn check_format(database: &Database) -> Result<(), OpenError> {
    let transaction = database.begin_read().map_err(Fault::from)?;
    if transaction
        .list_tables()
        .map_err(Fault::from)?
        .next()
        .is_none()
    {
        return Ok(());
    }
    let view = View::new(transaction);
    let Ok(meta) = view.table(layout::META) else {
        return Err(OpenError::Foreign);
    };
    let format = meta.get(layout::FORMAT_KEY)?.ok_or(OpenError::Foreign)?;
    let format: [u8; 4] = format[..].try_into().map_err(|_| OpenError::Foreign)?;
    let found = u32::from_be_bytes(format);
    if found != layout::FORMAT {
        let known = layout::FORMAT;
        return Err(OpenError::Format { found, known });
    }
    Ok(())
}

fn write_prelude(database: &Database) -> Result<(), Fault> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_quick_repair(true);
    {
        let mut meta = Rows::open(&transaction, layout::META)?;
        meta.put(layout::FORMAT_KEY, &layout::FORMAT.to_be_bytes())?;
        Tables::open(&transaction)?.lanes.clear()?;
    }
    transaction.commit()?;
    Ok(())
}
