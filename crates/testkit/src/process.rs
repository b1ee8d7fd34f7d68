//! A built binary as a process that dies with its value.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    ops::Range,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

const LOG_LINES: usize = 50;
/// How often is asked what nobody tells.
pub(crate) const POLL: Duration = Duration::from_millis(10);

/// The path of a binary of this build, by its name.
///
/// # Panics
///
/// If it has not been built.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its path");
    // Tests live in `deps/`, binaries and examples beside or below that folder.
    let found = test
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!("{name} is missing: run `cargo build --workspace --bins` first");
    })
}

/// A running process, killed on drop.
///
/// A test that panics prints the last 50 lines of its log on the way out.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with both outputs appended to the file `log`.
    ///
    /// # Panics
    ///
    /// If the log cannot be written or the command cannot be started.
    #[must_use]
    pub fn start(mut command: Command, log: &Path) -> Self {
        let mut options = fs::OpenOptions::new();
        let out = options.create(true).append(true).open(log);
        let out = out.expect("the log can be written");
        let err = out.try_clone().expect("a second handle of the log");
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        let child = command.spawn();
        Self {
            child: child.unwrap_or_else(|error| panic!("cannot start {command:?}: {error}")),
            log: log.to_owned(),
        }
    }

    /// The id of the process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it without warning (SIGKILL) and waits for its end.
    pub fn kill9(&mut self) {
        // Both fail only for a process that has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end (SIGTERM); `wait_exit` tells whether it did.
    ///
    /// # Panics
    ///
    /// If the signal cannot be sent.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status();
        assert!(sent.is_ok_and(|s| s.success()), "cannot signal {id}");
    }

    /// Waits for its end; `None` if it still runs after `limit`.
    pub async fn wait_exit(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.exited() {
                return Some(status);
            }
            if Instant::now() >= deadline {
                return None;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// How it ended, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Everything that it has written so far.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(LOG_LINES)..];
            eprintln!("--- {}\n{}", self.log.display(), tail.join("\n"));
        }
    }
}

/// Waits for something that must come.
pub(crate) async fn within<T>(limit: Duration, what: &str, coming: impl Future<Output = T>) -> T {
    let in_time = tokio::time::timeout(limit, coming).await;
    in_time.unwrap_or_else(|_| panic!("not within {limit:?}: {what}"))
}

/// Ports below those that the system gives to outgoing connections: between this
/// look and the start of who is to listen there, nobody gets one by chance.
const PORTS: Range<u16> = 10_240..32_768;
/// Ports of one claim. The first is the claim itself.
const CLAIM: u16 = 64;

/// A run of ports that is this process's alone among those that use this module: it
/// listens on the first of them as long as it lives.
struct Claim {
    _held: TcpListener,
    left: Range<u16>,
}

impl Claim {
    fn take() -> Option<Self> {
        // Processes that begin at the same moment begin at different places.
        let claims = usize::from((PORTS.end - PORTS.start) / CLAIM);
        let first = std::process::id() as usize % claims;
        let starts = PORTS.step_by(usize::from(CLAIM)).cycle().skip(first);
        starts.take(claims).find_map(|start| {
            let held = TcpListener::bind(loopback(start)).ok()?;
            let left = start + 1..start + CLAIM;
            Some(Self { _held: held, left })
        })
    }
}

static CLAIMS: Mutex<Vec<Claim>> = Mutex::new(Vec::new());

/// So many loopback ports that nobody listens on, all different, which no other test
/// is given as long as this process lives.
///
/// # Panics
///
/// If there are none.
#[must_use]
pub fn free_ports<const N: usize>() -> [u16; N] {
    let mut claims = CLAIMS.lock();
    std::array::from_fn(|_| {
        loop {
            let left = claims.last_mut().and_then(|claim| claim.left.next());
            match left {
                Some(port) if TcpListener::bind(loopback(port)).is_ok() => return port,
                Some(_) => {}
                None => claims.push(Claim::take().expect("a free loopback port")),
            }
        }
    })
}

/// An address of this machine.
#[must_use]
pub const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}
