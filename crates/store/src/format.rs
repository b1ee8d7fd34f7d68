//! The number of a store's packed format.
//!
//! Records are protos, and versions that differ in them share a store. Keys, tables and
//! packed rows around them are not: they have one number for each kind of store, which
//! lies in the store from its first start on and is looked at before anything else. It
//! is raised when a version that does not know of a change could misread or damage what
//! is there; it need not be for what an older version passes over.
//!
//! A store with another number than a version knows is refused, and goes on with the
//! version that wrote it. An export has no packed formats: it is the way from one number
//! to another.

/// A store has another format than this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the store has format {found}, and this version of sidehook has format {known}: {}",
    if found > known {
        "use the newer version that wrote it, or move what it holds: `sidehook store export` \
         with that version, `sidehook store import` into an empty store with this one"
    } else {
        "move what it holds: `sidehook store export` with the version that wrote it, \
         `sidehook store import` into an empty store with this one"
    }
)]
pub struct OtherFormat {
    /// The store's.
    pub found: u32,
    /// This version's.
    pub known: u32,
}

/// Looks at the number of a store.
///
/// # Errors
/// It is another than this version's.
pub const fn check(found: u32, known: u32) -> Result<(), OtherFormat> {
    if found == known {
        Ok(())
    } else {
        Err(OtherFormat { found, known })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_refused_is_told_the_way() {
        assert_eq!(check(2, 2), Ok(()));
        let newer = check(3, 2).expect_err("refused").to_string();
        assert!(newer.contains("format 3") && newer.contains("use the newer version"));
        let older = check(1, 2).expect_err("refused").to_string();
        assert!(older.contains("store export") && !older.contains("newer"));
    }
}
