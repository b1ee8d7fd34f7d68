//! Exporting: page by page from a store that nobody else uses, into a file that has its
//! name only once it is whole and on disk.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, BufWriter, IsTerminal as _, Write},
    path::Path,
    process::ExitCode,
};

use sidehook_api::record_v1::ImageHeader;
use sidehook_store::{
    image::{Reading, Tally},
    port::Durability,
};

use super::{
    Opened, SEALED, STANDARD,
    file::{FORMAT, FileWriter},
    frames,
    looking::told,
    tell,
};
use crate::client::Failure;

/// Writes all of a store to a file or to standard output.
pub(super) async fn export(opened: &Opened, path: &Path) -> Result<ExitCode, Failure> {
    opened.is_alone().await?;
    let tally = if path.as_os_str() == STANDARD {
        to_standard_output(opened).await?
    } else {
        to_file(opened, path).await?
    };
    tell(&format!("exported {tally}\n{SEALED}"));
    Ok(ExitCode::SUCCESS)
}

async fn to_standard_output(opened: &Opened) -> Result<Tally, Failure> {
    let out = io::stdout();
    if out.is_terminal() {
        return Err(Failure::new("an export is not for a terminal").hint("name a file"));
    }
    let cannot = |error: io::Error| Failure::new(format!("standard output: {error}"));
    let (tally, _) = write(opened, BufWriter::new(out), cannot).await?;
    Ok(tally)
}

/// Writes to a hidden file beside `path` that nobody else may read, and renames it. A
/// file of that name is replaced whole or not at all.
async fn to_file(opened: &Opened, path: &Path) -> Result<Tally, Failure> {
    let name = path.display();
    let cannot = |error: io::Error| Failure::new(format!("{name} cannot be written: {error}"));
    let there = fs::symlink_metadata(path);
    if there.is_ok_and(|there| !there.is_file()) {
        let other = format!("{name} is something else than a file");
        return Err(Failure::new(other).hint("- stands for standard output"));
    }
    let folder = path.parent().filter(|one| !one.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new("."));
    let mut hidden = OsString::from(".");
    hidden.push(path.file_name().unwrap_or_default());
    hidden.push(".");
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix(&hidden).suffix(".part");
    let file = builder.tempfile_in(folder).map_err(cannot)?;
    let (tally, out) = write(opened, BufWriter::new(file), cannot).await?;
    let file = out.into_inner();
    let file = file.map_err(|error| cannot(error.into_error()))?;
    file.as_file().sync_all().map_err(cannot)?;
    file.persist(path).map_err(|error| cannot(error.error))?;
    // The name is as good as the file only once it is on disk too.
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(cannot)?;
    Ok(tally)
}

async fn write<W: Write>(
    opened: &Opened,
    to: W,
    cannot: impl Fn(io::Error) -> Failure,
) -> Result<(Tally, W), Failure> {
    let store = &*opened.store;
    let now = store.now().await.map_err(told)?;
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
    let mut file = FileWriter::begin(to, header).map_err(&cannot)?;
    let mut tally = Tally::default();
    // One time for all pages: what lapses meanwhile does not come and go.
    let mut reading = Reading::new(store, Some(now));
    while let Some(page) = reading.next().await.map_err(told)? {
        for image in page {
            tally.count(&image);
            file.put(&frames::frame(image)).map_err(&cannot)?;
        }
    }
    // Whoever came meanwhile may have moved deliveries past the reading.
    let alone = opened.is_alone().await;
    alone.map_err(|failure| failure.hint("the export was given up"))?;
    Ok((tally, file.finish().map_err(&cannot)?))
}
