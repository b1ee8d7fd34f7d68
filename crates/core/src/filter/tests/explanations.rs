//! Explanations by example.

use super::*;

#[test]
fn every_node_is_explained() {
    let json = format!(
        r#"{{"type":"and","filters":[{},{}]}}"#,
        at(&["data", "status_type"], &leaf("equals", r#""won""#)),
        at(
            &["data", "tags"],
            &format!(
                r#"{{"type":"any_array_value","filter":{}}}"#,
                at(&["name"], &leaf("equals", r#""new""#)),
            )
        ),
    );
    let filter = filter(&json);
    let found = filter.explain(WON).expect("JSON");
    let shown: Vec<_> = found
        .iter()
        .skip(1)
        .map(|node| {
            (
                &*node.path,
                node.kind,
                &*node.field,
                node.holds,
                node.element,
            )
        })
        .collect();
    let yes = Some(true);
    assert_eq!(
        shown,
        [
            ("filters[0]", "field_accessor", "data", yes, None),
            (
                "filters[0].filter",
                "field_accessor",
                "status_type",
                yes,
                None
            ),
            ("filters[0].filter.filter", "equals", "", yes, None),
            ("filters[1]", "field_accessor", "data", yes, None),
            ("filters[1].filter", "field_accessor", "tags", yes, None),
            (
                "filters[1].filter.filter",
                "any_array_value",
                "",
                yes,
                Some(1)
            ),
            (
                "filters[1].filter.filter.filter",
                "field_accessor",
                "name",
                yes,
                None
            ),
            (
                "filters[1].filter.filter.filter.filter",
                "equals",
                "",
                yes,
                None
            ),
        ]
    );
    assert_eq!((found[0].path.as_str(), found[0].value), ("", Some(WON)));
    assert_eq!(found[3].value, Some(r#""won""#));
    assert_eq!(found[7].value, Some(r#"{"name": "new", "seen": [1, [2]]}"#));
}

#[test]
fn what_was_never_looked_at_has_no_verdict() {
    let any = r#"{"type":"any_array_value","filter":{"type":"not","filter":{"type":"is_null"}}}"#;
    let verdicts = |event| {
        let found = filter(&at(&["a"], any)).explain(event).map(|nodes| {
            let holds = nodes.iter().map(|node| node.holds);
            (holds.collect::<Vec<_>>(), nodes[1].value, nodes[1].element)
        });
        found.expect("JSON")
    };
    let (no, yes) = (Some(false), Some(true));
    assert_eq!(
        verdicts(r#"{"a":[]}"#),
        (vec![no, no, None, None], Some("[]"), None)
    );
    assert_eq!(verdicts("{}"), (vec![no, no, None, None], None, None));
    assert_eq!(
        verdicts(r#"{"a":[null,null]}"#),
        (vec![no, no, no, yes], Some("[null,null]"), Some(0))
    );
}
