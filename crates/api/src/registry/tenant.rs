//! Tenants and their limits.
//!
//! What a tenant may is kept as the operator set it, and what was not set stays unset:
//! so a default that changes, in a later version or in a server's configuration, reaches
//! every tenant that goes by it. What the defaults are is not known here.

use core::ops::RangeInclusive;

use bytes::Bytes;
use sidehook_core::{
    id::TenantId,
    limits::{
        EVENT_BYTES_MAX, EVENT_BYTES_MIN, REQUEST_BURST_MAX, REQUESTS_PER_SECOND_MAX,
        SUBSCRIPTIONS_PER_TENANT, TENANT_BYTES_MAX, TENANT_BYTES_MIN,
    },
    time::Timestamp,
    violation::Violations,
};

use super::check_name;
use crate::{
    carry::carry,
    mask::{Field, merge},
    record::{decode, encode, kept_moment},
    record_error::CorruptRecord,
    record_v1,
    time::timestamp,
    v1,
};

/// Full name of the message that a tenant is kept as.
const TENANT: &str = "sidehook.record.v1.TenantRecord";

/// A customer organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its identifier.
    pub id: TenantId,
    /// Its name for people.
    pub name: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// Whether it is an automation platform.
    pub platform: bool,
    /// What was set of its limits.
    pub limits: TenantLimits,
}

/// What a tenant may have and do, as far as the operator set it; `None`: the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TenantLimits {
    /// Subscriptions, active and paused ones.
    pub max_subscriptions: Option<u32>,
    /// Requests of a key in a second, to read and to manage.
    pub requests_per_second: Option<u32>,
    /// Requests of a key at once.
    pub request_burst: Option<u32>,
    /// Requests of a key in a second, to publish.
    pub publish_requests_per_second: Option<u32>,
    /// Bytes of unfinished deliveries.
    pub pending_bytes: Option<u64>,
    /// Bytes of events in the log.
    pub log_bytes: Option<u64>,
    /// Bytes of an event's payload.
    pub event_bytes: Option<u32>,
}

impl TenantLimits {
    /// As much as can be set of what has no default in a server's configuration: for
    /// tenants whose only user is who made them.
    pub const WIDEST: Self = Self {
        max_subscriptions: Some(SUBSCRIPTIONS_PER_TENANT as u32),
        requests_per_second: Some(REQUESTS_PER_SECOND_MAX),
        request_burst: Some(REQUEST_BURST_MAX),
        publish_requests_per_second: None,
        pending_bytes: None,
        log_bytes: None,
        event_bytes: None,
    };

    /// The limits as the API shows them; 0: the default.
    #[must_use]
    pub fn to_proto(&self) -> v1::TenantLimits {
        v1::TenantLimits {
            max_subscriptions: self.max_subscriptions.unwrap_or(0),
            requests_per_second: self.requests_per_second.unwrap_or(0),
            request_burst: self.request_burst.unwrap_or(0),
            publish_requests_per_second: self.publish_requests_per_second.unwrap_or(0),
            tenant_pending_bytes: self.pending_bytes.unwrap_or(0),
            tenant_log_bytes: self.log_bytes.unwrap_or(0),
            event_bytes: self.event_bytes.unwrap_or(0),
        }
    }

    fn kept(proto: &v1::TenantLimits) -> Self {
        let narrow = |value: u32| (value != 0).then_some(value);
        let wide = |value: u64| (value != 0).then_some(value);
        Self {
            max_subscriptions: narrow(proto.max_subscriptions),
            requests_per_second: narrow(proto.requests_per_second),
            request_burst: narrow(proto.request_burst),
            publish_requests_per_second: narrow(proto.publish_requests_per_second),
            pending_bytes: wide(proto.tenant_pending_bytes),
            log_bytes: wide(proto.tenant_log_bytes),
            event_bytes: narrow(proto.event_bytes),
        }
    }

    /// Reads them; adds what is wrong, with paths under `limits`.
    fn read(proto: &v1::TenantLimits, violations: &mut Violations) -> Self {
        let mut check = |field: &str, value: u64, range: RangeInclusive<u64>| {
            if value != 0 && !range.contains(&value) {
                let (least, most) = (range.start(), range.end());
                let description =
                    format!("must be between {least} and {most}, or 0 for the default");
                violations.add(format!("limits.{field}"), description);
            }
        };
        let rates = 1..=u64::from(REQUESTS_PER_SECOND_MAX);
        let budgets = TENANT_BYTES_MIN..=TENANT_BYTES_MAX;
        let payloads = EVENT_BYTES_MIN as u64..=EVENT_BYTES_MAX as u64;
        let rows = [
            (
                "max_subscriptions",
                proto.max_subscriptions.into(),
                1..=SUBSCRIPTIONS_PER_TENANT as u64,
            ),
            (
                "requests_per_second",
                proto.requests_per_second.into(),
                rates.clone(),
            ),
            (
                "request_burst",
                proto.request_burst.into(),
                1..=REQUEST_BURST_MAX.into(),
            ),
            (
                "publish_requests_per_second",
                proto.publish_requests_per_second.into(),
                rates,
            ),
            (
                "tenant_pending_bytes",
                proto.tenant_pending_bytes,
                budgets.clone(),
            ),
            ("tenant_log_bytes", proto.tenant_log_bytes, budgets),
            ("event_bytes", proto.event_bytes.into(), payloads),
        ];
        for (field, value, range) in rows {
            check(field, value, range);
        }
        Self::kept(proto)
    }
}

macro_rules! limit {
    ($field:ident) => {
        Field {
            path: concat!("limits.", stringify!($field)),
            is_leaf: true,
            is_set: |tenant: &v1::Tenant| tenant.limits.is_some_and(|limits| limits.$field != 0),
            copy: |to: &mut v1::Tenant, from: &v1::Tenant| {
                to.limits.get_or_insert_default().$field = from.limits.unwrap_or_default().$field;
            },
        }
    };
}

/// What of a tenant can be changed.
const FIELDS: &[Field<v1::Tenant>] = &[
    Field {
        path: "name",
        is_leaf: true,
        is_set: |tenant| !tenant.name.is_empty(),
        copy: |to, from| to.name.clone_from(&from.name),
    },
    Field {
        path: "platform",
        is_leaf: true,
        is_set: |tenant| tenant.platform,
        copy: |to, from| to.platform = from.platform,
    },
    Field {
        path: "limits",
        is_leaf: false,
        is_set: |tenant| tenant.limits.is_some(),
        copy: |to, from| to.limits = from.limits,
    },
    limit!(max_subscriptions),
    limit!(requests_per_second),
    limit!(request_burst),
    limit!(publish_requests_per_second),
    limit!(tenant_pending_bytes),
    limit!(tenant_log_bytes),
    limit!(event_bytes),
];

impl Tenant {
    /// Reads a new tenant.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn create(
        request: v1::CreateTenantRequest,
        id: TenantId,
        now: Timestamp,
    ) -> Result<Self, Violations> {
        let mut violations = Violations::new();
        check_name(&mut violations, &request.name);
        let limits = request.limits.unwrap_or_default();
        let limits = TenantLimits::read(&limits, &mut violations);
        violations.into_result(Self {
            id,
            name: request.name,
            created_at: now,
            platform: request.platform,
            limits,
        })
    }

    /// Lays the fields of `patch` that `mask` names over it; with an empty mask those
    /// that are set.
    ///
    /// # Errors
    /// Everything that is wrong, with paths as in `UpdateTenantRequest`.
    pub fn update(&self, patch: &v1::Tenant, mask: &[String]) -> Result<Self, Violations> {
        let mut proto = self.to_proto();
        let mut violations = merge(FIELDS, &mut proto, patch, mask);
        let mut fields = Violations::new();
        let limits = TenantLimits::read(&proto.limits.unwrap_or_default(), &mut fields);
        if limits == self.limits {
            // What is there may be of other days' rules.
            fields = Violations::new();
        }
        if proto.name != self.name {
            check_name(&mut fields, &proto.name);
        }
        violations.extend(fields.under("tenant"));
        violations.into_result(Self {
            id: self.id,
            created_at: self.created_at,
            name: proto.name,
            platform: proto.platform,
            limits,
        })
    }

    /// The tenant as the API shows it, without its effective limits.
    #[must_use]
    pub fn to_proto(&self) -> v1::Tenant {
        let limits = (self.limits != TenantLimits::default()).then(|| self.limits.to_proto());
        v1::Tenant {
            id: self.id.to_string(),
            name: self.name.clone(),
            created_at: Some(timestamp(self.created_at)),
            limits,
            platform: self.platform,
            effective_limits: None,
        }
    }

    /// Encodes a new one.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        encode(&record_v1::TenantRecord {
            tenant: Some(self.to_proto()),
            ..Default::default()
        })
    }

    /// Encodes it after a change, with all that its record `old` holds and that this
    /// version does not understand.
    #[must_use]
    pub fn change(&self, old: &Bytes) -> Bytes {
        match Self::decode(old.clone()) {
            Ok(before) => carry(TENANT, old, &before.encode(), self.encode()),
            Err(_) => self.encode(),
        }
    }

    /// Reads what [`encode`](Self::encode) wrote. Limits are taken as they are: what
    /// they mean beyond today's bounds is for whoever goes by them.
    ///
    /// # Errors
    /// If it is not a tenant's record, or has no id.
    pub fn decode(record: Bytes) -> Result<Self, CorruptRecord> {
        let corrupt = |detail: &str| CorruptRecord::new("tenant", detail);
        let record: record_v1::TenantRecord = decode("tenant", record)?;
        let proto = record.tenant.ok_or_else(|| corrupt("no tenant"))?;
        Ok(Self {
            id: proto.id.parse().map_err(|_| corrupt("id"))?,
            created_at: kept_moment(proto.created_at.as_ref()),
            platform: proto.platform,
            limits: TenantLimits::kept(&proto.limits.unwrap_or_default()),
            name: proto.name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant() -> Tenant {
        let request = v1::CreateTenantRequest {
            name: "acme".into(),
            limits: Some(v1::TenantLimits {
                max_subscriptions: 7,
                ..v1::TenantLimits::default()
            }),
            platform: true,
        };
        Tenant::create(
            request,
            TenantId::from_bits(7),
            Timestamp::from_millis(1_000),
        )
        .expect("valid")
    }

    fn patch(limits: v1::TenantLimits) -> v1::Tenant {
        v1::Tenant {
            limits: Some(limits),
            ..v1::Tenant::default()
        }
    }

    #[test]
    fn what_is_kept_is_read_again() {
        let tenant = tenant();
        assert_eq!(Tenant::decode(tenant.encode()), Ok(tenant));
    }

    #[test]
    fn a_mask_changes_what_it_names_and_nothing_else() {
        let tenant = tenant();
        let given = patch(v1::TenantLimits {
            max_subscriptions: 9,
            request_burst: 50,
            ..v1::TenantLimits::default()
        });
        let mask = ["limits.request_burst".to_owned()];
        let changed = tenant.update(&given, &mask).expect("valid");
        assert_eq!(changed.limits.request_burst, Some(50));
        assert_eq!(changed.limits.max_subscriptions, Some(7));
        assert!(changed.platform && changed.name == "acme");
        let all = tenant.update(&given, &[]).expect("valid");
        assert_eq!(all.limits.max_subscriptions, Some(9));
        let mask = ["limits.max_subscriptions".to_owned()];
        let reset = tenant.update(&v1::Tenant::default(), &mask).expect("valid");
        assert_eq!(reset.limits.max_subscriptions, None);
        let mask = ["limits".to_owned()];
        let none = all.update(&v1::Tenant::default(), &mask).expect("valid");
        assert_eq!(none.limits, TenantLimits::default());
    }

    #[test]
    fn wrong_limits_and_paths_are_told_by_name() {
        let wrong = v1::TenantLimits {
            max_subscriptions: 1_001,
            requests_per_second: 10_001,
            request_burst: 100_001,
            publish_requests_per_second: u32::MAX,
            tenant_pending_bytes: 1,
            tenant_log_bytes: u64::MAX,
            event_bytes: 1_023,
        };
        let told = tenant().update(&patch(wrong), &[]).expect_err("all wrong");
        let fields: Vec<_> = told.as_slice().iter().map(|wrong| &*wrong.field).collect();
        let all: Vec<_> = FIELDS[3..]
            .iter()
            .map(|field| format!("tenant.{}", field.path))
            .collect();
        assert_eq!(fields, all);
        let mask = ["id".to_owned()];
        let told = tenant().update(&v1::Tenant::default(), &mask);
        assert_eq!(
            told.expect_err("no such").as_slice()[0].field,
            "update_mask"
        );
    }

    #[test]
    fn what_a_later_version_wrote_survives_a_change() {
        // Field 99 of the tenant inside the record.
        let mut inner = encode(&tenant().to_proto()).to_vec();
        inner.extend([0x9a, 0x06, 0x02, b'h', b'i']);
        let mut bytes = vec![0x0a, u8::try_from(inner.len()).expect("short")];
        bytes.extend(inner);
        let later = Bytes::from(bytes);
        let changed = Tenant::decode(later.clone())
            .expect("readable")
            .update(&patch(v1::TenantLimits::default()), &["limits".to_owned()])
            .expect("valid");
        let written = changed.change(&later);
        assert!(written.windows(2).any(|pair| pair == b"hi"));
        assert_eq!(Tenant::decode(written), Ok(changed));
    }
}
