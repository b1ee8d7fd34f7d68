//! The line that the README gives for Redis' access list, and a server under it.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use crate::support::Server;

/// What begins the README's line.
const BEGIN: &str = "user sidehook on ";
/// What the README has where a password goes.
const PLACE: &str = ">PASSWORD";

/// The rules after the name, as the README has them.
pub(crate) fn rules() -> String {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
    let text = std::fs::read_to_string(readme).expect("there is a README");
    let mut lines = text
        .lines()
        .map(str::trim)
        .filter_map(|line| line.strip_prefix(BEGIN));
    let rules = lines.next().expect("the README has an ACL line");
    assert_eq!(lines.next(), None, "it has one such line");
    assert!(rules.contains(PLACE), "a password is to be put in: {rules}");
    rules.replace(PLACE, ">secret")
}

/// Gives the user `sidehook` these rules and no others.
pub(crate) async fn admit(server: &Server, rules: &str) {
    let mut client = server.client().await;
    let mut command = redis::cmd("ACL");
    command
        .arg("SETUSER")
        .arg("sidehook")
        .arg("reset")
        .arg("on");
    for rule in rules.split_whitespace() {
        command.arg(rule);
    }
    let _: () = command
        .query_async(&mut client)
        .await
        .expect("rules that Redis takes");
}

/// The URL of the server for that user.
pub(crate) fn url(server: &Server) -> String {
    format!("redis://sidehook:secret@127.0.0.1:{}/", server.port)
}
