//! Keys that expire, and keys of users.

#![allow(clippy::unwrap_used, reason = "tests")]

use core::time::Duration;

use prost::Message as _;

use super::*;
use crate::registry::UserRole;

const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_123);
const TENANT: TenantId = TenantId::from_bits(77);

fn create(request: v1::CreateApiKeyRequest) -> Result<ApiKey, Violations> {
    ApiKey::create(request, KeyId::from_bits(5), NOW)
}

#[test]
fn a_key_expires_and_may_be_a_users() {
    let user = User::create(
        v1::CreateUserRequest {
            tenant_id: TENANT.to_string(),
            name: "Ada".to_owned(),
            email: "ada@example.com".to_owned(),
            role: v1::Role::Member.into(),
        },
        UserId::from_bits(9),
        NOW,
    )
    .unwrap();
    let expires_at = NOW + Duration::from_secs(60);
    let wanted = v1::CreateApiKeyRequest {
        expires_at: Some(timestamp(expires_at)),
        user_id: user.id.to_string(),
        tenant_id: TENANT.to_string(),
        name: "a key".to_owned(),
        role: v1::Role::Admin.into(),
        ..v1::CreateApiKeyRequest::default()
    };
    let key = create(wanted.clone()).unwrap();
    assert_eq!(key.expires_at, Some(expires_at));
    assert_eq!(ApiKey::decode(key.encode()).unwrap(), key);
    let who = key.principal(Some(&user)).unwrap();
    assert_eq!((who.subject, who.role), (user.id.to_string(), Role::Member));
    let other = User {
        id: UserId::from_bits(10),
        ..user.clone()
    };
    let elsewhere = User {
        tenant: TenantId::from_bits(78),
        ..user.clone()
    };
    let unknown = User {
        role: UserRole::Unknown,
        ..user.clone()
    };
    for gone in [None, Some(&other), Some(&elsewhere), Some(&unknown)] {
        assert_eq!(key.principal(gone), None);
    }
    let mut record = record_v1::ApiKeyRecord::decode(key.encode()).unwrap();
    record.api_key.as_mut().unwrap().user_id = "person:9".to_owned();
    let later = ApiKey::decode(record.encode_to_vec().into()).unwrap();
    assert_eq!(later.principal(Some(&user)), None, "a later version's user");

    let refused = |change: fn(&mut v1::CreateApiKeyRequest)| {
        let mut request = wanted.clone();
        change(&mut request);
        create(request).unwrap_err().as_slice()[0].field.clone()
    };
    let past = |request: &mut v1::CreateApiKeyRequest| request.expires_at = Some(timestamp(NOW));
    assert_eq!(refused(past), "expires_at");
    let nonsense = |request: &mut v1::CreateApiKeyRequest| {
        request.expires_at = Some(prost_types::Timestamp {
            seconds: i64::MAX,
            nanos: -1,
        });
    };
    assert_eq!(refused(nonsense), "expires_at");
    assert_eq!(
        refused(|request| request.user_id = "ada".to_owned()),
        "user_id"
    );
    assert_eq!(
        refused(|request| request.role = v1::Role::Agent.into()),
        "user_id"
    );
}
