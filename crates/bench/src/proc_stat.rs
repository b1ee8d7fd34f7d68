//! CPU and memory of a process, from `/proc`.

use std::{fs, time::Duration};

use crate::Failure;

/// Clock ticks per second of `/proc/PID/stat`: 100 on every Linux that this runs on
/// (`getconf CLK_TCK`).
const TICKS_PER_SECOND: u64 = 100;

/// CPU time that a process has used, user and system, to a hundredth of a second.
pub(crate) fn cpu(pid: u32) -> Result<Duration, Failure> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The command's name may hold spaces and parentheses: fields count from its end.
    let after = stat.rsplit_once(") ").ok_or("unreadable /proc/PID/stat")?.1;
    let field = |index: usize| -> Result<u64, Failure> {
        Ok(after
            .split(' ')
            .nth(index)
            .ok_or("short /proc/PID/stat")?
            .parse()?)
    };
    Ok(Duration::from_millis(
        (field(11)? + field(12)?) * 1000 / TICKS_PER_SECOND,
    ))
}

/// CPU time that a process' main thread has used, to the nanosecond while it sleeps.
pub(crate) fn main_thread_cpu(pid: u32) -> Result<Duration, Failure> {
    let stat = fs::read_to_string(format!("/proc/{pid}/schedstat"))?;
    let used = stat.split(' ').next().ok_or("empty /proc/PID/schedstat")?;
    Ok(Duration::from_nanos(used.parse()?))
}

/// Resident memory of a process, in KiB.
pub(crate) fn resident_kib(pid: u32) -> Result<u64, Failure> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .ok_or("no VmRSS")?;
    Ok(line
        .split_whitespace()
        .nth(1)
        .ok_or("short VmRSS")?
        .parse()?)
}
