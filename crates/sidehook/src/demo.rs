//! `sidehook demo`: one event's way through the whole system, in seconds and with
//! nothing but this program.
//!
//! Control plane, agent and two receivers run in this process on free loopback ports,
//! with the state in memory; everything between them goes over real connections. One
//! receiver fails twice at first, so that retrying is seen too. What is shown is what
//! the parts report of themselves and what the receivers found, not a script: a
//! signature that does not verify, or a payload that changed on its way, is an error.
//!
//! Exit code 0: both deliveries are made and both receivers are content; 1: not.

mod check;
mod journey;
mod screen;
mod story;
mod summary;

use core::time::Duration;
use std::{process::ExitCode, sync::Arc};

use sidehook_runtime::{
    drain,
    logging::{self, LogConfig},
    tasks::{OnPanic, TaskKind, Tasks, block_on},
    tls,
};

use crate::PROCESS;
use screen::Screen;

/// A task of its own, so that a panic (the test kit's receiver panics where no port is
/// free) is a failure like any other.
const STORY: TaskKind = TaskKind::new("story", OnPanic::Abort);

/// How long all of it may take; it takes about a second.
const LIMIT: Duration = Duration::from_secs(15);
/// How long work under way may take at the end.
const GRACE: Duration = Duration::from_secs(2);

/// Runs the subcommand.
pub(crate) fn run() -> ExitCode {
    let (screen, printer) = match Screen::start() {
        Ok(started) => started,
        Err(error) => return PROCESS.failed(&error, 1),
    };
    let names = journey::Names::default();
    let log = LogConfig {
        level: "warn".to_owned(),
        ..LogConfig::default()
    };
    let layer = journey::layer(screen.clone(), Arc::clone(&names));
    let guard = match logging::init(&log, Some(layer)) {
        Ok(guard) => guard,
        Err(error) => return PROCESS.failed(&error, 1),
    };
    tls::install_crypto_provider();
    let result = block_on(perform(&screen, &names));
    printer.finish(&screen);
    let code = match result {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => PROCESS.failed(&advised(&error), 1),
        Err(error) => PROCESS.failed(&advised(&error.to_string()), 1),
    };
    drop(guard);
    code
}

fn advised(error: &str) -> String {
    format!(
        "the demonstration failed: {error}\nIt needs free ports on 127.0.0.1 and a clock that \
         does not jump. Run it once more; if it fails again, please report the output."
    )
}

async fn perform(screen: &Screen, names: &journey::Names) -> Result<(), String> {
    let tasks = Tasks::new(drain::channel().0);
    tasks.watch_signals().map_err(|error| error.to_string())?;
    let stop = tasks.drain();
    let story = {
        let (screen, names, own) = (screen.clone(), Arc::clone(names), tasks.clone());
        let tell = async move { story::tell(&screen, &names, &own).await };
        tasks.spawn(STORY, tell).scoped()
    };
    let stopped = || Err(stop.cause().unwrap_or("stopped").to_owned());
    let result = tokio::select! {
        told = tokio::time::timeout(LIMIT, story) => match told {
            Ok(told) => told.unwrap_or_else(stopped),
            Err(_) => Err(format!("not done within {LIMIT:?}")),
        },
        () = stop.draining() => stopped(),
    };
    tasks.trigger().drain("the demonstration is over");
    tasks.finish(GRACE).await;
    result
}
