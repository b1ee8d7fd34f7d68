//! What this version does not understand of a record, kept while it changes the record.
//!
//! Servers of two versions may share a store, so a record that is changed here may hold
//! fields, enum values and shapes of a later version, which reading left out or replaced
//! by what is safe. Writing only what was read would lose them. So a change is a merge
//! of three forms of the record:
//!
//! | form | what it is |
//! |---|---|
//! | `old` | the bytes that lie in the store |
//! | `seen` | what this version makes of them: read, and written again |
//! | `new` | the changed record as this version writes it |
//!
//! Where `seen` and `new` agree nobody changed anything, and `old` stays as it is, byte
//! for byte, known to this version or not. Where they differ `new` counts, down to the
//! fields of messages and the elements of lists. An element is followed by being equal,
//! else by its first field (an id or a name). Fields that this version does not know
//! stay, except beside a changed `oneof`: there an unknown field may be the member that
//! was replaced, and would come back to life in the later version.
//!
//! Most records hold nothing of the kind: then `seen` is `old`, and `new` is written as
//! it is ([`unlike`]).

use std::sync::LazyLock;

use bytes::Bytes;
use prost::{DecodeError, Message as _};
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, ReflectMessage as _, Value};

use crate::DESCRIPTORS;

static POOL: LazyLock<Option<DescriptorPool>> =
    LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).ok());

/// The record, if this version would not write it so: then a change must [`carry`].
pub(crate) fn unlike(old: &Bytes, seen: &Bytes) -> Option<Bytes> {
    (old != seen).then(|| old.clone())
}

/// The bytes of the changed record; `message` is its full name.
pub(crate) fn carry(message: &str, old: &[u8], seen: &[u8], new: Bytes) -> Bytes {
    if old == seen {
        return new;
    }
    // All three were decoded or encoded by this version's own types: this cannot fail,
    // and if it did, the change would still count.
    merged(message, old, seen, &new)
        .ok()
        .flatten()
        .unwrap_or(new)
}

fn merged(
    message: &str,
    old: &[u8],
    seen: &[u8],
    new: &[u8],
) -> Result<Option<Bytes>, DecodeError> {
    let pool = POOL.as_ref();
    let Some(descriptor) = pool.and_then(|pool| pool.get_message_by_name(message)) else {
        return Ok(None);
    };
    let read = |bytes: &[u8]| DynamicMessage::decode(descriptor.clone(), bytes);
    let mut target = read(new)?;
    merge(&read(old)?, &read(seen)?, &mut target)?;
    Ok(Some(target.encode_to_vec().into()))
}

fn merge(
    old: &DynamicMessage,
    seen: &DynamicMessage,
    new: &mut DynamicMessage,
) -> Result<(), DecodeError> {
    let descriptor = new.descriptor();
    let mut unknown = Vec::new();
    old.unknown_fields()
        .for_each(|field| field.encode(&mut unknown));
    for oneof in descriptor.oneofs() {
        let members: Vec<_> = oneof.fields().collect();
        if members.iter().all(|field| same(seen, new, field)) {
            members.iter().for_each(|field| new.clear_field(field));
            members.iter().for_each(|field| keep(old, new, field));
            continue;
        }
        if !oneof.is_synthetic() {
            unknown.clear();
        }
        for field in &members {
            follow(old, seen, new, field)?;
        }
    }
    for field in descriptor.fields() {
        if field.containing_oneof().is_some() {
            continue;
        }
        if same(seen, new, &field) {
            new.clear_field(&field);
            keep(old, new, &field);
        } else {
            follow(old, seen, new, &field)?;
        }
    }
    new.merge(&unknown[..])
}

/// Whether a change left the field alone.
fn same(seen: &DynamicMessage, new: &DynamicMessage, field: &FieldDescriptor) -> bool {
    seen.has_field(field) == new.has_field(field) && seen.get_field(field) == new.get_field(field)
}

fn keep(old: &DynamicMessage, new: &mut DynamicMessage, field: &FieldDescriptor) {
    if old.has_field(field) {
        new.set_field(field, old.get_field(field).into_owned());
    }
}

/// Keeps what is unknown inside a field that was changed.
fn follow(
    old: &DynamicMessage,
    seen: &DynamicMessage,
    new: &mut DynamicMessage,
    field: &FieldDescriptor,
) -> Result<(), DecodeError> {
    if ![old, seen, new].iter().all(|form| form.has_field(field)) {
        return Ok(());
    }
    let (old, seen) = (old.get_field(field), seen.get_field(field));
    match (&*old, &*seen, new.get_field_mut(field)) {
        (Value::Message(old), Value::Message(seen), Value::Message(new)) => merge(old, seen, new),
        (Value::List(old), Value::List(seen), Value::List(new)) if old.len() == seen.len() => {
            merge_lists(old, seen, new)
        }
        _ => Ok(()),
    }
}

fn merge_lists(old: &[Value], seen: &[Value], new: &mut [Value]) -> Result<(), DecodeError> {
    let mut free: Vec<_> = old.iter().zip(seen).collect();
    let mut changed = Vec::new();
    for element in new {
        match free.iter().position(|(_, seen)| *seen == element) {
            Some(at) => *element = free.remove(at).0.clone(),
            None => changed.push(element),
        }
    }
    for element in changed {
        let Value::Message(new) = element else {
            continue;
        };
        let alike = |value: &Value| matches!(value, Value::Message(seen) if named_alike(seen, new));
        if let Some(at) = free.iter().position(|(_, seen)| alike(seen))
            && let (Value::Message(old), Value::Message(seen)) = free.remove(at)
        {
            merge(old, seen, new)?;
        }
    }
    Ok(())
}

/// Whether two elements are one thing before and after a change: their first fields name
/// them, and of a pattern of events, which has no name, the first two together.
fn named_alike(one: &DynamicMessage, other: &DynamicMessage) -> bool {
    let descriptor = one.descriptor();
    let names = 1..=if descriptor.name() == "EventPattern" {
        2
    } else {
        1
    };
    let field = |number| descriptor.get_field(number);
    let mut fields = names.map(field);
    fields.all(|field| field.is_some_and(|field| one.has_field(&field) && same(one, other, &field)))
}

#[cfg(test)]
mod tests;
