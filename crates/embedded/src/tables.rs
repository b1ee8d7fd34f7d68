//! The tables of one transaction, with the few moves that everything needs.
//!
//! A write transaction opens each table once; a reader opens what it reads.

use bytes::Bytes;
use redb::{ReadTransaction, ReadableTable, Table, WriteTransaction};

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
}

/// A table of a write transaction.
pub(crate) struct Rows<'t>(Table<'t, Raw, Raw>);

impl<'t> Rows<'t> {
    pub(crate) fn open(
        transaction: &'t WriteTransaction,
        definition: Definition,
    ) -> Result<Self, Fault> {
        Ok(Self(transaction.open_table(definition)?))
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        Look::get(&self.0, key)
    }

    pub(crate) fn read<T>(
        &self,
        key: &[u8],
        parse: impl FnOnce(Bytes) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        Look::read(&self.0, key, parse)
    }

    pub(crate) fn read_parts<T>(
        &self,
        prefix: &[u8],
        parse: impl FnOnce(Bytes) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        Look::read_parts(&self.0, prefix, parse)
    }

    pub(crate) fn has(&self, key: &[u8]) -> Result<bool, Fault> {
        Ok(ReadableTable::get(&self.0, key)?.is_some())
    }

    pub(crate) fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        self.0.insert(key, value)?;
        Ok(())
    }

    pub(crate) fn delete(&mut self, key: &[u8]) -> Result<(), Fault> {
        self.0.remove(key)?;
        Ok(())
    }

    pub(crate) fn take(&mut self, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        let had = self.0.remove(key)?;
        Ok(had.map(|value| Bytes::copy_from_slice(value.value())))
    }

    pub(crate) fn first(&self, prefix: &[u8]) -> Result<Option<Pair>, Fault> {
        Look::first(&self.0, prefix)
    }

    pub(crate) fn last(&self, prefix: &[u8]) -> Result<Option<Pair>, Fault> {
        Look::last(&self.0, prefix)
    }

    pub(crate) fn some(&self, prefix: &[u8], from: &[u8], max: usize) -> Result<Vec<Pair>, Fault> {
        Look::some(&self.0, prefix, from, max)
    }

    pub(crate) fn all(&self, prefix: &[u8]) -> Result<Vec<Pair>, Fault> {
        Look::all(&self.0, prefix)
    }

    /// Removes everything.
    pub(crate) fn clear(&mut self) -> Result<(), Fault> {
        Ok(self.0.retain(|_, _| false)?)
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
}
