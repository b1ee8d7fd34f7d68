//! The terminal: lines with the time since the start, in the order in which they
//! happened.
//!
//! The steps come from the threads that do the work, which must not wait for a
//! terminal: a bounded channel leads to a thread that prints, and what finds the
//! channel full is left out. When nobody reads standard output any more the thread
//! ends, and the demonstration goes on in silence: its exit code still tells.

use std::{
    io::{self, Write as _},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::JoinHandle,
    time::Instant,
};

/// Lines that wait for a slow terminal.
const LINES: usize = 256;

enum Message {
    Text(String),
    End,
}

/// Where the steps are told; clones share the terminal.
#[derive(Clone)]
pub(super) struct Screen {
    started: Instant,
    lines: SyncSender<Message>,
}

/// The printing thread.
pub(super) struct Printer(JoinHandle<()>);

impl Screen {
    /// Starts the clock and the printing thread.
    ///
    /// # Errors
    /// The system has no thread left.
    pub(super) fn start() -> io::Result<(Self, Printer)> {
        let (lines, waiting) = sync_channel(LINES);
        let printer = std::thread::Builder::new()
            .name("screen".to_owned())
            .spawn(move || print(&waiting))?;
        let screen = Self {
            started: Instant::now(),
            lines,
        };
        Ok((screen, Printer(printer)))
    }

    /// Tells that `who` did `what` just now, and of which delivery or event.
    pub(super) fn step(&self, who: &str, what: &str, about: &str) {
        let ms = self.started.elapsed().as_millis();
        let line = format!("{ms:>6} ms  {who:<14} {what:<10} {about}\n");
        let _ = self.lines.try_send(Message::Text(line));
    }

    /// Milliseconds since the start.
    pub(super) fn elapsed_ms(&self) -> u128 {
        self.started.elapsed().as_millis()
    }

    /// Shows a text of several lines, and waits for room if need be.
    pub(super) fn text(&self, text: String) {
        // The thread is gone only when nobody reads.
        let _ = self.lines.send(Message::Text(text));
    }
}

impl Printer {
    /// Waits until everything told so far is shown.
    pub(super) fn finish(self, screen: &Screen) {
        let _ = screen.lines.send(Message::End);
        // A panic of the thread has been logged.
        let _ = self.0.join();
    }
}

fn print(waiting: &Receiver<Message>) {
    let mut out = io::stdout();
    while let Ok(Message::Text(text)) = waiting.recv() {
        if out
            .write_all(text.as_bytes())
            .and_then(|()| out.flush())
            .is_err()
        {
            return;
        }
    }
}
