//! Where the bytes lie: a file, or whatever a test puts in its place.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use redb::{Builder, Database, DatabaseError};

/// The file's name in the store's directory.
const FILE: &str = "store.redb";

/// Opens the database, at first and again after every I/O error. The product has
/// one, a file; tests of power loss and failing disks bring their own.
pub trait Media: Send + 'static {
    /// Opens it; an empty medium becomes an empty database.
    ///
    /// # Errors
    /// What redb, or the medium, says.
    fn open(&self, builder: &Builder) -> Result<Database, DatabaseError>;
}

/// A file in a directory of its own.
pub(crate) struct Directory {
    file: PathBuf,
}

impl Directory {
    /// Makes the directory if it is not there, readable by nobody else.
    pub(crate) fn prepare(directory: &Path) -> io::Result<Self> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(directory)?;
        let file = directory.join(FILE);
        if !file.exists() {
            options().create(true).open(&file)?.sync_all()?;
            // The entry in the directory is as good as the file only once it is on disk.
            File::open(directory)?.sync_all()?;
        }
        Ok(Self { file })
    }
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
        let file = options()
            .open(&self.file)
            .map_err(|error| DatabaseError::Storage(error.into()))?;
        builder.create_file(file)
    }
}
