//! Structured logs on standard error, as text for people or JSON for machines.
//!
//! Lines go through a bounded queue to a thread of their own: a log collector that stalls must not stall deliveries.
//! When the queue is full lines are dropped, and how many is told as soon as it moves again. The [`LogGuard`] empties
//! the queue at the end; against floods of one line see [`crate::throttle`].
//!
//! **No secrets.** Nothing here filters them, because filters miss: secrets are `secrecy` types everywhere, which
//! print as `[REDACTED]`, so that a secret in a log line is a type error and not a matter of attention. Payloads and
//! header values are never logged at any level.

use std::io::{self, IsTerminal as _, Write};
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt};

use crate::config::Reader;

/// Lines that wait for a slow reader of standard error before more are dropped.
const QUEUE: usize = 4_096;

/// How long the end waits for the queue to empty.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);

/// The form of the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// The form of the lines.
    pub format: Format,
    /// A level or directives in the form of `tracing-subscriber`: `info`, or `info,sidehook_redis=debug`.
    pub level: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            format: Format::Text,
            level: "info".to_owned(),
        }
    }
}

impl LogConfig {
    /// Reads the section: `format` (`text` or `json`) and `level`.
    pub fn read(r: &mut Reader<'_>) -> Self {
        let default = Self::default();
        let format = r.choice(
            "format",
            &[("text", Format::Text), ("json", Format::Json)],
            default.format,
        );
        let level = r.value("level", default.level);
        if let Err(error) = EnvFilter::try_new(&level) {
            r.problem(
                "level",
                format!("{level:?} is not valid: {error}"),
                "give a level or directives, such as info or info,sidehook=debug",
            );
        }
        Self { format, level }
    }
}

/// A further receiver of what is logged, with a filter of its own if it wants one.
pub type ExtraLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Starts logging for the process, panics included; `extra` sees everything too, unfiltered. Keep the guard to the end.
///
/// # Errors
/// Logging was started before, the level is not valid, or the thread could not be started.
pub fn init(config: &LogConfig, extra: Option<ExtraLayer>) -> io::Result<LogGuard> {
    let filter = EnvFilter::try_new(&config.level).map_err(io::Error::other)?;
    let (queue, guard) = Queue::start(io::stderr(), config.format)?;
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = fmt::layer().with_writer(queue).with_ansi(colours);
    let lines = match config.format {
        Format::Text => lines.with_filter(filter).boxed(),
        Format::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
    };
    let registry = tracing_subscriber::registry().with(extra).with(lines);
    registry.try_init().map_err(io::Error::other)?;
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let message = panic.payload_as_str().unwrap_or("(no message)");
        let thread = std::thread::current();
        tracing::error!(place, thread = thread.name(), "panic: {message}");
    }));
    Ok(guard)
}

enum Entry {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// The writing end of the queue; one per line, as `tracing-subscriber` wants it.
#[derive(Clone)]
struct Queue {
    entries: SyncSender<Entry>,
    dropped: Arc<AtomicU64>,
}

/// Empties the queue when dropped, for at most a second.
#[must_use = "dropping it at once ends the wait for log lines"]
#[derive(Debug)]
pub struct LogGuard(SyncSender<Entry>);

impl Queue {
    fn start(out: impl Write + Send + 'static, format: Format) -> io::Result<(Self, LogGuard)> {
        let (entries, waiting) = sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let queue = Self {
            entries: entries.clone(),
            dropped: Arc::clone(&dropped),
        };
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_lines(out, format, &waiting, &dropped))?;
        Ok((queue, LogGuard(entries)))
    }
}

/// Errors of the output are ignored: there is nowhere left to report them.
fn write_lines(
    mut out: impl Write,
    format: Format,
    waiting: &Receiver<Entry>,
    dropped: &AtomicU64,
) {
    while let Ok(entry) = waiting.recv() {
        match entry {
            Entry::Line(line) => {
                let _ = out.write_all(&line);
            }
            Entry::Flush(done) => {
                let _ = out.flush();
                let _ = done.try_send(());
            }
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ = match format {
                Format::Text => writeln!(out, " WARN log lines dropped: {lost}"),
                Format::Json => writeln!(
                    out,
                    r#"{{"level":"WARN","message":"log lines dropped","dropped":{lost}}}"#
                ),
            };
        }
    }
}

impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.entries.try_send(Entry::Line(line.to_vec())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        let (done, flushed) = sync_channel(1);
        let deadline = std::time::Instant::now() + FLUSH_WITHIN;
        let mut flush = Entry::Flush(done);
        while let Err(std::sync::mpsc::TrySendError::Full(back)) = self.0.try_send(flush) {
            if std::time::Instant::now() >= deadline {
                return;
            }
            flush = back;
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = flushed.recv_timeout(deadline.saturating_duration_since(std::time::Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Layers;
    use parking_lot::Mutex;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);
    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stalled_reader_stalls_nobody_and_the_loss_is_told() {
        let sink = Sink::default();
        let (mut queue, guard) = Queue::start(sink.clone(), Format::Json).expect("a thread");
        let stalled = sink.0.lock();
        let sent = QUEUE + 100;
        for n in 0..sent {
            queue
                .write_all(format!("line {n}\n").as_bytes())
                .expect("never fails");
        }
        drop(stalled);
        drop(guard);
        let text = String::from_utf8(sink.0.lock().clone()).expect("text");
        let (told, lines): (Vec<&str>, Vec<&str>) =
            text.lines().partition(|line| line.starts_with('{'));
        let digits = |line: &&str| {
            line.chars()
                .filter(char::is_ascii_digit)
                .collect::<String>()
                .parse::<usize>()
        };
        let dropped: usize = told
            .iter()
            .map(|line| digits(line).expect("a number"))
            .sum();
        assert!(
            dropped >= 99,
            "the queue and the line being written hold the rest: {dropped}"
        );
        assert_eq!(lines.len() + dropped, sent);
        assert_eq!(lines.first(), Some(&"line 0"));
    }

    #[test]
    fn logging_writes_json_through_its_layers_and_redacts_secrets() {
        let sink = Sink::default();
        let (queue, guard) = Queue::start(sink.clone(), Format::Json).expect("a thread");
        let lines = fmt::layer().json().flatten_event(true).with_writer(queue);
        let secret = secrecy::SecretString::from("hunter2");
        let subscriber = tracing_subscriber::registry().with(lines);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(?secret, answer = 42, "connected")
        });
        drop(guard);
        let text = String::from_utf8(sink.0.lock().clone()).expect("text");
        assert!(
            text.contains("\"message\":\"connected\"") && text.contains("\"answer\":42"),
            "{text}"
        );
        assert!(
            text.contains("REDACTED") && !text.contains("hunter2"),
            "{text}"
        );
    }

    #[test]
    fn a_wrong_level_is_a_problem() {
        let read = |level: &str| {
            let flags = [("level", level.to_owned()), ("format", "json".to_owned())];
            Layers::new()
                .flags(flags)
                .read(|r| Some(LogConfig::read(r)))
        };
        let right = read("info,sidehook_redis=debug").expect("directives");
        assert_eq!(right.format, Format::Json);
        let problems = read("info,sidehook=loud")
            .expect_err("no such level")
            .to_string();
        assert!(
            problems.contains("level (--level): \"info,sidehook=loud\" is not valid"),
            "{problems}"
        );
    }
}
