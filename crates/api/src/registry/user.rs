//! Users: people of a tenant.

use bytes::Bytes;
use sidehook_core::{
    email::Email,
    id::{TenantId, UserId},
    principal::Role,
    time::Timestamp,
    violation::Violations,
};

use super::check_name;
use crate::{
    carry::carry,
    record::{decode, encode, kept_moment},
    record_error::CorruptRecord,
    record_v1,
    time::timestamp,
    v1,
};

/// Full name of the message that a user is kept as.
const USER: &str = "sidehook.record.v1.UserRecord";

/// The fields that can be changed.
const CHANGEABLE: [&str; 3] = ["name", "email", "role"];
/// The fields that are shown and cannot be changed.
const OUTPUT_ONLY: [&str; 4] = ["id", "tenant_id", "created_at", "updated_at"];

/// What a user may do, which bounds what their keys do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserRole {
    /// Everything in the tenant.
    Admin,
    /// Read, create subscriptions, and change their own.
    Member,
    /// Publish events.
    Publisher,
    /// Read.
    Viewer,
    /// Nothing: what a later version gave them, this one does not know.
    Unknown,
}

impl UserRole {
    /// The role as callers have it; `None`: nothing.
    #[must_use]
    pub const fn known(self) -> Option<Role> {
        match self {
            Self::Admin => Some(Role::Admin),
            Self::Member => Some(Role::Member),
            Self::Publisher => Some(Role::Publisher),
            Self::Viewer => Some(Role::Viewer),
            Self::Unknown => None,
        }
    }

    fn kept(number: i32) -> Self {
        match v1::Role::try_from(number) {
            Ok(v1::Role::Admin) => Self::Admin,
            Ok(v1::Role::Member) => Self::Member,
            Ok(v1::Role::Publisher) => Self::Publisher,
            Ok(v1::Role::Viewer) => Self::Viewer,
            Ok(v1::Role::Agent | v1::Role::Unspecified) | Err(_) => Self::Unknown,
        }
    }

    const fn to_proto(self) -> v1::Role {
        match self {
            Self::Admin => v1::Role::Admin,
            Self::Member => v1::Role::Member,
            Self::Publisher => v1::Role::Publisher,
            Self::Viewer => v1::Role::Viewer,
            Self::Unknown => v1::Role::Unspecified,
        }
    }
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Their identifier.
    pub id: UserId,
    /// Their tenant.
    pub tenant: TenantId,
    /// Their name for people.
    pub name: String,
    /// Where mail reaches them.
    pub email: Email,
    /// What they may do.
    pub role: UserRole,
    /// When they were created.
    pub created_at: Timestamp,
    /// When they were last changed.
    pub updated_at: Timestamp,
}

impl User {
    /// Reads a new user. Whether the tenant exists is not known here.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn create(
        request: v1::CreateUserRequest,
        id: UserId,
        now: Timestamp,
    ) -> Result<Self, Violations> {
        let mut violations = Violations::new();
        let tenant = request.tenant_id.parse().ok();
        let tenant = tenant.filter(|tenant| *tenant != TenantId::PLATFORM);
        violations.require(tenant.is_some(), "tenant_id", "required, a tenant's id");
        check_name(&mut violations, &request.name);
        let email = read_email(&request.email, "email", &mut violations);
        let role = read_role(request.role, "role", &mut violations);
        violations.into_result(Self {
            id,
            tenant: tenant.unwrap_or(TenantId::PLATFORM),
            name: request.name,
            email,
            role,
            created_at: now,
            updated_at: now,
        })
    }

    /// The user after the fields of `patch` that `mask` names, or with an empty mask those
    /// that are set, were laid over.
    ///
    /// # Errors
    /// Everything that is wrong, as `user.…`, and wrong paths of the mask as `update_mask`.
    pub fn update(
        &self,
        patch: &v1::User,
        mask: &[String],
        now: Timestamp,
    ) -> Result<Self, Violations> {
        let mut violations = Violations::new();
        for path in mask {
            let what = match path.as_str() {
                path if CHANGEABLE.contains(&path) => continue,
                path if OUTPUT_ONLY.contains(&path) => format!("`{path}` is output only"),
                _ => "only `name`, `email` and `role` can be changed".to_owned(),
            };
            violations.add("update_mask", what);
        }
        let named = |path: &str, is_set: bool| match mask {
            [] => is_set,
            mask => mask.iter().any(|named| named == path),
        };
        let mut changed = Self {
            updated_at: now,
            ..self.clone()
        };
        if named("name", !patch.name.is_empty()) {
            let mut wrong = Violations::new();
            check_name(&mut wrong, &patch.name);
            violations.extend(wrong.under("user"));
            changed.name.clone_from(&patch.name);
        }
        if named("email", !patch.email.is_empty()) {
            changed.email = read_email(&patch.email, "user.email", &mut violations);
        }
        if named("role", patch.role != 0) {
            changed.role = read_role(patch.role, "user.role", &mut violations);
        }
        violations.into_result(changed)
    }

    /// The user as the API shows them.
    #[must_use]
    pub fn to_proto(&self) -> v1::User {
        v1::User {
            id: self.id.to_string(),
            tenant_id: self.tenant.to_string(),
            name: self.name.clone(),
            email: self.email.to_string(),
            role: self.role.to_proto().into(),
            created_at: Some(timestamp(self.created_at)),
            updated_at: Some(timestamp(self.updated_at)),
        }
    }

    /// Encodes a new one.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        encode(&record_v1::UserRecord {
            user: Some(self.to_proto()),
            ..Default::default()
        })
    }

    /// Encodes them after a change, with all that their record `old` holds and that this
    /// version does not understand.
    #[must_use]
    pub fn change(&self, old: &Bytes) -> Bytes {
        match Self::decode(old.clone()) {
            Ok(before) => carry(USER, old, &before.encode(), self.encode()),
            Err(_) => self.encode(),
        }
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn decode(record: Bytes) -> Result<Self, CorruptRecord> {
        let corrupt = |detail: &str| CorruptRecord::new("user", detail);
        let record: record_v1::UserRecord = decode("user", record)?;
        let proto = record.user.ok_or_else(|| corrupt("no user"))?;
        Ok(Self {
            id: proto.id.parse().map_err(|_| corrupt("id"))?,
            tenant: proto.tenant_id.parse().map_err(|_| corrupt("tenant_id"))?,
            name: proto.name,
            email: Email::kept(proto.email),
            role: UserRole::kept(proto.role),
            created_at: kept_moment(proto.created_at.as_ref()),
            updated_at: kept_moment(proto.updated_at.as_ref()),
        })
    }
}

fn read_email(text: &str, field: &str, violations: &mut Violations) -> Email {
    text.parse().unwrap_or_else(|error| {
        violations.add(field, format!("{error}"));
        Email::kept(String::new())
    })
}

fn read_role(number: i32, field: &str, violations: &mut Violations) -> UserRole {
    let role = UserRole::kept(number);
    violations.require(
        role != UserRole::Unknown,
        field,
        "required: admin, member, publisher or viewer",
    );
    role
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_123);

    fn request() -> v1::CreateUserRequest {
        v1::CreateUserRequest {
            tenant_id: TenantId::from_bits(7).to_string(),
            name: "Ada".to_owned(),
            email: "ada@example.com".to_owned(),
            role: v1::Role::Member.into(),
        }
    }

    fn create(request: v1::CreateUserRequest) -> Result<User, Violations> {
        User::create(request, UserId::from_bits(5), NOW)
    }

    fn fields<T: core::fmt::Debug>(result: Result<T, Violations>) -> Vec<String> {
        let wrong = result.expect_err("something is wrong");
        let fields = wrong.as_slice().iter().map(|one| one.field.clone());
        fields.collect()
    }

    #[test]
    fn users_come_back_and_a_later_versions_role_survives_a_change() {
        use prost::Message as _;
        let user = create(request()).expect("all right");
        assert_eq!(User::decode(user.encode()), Ok(user.clone()));
        let mut record = record_v1::UserRecord::decode(user.encode()).expect("a record");
        record.user.as_mut().expect("a user").role = 77;
        let old = Bytes::from(record.encode_to_vec());
        let read = User::decode(old.clone()).expect("readable");
        assert_eq!((read.role, read.role.known()), (UserRole::Unknown, None));
        let patch = v1::User {
            name: "Countess".to_owned(),
            ..v1::User::default()
        };
        let changed = read.update(&patch, &[], NOW).expect("a name");
        let record = record_v1::UserRecord::decode(changed.change(&old)).expect("a record");
        let kept = record.user.expect("a user");
        assert_eq!((&*kept.name, kept.role), ("Countess", 77));
        assert!(User::decode(Bytes::new()).is_err());
    }

    #[test]
    fn everything_wrong_is_told_with_its_field() {
        assert_eq!(
            fields(create(v1::CreateUserRequest::default())),
            ["tenant_id", "name", "email", "role"]
        );
        for role in [v1::Role::Agent, v1::Role::Unspecified] {
            let wrong = v1::CreateUserRequest {
                role: role.into(),
                ..request()
            };
            assert_eq!(fields(create(wrong)), ["role"]);
        }
        let injected = v1::CreateUserRequest {
            email: "ada@example.com\r\nBcc: eve@example.com".to_owned(),
            ..request()
        };
        assert_eq!(fields(create(injected)), ["email"]);
    }

    #[test]
    fn a_change_is_what_the_mask_names() {
        let user = create(request()).expect("all right");
        let patch = v1::User {
            id: "passed over".to_owned(),
            name: "Countess".to_owned(),
            email: "countess@example.com".to_owned(),
            ..v1::User::default()
        };
        let mask = |paths: &[&str]| {
            paths
                .iter()
                .map(|path| (*path).to_owned())
                .collect::<Vec<_>>()
        };
        let changed = user.update(&patch, &mask(&["name"]), NOW).expect("a name");
        assert_eq!((&*changed.name, &changed.email), ("Countess", &user.email));
        let changed = user.update(&patch, &[], NOW).expect("both");
        assert_eq!(changed.email.as_str(), "countess@example.com");
        assert_eq!(changed.role, UserRole::Member);
        assert_eq!(
            fields(user.update(&patch, &mask(&["role"]), NOW)),
            ["user.role"]
        );
        let wrong = mask(&["tenant_id", "nonsense"]);
        assert_eq!(
            fields(user.update(&patch, &wrong, NOW)),
            ["update_mask", "update_mask"]
        );
        let empty = v1::User::default();
        assert_eq!(
            fields(user.update(&empty, &mask(&["name", "email"]), NOW)),
            ["user.name", "user.email"]
        );
    }
}
