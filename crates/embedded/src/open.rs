//! Opening: the lock, the format, which store it is, and the lanes of the process
//! before. A store is made complete before it gets its name (see [`media`](crate::media));
//! what has the name is opened, and never made anew.

use redb::{Builder, Database, DatabaseError, Durability, ReadableDatabase as _, StorageError};
use sidehook_store::format;

use crate::{
    codec::Reader,
    error::{Fault, OpenError},
    layout,
    media::Media,
    tables::{Look as _, Tables, View},
};

/// Bytes of the file that are kept in memory: pages of the trees, mostly, since
/// payloads are read back only when the control plane's own cache has lost them.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// What tells a store from any other: random.
pub(crate) type Name = [u8; 16];

/// How databases are opened and made.
pub(crate) fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// Opens the database, and nothing more: also used after an I/O error.
pub(crate) fn database(media: &dyn Media) -> Result<Database, DatabaseError> {
    media.open(&builder())
}

/// Says why opening failed.
pub(crate) fn told(name: &str, error: DatabaseError) -> OpenError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse {
            directory: name.into(),
            detail: error.to_string(),
        },
        DatabaseError::Storage(StorageError::Corrupted(detail)) => {
            OpenError::Corrupt(format!("{name}: {detail}"))
        }
        error => OpenError::Io(format!("{name}: {error}")),
    }
}

impl From<Fault> for OpenError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Io(_, detail, _) => Self::Io(detail),
            Fault::Corrupt(detail, _) => Self::Corrupt(detail),
        }
    }
}

/// Makes a new store of an empty database, or takes over the one that is there:
/// checks its format and clears its lanes. Its name, and the number of its last
/// commit.
pub(crate) fn prepare(database: &Database) -> Result<(Name, u64), OpenError> {
    check_format(database)?;
    write_prelude(database)?;
    identity(database)?.ok_or(OpenError::Foreign)
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
    let Some(meta) = view.find(layout::META)? else {
        return Err(OpenError::Foreign);
    };
    let format = meta.get(layout::FORMAT_KEY)?.ok_or(OpenError::Foreign)?;
    let format: [u8; 4] = format[..].try_into().map_err(|_| OpenError::Foreign)?;
    let found = u32::from_be_bytes(format);
    Ok(format::check(found, layout::FORMAT)?)
}

fn write_prelude(database: &Database) -> Result<(), Fault> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_quick_repair(true);
    {
        let mut tables = Tables::open(&transaction)?;
        let format = layout::FORMAT.to_be_bytes();
        tables.meta.put(layout::FORMAT_KEY, &format)?;
        if !tables.meta.has(layout::NAME_KEY)? {
            tables.meta.put(layout::NAME_KEY, &rand::random::<Name>())?;
        }
        tables.lanes.clear()?;
    }
    transaction.commit()?;
    Ok(())
}

/// Which store it is, and the number of its last commit; `None` if it is none, or of
/// another format.
pub(crate) fn identity(database: &Database) -> Result<Option<(Name, u64)>, Fault> {
    let view = View::new(database.begin_read()?);
    let Some(meta) = view.find(layout::META)? else {
        return Ok(None);
    };
    let format = meta.get(layout::FORMAT_KEY)?;
    if format.as_deref() != Some(&layout::FORMAT.to_be_bytes()[..]) {
        return Ok(None);
    }
    let Some(name) = meta.get(layout::NAME_KEY)? else {
        return Ok(None);
    };
    let name = Reader::new("the store's name", name).array()?;
    let commits = match meta.get(layout::COMMIT_KEY)? {
        Some(number) => Reader::new("a commit's number", number).u64()?,
        None => 0,
    };
    Ok(Some((name, commits)))
}
