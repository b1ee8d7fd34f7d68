//! Going through a whole store, and filling one: the same for every kind of store.

use sidehook_core::{
    address::{Lane, Partition, Sequence},
    limits::{CALL_BYTES, CALL_RECORDS},
    time::Timestamp,
};

use super::{Cursor, Image, Tally};
use crate::{
    error::{CallError, StoreError},
    port::Store,
    registry::Kind,
    turn::Stamp,
};

/// Reads all of a store, page by page: its partitions, then the registry.
pub struct Reading<'a> {
    store: &'a dyn Store,
    now: Option<Timestamp>,
    partitions: Vec<Partition>,
    from: Option<Cursor>,
    kinds: Vec<Kind>,
    after: Vec<u8>,
}

impl<'a> Reading<'a> {
    /// From the beginning on. `now` is `None` in production: the store's own clock.
    #[must_use]
    pub fn new(store: &'a dyn Store, now: Option<Timestamp>) -> Self {
        let mut partitions: Vec<_> = Partition::all().collect();
        partitions.reverse();
        Self {
            store,
            now,
            partitions,
            from: None,
            kinds: Kind::ALL.into_iter().rev().collect(),
            after: Vec::new(),
        }
    }

    /// The next records, perhaps none; `None` at the end.
    ///
    /// # Errors
    /// [`StoreError`]; the same page can be asked for again.
    pub async fn next(&mut self) -> Result<Option<Vec<Image>>, StoreError> {
        if let Some(partition) = self.partitions.last() {
            let page = self.store.export(self.now, *partition, self.from.as_ref());
            let page = page.await?;
            self.from = page.next;
            if self.from.is_none() {
                self.partitions.pop();
            }
            return Ok(Some(page.records));
        }
        let Some(kind) = self.kinds.last().copied() else {
            return Ok(None);
        };
        let listing = self.store.registry_list(kind, &self.after, CALL_RECORDS);
        let page = listing.await?;
        match page.entries.last() {
            Some(last) if page.more => self.after = last.key.to_vec(),
            _ => {
                self.kinds.pop();
                self.after.clear();
            }
        }
        let entries = page.entries.into_iter();
        let records = entries.map(|entry| Image::Registry {
            kind,
            key: entry.key,
            value: entry.value,
        });
        Ok(Some(records.collect()))
    }
}

/// Fills an empty store: gathers records into calls within the port's bounds.
pub struct Writing<'a> {
    store: &'a dyn Store,
    now: Option<Timestamp>,
    lane: Lane,
    sequence: Sequence,
    gathered: Vec<Image>,
    records: usize,
    bytes: usize,
}

impl<'a> Writing<'a> {
    /// Begins. `lane` is random; `now` is `None` in production: the store's own clock.
    #[must_use]
    pub const fn new(store: &'a dyn Store, now: Option<Timestamp>, lane: Lane) -> Self {
        Self {
            store,
            now,
            lane,
            sequence: Sequence::FIRST,
            gathered: Vec::new(),
            records: 0,
            bytes: 0,
        }
    }

    /// Adds a record, in the order of the export.
    ///
    /// # Errors
    /// [`CallError`]: what was put before may be in the store.
    pub async fn put(&mut self, image: Image) -> Result<(), CallError> {
        let (records, bytes) = image.weight();
        let other = self.gathered.first().map(Image::partition) != Some(image.partition());
        if other || self.records + records > CALL_RECORDS || self.bytes + bytes > CALL_BYTES {
            self.send().await?;
        }
        if let Image::Registry { kind, key, value } = image {
            let put = self.store.registry_put(kind, &key, Some(value)).await;
            return put.map_err(|error| match error {
                StoreError::Unavailable { detail, .. } => CallError::Unknown { detail },
                StoreError::Corrupt { detail } => CallError::Refused { detail },
            });
        }
        self.records += records;
        self.bytes += bytes;
        self.gathered.push(image);
        Ok(())
    }

    /// Writes what is still to be written.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn finish(mut self) -> Result<(), CallError> {
        self.send().await
    }

    async fn send(&mut self) -> Result<(), CallError> {
        let records = core::mem::take(&mut self.gathered);
        (self.records, self.bytes) = (0, 0);
        let Some(partition) = records.first().and_then(Image::partition) else {
            return Ok(());
        };
        let stamp = Stamp {
            lane: self.lane,
            sequence: self.sequence,
        };
        let next = self.sequence.next();
        self.sequence = next.ok_or_else(|| CallError::Refused {
            detail: "more calls than a lane has".to_owned(),
        })?;
        self.store
            .import(self.now, partition, stamp, &records)
            .await
    }
}

/// What a store holds: all of it if it is little, else a part. An empty tally is an
/// empty store; what servers agreed on when they started makes none full, and an import
/// replaces it.
///
/// # Errors
/// [`StoreError`].
pub async fn contents(store: &dyn Store) -> Result<Tally, StoreError> {
    let mut tally = Tally::default();
    for partition in Partition::all() {
        let page = store.export(None, partition, None).await?;
        page.records.iter().for_each(|one| tally.count(one));
        // A page without records may have others behind it.
        let mut from = page.next;
        while tally.is_empty()
            && let Some(cursor) = from
        {
            let page = store.export(None, partition, Some(&cursor)).await?;
            page.records.iter().for_each(|one| tally.count(one));
            from = page.next;
        }
    }
    for kind in Kind::ALL {
        if kind == Kind::Agreement {
            continue;
        }
        for entry in store.registry_list(kind, &[], CALL_RECORDS).await?.entries {
            tally.count(&Image::Registry {
                kind,
                key: entry.key,
                value: entry.value,
            });
        }
    }
    Ok(tally)
}
