//! Events in their parts, as they are when they are published.

use super::*;
use crate::{
    event::{Event, Word},
    id::TenantId,
};

fn event() -> Event {
    Event {
        idempotency_key: "key".into(),
        object_type: Word::new("lead".into()).expect("a word"),
        action: Word::new("updated".into()).expect("a word"),
        object_id: "lead_1".into(),
        user_id: String::new(),
        lead_id: "lead_1".into(),
        request_id: String::new(),
        campaign_id: String::new(),
        organization_id: String::new(),
        occurred_at: None,
        data: r#"{"name":"Bluth \"Co\""}"#.into(),
        previous_data: "".into(),
        changed_fields: vec!["name".into()],
        meta: "".into(),
    }
}

#[test]
fn an_event_reads_as_its_envelope() {
    let event = event();
    let tenant = TenantId::from_bits(7);
    let (organization, whole) = (event.organization(tenant), event.to_json(tenant));
    let members = event.members(&organization);
    for (fields, node) in [
        (&["object_type"][..], leaf("equals", r#""lead""#)),
        (&["action"], leaf("equals", r#""updated""#)),
        (
            &["organization_id"],
            leaf("equals", &format!("\"{tenant}\"")),
        ),
        (&["user_id"], IS_NULL.into()),
        (&["api_key_id"], IS_NULL.into()),
        (&["lead_id"], leaf("contains", r#""lead_""#)),
        (&["changed_fields"], leaf("contains", r#""name""#)),
        (&["changed_fields"], leaf("equals", r#"["name"]"#)),
        (&["data", "name"], leaf("equals", r#""Bluth \"Co\"""#)),
        (&["previous_data"], leaf("equals", "{}")),
        (&["previous_data", "name"], IS_NULL.into()),
        (&["meta"], leaf("equals", "{}")),
        (&["idempotency_key"], IS_NULL.into()),
    ] {
        let json = at(fields, &node);
        assert!(holds(&json, &whole), "{json}");
        let mut set = FilterSet::default();
        let key = set.insert(&filter(&json));
        assert!(
            set.read(&Document::Members(&members))
                .expect("JSON")
                .holds(key)
                .expect("few steps"),
            "{json}"
        );
    }
}

#[test]
fn an_event_as_a_whole_is_equal_to_nothing() {
    let event = event();
    let whole = event.to_json(TenantId::from_bits(7));
    let organization = event.organization(TenantId::from_bits(7));
    let mut set = FilterSet::default();
    let same = set.insert(&filter(&leaf("equals", &whole)));
    let other = set.insert(&filter(&leaf("not_equals", &whole)));
    let members = event.members(&organization);
    let mut reading = set.read(&Document::Members(&members)).expect("JSON");
    // The envelope has an id.
    assert_eq!(reading.holds(same), Ok(false));
    assert_eq!(reading.holds(other), Ok(true));
}
