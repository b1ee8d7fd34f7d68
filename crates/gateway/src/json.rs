//! Bodies: JSON objects, read strictly.
//!
//! Nothing that a client sends is passed over: a member that no reader asks for, or that
//! is given twice, is a wrong field like any other, and all wrong fields are told at
//! once. Values are kept as the text that they came as until somebody reads them: what
//! goes on to an RPC as JSON text (a filter) goes on digit for digit.

use core::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use sidehook_core::{limits::PATTERNS, violation::Violations};

use crate::problem::{Kind, Problem};

/// What stands in a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Given<T> {
    /// There is no such member; or it is wrong, which is noted.
    Absent,
    /// It is null.
    Null,
    /// It is this.
    Value(T),
}

impl<T> Given<T> {
    /// The value, where null means as much as nothing.
    pub(crate) fn value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Null => None,
        }
    }

    fn map<U>(self, change: impl FnOnce(T) -> Option<U>) -> Given<U> {
        match self {
            Self::Absent => Given::Absent,
            Self::Null => Given::Null,
            Self::Value(value) => change(value).map_or(Given::Absent, Given::Value),
        }
    }
}

/// An object, of which each member is to be read once.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    path: String,
    members: Vec<(String, &'a RawValue)>,
}

impl<'a> Object<'a> {
    /// The object that a body is.
    ///
    /// # Errors
    /// It is no JSON, or no object.
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, Problem> {
        let parsed = serde_json::from_slice(body);
        let Members(members) = parsed.map_err(|error| {
            let message = format!("the body must be a JSON object: {error}");
            Problem::new(Kind::Malformed, message)
        })?;
        let path = String::new();
        Ok(Self { path, members })
    }

    /// The object at this path of the body; `None`, and noted, if there is another thing.
    pub(crate) fn nested(
        path: String,
        value: &'a RawValue,
        wrong: &mut Violations,
    ) -> Option<Self> {
        match serde_json::from_str(value.get()) {
            Ok(Members(members)) => Some(Self { path, members }),
            Err(_) => {
                wrong.add(path, "must be an object");
                None
            }
        }
    }

    /// The path of a member in the body.
    pub(crate) fn path(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    /// A member as it came.
    pub(crate) fn raw(&mut self, name: &str, wrong: &mut Violations) -> Given<&'a RawValue> {
        let Some(at) = self.members.iter().position(|(known, _)| known == name) else {
            return Given::Absent;
        };
        let (_, value) = self.members.remove(at);
        let before = self.members.len();
        self.members.retain(|(other, _)| other != name);
        if self.members.len() < before {
            wrong.add(self.path(name), "is given more than once");
        }
        if value.get() == "null" {
            Given::Null
        } else {
            Given::Value(value)
        }
    }

    /// A member that is text.
    pub(crate) fn text(&mut self, name: &str, wrong: &mut Violations) -> Given<String> {
        self.typed(name, "must be a string", wrong)
    }

    /// A member that is true or false.
    pub(crate) fn flag(&mut self, name: &str, wrong: &mut Violations) -> Given<bool> {
        self.typed(name, "must be true or false", wrong)
    }

    /// A member that is a list, of anything. Every list of these APIs becomes entries of a
    /// subscription: what is longer than one can have is refused by its length alone, for
    /// it may be anybody's.
    pub(crate) fn list(&mut self, name: &str, wrong: &mut Violations) -> Given<Vec<&'a RawValue>> {
        let path = self.path(name);
        self.raw(name, wrong).map(|value| {
            match serde_json::from_str(value.get()) {
                Ok(Elements::All(list)) => return Some(list),
                Ok(Elements::TooMany) => {
                    wrong.add(path, format!("at most {PATTERNS} entries are allowed"));
                }
                Err(_) => wrong.add(path, "must be a list"),
            }
            None
        })
    }

    /// A member that is a list of texts.
    pub(crate) fn texts(&mut self, name: &str, wrong: &mut Violations) -> Given<Vec<String>> {
        let path = self.path(name);
        self.list(name, wrong).map(|list| {
            let texts = list.iter().enumerate().map(|(index, value)| {
                let text = serde_json::from_str(value.get()).ok();
                if text.is_none() {
                    wrong.add(format!("{path}[{index}]"), "must be a string");
                }
                text
            });
            texts.collect::<Vec<Option<String>>>().into_iter().collect()
        })
    }

    fn typed<T: DeserializeOwned>(
        &mut self,
        name: &str,
        must: &str,
        wrong: &mut Violations,
    ) -> Given<T> {
        let path = self.path(name);
        self.raw(name, wrong).map(|value| {
            let read = serde_json::from_str(value.get()).ok();
            wrong.require(read.is_some(), &path, must);
            read
        })
    }

    /// Notes members that nobody has read. `server` names those that only the server
    /// sets, so that the answer can say so.
    pub(crate) fn finish(self, server: &[&str], wrong: &mut Violations) {
        for (name, _) in &self.members {
            let description = if server.contains(&name.as_str()) {
                "is set by the server: leave it out"
            } else {
                "is not a field that this takes"
            };
            // A name is of any length, and stands in the answer.
            let shown: String = name.chars().take(NAME_CHARS).collect();
            wrong.add(self.path(&shown), description);
        }
    }
}

/// Characters of an unknown member's name that are repeated.
const NAME_CHARS: usize = 100;

/// The members of an object in their order, doubles and all.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry::<String, &'de RawValue>()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(All)
    }
}

/// The elements of a list, unless there are more than [`PATTERNS`].
enum Elements<'a> {
    All(Vec<&'a RawValue>),
    TooMany,
}

impl<'de> Deserialize<'de> for Elements<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Few;
        impl<'de> Visitor<'de> for Few {
            type Value = Elements<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = seq.next_element()? {
                    if elements.len() == PATTERNS {
                        while seq.next_element::<IgnoredAny>()?.is_some() {}
                        return Ok(Elements::TooMany);
                    }
                    elements.push(element);
                }
                Ok(Elements::All(elements))
            }
        }
        deserializer.deserialize_seq(Few)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wrong_in(body: &str) -> Vec<String> {
        let mut wrong = Violations::new();
        let mut object = Object::parse(body.as_bytes()).expect("an object");
        object.text("url", &mut wrong);
        object.flag("on", &mut wrong);
        object.texts("types", &mut wrong);
        object.finish(&["id"], &mut wrong);
        let wrong = wrong.as_slice().iter();
        wrong
            .map(|one| format!("{}: {}", one.field, one.description))
            .collect()
    }

    #[test]
    fn everything_wrong_is_named() {
        assert_eq!(
            wrong_in(r#"{"url": "a", "on": false, "types": []}"#),
            [""; 0]
        );
        assert_eq!(
            wrong_in(r#"{"url": null, "on": null, "types": null}"#),
            [""; 0]
        );
        assert_eq!(
            wrong_in(r#"{"url":1,"on":"yes","types":["a",{}],"url":2,"Url":3,"id":"x"}"#),
            [
                "url: is given more than once",
                "url: must be a string",
                "on: must be true or false",
                "types[1]: must be a string",
                "Url: is not a field that this takes",
                "id: is set by the server: leave it out",
            ]
        );
        assert_eq!(wrong_in(r#"{"types": "a"}"#), ["types: must be a list"]);
        assert_eq!(
            wrong_in(r#"{"url": "\ud800"}"#),
            ["url: must be a string"],
            "half a character"
        );
    }

    #[test]
    fn a_list_that_no_subscription_can_have_is_one_mistake() {
        let types = |count: usize| format!("{{\"types\": [{}]}}", vec!["{}"; count].join(","));
        assert_eq!(wrong_in(&types(PATTERNS))[0], "types[0]: must be a string");
        for count in [PATTERNS + 1, 50_000] {
            assert_eq!(
                wrong_in(&types(count)),
                ["types: at most 100 entries are allowed"]
            );
        }
    }

    #[test]
    fn what_is_no_object_is_malformed() {
        for body in [
            "",
            "[]",
            "null",
            "\"a\"",
            "{",
            "{\"a\":1,}",
            "{}{}",
            "{a:1}",
        ] {
            let error = Object::parse(body.as_bytes()).expect_err(body);
            assert_eq!(error.kind, Kind::Malformed, "{body}");
        }
        assert!(Object::parse(b"{\"a\": \"\xff\"}").is_err());
        let deep = format!("{{\"a\": {}{}}}", "[".repeat(60_000), "]".repeat(60_000));
        assert!(Object::parse(deep.as_bytes()).is_ok(), "left to its reader");
    }

    #[test]
    fn json_that_goes_on_is_not_touched() {
        let mut wrong = Violations::new();
        let mut object = Object::parse(br#"{"f": {"value": 1e400, "b":1.10}}"#).expect("JSON");
        let raw = object.raw("f", &mut wrong).value().expect("given");
        assert_eq!(raw.get(), r#"{"value": 1e400, "b":1.10}"#);
    }

    proptest! {
        #[test]
        fn no_body_panics(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Object::parse(&body);
        }
    }
}
