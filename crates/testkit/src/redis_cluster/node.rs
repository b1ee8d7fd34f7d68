//! One node, and what it says about the others.

use std::{ops::RangeInclusive, time::Duration};

use crate::{process::free_ports, redis_server::RedisServer};

use super::NODE_TIMEOUT;

/// How long it may take to tell what it sees.
const SOON: Duration = Duration::from_secs(1);

/// One server of a cluster.
pub(super) struct Node {
    pub(super) server: RedisServer,
    /// Its name for the others.
    pub(super) id: String,
    /// The port on which the nodes talk.
    pub(super) bus: u16,
}

impl Node {
    pub(super) async fn start(arguments: &[&str]) -> Self {
        let [bus] = free_ports();
        let port = bus.to_string();
        let settings = [
            "--cluster-enabled",
            "yes",
            "--cluster-port",
            &port,
            "--cluster-node-timeout",
            NODE_TIMEOUT,
            "--cluster-require-full-coverage",
            "no",
        ];
        let all: Vec<_> = settings.iter().chain(arguments).copied().collect();
        let server = RedisServer::start_with(&all).await;
        let id = server.command(&["CLUSTER", "MYID"]).await;
        Self { server, id, bus }
    }

    /// Has it execute a command of `CLUSTER`.
    ///
    /// # Panics
    ///
    /// If it refuses.
    pub(super) async fn tell(&self, words: &[&str]) -> String {
        let command: Vec<_> = ["CLUSTER"].iter().chain(words).copied().collect();
        self.server.command(&command).await
    }

    /// Whether its `CLUSTER INFO` has this line.
    pub(super) async fn says(&self, line: &str) -> bool {
        let info = self.server.try_command(&["CLUSTER", "INFO"]).await;
        info.is_ok_and(|text| text.lines().any(|one| one == line))
    }

    /// The nodes as it sees them; `None` if it does not answer, or not soon: it may
    /// be paused.
    pub(super) async fn view(&self) -> Option<Vec<Seen>> {
        let asked = self.server.try_command(&["CLUSTER", "NODES"]);
        let nodes = tokio::time::timeout(SOON, asked).await.ok()?.ok()?;
        Some(nodes.lines().filter_map(Seen::read).collect())
    }
}

/// A node as another one sees it.
pub(super) struct Seen {
    pub(super) id: String,
    pub(super) is_master: bool,
    /// Connected, and not held to have failed.
    pub(super) is_well: bool,
    pub(super) slots: Vec<RangeInclusive<u16>>,
}

impl Seen {
    /// Reads a line of `CLUSTER NODES`: id, address, flags, master, ping, pong, epoch,
    /// link, slots; in brackets those on the move.
    fn read(line: &str) -> Option<Self> {
        let words: Vec<_> = line.split_whitespace().collect();
        let (id, flags, link) = (words.first()?, words.get(2)?, words.get(7)?);
        let flags: Vec<_> = flags.split(',').collect();
        let has = |flag| flags.contains(&flag);
        let is_ill = ["fail", "fail?", "handshake", "noaddr"]
            .into_iter()
            .any(has);
        let slots = words.iter().skip(8).filter_map(|words| range(words));
        Some(Self {
            id: (*id).to_owned(),
            is_master: has("master"),
            is_well: !is_ill && (*link == "connected" || has("myself")),
            slots: slots.collect(),
        })
    }
}

/// `5` or `5-9`; what is on the move is none.
fn range(words: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = words.split_once('-').unwrap_or((words, words));
    Some(first.parse().ok()?..=last.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_redis_writes() {
        let line = "07c3 127.0.0.1:30004@31004 myself,master - 0 1426238317239 4 connected \
                    0-5460 5470 [93-<-292f] [77->-e7d1]";
        let seen = Seen::read(line).expect("a line");
        assert_eq!(
            (seen.id.as_str(), seen.is_master, seen.is_well),
            ("07c3", true, true)
        );
        assert_eq!(seen.slots, [0..=5460, 5470..=5470]);
        let failed = Seen::read(&line.replace("myself,master", "master,fail?"));
        assert!(!failed.expect("a line").is_well);
        let away = line
            .replace("myself,master", "slave")
            .replace(" connected", " disconnected");
        let away = Seen::read(&away).expect("a line");
        assert_eq!((away.is_master, away.is_well), (false, false));
        assert!(Seen::read("").is_none());
    }
}
