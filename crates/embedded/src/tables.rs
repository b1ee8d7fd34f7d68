//! The tables of one transaction, with the few moves that everything needs.
//!
//! A write transaction opens each table once; a reader opens what it reads.

use bytes::Bytes;
use redb::{ReadTransaction, ReadableTable, Table, TableError, WriteTransaction};

use crate::{
    error::Fault,
    layout::{self, Definition},
};

type Raw = &'static [u8];

/// A key and its value.
pub(crate) type Pair = (Vec<u8>, Bytes);

/// Reading a table, in whatever transaction.
pub(crate) trait Look {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Fault>;

    /// The row of a key; one that cannot be read is told with its key.
    fn read<T>(
        &self,
        key: &[u8],
        parse: impl FnOnce(Bytes) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        let parsed = self.get(key)?.map(parse).transpose();
        parsed.map_err(|fault| fault.at(key))
    }

    /// The row that was cut into all the values under `prefix`.
    fn read_parts<T>(
        &self,
        prefix: &[u8],
        parse: impl FnOnce(Bytes) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        let mut parts = self.all(prefix)?;
        let whole = match parts.len() {
            0 => return Ok(None),
            1 => parts.pop().map(|(_, part)| part).unwrap_or_default(),
            _ => {
                let parts: Vec<Bytes> = parts.into_iter().map(|(_, part)| part).collect();
                parts.concat().into()
            }
        };
        parse(whole).map(Some).map_err(|fault| fault.at(prefix))
    }

    /// The first pair whose key begins with `prefix`.
    fn first(&self, prefix: &[u8]) -> Result<Option<Pair>, Fault>;

    /// The last pair whose key begins with `prefix` and lies below `below`.
    fn last_below(&self, prefix: &[u8], below: &[u8]) -> Result<Option<Pair>, Fault>;

    /// At most `max` pairs from `from` on whose keys begin with `prefix`.
    fn some(&self, prefix: &[u8], from: &[u8], max: usize) -> Result<Vec<Pair>, Fault>;

    /// At most `max` keys that begin with `prefix`; their values are not looked at.
    fn keys(&self, prefix: &[u8], max: usize) -> Result<Vec<Vec<u8>>, Fault>;

    /// The last pair whose key begins with `prefix`.
    fn last(&self, prefix: &[u8]) -> Result<Option<Pair>, Fault> {
        match behind(prefix) {
            Some(below) => self.last_below(prefix, &below),
            None => Ok(None),
        }
    }

    /// Every pair whose key begins with `prefix`.
    fn all(&self, prefix: &[u8]) -> Result<Vec<Pair>, Fault> {
        self.some(prefix, prefix, usize::MAX)
    }
}

/// The first key behind all those that begin with `prefix`; `None` if there is none.
pub(crate) fn behind(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut key = prefix.to_vec();
    while let Some(last) = key.pop() {
        if last < u8::MAX {
            key.push(last + 1);
            return Some(key);
        }
    }
    None
}

fn pair(key: &[u8], value: &[u8]) -> Pair {
    (key.to_vec(), Bytes::copy_from_slice(value))
}

impl<T: ReadableTable<Raw, Raw>> Look for T {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        let found = ReadableTable::get(self, key)?;
        Ok(found.map(|value| Bytes::copy_from_slice(value.value())))
    }

    fn first(&self, prefix: &[u8]) -> Result<Option<Pair>, Fault> {
        let Some(found) = self.range(prefix..)?.next() else {
            return Ok(None);
        };
        let (key, value) = found?;
        let fits = key.value().starts_with(prefix);
        Ok(fits.then(|| pair(key.value(), value.value())))
    }

    fn last_below(&self, prefix: &[u8], below: &[u8]) -> Result<Option<Pair>, Fault> {
        if below <= prefix {
            return Ok(None);
        }
        let Some(found) = self.range(prefix..below)?.next_back() else {
            return Ok(None);
        };
        let (key, value) = found?;
        let fits = key.value().starts_with(prefix);
        Ok(fits.then(|| pair(key.value(), value.value())))
    }

    fn some(&self, prefix: &[u8], from: &[u8], max: usize) -> Result<Vec<Pair>, Fault> {
        let mut pairs = Vec::new();
        for found in self.range(from..)?.take(max) {
            let (key, value) = found?;
            if !key.value().starts_with(prefix) {
                break;
            }
            pairs.push(pair(key.value(), value.value()));
        }
        Ok(pairs)
    }

    fn keys(&self, prefix: &[u8], max: usize) -> Result<Vec<Vec<u8>>, Fault> {
        let mut keys = Vec::new();
        for found in self.range(prefix..)?.take(max) {
            let (key, _) = found?;
            if !key.value().starts_with(prefix) {
                break;
            }
            keys.push(key.value().to_vec());
        }
        Ok(keys)
    }
}

/// A table of a write transaction.
pub(crate) struct Rows<'t> {
    table: Table<'t, Raw, Raw>,
    /// Whether something was put or deleted.
    changed: bool,
}

impl<'t> Rows<'t> {
    pub(crate) fn open(
        transaction: &'t WriteTransaction,
        definition: Definition,
    ) -> Result<Self, Fault> {
        Ok(Self {
            table: transaction.open_table(definition)?,
            changed: false,
        })
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        Look::get(&self.table, key)
    }

    pub(crate) fn read<T>(
        &self,
        key: &[u8],
        parse: impl FnOnce(Bytes) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        Look::read(&self.table, key, parse)
    }

    pub(crate) fn read_parts<T>(
        &self,
        prefix: &[u8],
        parse: impl FnOnce(Bytes) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        Look::read_parts(&self.table, prefix, parse)
    }

    pub(crate) fn has(&self, key: &[u8]) -> Result<bool, Fault> {
        Ok(ReadableTable::get(&self.table, key)?.is_some())
    }

    pub(crate) fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        self.changed = true;
        self.table.insert(key, value)?;
        Ok(())
    }

    pub(crate) fn delete(&mut self, key: &[u8]) -> Result<(), Fault> {
        self.changed |= self.table.remove(key)?.is_some();
        Ok(())
    }

    /// Deletes a row without copying it; how many bytes it had.
    pub(crate) fn drop(&mut self, key: &[u8]) -> Result<usize, Fault> {
        let had = self.table.remove(key)?;
        self.changed |= had.is_some();
        Ok(had.map_or(0, |value| value.value().len()))
    }

    /// The keys that begin with `prefix`, and the bytes of their values.
    pub(crate) fn sizes(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, usize)>, Fault> {
        let mut sizes = Vec::new();
        for found in self.table.range(prefix..)? {
            let (key, value) = found?;
            if !key.value().starts_with(prefix) {
                break;
            }
            sizes.push((key.value().to_vec(), value.value().len()));
        }
        Ok(sizes)
    }

    pub(crate) fn take(&mut self, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        let had = self.table.remove(key)?;
        self.changed |= had.is_some();
        Ok(had.map(|value| Bytes::copy_from_slice(value.value())))
    }

    pub(crate) fn first(&self, prefix: &[u8]) -> Result<Option<Pair>, Fault> {
        Look::first(&self.table, prefix)
    }

    pub(crate) fn last(&self, prefix: &[u8]) -> Result<Option<Pair>, Fault> {
        Look::last(&self.table, prefix)
    }

    pub(crate) fn some(&self, prefix: &[u8], from: &[u8], max: usize) -> Result<Vec<Pair>, Fault> {
        Look::some(&self.table, prefix, from, max)
    }

    pub(crate) fn all(&self, prefix: &[u8]) -> Result<Vec<Pair>, Fault> {
        Look::all(&self.table, prefix)
    }

    pub(crate) fn keys(&self, prefix: &[u8], max: usize) -> Result<Vec<Vec<u8>>, Fault> {
        Look::keys(&self.table, prefix, max)
    }

    /// Removes everything.
    pub(crate) fn clear(&mut self) -> Result<(), Fault> {
        self.changed = true;
        Ok(self.table.retain(|_, _| false)?)
    }
}

macro_rules! tables {
    ($($field:ident: $definition:ident),* $(,)?) => {
        /// Every table that calls change, open for writing.
        pub(crate) struct Tables<'t> {
            $(pub(crate) $field: Rows<'t>,)*
        }

        impl<'t> Tables<'t> {
            /// Opens them; those that are not there yet are made.
            pub(crate) fn open(transaction: &'t WriteTransaction) -> Result<Self, Fault> {
                Ok(Self {
                    $($field: Rows::open(transaction, layout::$definition)?,)*
                })
            }

            /// Whether anything was put or deleted.
            pub(crate) fn changed(&self) -> bool {
                $(self.$field.changed)||*
            }
        }
    };
}

tables! {
    registry: REGISTRY,
    tenants: TENANTS,
    subscriptions: SUBSCRIPTIONS,
    graves: GRAVES,
    queues: QUEUES,
    entries: ENTRIES,
    clearing: CLEARING,
    records: RECORDS,
    due: DUE,
    segments: SEGMENTS,
    states: STATES,
    outcomes: OUTCOMES,
    made: MADE,
    log: LOG,
    ages: AGES,
    leases: LEASES,
    deadlines: DEADLINES,
    holders: HOLDERS,
    lent: LENT,
    keys: KEYS,
    lapses: LAPSES,
    lanes: LANES,
    ring_tenants: RING_TENANTS,
    ring_queues: RING_QUEUES,
    ring_places: RING_PLACES,
    damaged: DAMAGED,
    health: HEALTH,
    health_over: HEALTH_OVER,
    meta: META,
}

/// A table that is walked through, row by row: one bad row of it would stop all that
/// come behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Index {
    Deadlines,
    Holders,
    Due,
    Clearing,
    Ages,
    Lapses,
    RingTenants,
    RingQueues,
}

impl Index {
    /// The byte that stands for it in a key of `damaged`.
    pub(crate) const fn byte(self) -> u8 {
        match self {
            Self::Deadlines => 0,
            Self::Holders => 1,
            Self::Due => 2,
            Self::Clearing => 3,
            Self::Ages => 4,
            Self::Lapses => 5,
            Self::RingTenants => 6,
            Self::RingQueues => 7,
        }
    }
}

/// The byte that stands for `leases` in a key of `damaged`.
pub(crate) const DAMAGED_LEASE: u8 = 8;
/// The byte that stands for `entries` there.
pub(crate) const DAMAGED_ENTRY: u8 = 9;

impl<'t> Tables<'t> {
    /// The table that an index is.
    pub(crate) const fn index(&mut self, index: Index) -> &mut Rows<'t> {
        match index {
            Index::Deadlines => &mut self.deadlines,
            Index::Holders => &mut self.holders,
            Index::Due => &mut self.due,
            Index::Clearing => &mut self.clearing,
            Index::Ages => &mut self.ages,
            Index::Lapses => &mut self.lapses,
            Index::RingTenants => &mut self.ring_tenants,
            Index::RingQueues => &mut self.ring_queues,
        }
    }
}

/// Whether a table could not be opened because there is no such one; if not, why.
fn absent(error: TableError) -> Result<(), Fault> {
    match error {
        TableError::TableDoesNotExist(_)
        | TableError::TableTypeMismatch { .. }
        | TableError::TableIsMultimap(_)
        | TableError::TypeDefinitionChanged { .. } => Ok(()),
        error => Err(error.into()),
    }
}

/// What was committed, for readers.
pub(crate) struct View(ReadTransaction);

impl View {
    pub(crate) const fn new(transaction: ReadTransaction) -> Self {
        Self(transaction)
    }

    /// A table.
    pub(crate) fn table(&self, definition: Definition) -> Result<impl Look + use<>, Fault> {
        Ok(self.0.open_table(definition)?)
    }

    /// A table, if there is one of that name and type.
    pub(crate) fn find(&self, definition: Definition) -> Result<Option<impl Look + use<>>, Fault> {
        match self.0.open_table(definition) {
            Ok(table) => Ok(Some(table)),
            Err(error) => absent(error).map(|()| None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use redb::StorageError;

    use super::*;

    #[test]
    fn a_table_that_cannot_be_read_is_not_absent() {
        let missing = TableError::TableDoesNotExist("meta".to_owned());
        assert_eq!(absent(missing), Ok(()));
        let failed = StorageError::Io(io::Error::other("it fails"));
        let failed = absent(TableError::Storage(failed));
        assert!(matches!(failed, Err(Fault::Io(..))), "{failed:?}");
        let damaged = StorageError::Corrupted("it is cut".to_owned());
        let damaged = absent(TableError::Storage(damaged));
        assert!(matches!(damaged, Err(Fault::Corrupt(..))), "{damaged:?}");
    }
}
