//! The disk forgets what it must, and nothing else. The process that writes is this
//! test binary itself, started again on such a disk.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    os::unix::fs::FileExt as _,
    path::Path,
    process::Command,
};

use rand::{SeedableRng as _, rngs::StdRng};
use sidehook_testkit::power::{Disk, Survives, Taken};

/// Names what [`writer`] is to do.
const SCRIPT: &str = "POWER_SCRIPT";

/// What a script does in its folder.
type Script = fn(&Path);

const SCRIPTS: &[(&str, Script)] = &[
    ("overwrites", overwrites),
    ("appends", appends),
    ("renames", renames),
    ("makes", makes),
    ("shortens", shortens),
];

/// Not a test: the process that writes, when it is told to.
#[test]
fn writer() {
    let Ok(wanted) = std::env::var(SCRIPT) else {
        return;
    };
    let data = std::env::var("POWER_DATA").expect("it is on a disk");
    let script = SCRIPTS.iter().find(|(name, _)| *name == wanted);
    script.expect("one of the scripts").1(Path::new(&data));
}

fn run(disk: &Disk, script: &str) {
    let this = std::env::current_exe().expect("a test knows its path");
    let mut command = Command::new(this);
    command.args(["--exact", "writer", "--nocapture"]);
    let ended = command.env(SCRIPT, script).envs(disk.variables()).output();
    let ended = ended.expect("it can be run");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{script}: {said}");
}

fn random() -> StdRng {
    StdRng::seed_from_u64(1)
}

/// A disk on which the script ran, and then the power failed.
fn after(script: &str, survives: Survives) -> (Disk, Taken) {
    let disk = Disk::new();
    run(&disk, script);
    let taken = disk.cut(survives, &mut random());
    (disk, taken)
}

fn names(disk: &Disk) -> Vec<String> {
    let all = fs::read_dir(disk.data()).expect("it can be read");
    let all = all.map(|one| one.expect("it can be read").file_name().into_string());
    let mut all: Vec<_> = all.map(|name| name.expect("ASCII")).collect();
    all.sort_unstable();
    all
}

fn sync_folder(folder: &Path) {
    let folder = File::open(folder).expect("it opens");
    folder.sync_all().expect("it is synced");
}

fn overwrites(data: &Path) {
    let file = File::create(data.join("file")).expect("it is made");
    file.write_all_at(&[1; 16_384], 0).expect("written");
    file.write_all_at(&[2; 512], 512).expect("written");
    file.sync_data().expect("synced");
    sync_folder(data);
    file.write_all_at(&[3; 8_192], 1_024).expect("written");
    file.write_all_at(&[4; 512], 32_768).expect("written");
}

#[test]
fn bytes_are_as_they_were_when_they_were_synced() {
    let (disk, taken) = after("overwrites", Survives::Nothing);
    let mut wanted = vec![1; 16_384];
    wanted[512..1_024].fill(2);
    assert_eq!(fs::read(disk.data().join("file")).expect("there"), wanted);
    assert_eq!(taken.bytes, 8_192 + (32_768 + 512 - 16_384));
    assert_eq!(taken.names, 0);
}

#[test]
fn any_sectors_of_what_was_not_synced_may_survive() {
    let (disk, taken) = after("overwrites", Survives::Sectors);
    let read = fs::read(disk.data().join("file")).expect("there");
    assert!([16_384, 33_280].contains(&read.len()), "{}", read.len());
    assert_eq!(read[..512], [1; 512]);
    assert_eq!(read[512..1_024], [2; 512]);
    let torn: Vec<u8> = read[1_024..9_216].chunks(512).map(|one| one[0]).collect();
    assert!(torn.contains(&1) && torn.contains(&3), "{torn:?}");
    assert!(taken.bytes > 0, "something was torn away");
}

fn appends(data: &Path) {
    let mut options = OpenOptions::new();
    let file = options.append(true).create(true).open(data.join("file"));
    let mut file = file.expect("it is made");
    sync_folder(data);
    for number in 0..100_u8 {
        file.write_all(&[number; 100]).expect("written");
        if number < 50 {
            file.sync_data().expect("synced");
        }
    }
}

#[test]
fn of_what_was_appended_any_prefix_may_survive() {
    for (survives, bytes) in [
        (Survives::Nothing, 5_000..=5_000),
        (Survives::Prefix, 5_001..=9_999),
    ] {
        let (disk, taken) = after("appends", survives);
        let read = fs::read(disk.data().join("file")).expect("there");
        assert!(bytes.contains(&read.len()), "{survives:?}: {}", read.len());
        assert_eq!(taken.bytes, 10_000 - read.len() as u64);
        let whole = (0..100_u8).flat_map(|number| [number; 100]);
        assert!(whole.take(read.len()).eq(read), "{survives:?}");
    }
}

/// Writes a file and syncs it, but not its name.
fn put(path: &Path, text: &str) {
    let mut file = File::create(path).expect("it is made");
    file.write_all(text.as_bytes()).expect("written");
    file.sync_all().expect("synced");
}

fn renames(data: &Path) {
    put(&data.join("current"), "old");
    put(&data.join("removed"), "removed");
    sync_folder(data);
    fs::remove_file(data.join("removed")).expect("removed");
    // New files may be given the numbers of removed ones.
    for number in 0..20 {
        let made = data.join(format!("new-{number}"));
        put(&made, "new");
        fs::rename(made, data.join("current")).expect("renamed");
    }
}

#[test]
fn names_are_as_they_were_when_their_folder_was_synced() {
    let (disk, taken) = after("renames", Survives::Nothing);
    assert_eq!(names(&disk), ["current", "removed"]);
    let read = |name| fs::read_to_string(disk.data().join(name)).expect("there");
    assert_eq!(
        (read("current"), read("removed")),
        ("old".into(), "removed".into())
    );
    assert_eq!(taken.names, 3, "two came back, one went");
}

fn makes(data: &Path) {
    let folder = data.join("folder");
    fs::create_dir(&folder).expect("it is made");
    sync_folder(data);
    put(&folder.join("named"), "kept");
    sync_folder(&folder);
    put(&folder.join("nameless"), "synced");
    let mut unsynced = File::create(folder.join("empty")).expect("it is made");
    unsynced.write_all(b"lost").expect("written");
    sync_folder(&folder.join("..").join("folder"));
    put(&folder.join("late"), "lost");
}

#[test]
fn names_and_bytes_are_synced_apart() {
    let (disk, _) = after("makes", Survives::Nothing);
    let folder = disk.data().join("folder");
    let read = |name| fs::read_to_string(folder.join(name)).ok();
    assert_eq!(read("named").as_deref(), Some("kept"));
    assert_eq!(
        read("nameless").as_deref(),
        Some("synced"),
        "its folder was synced later"
    );
    assert_eq!(read("empty").as_deref(), Some(""));
    assert_eq!(read("late"), None);
}

fn shortens(data: &Path) {
    let path = data.join("file");
    put(&path, "a long text, and synced");
    sync_folder(data);
    let file = OpenOptions::new().write(true).open(&path).expect("there");
    file.set_len(6).expect("shortened");
    file.sync_data().expect("synced");
    file.set_len(1).expect("shortened");
}

#[test]
fn lengths_are_synced_too() {
    let (disk, _) = after("shortens", Survives::Nothing);
    let read = fs::read_to_string(disk.data().join("file"));
    assert_eq!(read.expect("there"), "a long");
}

#[test]
fn a_disk_that_lies_forgets_what_was_synced() {
    let disk = Disk::new();
    disk.lie();
    run(&disk, "overwrites");
    disk.cut(Survives::Nothing, &mut random());
    assert_eq!(names(&disk), Vec::<String>::new());
    // With the power its honesty is back.
    run(&disk, "overwrites");
    disk.cut(Survives::Nothing, &mut random());
    assert_eq!(names(&disk), ["file"]);
}
