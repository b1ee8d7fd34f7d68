//! What operators may get wrong, and that records come back.

#![allow(clippy::unwrap_used, reason = "tests")]

use core::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use sidehook_core::{
    id::{AgentId, KeyId, TenantId},
    pool::Pool,
    principal::Role,
    time::Timestamp,
};

use super::*;
use crate::{record_v1, v1};

const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_123);
const TENANT: TenantId = TenantId::from_bits(77);

fn request(tenant: Option<TenantId>, role: v1::Role, pool: &str) -> v1::CreateApiKeyRequest {
    v1::CreateApiKeyRequest {
        tenant_id: tenant.map(|id| id.to_string()).unwrap_or_default(),
        name: "a key".to_owned(),
        role: role.into(),
        pool: pool.to_owned(),
        ..v1::CreateApiKeyRequest::default()
    }
}

fn create(request: v1::CreateApiKeyRequest) -> Result<ApiKey, Violations> {
    ApiKey::create(request, KeyId::from_bits(5), NOW)
}

#[test]
fn tenants_come_back() {
    let request = v1::CreateTenantRequest {
        name: "Acme Örg".to_owned(),
        ..v1::CreateTenantRequest::default()
    };
    let tenant = Tenant::create(request, TENANT, NOW).unwrap();
    assert_eq!(Tenant::decode(tenant.encode()).unwrap(), tenant);
    for name in ["", "a\tb", "a\u{202e}b", &*"x".repeat(101)] {
        let request = v1::CreateTenantRequest {
            name: name.to_owned(),
            ..v1::CreateTenantRequest::default()
        };
        assert!(Tenant::create(request, TENANT, NOW).is_err(), "{name:?}");
    }
    assert!(Tenant::decode(Bytes::new()).is_err());
}

#[test]
fn keys_come_back_with_their_roles() {
    let pool = |owner, name: &str| Pool {
        owner,
        name: name.to_owned(),
    };
    let platform = TenantId::PLATFORM;
    for (request, tenant, role) in [
        (
            request(Some(TENANT), v1::Role::Admin, ""),
            TENANT,
            Role::Admin,
        ),
        (
            request(Some(TENANT), v1::Role::Publisher, ""),
            TENANT,
            Role::Publisher,
        ),
        (
            request(Some(TENANT), v1::Role::Viewer, ""),
            TENANT,
            Role::Viewer,
        ),
        (
            request(Some(TENANT), v1::Role::Agent, ""),
            TENANT,
            Role::Agent(pool(TENANT, "default")),
        ),
        (
            request(None, v1::Role::Agent, "eu"),
            platform,
            Role::Agent(pool(platform, "eu")),
        ),
        (
            request(None, v1::Role::Agent, "platform/eu"),
            platform,
            Role::Agent(pool(platform, "eu")),
        ),
    ] {
        let made = create(request).unwrap();
        assert_eq!(
            made.principal(None).map(|who| (who.tenant, who.role)),
            Some((tenant, role))
        );
        let revoked = ApiKey {
            revoked_at: Some(NOW),
            prefix: "shk_01234567".to_owned(),
            ..made.clone()
        };
        for key in [made, revoked] {
            assert_eq!(ApiKey::decode(key.encode()).unwrap(), key);
        }
    }
}

#[test]
fn wrong_keys_are_refused_with_the_field() {
    let named = |name: &str| v1::CreateApiKeyRequest {
        name: name.to_owned(),
        ..request(Some(TENANT), v1::Role::Admin, "")
    };
    let foreign = v1::CreateApiKeyRequest {
        tenant_id: "ten_1".to_owned(),
        ..named("a")
    };
    let unknown = v1::CreateApiKeyRequest {
        role: 99,
        ..named("a")
    };
    for (request, field) in [
        (named(""), "name"),
        (foreign, "tenant_id"),
        (unknown, "role"),
        (request(Some(TENANT), v1::Role::Unspecified, ""), "role"),
        (request(None, v1::Role::Admin, ""), "tenant_id"),
        (request(Some(TENANT), v1::Role::Viewer, "eu"), "pool"),
        (request(Some(TENANT), v1::Role::Agent, "EU"), "pool"),
        (
            request(Some(TENANT), v1::Role::Agent, "platform/eu"),
            "pool",
        ),
    ] {
        let violations = create(request.clone()).unwrap_err();
        assert_eq!(violations.as_slice()[0].field, field, "{request:?}");
    }
}

#[test]
fn a_key_that_is_not_understood_is_for_nothing_and_survives_its_revocation() {
    let foreign_pool = request(Some(TENANT), v1::Role::Agent, "");
    let raw = |key: &ApiKey| record_v1::ApiKeyRecord::decode(key.encode()).unwrap();
    for (role, pool) in [(99, ""), (v1::Role::Agent.into(), "platform/eu")] {
        let made = create(foreign_pool.clone()).unwrap();
        let mut record = raw(&made);
        let shown = record.api_key.as_mut().unwrap();
        shown.role = role;
        pool.clone_into(&mut shown.pool);
        let old = Bytes::from(record.encode_to_vec());
        let mut key = ApiKey::decode(old.clone()).unwrap();
        assert_eq!((&key.role, key.principal(None)), (&KeyRole::Unknown, None));
        key.revoked_at = Some(NOW);
        let revoked = record_v1::ApiKeyRecord::decode(key.change(&old)).unwrap();
        assert_eq!(revoked.revoked_at_ms, NOW.as_millis());
        assert_eq!(
            revoked.api_key.unwrap().role,
            role,
            "a later version knows it"
        );
    }
    // A pool whose name is not allowed any more is a pool still.
    let mut record = raw(&create(foreign_pool).unwrap());
    "Old Name".clone_into(&mut record.api_key.as_mut().unwrap().pool);
    let key = ApiKey::decode(record.encode_to_vec().into()).unwrap();
    assert!(matches!(key.role, KeyRole::Agent(pool) if pool.name == "Old Name"));
}

#[test]
fn an_agent_is_offline_once_it_is_silent() {
    let presence = Presence {
        agent_id: AgentId::from_bits(1),
        name: "a".to_owned(),
        version: "0.1.0".to_owned(),
        pool: Pool {
            owner: TenantId::PLATFORM,
            name: "eu".to_owned(),
        },
        connected_at: NOW,
        last_seen_at: NOW,
        in_flight: 3,
        capacity: 64,
        draining: false,
        offline: false,
    };
    assert_eq!(Presence::decode(presence.encode()).unwrap(), presence);
    let silence = Duration::from_secs(15);
    let state = |presence: &Presence, after| presence.state(NOW + after, silence);
    assert_eq!(state(&presence, silence), v1::AgentState::Online);
    assert_eq!(
        state(&presence, silence + Duration::from_millis(1)),
        v1::AgentState::Offline
    );
    let draining = Presence {
        draining: true,
        ..presence.clone()
    };
    assert_eq!(state(&draining, silence), v1::AgentState::Draining);
    let gone = Presence {
        offline: true,
        ..draining
    };
    assert_eq!(state(&gone, silence), v1::AgentState::Offline);
    assert_eq!(presence.to_proto(NOW, silence).pool, "platform/eu");
    assert!(Presence::decode(Bytes::from_static(&[0x0a, 1, 0])).is_err());
}
