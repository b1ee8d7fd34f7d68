//! Two ports cannot have one address: the second would find it taken.

use std::net::SocketAddr;

use crate::config::Reader;

/// Notes a problem if the address under `key` is that of one of the others, which stand under keys of their own.
pub fn check_free(r: &mut Reader<'_>, key: &str, addr: SocketAddr, others: &[(&str, SocketAddr)]) {
    let mut others = others.iter();
    if let Some((other, taken)) = others.find(|(_, taken)| overlap(addr, *taken)) {
        r.problem(
            key,
            format!("{addr} is taken by {other} ({taken})"),
            "give each listener an address of its own",
        );
    }
}

/// Whether a socket on one of them takes the other. Port 0 is any free one; an unspecified address is all of its kind.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let is_same = a.ip() == b.ip()
        || (a.is_ipv4() == b.is_ipv4() && (a.ip().is_unspecified() || b.ip().is_unspecified()));
    a.port() != 0 && a.port() == b.port() && is_same
}
