//! Importing: the file is read and checked to its end before anything is written.
//!
//! An embedded store is made beside its place and put there once it is whole, sound and
//! on disk: there is all of it, or nothing. Redis cannot do that. What a broken import
//! leaves there serves nobody, since tenants and keys come last; the next import finds
//! it, and refuses until somebody has emptied the database.

use std::{
    fs::{self, File},
    io::{self, BufReader, Seek as _, SeekFrom},
    path::Path,
    process::ExitCode,
    sync::Arc,
};

use sidehook_core::address::Lane;
use sidehook_embedded::{Embedded, OpenError};
use sidehook_store::{
    Store,
    image::{Reading, Tally, Writing, contents},
    port::Durability,
};

use super::{
    EMBEDDED_FILE, Opened, Pages, SEALED, STANDARD,
    file::{FileError, FileReader},
    frames,
    looking::{faults, told},
    tell,
};
use crate::{client::Failure, store::StoreConfig};

/// The folder in an embedded store's folder in which a new store is made.
const WORKSHOP: &str = ".sidehook-import";
/// Whatever an import leaves there if it is killed; nothing else is ever deleted.
const LEFT: [&str; 2] = [EMBEDDED_FILE, "store.redb.new"];

/// Brings what a file holds to a store that holds nothing.
pub(super) async fn import(config: StoreConfig, path: &Path) -> Result<ExitCode, Failure> {
    let name = path.display();
    let refused = |error: FileError| Failure::new(format!("{name}: {error}"));
    let file = source(path).map_err(|error| refused(error.into()))?;
    let wanted = survey(&file).map_err(|error| refused(error).hint("nothing was imported"))?;
    match config {
        StoreConfig::Embedded { directory, .. } => make(&directory, &file, wanted).await?,
        config @ StoreConfig::Redis { .. } => {
            let opened = Opened::open(config, Pages::Trusted).await?;
            let done = fill_redis(&opened, &file, wanted).await;
            opened.close(done).await?;
        }
    }
    tell(&format!("imported {wanted}\n{SEALED}"));
    Ok(ExitCode::SUCCESS)
}

/// The file, in a form that can be read twice: what comes from standard input is
/// kept in a file without a name.
fn source(path: &Path) -> io::Result<File> {
    if path.as_os_str() != STANDARD {
        return File::open(path);
    }
    let mut kept = tempfile::tempfile()?;
    io::copy(&mut io::stdin().lock(), &mut kept)?;
    kept.seek(SeekFrom::Start(0))?;
    Ok(kept)
}

/// Reads a file to its end and counts what is in it.
fn survey(file: &File) -> Result<Tally, FileError> {
    let (mut reader, _) = FileReader::begin(BufReader::new(file))?;
    let mut tally = Tally::default();
    while let Some(frame) = reader.next()? {
        let image = frames::image(frame).map_err(|error| FileError::Damaged(error.0))?;
        tally.count(&image);
    }
    Ok(tally)
}

/// Writes what a file holds into an empty store, and checks the store.
async fn fill(store: &dyn Store, mut file: &File, wanted: Tally) -> Result<(), Failure> {
    let unread = |error: FileError| Failure::new(error.to_string());
    let start = file.seek(SeekFrom::Start(0));
    start.map_err(|error| unread(error.into()))?;
    let (mut reader, _) = FileReader::begin(BufReader::new(file)).map_err(unread)?;
    let mut writing = Writing::new(store, None, Lane::from_random(rand::random()));
    while let Some(frame) = reader.next().map_err(unread)? {
        let image = frames::image(frame).map_err(|error| unread(FileError::Damaged(error.0)))?;
        let put = writing.put(image).await;
        put.map_err(|error| Failure::new(error.to_string()))?;
    }
    let finished = writing.finish().await;
    finished.map_err(|error| Failure::new(error.to_string()))?;
    verify(store, wanted).await
}

/// Checks that a store holds what the file has, and is sound. Keys that lapsed since
/// are gone, so these are not counted.
async fn verify(store: &dyn Store, wanted: Tally) -> Result<(), Failure> {
    let mut held = Tally::default();
    let mut reading = Reading::new(store, None);
    while let Some(page) = reading.next().await.map_err(told)? {
        page.iter().for_each(|image| held.count(image));
    }
    let wanted = Tally {
        keys: held.keys,
        ..wanted
    };
    if held != wanted {
        return Err(Failure::new(format!(
            "the store holds something else than the file: {held}"
        )));
    }
    match faults(store).await?.first() {
        None => Ok(()),
        Some(fault) => Err(Failure::new(format!(
            "the store would contradict itself: {fault}"
        ))),
    }
}

async fn fill_redis(opened: &Opened, file: &File, wanted: Tally) -> Result<(), Failure> {
    const EMPTY: &str = "begin again with an empty database: FLUSHDB empties one that holds \
                         nothing but this store";
    let store = &*opened.store;
    opened.is_alone().await?;
    let held = contents(store).await.map_err(told)?;
    if !held.is_empty() {
        let failure = Failure::new(format!(
            "the store is not empty: it holds {held}, or more. An import is into an empty store"
        ));
        return Err(failure.hint(format!("if an import was broken off before, {EMPTY}")));
    }
    let filled = fill(store, file, wanted).await;
    let Err(failure) = filled else {
        return filled;
    };
    let left = match contents(store).await {
        Ok(left) if left.is_empty() => "the store is still empty".to_owned(),
        Ok(left) => format!("the store holds a part now: {left}, or more. {EMPTY}"),
        Err(error) => format!("what the store holds cannot be told: {error}. {EMPTY}"),
    };
    Err(Failure::new(format!("the import was broken off: {failure}")).hint(left))
}

/// Makes an embedded store of a file in a folder that has none.
async fn make(directory: &Path, file: &File, wanted: Tally) -> Result<(), Failure> {
    let place = directory.join(EMBEDDED_FILE);
    if place.exists() {
        return Err(taken(directory));
    }
    let workshop = directory.join(WORKSHOP);
    let nothing = |failure: Failure| failure.hint("nothing was imported");
    let cannot = |error: io::Error| Failure::new(format!("{}: {error}", directory.display()));
    let opened = fresh(&workshop).await.map_err(nothing)?;
    let done = fill(&*opened.store, file, wanted).await;
    let done = opened.close(done).await;
    let placed = done.and_then(|()| {
        // A link, unlike a new name, replaces nothing that came meanwhile.
        fs::hard_link(workshop.join(EMBEDDED_FILE), &place).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => taken(directory),
            _ => cannot(error),
        })
    });
    let cleared = clear(&workshop);
    placed.map_err(nothing)?;
    let synced = cleared.and_then(|()| File::open(directory)?.sync_all());
    synced.map_err(cannot)
}

fn taken(directory: &Path) -> Failure {
    let place = directory.display();
    Failure::new(format!("there is a store in {place} already"))
        .hint("an import makes a new one: name another folder, or move that store away")
}

/// Makes sure that a folder holds nothing but what an import leaves.
fn only_left(folder: &Path) -> io::Result<()> {
    for found in fs::read_dir(folder)? {
        let found = found?.file_name();
        if !LEFT.iter().any(|one| found == *one) {
            let found = found.display();
            let told = format!("it holds {found}, which no import left: move it away");
            return Err(io::Error::other(told));
        }
    }
    Ok(())
}

/// Removes a folder with what an import leaves in it.
fn clear(folder: &Path) -> io::Result<()> {
    for name in LEFT {
        match fs::remove_file(folder.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::remove_dir(folder)
}

/// An empty store, where a killed import may have left one. It is strict: were a full
/// disk told only later, what was taken before could be missing without a word.
async fn fresh(workshop: &Path) -> Result<Opened, Failure> {
    let folder = workshop.to_owned();
    let made = tokio::task::spawn_blocking(move || {
        let cannot = |error: io::Error| format!("{}: {error}", folder.display());
        if folder.exists() {
            only_left(&folder).map_err(cannot)?;
            // Opened first: its lock tells of an import that is still at work.
            let left = Embedded::open(&folder, Durability::Strict);
            if let Err(error @ OpenError::InUse { .. }) = left {
                return Err(error.to_string());
            }
            drop(left);
            clear(&folder).map_err(cannot)?;
        }
        Embedded::open(&folder, Durability::Strict).map_err(|error| error.to_string())
    });
    let made = made.await.map_err(|error| error.to_string());
    let store = made.and_then(|made| made).map_err(Failure::new)?;
    Ok(Opened {
        store: Arc::new(store),
        kind: "embedded",
    })
}
