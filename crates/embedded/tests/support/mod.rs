//! A disk whose power fails, that fails once or always, at a chosen moment or place.

#![allow(dead_code, reason = "each test binary uses a part of it")]

pub(crate) mod rows;
pub(crate) mod story;

use std::{
    collections::BTreeSet,
    fmt, io,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use rand::{Rng as _, rngs::StdRng};
use redb::{Builder, Database, DatabaseError, StorageBackend};
use sidehook_embedded::{Embedded, Media};
use sidehook_store::port::Durability;

/// What a disk keeps whole even if its power fails.
const SECTOR: usize = 512;

const CACHE_BYTES: usize = 64 * 1024;

/// What a full disk has room for or not.
const BLOCK: usize = 4_096;

/// Something that was not on the platter yet when the power failed.
enum Pending {
    Write(usize, Vec<u8>),
    Length(usize),
}

/// What is to happen, and after how many more writes and syncs.
#[derive(Clone, Copy)]
enum Fate {
    PowerLoss(u64),
    Error(u64),
}

#[derive(Default)]
struct Plate {
    /// What a sync has confirmed.
    durable: Vec<u8>,
    /// What a reader sees.
    seen: Vec<u8>,
    pending: Vec<Pending>,
    fate: Option<Fate>,
    /// The next read fails, and only this one.
    bad_read: bool,
    /// Reads of these bytes fail, as long as it lasts.
    bad: Option<Range<usize>>,
    /// No block that was never written takes anything.
    full: bool,
    written: BTreeSet<usize>,
    /// What it says that it has room for.
    free: Option<u64>,
    /// The next sync panics, or the next opening.
    panic_sync: bool,
    panic_open: bool,
    opens: u32,
    dead: bool,
    /// How often an error was met.
    errors: u32,
    syncs: u64,
    growths: u64,
}

/// A disk in memory, which forgets what was not synced when its power fails.
#[derive(Clone, Default)]
pub(crate) struct Disk(Arc<(Mutex<Plate>, Condvar)>);

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disk")
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Pending) {
    match change {
        Pending::Length(length) => bytes.resize(*length, 0),
        Pending::Write(at, data) => {
            let end = at + data.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*at..end].copy_from_slice(data);
        }
    }
}

/// What of the unsynced writes reaches the platter after all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Survives {
    Nothing,
    /// Any of the writes, each whole.
    Some,
    /// Any sectors of any of the writes.
    Torn,
}

impl Disk {
    /// The power fails after that many more writes and syncs.
    pub(crate) fn lose_power_after(&self, count: u64) {
        self.0.0.lock().fate = Some(Fate::PowerLoss(count));
    }

    /// A write or sync fails after that many, and only this one.
    pub(crate) fn fail_after(&self, count: u64) {
        self.0.0.lock().fate = Some(Fate::Error(count));
    }

    /// The next read fails.
    pub(crate) fn fail_read(&self) {
        self.0.0.lock().bad_read = true;
    }

    /// Every read of where `mark` lies last fails.
    pub(crate) fn spoil(&self, mark: &[u8]) {
        let mut plate = self.0.0.lock();
        let found = plate.seen.windows(mark.len()).rposition(|one| one == mark);
        let at = found.expect("it is there");
        plate.bad = Some(at..at + mark.len());
    }

    /// Nothing that is new fits any more, or all does.
    pub(crate) fn fill(&self, full: bool) {
        self.0.0.lock().full = full;
    }

    /// What it says that it has room for.
    pub(crate) fn tell_free(&self, bytes: u64) {
        self.0.0.lock().free = Some(bytes);
    }

    /// The next sync panics.
    pub(crate) fn panic_in_sync(&self) {
        self.0.0.lock().panic_sync = true;
    }

    /// The next opening panics.
    pub(crate) fn panic_in_open(&self) {
        self.0.0.lock().panic_open = true;
    }

    /// Everything on it is lost, and it works.
    pub(crate) fn wipe(&self) {
        let mut plate = self.0.0.lock();
        plate.seen.clear();
        plate.durable.clear();
        plate.pending.clear();
    }

    /// How often it was opened.
    pub(crate) fn opens(&self) -> u32 {
        self.0.0.lock().opens
    }

    /// The database on it, which no store may have open.
    pub(crate) fn database(&self) -> Database {
        let database = Builder::new().create_with_backend(self.clone());
        database.expect("it opens")
    }

    /// Nothing fails any more.
    pub(crate) fn spare(&self) {
        let mut plate = self.0.0.lock();
        plate.fate = None;
        plate.bad = None;
        plate.full = false;
    }

    /// How many errors were met.
    pub(crate) fn errors(&self) -> u32 {
        self.0.0.lock().errors
    }

    /// How many syncs there were.
    pub(crate) fn syncs(&self) -> u64 {
        self.0.0.lock().syncs
    }

    /// How often the file was given another length, each time with a sync of its own.
    #[allow(dead_code, reason = "not every test counts them")]
    pub(crate) fn growths(&self) -> u64 {
        self.0.0.lock().growths
    }

    /// Waits for the next sync; whether there was one.
    pub(crate) fn await_sync(&self, after: u64, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut plate = self.0.0.lock();
        while plate.syncs <= after {
            if self.0.1.wait_until(&mut plate, until).timed_out() {
                return false;
            }
        }
        true
    }

    /// The power fails now: the disk as it is when the power is back.
    pub(crate) fn after_power_loss(&self, survives: Survives, random: &mut StdRng) -> Self {
        let mut plate = self.0.0.lock();
        plate.dead = true;
        let mut bytes = plate.durable.clone();
        for change in &plate.pending {
            if survives == Survives::Nothing || random.random() {
                continue;
            }
            match change {
                Pending::Write(at, data) if survives == Survives::Torn => {
                    for (number, sector) in data.chunks(SECTOR).enumerate() {
                        if random.random() {
                            let at = at + number * SECTOR;
                            apply(&mut bytes, &Pending::Write(at, sector.to_vec()));
                        }
                    }
                }
                change => apply(&mut bytes, change),
            }
        }
        let fresh = Plate {
            durable: bytes.clone(),
            seen: bytes,
            ..Plate::default()
        };
        Self(Arc::new((Mutex::new(fresh), Condvar::new())))
    }

    fn alive(&self) -> io::Result<parking_lot::MutexGuard<'_, Plate>> {
        let plate = self.0.0.lock();
        if plate.dead {
            return Err(io::Error::other("no power"));
        }
        Ok(plate)
    }

    /// Counts a write or sync.
    fn count(&self) -> io::Result<parking_lot::MutexGuard<'_, Plate>> {
        let mut plate = self.alive()?;
        match &mut plate.fate {
            Some(Fate::PowerLoss(0)) => {
                plate.dead = true;
                return Err(io::Error::other("the power fails"));
            }
            Some(Fate::Error(0)) => {
                plate.fate = None;
                plate.errors += 1;
                return Err(io::Error::other("the disk fails"));
            }
            Some(Fate::PowerLoss(left) | Fate::Error(left)) => *left -= 1,
            None => {}
        }
        Ok(plate)
    }

    fn change(&self, change: Pending) -> io::Result<()> {
        let mut plate = self.count()?;
        if let Pending::Write(at, data) = &change {
            let blocks = at / BLOCK..(at + data.len()).div_ceil(BLOCK);
            if plate.full && !blocks.clone().all(|one| plate.written.contains(&one)) {
                plate.errors += 1;
                return Err(io::ErrorKind::StorageFull.into());
            }
            plate.written.extend(blocks);
        }
        apply(&mut plate.seen, &change);
        plate.pending.push(change);
        Ok(())
    }

    /// A store on this disk.
    pub(crate) fn store(&self, durability: Durability) -> Embedded {
        Embedded::over(Box::new(self.clone()), durability).expect("it opens")
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).expect("a small disk")
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.alive()?.seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut plate = self.alive()?;
        if std::mem::take(&mut plate.bad_read) {
            plate.errors += 1;
            return Err(io::Error::other("the disk cannot read"));
        }
        let at = index(offset);
        let bad = plate.bad.clone();
        if bad.is_some_and(|bad| bad.start < at + out.len() && at < bad.end) {
            plate.errors += 1;
            return Err(io::Error::other("the sector is bad"));
        }
        let bytes = plate.seen.get(at..at + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.0.lock().growths += 1;
        self.change(Pending::Length(index(length)))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut plate = self.count()?;
        assert!(
            !std::mem::take(&mut plate.panic_sync),
            "as an assertion of the engine would"
        );
        for change in std::mem::take(&mut plate.pending) {
            apply(&mut plate.durable, &change);
        }
        plate.syncs += 1;
        self.0.1.notify_all();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Pending::Write(index(offset), data.to_vec()))
    }
}

impl Media for Disk {
    /// With a cache so small that pages are read again, and written before the commit
    /// that they belong to.
    fn open(&self, _builder: &Builder) -> Result<Database, DatabaseError> {
        let mut plate = self.0.0.lock();
        plate.opens += 1;
        assert!(!std::mem::take(&mut plate.panic_open), "while it is opened");
        // In debug builds only the engine reads every page while it opens.
        let bad = plate.bad.take();
        drop(plate);
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE_BYTES);
        let opened = builder.create_with_backend(self.clone());
        self.0.0.lock().bad = bad;
        opened
    }

    fn free_bytes(&self) -> Option<u64> {
        self.0.0.lock().free
    }
}
