//! Query parameters: those that the route's row names, each at most once.

use sidehook_core::violation::Violations;
use url::form_urlencoded;

use crate::{
    dialect::{Parameter, ParameterKind},
    problem::Problem,
    times,
};

/// Characters of an unknown parameter's name that are repeated.
const NAME_CHARS: usize = 100;

/// The query of a request.
#[derive(Debug)]
pub(crate) struct Query {
    given: Vec<(&'static str, String)>,
    numbers: Vec<(&'static str, u32)>,
}

impl Query {
    /// Reads the query of a route that takes these parameters.
    ///
    /// # Errors
    /// Every parameter that is unknown, given twice or not of its kind.
    pub(crate) fn parse(query: &str, known: &'static [Parameter]) -> Result<Self, Problem> {
        let mut wrong = Violations::new();
        let mut given: Vec<(&'static str, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let Some(parameter) = known.iter().find(|one| one.name == name) else {
                let shown: String = name.chars().take(NAME_CHARS).collect();
                wrong.add(shown, "is not a parameter that this takes");
                continue;
            };
            if given.iter().any(|(known, _)| *known == parameter.name) {
                wrong.add(parameter.name, "is given more than once");
                continue;
            }
            given.push((parameter.name, value.into_owned()));
        }
        let mut query = Self {
            given,
            numbers: Vec::new(),
        };
        query.check(known, &mut wrong);
        wrong.into_result(query).map_err(Problem::invalid)
    }

    fn check(&mut self, known: &'static [Parameter], wrong: &mut Violations) {
        for parameter in known {
            let name = parameter.name;
            match parameter.kind {
                ParameterKind::Text => {}
                ParameterKind::Time => {
                    let sound = self
                        .text(name)
                        .is_none_or(|text| times::read(text).is_some());
                    wrong.require(sound, name, times::EXPECTED);
                }
                ParameterKind::Number { min, max, default } => {
                    let number = self.text(name).map(str::parse);
                    let number = number.unwrap_or(Ok(default));
                    match number.ok().filter(|number| (min..=max).contains(number)) {
                        Some(number) => self.numbers.push((name, number)),
                        None => wrong.add(
                            name,
                            format!("must be a whole number between {min} and {max}"),
                        ),
                    }
                }
            }
        }
    }

    /// A parameter as it came; `None` if it is not given.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let found = self.given.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// A parameter that is a number, or its default; 0 if the route has no such parameter.
    pub(crate) fn number(&self, name: &str) -> u32 {
        let found = self.numbers.iter().find(|(known, _)| *known == name);
        found.map_or(0, |(_, number)| *number)
    }

    /// A parameter that is a time; `None` if it is not given.
    pub(crate) fn time(&self, name: &str) -> Option<prost_types::Timestamp> {
        self.text(name).and_then(times::read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Parameter] = &[
        Parameter {
            name: "_limit",
            kind: ParameterKind::Number {
                min: 1,
                max: 50,
                default: 20,
            },
            about: "",
        },
        Parameter {
            name: "action",
            kind: ParameterKind::Text,
            about: "",
        },
        Parameter {
            name: "since",
            kind: ParameterKind::Time,
            about: "",
        },
    ];

    #[test]
    fn parameters_are_read_by_their_kind() {
        let query = Query::parse("action=a%20b&_limit=7", KNOWN).expect("sound");
        assert_eq!(query.text("action"), Some("a b"));
        assert_eq!(query.number("_limit"), 7);
        assert_eq!(query.time("since"), None);
        let query = Query::parse("since=2018-12-06T19:15:09.590432", KNOWN).expect("sound");
        assert_eq!(query.number("_limit"), 20);
        assert_eq!(query.time("since").expect("given").nanos, 590_432_000);
    }

    #[test]
    fn every_wrong_parameter_is_named() {
        let wrong = Query::parse("_limit=51&since=now&nope=1&action=a&action=b", KNOWN);
        let fields = wrong.expect_err("four are wrong").fields;
        let mut names: Vec<_> = fields.iter().map(|one| &*one.field).collect();
        names.sort_unstable();
        assert_eq!(names, ["_limit", "action", "nope", "since"]);
        for limit in ["0", "-1", "1.5", "", "99999999999999999999"] {
            let query = format!("_limit={limit}");
            assert!(Query::parse(&query, KNOWN).is_err(), "{limit}");
        }
    }
}
