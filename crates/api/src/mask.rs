//! Partial updates of messages whose fields are few and plain.
//!
//! A table names the fields that may be changed; [`merge`] lays those that a mask names
//! over what is there. Subscriptions have a mask of their own
//! ([`subscription`](crate::subscription)): their fields exclude each other.

use sidehook_core::violation::Violations;

/// Characters that an answer shows of a path that is wrong.
const SHOWN_CHARS: usize = 100;

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
    for path in mask {
        match fields.iter().find(|field| field.path == path) {
            Some(field) => (field.copy)(target, patch),
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
