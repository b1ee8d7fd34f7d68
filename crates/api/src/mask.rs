//! Partial updates of messages whose fields are few and plain.
//!
//! A table names the fields that may be changed; [`merge`] lays those that a mask names
//! over what is there, each once. Subscriptions have a mask of their own
//! ([`subscription`](crate::subscription)): their fields exclude each other.

use sidehook_core::violation::Violations;

/// Characters that an answer shows of a path that is wrong.
const SHOWN_CHARS: usize = 100;

/// Paths of one mask: more than any message has fields.
const PATHS: usize = 100;

/// Whether a mask has a length that is looked at; if not, that is noted.
pub(crate) fn is_short(mask: &[String], violations: &mut Violations) -> bool {
    let is_short = mask.len() <= PATHS;
    if !is_short {
        let description = format!("at most {PATHS} paths are allowed");
        violations.add("update_mask", description);
    }
    is_short
}

/// A field of `M` that can be changed.
pub(crate) struct Field<M> {
    /// Its path, as masks name it.
    pub(crate) path: &'static str,
    /// Whether an empty mask stands for it: not if it is a message, whose fields have
    /// rows of their own.
    pub(crate) is_leaf: bool,
    /// Whether it is set.
    pub(crate) is_set: fn(&M) -> bool,
    /// Takes it over, set or not.
    pub(crate) copy: fn(&mut M, &M),
}

/// Lays the fields of `patch` that `mask` names over `target`; with an empty mask those
/// that are set. Tells of wrong paths as `update_mask`, with those that would be right.
pub(crate) fn merge<M>(
    fields: &[Field<M>],
    target: &mut M,
    patch: &M,
    mask: &[String],
) -> Violations {
    let mut violations = Violations::new();
    if mask.is_empty() {
        let set = |field: &&Field<M>| field.is_leaf && (field.is_set)(patch);
        let set = fields.iter().filter(set);
        set.for_each(|field| (field.copy)(target, patch));
        return violations;
    }
    if !is_short(mask, &mut violations) {
        return violations;
    }
    let mut copied = Vec::new();
    for path in mask {
        match fields.iter().find(|field| field.path == path) {
            Some(field) if copied.contains(&field.path) => {}
            Some(field) => {
                (field.copy)(target, patch);
                copied.push(field.path);
            }
            None => {
                let paths: Vec<_> = fields.iter().map(|field| field.path).collect();
                let path: String = path.chars().take(SHOWN_CHARS).collect();
                let known = paths.join("`, `");
                let description = format!("`{path}` cannot be changed: name any of `{known}`");
                violations.add("update_mask", description);
            }
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use super::*;

    thread_local! {
        static COPIED: Cell<usize> = const { Cell::new(0) };
    }

    const FIELDS: &[Field<u8>] = &[Field {
        path: "name",
        is_leaf: true,
        is_set: |_| true,
        copy: |to, from| {
            COPIED.set(COPIED.get() + 1);
            *to = *from;
        },
    }];

    #[test]
    fn a_path_counts_once_and_a_mask_has_an_end() {
        let merge = |count: usize| {
            let mut target = 0;
            COPIED.set(0);
            let mask = vec!["name".to_owned(); count];
            let wrong = merge(FIELDS, &mut target, &7, &mask);
            (wrong.is_empty(), target, COPIED.get())
        };
        assert_eq!(merge(0), (true, 7, 1));
        assert_eq!(merge(PATHS), (true, 7, 1));
        assert_eq!(merge(PATHS + 1), (false, 0, 0));
    }
}
