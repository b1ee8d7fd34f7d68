//! `/openapi.json`, made from the rows that are served.

use serde_json::{Map, Value, json};

use crate::{
    credential::Form,
    dialect::{Dialect, Parameter, ParameterKind, Route},
};

/// The description of everything that these dialects take and answer.
pub(crate) fn document(dialects: &[&Dialect]) -> Value {
    let (mut paths, mut schemas) = (Map::new(), Map::new());
    for dialect in dialects {
        schemas.extend((dialect.schemas)());
        for route in dialect.routes {
            for path in [route.path.to_owned(), format!("{}/", route.path)] {
                let item = paths
                    .entry(path.clone())
                    .or_insert_with(|| path_item(&path));
                if let Value::Object(item) = item {
                    let method = route.method.as_str().to_ascii_lowercase();
                    item.insert(method, operation(dialect, route, path.ends_with('/')));
                }
            }
        }
    }
    let tags = dialects
        .iter()
        .map(|dialect| json!({ "name": dialect.name, "description": dialect.about }));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Sidehook HTTP gateway",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            "description": "Three webhook APIs, spoken over the same subscriptions, events and \
                deliveries as Sidehook's own gRPC API. Every path answers with and without its \
                trailing slash.",
        },
        "tags": tags.collect::<Vec<_>>(),
        "paths": paths,
        "components": { "schemas": schemas, "securitySchemes": security_schemes() },
    })
}

fn security_schemes() -> Value {
    json!({
        Form::BasicUser.scheme(): {
            "type": "http", "scheme": "basic",
            "description": "The API key as user name, with an empty password.",
        },
        Form::BasicPassword.scheme(): {
            "type": "http", "scheme": "basic",
            "description": "The API key as password, with an empty user name.",
        },
        Form::Bearer.scheme(): {
            "type": "http", "scheme": "bearer",
            "description": "The API key as bearer token.",
        },
    })
}

/// What the methods of a path have in common: its parameters.
fn path_item(path: &str) -> Value {
    let names = path.split('/').filter_map(|part| {
        let name = part.strip_prefix('{')?.strip_suffix('}')?;
        Some(json!({
            "name": name,
            "in": "path",
            "required": true,
            "schema": { "type": "string" },
        }))
    });
    json!({ "parameters": names.collect::<Vec<_>>() })
}

fn operation(dialect: &Dialect, route: &Route, is_slashed: bool) -> Value {
    let doc = &route.doc;
    let forms = dialect.credentials.iter();
    let mut operation = json!({
        // An id is unique, and each route has two paths.
        "operationId": format!("{}{}", doc.id, if is_slashed { "Slash" } else { "" }),
        "summary": doc.summary,
        "tags": [dialect.name],
        "security": forms.map(|form| json!({ form.scheme(): [] })).collect::<Vec<_>>(),
        "parameters": doc.query.iter().map(parameter).collect::<Vec<_>>(),
        "responses": responses(dialect, route),
    });
    if let Some(body) = doc.body {
        operation["requestBody"] = json!({ "required": true, "content": content(body) });
    }
    operation
}

fn responses(dialect: &Dialect, route: &Route) -> Value {
    let doc = &route.doc;
    let mut responses = Map::new();
    let mut success = json!({ "description": "It is done." });
    if let Some(answer) = doc.answer {
        success["content"] = content(answer);
    }
    responses.insert(doc.status.to_string(), success);
    for status in dialect.errors {
        let reason = http::StatusCode::from_u16(*status).ok();
        let reason = reason.and_then(|status| status.canonical_reason());
        let error = json!({
            "description": reason.unwrap_or("An error."),
            "content": content(dialect.error_schema),
        });
        responses.insert(status.to_string(), error);
    }
    Value::Object(responses)
}

fn content(schema: &str) -> Value {
    let reference = format!("#/components/schemas/{schema}");
    json!({ "application/json": { "schema": { "$ref": reference } } })
}

fn parameter(parameter: &Parameter) -> Value {
    let schema = match parameter.kind {
        ParameterKind::Text => json!({ "type": "string" }),
        ParameterKind::Time => {
            json!({ "type": "string", "examples": ["2018-12-06T19:15:09.590432"] })
        }
        ParameterKind::Number { min, max, default } => json!({
            "type": "integer", "minimum": min, "maximum": max, "default": default,
        }),
    };
    json!({
        "name": parameter.name,
        "in": "query",
        "required": false,
        "description": parameter.about,
        "schema": schema,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::app::DIALECTS;

    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    match (name.as_str(), member) {
                        ("$ref", Value::String(text)) => {
                            let name = text.strip_prefix("#/components/schemas/");
                            found.insert(name.expect("a schema of ours").to_owned());
                        }
                        _ => references(member, found),
                    }
                }
            }
            Value::Array(elements) => elements.iter().for_each(|one| references(one, found)),
            _ => {}
        }
    }

    #[test]
    fn every_schema_is_there_once_and_used() {
        let document = document(DIALECTS);
        let mut used = BTreeSet::new();
        references(&document, &mut used);
        let there = document["components"]["schemas"].as_object();
        let there: BTreeSet<_> = there.expect("schemas").keys().cloned().collect();
        assert_eq!(used, there);
        let of_dialects: usize = DIALECTS.iter().map(|one| (one.schemas)().len()).sum();
        assert_eq!(there.len(), of_dialects, "a name is there twice");
    }

    #[test]
    fn every_route_is_described_with_and_without_its_slash() {
        let document = document(DIALECTS);
        let (mut ids, mut described) = (BTreeSet::new(), 0);
        for item in document["paths"].as_object().expect("paths").values() {
            for operation in item.as_object().expect("a path").values() {
                if let Some(id) = operation.get("operationId") {
                    assert!(ids.insert(id.to_string()), "{id} is there twice");
                    described += 1;
                }
            }
        }
        let routes: usize = DIALECTS.iter().map(|one| one.routes.len()).sum();
        assert_eq!(described, 2 * routes);
    }
}
