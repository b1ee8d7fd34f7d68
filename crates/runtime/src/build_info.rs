//! What this build calls itself: in logs, in `--version`, in the protocol's `Hello` and in the user agent.
//!
//! All crates of the workspace share one version, so the version of this one speaks for the whole. There is no commit
//! hash: it would make a build depend on the state of a checkout and so break reproducible builds from an archive.

/// The version of Sidehook, as in `Cargo.toml`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// `product/version`, the form HTTP uses (`user-agent: sidehook-agent/0.1.0`).
#[must_use]
pub fn product(name: &str) -> String {
    format!("{name}/{VERSION}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_product_names_the_version() {
        let product = super::product("sidehook");
        let (name, version) = product.split_once('/').expect("name/version");
        assert_eq!(name, "sidehook");
        assert_eq!(version.split('.').count(), 3);
    }
}
