//! Where the bytes lie: a file, or whatever a test puts in its place.
//!
//! A new store is made under another name, completely and on disk, and then renamed: a
//! crash in between leaves something that the next start makes again. What has the
//! right name is never made anew, also if it is empty: then it lost something, and
//! that is to be told.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
};

use redb::{Builder, Database, DatabaseError};

use crate::{error::OpenError, open};

/// The file's name in the store's directory, and while it is made.
const FILE: &str = "store.redb";
const UNFINISHED: &str = "store.redb.new";

/// Opens the database, at first and again after every I/O error. The product has
/// one, a file; tests of power loss and failing disks bring their own.
pub trait Media: Send + 'static {
    /// Opens it. A medium of a test may become an empty database.
    ///
    /// # Errors
    /// What redb, or the medium, says.
    fn open(&self, builder: &Builder) -> Result<Database, DatabaseError>;

    /// What it is called in messages.
    fn name(&self) -> String {
        "the medium".to_owned()
    }

    /// How many bytes there is room for; `None` if that is not known.
    fn free_bytes(&self) -> Option<u64> {
        None
    }
}

/// A file in a directory of its own.
pub(crate) struct Directory {
    directory: PathBuf,
    file: PathBuf,
}

impl Directory {
    /// Makes the directory and the store if they are not there, readable by nobody
    /// else; brings their names to disk.
    pub(crate) fn prepare(directory: &Path) -> Result<Self, OpenError> {
        let failed = |error: io::Error| OpenError::Io(format!("{}: {error}", directory.display()));
        make_directory(directory).map_err(failed)?;
        let this = Self {
            directory: directory.to_owned(),
            file: directory.join(FILE),
        };
        // Whoever makes it, makes it alone. Where directories cannot be locked, two
        // that start at the same moment are not kept apart.
        let guard = File::open(directory).map_err(failed)?;
        if let Err(TryLockError::WouldBlock) = guard.try_lock() {
            return Err(OpenError::InUse {
                directory: directory.to_owned(),
                detail: "it is being opened".to_owned(),
            });
        }
        if !this.file.try_exists().map_err(failed)? {
            this.make()?;
        }
        // The entry may be there since a crash, and not on disk yet.
        guard.sync_all().map_err(failed)?;
        Ok(this)
    }

    /// The directory of a store that is there.
    pub(crate) fn existing(directory: &Path) -> Result<Self, OpenError> {
        let this = Self {
            directory: directory.to_owned(),
            file: directory.join(FILE),
        };
        match this.file.try_exists() {
            Ok(true) => Ok(this),
            Ok(false) => Err(OpenError::Io(format!("{}: no store", this.name()))),
            Err(error) => Err(OpenError::Io(format!("{}: {error}", this.name()))),
        }
    }

    /// Makes the store under another name, and renames it.
    fn make(&self) -> Result<(), OpenError> {
        let failed = |error: io::Error| OpenError::Io(format!("{}: {error}", self.name()));
        let unfinished = self.directory.join(UNFINISHED);
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let file = options().create_new(true).open(&unfinished);
        let database = open::builder()
            .create_file(file.map_err(failed)?)
            .map_err(|error| open::told(&self.name(), error))?;
        open::prepare(&database)?;
        drop(database);
        let file = options().open(&unfinished).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        fs::rename(&unfinished, &self.file).map_err(failed)
    }
}

/// Makes a directory and those above it, each on disk before the next.
fn make_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let above = directory.parent().filter(|above| *above != Path::new(""));
    let above = above.unwrap_or(Path::new("."));
    make_directory(above)?;
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(directory) {
        // Someone else was faster.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    File::open(above)?.sync_all()
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

impl Media for Directory {
    fn open(&self, builder: &Builder) -> Result<Database, DatabaseError> {
        builder.open(&self.file)
    }

    fn name(&self) -> String {
        self.directory.display().to_string()
    }

    fn free_bytes(&self) -> Option<u64> {
        let told = rustix::fs::statvfs(&self.directory).ok()?;
        Some(told.f_bavail.saturating_mul(told.f_frsize))
    }
}
