//! Exporting and importing.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Seek as _, SeekFrom, Write},
    path::Path,
    process::ExitCode,
};

use sidehook_api::record_v1::ImageHeader;
use sidehook_core::address::Lane;
use sidehook_store::{
    CallError, Store,
    image::{Reading, Tally, Writing, contents},
    port::Durability,
};
use tempfile::NamedTempFile;

use super::{
    Opened,
    file::{FORMAT, FileError, FileReader, FileWriter},
    frames,
};

/// Stands for standard output or input.
const STANDARD: &str = "-";

/// What whoever starts servers on the copy must know.
const SEALED: &str =
    "signing keys are in it as they were sealed: servers need the same sealing key as before";

/// Writes all of a store to a file: under a temporary name, readable by nobody else,
/// and under its own once it is whole and on disk.
pub(super) async fn export(opened: &Opened, path: &Path) -> Result<ExitCode, String> {
    let tally = if path.as_os_str() == STANDARD {
        let out = BufWriter::new(io::stdout().lock());
        write(opened, out).await.map(|(tally, _)| tally)?
    } else {
        let cannot = |error: io::Error| format!("{} cannot be written: {error}", path.display());
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or_else(|| Path::new("."));
        let file = NamedTempFile::new_in(folder).map_err(cannot)?;
        let (tally, out) = write(opened, BufWriter::new(file)).await?;
        let file = out
            .into_inner()
            .map_err(|error| cannot(error.into_error()))?;
        file.as_file().sync_all().map_err(cannot)?;
        file.persist(path).map_err(|error| cannot(error.error))?;
        tally
    };
    tell(&format!("exported {tally}\n{SEALED}"));
    Ok(ExitCode::SUCCESS)
}

async fn write<W: Write>(opened: &Opened, to: W) -> Result<(Tally, W), String> {
    let store = &*opened.store;
    let now = store.now().await.map_err(|error| error.to_string())?;
    let header = ImageHeader {
        format: FORMAT,
        sidehook_version: env!("CARGO_PKG_VERSION").to_owned(),
        made_at_ms: now.as_millis(),
        source: opened.kind.to_owned(),
        durability: match store.durability() {
            Durability::Volatile => "volatile",
            Durability::Relaxed => "relaxed",
            Durability::Strict => "strict",
        }
        .to_owned(),
    };
    let cannot = |error: io::Error| format!("the export cannot be written: {error}");
    let mut file = FileWriter::begin(to, header).map_err(cannot)?;
    let mut tally = Tally::default();
    // One time for all pages: what lapses meanwhile does not come and go.
    let mut reading = Reading::new(store, Some(now));
    while let Some(page) = reading.next().await.map_err(|error| error.to_string())? {
        for image in page {
            tally.count(&image);
            file.put(&frames::frame(image)).map_err(cannot)?;
        }
    }
    Ok((tally, file.finish().map_err(cannot)?))
}

/// Fills an empty store from a file that was read and checked to its end before.
pub(super) async fn import(opened: &Opened, path: &Path) -> Result<ExitCode, String> {
    let mut file = source(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let told = |error: FileError| format!("{}: {error}", path.display());
    let wanted = survey(&file).map_err(told)?;
    let store = &*opened.store;
    let held = contents(store).await.map_err(|error| error.to_string())?;
    if !held.is_empty() {
        return Err(format!(
            "the store is not empty: it holds {held} or more. An import is into an empty store; \
             if an earlier one was broken off, empty it and import again"
        ));
    }
    file.seek(SeekFrom::Start(0))
        .map_err(|error| told(error.into()))?;
    let (mut reader, _) = FileReader::begin(BufReader::new(&file)).map_err(told)?;
    let mut writing = Writing::new(store, None, Lane::from_random(rand::random()));
    let broken = |error: CallError| {
        format!("the import was broken off: {error}. Empty the store and import again")
    };
    while let Some(frame) = reader.next().map_err(told)? {
        let image = frames::image(frame).map_err(|_| told(FileError::Damaged("a record")))?;
        writing.put(image).await.map_err(broken)?;
    }
    writing.finish().await.map_err(broken)?;
    verify(store).await?;
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

/// Checks that the store is sound now.
async fn verify(store: &dyn Store) -> Result<(), String> {
    match super::looking::faults(store).await?.first() {
        None => Ok(()),
        Some(fault) => Err(format!(
            "the store contradicts itself after the import: {fault}. Do not use it"
        )),
    }
}

/// Tells people, beside what may be standard output.
fn tell(text: &str) {
    // A closed standard error leaves the exit code to tell.
    let _ = writeln!(io::stderr(), "{text}");
}
