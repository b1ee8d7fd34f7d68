//! A disk whose power can be cut beneath a process.
//!
//! A process that is killed loses nothing that it wrote: the page cache outlives it. So
//! a library is put between the process and its files (`power/shim.c`, built here with
//! the machine's C compiler), which keeps beside the files what a disk would have of
//! them, the *platter*: bytes as they were when their file was last synced, names as
//! they were when their folder was. [`Disk::cut`] then makes of the files what is found
//! when the power is back: the platter, and of what was not synced as much as
//! [`Survives`] says, for a cache forgets in whatever order it likes.
//!
//! Whether a test that passes has proven anything is asked with [`Disk::lie`]: a disk
//! that calls synced what is not must lose something.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::{DirEntryExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use rand::{Rng as _, rngs::StdRng};
use tempfile::TempDir;

use crate::process::POLL;

const SHIM: &str = include_str!("power/shim.c");
/// What a disk keeps whole even if its power fails.
const SECTOR: usize = 512;
/// How long those who are killed may take to end.
const END: Duration = Duration::from_secs(30);

/// A folder on a disk of its own.
pub struct Disk {
    folder: TempDir,
}

/// What reaches the platter of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survives {
    /// Nothing.
    Nothing,
    /// Of files that grew, some of what was added, from its beginning on and torn
    /// anywhere; of other changes nothing. Of each folder's names, all changes or none.
    Prefix,
    /// Any sectors, and the new length or the old one: what did not reach it is zeros. Of each folder's names, all changes or none.
    Sectors,
}

/// What a cut took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Bytes of files that are others than were written.
    pub bytes: u64,
    /// Names that came back, and names that went.
    pub names: u64,
}

/// The entries of a folder: their names, inodes, and whether they are folders.
type Entries = Vec<(String, u64, bool)>;

impl Default for Disk {
    fn default() -> Self {
        Self::new()
    }
}

impl Disk {
    /// An empty folder, on disk.
    ///
    /// # Panics
    ///
    /// If there is no C compiler, or no temporary folder.
    #[must_use]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let source = folder.path().join("shim.c");
        fs::write(&source, SHIM).expect("it can be written");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O2", "-fvisibility=hidden"]);
        compiler.args(["-U_FORTIFY_SOURCE", "-Wall", "-Wextra", "-Werror", "-o"]);
        compiler.arg(folder.path().join("shim.so")).arg(&source);
        let built = compiler.arg("-ldl").output();
        let built = built.expect("a C compiler is installed");
        let said = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success(), "the shim is not built: {said}");
        let disk = Self { folder };
        fs::create_dir(disk.data()).expect("a folder can be made");
        disk.sync();
        disk
    }

    /// The folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Where a process that has its files here may log: no part of the disk.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn platter(&self, kind: &str) -> PathBuf {
        self.folder.path().join("platter").join(kind)
    }

    /// The variables under which a process has its files in `data` on this disk.
    #[must_use]
    pub fn variables(&self) -> [(&'static str, PathBuf); 3] {
        [
            ("LD_PRELOAD", self.folder.path().join("shim.so")),
            ("POWER_DATA", self.data()),
            ("POWER_PLATTER", self.folder.path().join("platter")),
        ]
    }

    /// From now on until the power is cut, syncs do nothing and say that all is well.
    ///
    /// # Panics
    ///
    /// If that cannot be noted.
    pub fn lie(&self) {
        fs::write(self.platter("lies"), "").expect("it can be noted");
    }

    /// Brings everything to the platter, as it is: nobody may write meanwhile.
    ///
    /// # Panics
    ///
    /// If a file cannot be read or written.
    pub fn sync(&self) {
        let platter = self.folder.path().join("platter");
        match fs::remove_dir_all(&platter) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => panic!("{error}"),
            _ => {}
        }
        for kind in ["files", "dirs", "kept"] {
            fs::create_dir_all(self.platter(kind)).expect("a folder can be made");
        }
        for (inode, path) in inodes(&self.data()) {
            let inode = inode.to_string();
            if path.is_dir() {
                let lines = entries(&path).into_iter().map(|(name, inode, is_folder)| {
                    let kind = if is_folder { 'd' } else { 'f' };
                    format!("{kind} {inode} {name}\n")
                });
                let lines: String = lines.collect();
                fs::write(self.platter("dirs").join(inode), lines).expect("it can be written");
            } else {
                fs::copy(path, self.platter("files").join(inode)).expect("it can be copied");
            }
        }
    }

    /// Cuts the power: the folder is now as it is found when the power is back. Whoever
    /// had files in it must be dead.
    ///
    /// # Panics
    ///
    /// If a file cannot be read or written.
    pub fn cut(&self, survives: Survives, random: &mut StdRng) -> Taken {
        self.wait_until_unused();
        let data = self.data();
        let root = fs::metadata(&data).expect("the folder is there").ino();
        let mut seen = inodes(&data);
        seen.extend(inodes(&self.platter("kept")));
        let after = self.folder.path().join("after");
        let mut cut = Cut {
            disk: self,
            seen,
            survives,
            random,
            taken: Taken::default(),
        };
        cut.folder(root, &after);
        let taken = cut.taken;
        fs::remove_dir_all(&data).expect("it can be removed");
        fs::rename(after, data).expect("it can be renamed");
        self.sync();
        taken
    }
}

impl Disk {
    /// Waits for the end of everyone who has files here: who was begun by a process
    /// that is killed is killed with it, but may take a moment to end.
    fn wait_until_unused(&self) {
        let shim = self.folder.path().join("shim.so").display().to_string();
        let began = Instant::now();
        while uses(&shim) {
            assert!(
                began.elapsed() < END,
                "somebody still has files on the disk"
            );
            std::thread::sleep(POLL);
        }
    }
}

/// Whether any process has this library.
fn uses(library: &str) -> bool {
    let processes = fs::read_dir("/proc").expect("processes are listed");
    // One that has ended has none.
    let maps = |one: fs::DirEntry| fs::read_to_string(one.path().join("maps")).ok();
    processes
        .filter_map(|one| maps(one.ok()?))
        .any(|maps| maps.contains(library))
}

/// A cut on its way.
struct Cut<'a> {
    disk: &'a Disk,
    /// Where every inode is found, those without a name too.
    seen: HashMap<u64, PathBuf>,
    survives: Survives,
    random: &'a mut StdRng,
    taken: Taken,
}

impl Cut<'_> {
    /// Makes a folder as it is afterwards.
    fn folder(&mut self, inode: u64, to: &Path) {
        fs::create_dir(to).expect("a folder can be made");
        let noted = fs::read_to_string(self.disk.platter("dirs").join(inode.to_string()));
        let synced: Entries = noted.unwrap_or_default().lines().map(entry).collect();
        let now = self.seen.get(&inode).map(|path| entries(path));
        let now = now.unwrap_or_default();
        let kept = if self.survives != Survives::Nothing && self.random.random() {
            now
        } else {
            let changed = |from: &Entries, to: &Entries| {
                let gone = from.iter().filter(|one| !to.contains(one));
                gone.count() as u64
            };
            self.taken.names += changed(&now, &synced) + changed(&synced, &now);
            synced
        };
        for (name, inode, is_folder) in kept {
            if is_folder {
                self.folder(inode, &to.join(name));
            } else {
                self.file(inode, &to.join(name));
            }
        }
        self.permit(inode, to);
    }

    /// Makes a file as it is afterwards.
    fn file(&mut self, inode: u64, to: &Path) {
        let synced = fs::read(self.disk.platter("files").join(inode.to_string()));
        let synced = synced.unwrap_or_default();
        let now = self.seen.get(&inode).map(fs::read);
        let now = now.map_or_else(|| synced.clone(), |now| now.expect("it can be read"));
        let after = match self.survives {
            Survives::Nothing => synced,
            Survives::Prefix => prefix(synced, &now, self.random),
            Survives::Sectors => sectors(&synced, &now, self.random),
        };
        self.taken.bytes += differing(&now, &after) as u64;
        fs::write(to, after).expect("it can be written");
        self.permit(inode, to);
    }

    /// Who may read it does not change.
    fn permit(&self, inode: u64, to: &Path) {
        if let Some(seen) = self.seen.get(&inode) {
            let permissions = fs::metadata(seen).expect("it is there").permissions();
            fs::set_permissions(to, permissions).expect("it can be set");
        }
    }
}

/// In how many bytes these differ, lengths included.
fn differing(one: &[u8], other: &[u8]) -> usize {
    let sectors = one.chunks(SECTOR).zip(other.chunks(SECTOR));
    // Most are the same, and seen to be without a look at each byte.
    let others = sectors.filter(|(one, other)| one != other);
    let bytes = others.flat_map(|(one, other)| one.iter().zip(other));
    one.len().abs_diff(other.len()) + bytes.filter(|(one, other)| one != other).count()
}

fn prefix(synced: Vec<u8>, now: &[u8], random: &mut StdRng) -> Vec<u8> {
    if !now.starts_with(&synced) {
        return synced;
    }
    now[..random.random_range(synced.len()..=now.len())].to_vec()
}

fn sectors(synced: &[u8], now: &[u8], random: &mut StdRng) -> Vec<u8> {
    let length = if random.random() {
        now.len()
    } else {
        synced.len()
    };
    let mut after = vec![0; length];
    for (number, sector) in after.chunks_mut(SECTOR).enumerate() {
        let from = if random.random() { now } else { synced };
        let from = from.get(number * SECTOR..).unwrap_or_default();
        let count = from.len().min(sector.len());
        sector[..count].copy_from_slice(&from[..count]);
    }
    after
}

/// A line of the platter: `kind inode name`.
fn entry(line: &str) -> (String, u64, bool) {
    let mut words = line.splitn(3, ' ');
    let (kind, inode, name) = (words.next(), words.next(), words.next());
    let inode = inode.and_then(|inode| inode.parse().ok());
    let name = name.expect("a line of the platter has a name");
    let inode = inode.expect("a line of the platter has an inode");
    (name.to_owned(), inode, kind == Some("d"))
}

fn entries(folder: &Path) -> Entries {
    let all = fs::read_dir(folder).expect("a folder can be read");
    let all = all.map(|one| {
        let one = one.expect("a folder can be read");
        let name = one.file_name().into_string();
        let is_folder = one.file_type().expect("it has a type").is_dir();
        (name.expect("a name in ASCII"), one.ino(), is_folder)
    });
    all.collect()
}

/// Everything in a folder, itself included, by inode.
fn inodes(folder: &Path) -> HashMap<u64, PathBuf> {
    let own = fs::metadata(folder).expect("the folder is there").ino();
    let mut all = HashMap::from([(own, folder.to_owned())]);
    for (name, inode, is_folder) in entries(folder) {
        let path = folder.join(name);
        if is_folder {
            all.extend(inodes(&path));
        } else {
            all.insert(inode, path);
        }
    }
    all
}
