//! API keys and pool tokens, without their secrets.

use bytes::Bytes;
use sidehook_core::{
    id::{KeyId, TenantId, UserId},
    pool::{Pool, PoolName},
    principal::{Principal, Role},
    time::Timestamp,
    violation::Violations,
};

use super::{User, check_name};
use crate::{
    carry::carry,
    record::{decode, encode, kept_moment, moment},
    record_error::CorruptRecord,
    record_v1,
    time::{read_timestamp, timestamp},
    v1,
};

/// Full name of the message that a key is kept as.
const API_KEY: &str = "sidehook.record.v1.ApiKeyRecord";

/// Shown in the place of a user whom a later version named.
const UNKNOWN_USER: &str = "unknown";

/// What the bearer of a key may do. A key never makes an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyRole {
    /// Everything in the tenant.
    Admin,
    /// Read, create subscriptions, and change their own.
    Member,
    /// Publish events.
    Publisher,
    /// Read.
    Viewer,
    /// Be an agent of this pool, whose owner is the key's tenant.
    Agent(Pool),
    /// Nothing: what a later version gave it, this one does not know.
    Unknown,
}

/// A key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Its identifier.
    pub id: KeyId,
    /// Its tenant; [`TenantId::PLATFORM`] for a platform-wide pool token.
    pub tenant: TenantId,
    /// What it is for.
    pub name: String,
    /// What its bearer may do.
    pub role: KeyRole,
    /// The beginning of its secret, for telling keys apart; empty if it is not to be
    /// shown.
    pub prefix: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was revoked; `None`: it was not.
    pub revoked_at: Option<Timestamp>,
    /// From when on it is out of force by itself; `None`: never.
    pub expires_at: Option<Timestamp>,
    /// Whose it is; `None`: nobody's in particular.
    pub user: Option<KeyUser>,
}

/// Whose key it is, as its record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyUser {
    /// This user's.
    Known(UserId),
    /// Somebody's, whom a later version names in a way that this one does not read:
    /// nobody's who could be in force.
    Unknown,
}

impl KeyUser {
    fn kept(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| text.parse().map_or(Self::Unknown, Self::Known))
    }
}

impl ApiKey {
    /// Reads a new key, without the prefix. Whether the tenant and the user exist is not
    /// known here.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn create(
        request: v1::CreateApiKeyRequest,
        id: KeyId,
        now: Timestamp,
    ) -> Result<Self, Violations> {
        let mut violations = Violations::new();
        check_name(&mut violations, &request.name);
        let tenant = read_tenant(&request.tenant_id);
        if tenant.is_none() {
            violations.add("tenant_id", "not a tenant's id");
        }
        let tenant = tenant.unwrap_or(TenantId::PLATFORM);
        let expires_at = read_expiry(request.expires_at.as_ref(), now, &mut violations);
        let user = KeyUser::kept(&request.user_id);
        if user == Some(KeyUser::Unknown) {
            violations.add("user_id", "not a user's id");
        }
        if user.is_some() && request.role == i32::from(v1::Role::Agent) {
            violations.add("user_id", "an agent's key is nobody's: leave it empty");
        }
        let pool = match request.pool.as_str() {
            "" if request.role == i32::from(v1::Role::Agent) => "default",
            name => name,
        };
        match read_role(request.role, pool, tenant) {
            Ok(role) if violations.is_empty() => Ok(Self {
                id,
                tenant,
                name: request.name,
                role,
                prefix: String::new(),
                created_at: now,
                revoked_at: None,
                expires_at,
                user,
            }),
            Ok(_) => Err(violations),
            Err((field, description)) => {
                violations.add(field, description);
                Err(violations)
            }
        }
    }

    /// Who its bearer is, where `user` is the user whose key it is, if they are there:
    /// nobody, if the user is gone or may do nothing of what the key is for, or if this
    /// version does not know what that is. Whether the key is in force is another matter.
    #[must_use]
    pub fn principal(&self, user: Option<&User>) -> Option<Principal> {
        let role = match &self.role {
            KeyRole::Admin => Role::Admin,
            KeyRole::Member => Role::Member,
            KeyRole::Publisher => Role::Publisher,
            KeyRole::Viewer => Role::Viewer,
            KeyRole::Agent(pool) => Role::Agent(pool.clone()),
            KeyRole::Unknown => return None,
        };
        let (subject, role) = match self.user {
            None => (self.id.to_string(), role),
            Some(KeyUser::Unknown) => return None,
            Some(KeyUser::Known(id)) => {
                let user = user.filter(|user| user.id == id && user.tenant == self.tenant)?;
                (id.to_string(), role.within(&user.role.known()?)?)
            }
        };
        Some(Principal {
            tenant: self.tenant,
            subject,
            role,
        })
    }

    /// The key as the API shows it.
    #[must_use]
    pub fn to_proto(&self) -> v1::ApiKey {
        let (role, pool) = match &self.role {
            KeyRole::Admin => (v1::Role::Admin, String::new()),
            KeyRole::Member => (v1::Role::Member, String::new()),
            KeyRole::Publisher => (v1::Role::Publisher, String::new()),
            KeyRole::Viewer => (v1::Role::Viewer, String::new()),
            KeyRole::Agent(pool) => (v1::Role::Agent, pool.display_name()),
            KeyRole::Unknown => (v1::Role::Unspecified, String::new()),
        };
        let platform = self.tenant == TenantId::PLATFORM;
        v1::ApiKey {
            id: self.id.to_string(),
            tenant_id: if platform {
                String::new()
            } else {
                self.tenant.to_string()
            },
            name: self.name.clone(),
            role: role.into(),
            pool,
            created_at: Some(timestamp(self.created_at)),
            prefix: self.prefix.clone(),
            revoked_at: self.revoked_at.map(timestamp),
            expires_at: self.expires_at.map(timestamp),
            user_id: match self.user {
                Some(KeyUser::Known(id)) => id.to_string(),
                Some(KeyUser::Unknown) => UNKNOWN_USER.to_owned(),
                None => String::new(),
            },
        }
    }

    /// Encodes a new one.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let shown = v1::ApiKey {
            // The record says it itself.
            revoked_at: None,
            ..self.to_proto()
        };
        let record = record_v1::ApiKeyRecord {
            api_key: Some(shown),
            revoked_at_ms: self.revoked_at.map_or(0, Timestamp::as_millis),
            ..Default::default()
        };
        encode(&record)
    }

    /// Encodes it after a change, with all that its record `old` holds and that this
    /// version does not understand.
    #[must_use]
    pub fn change(&self, old: &Bytes) -> Bytes {
        match Self::decode(old.clone()) {
            Ok(before) => carry(API_KEY, old, &before.encode(), self.encode()),
            Err(_) => self.encode(),
        }
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn decode(record: Bytes) -> Result<Self, CorruptRecord> {
        let corrupt = |detail: &str| CorruptRecord::new("API key", detail);
        let record: record_v1::ApiKeyRecord = decode("API key", record)?;
        let proto = record.api_key.ok_or_else(|| corrupt("no key"))?;
        let tenant = read_tenant(&proto.tenant_id).ok_or_else(|| corrupt("tenant_id"))?;
        Ok(Self {
            id: proto.id.parse().map_err(|_| corrupt("id"))?,
            tenant,
            role: kept_role(proto.role, &proto.pool, tenant),
            created_at: kept_moment(proto.created_at.as_ref()),
            revoked_at: moment(record.revoked_at_ms),
            expires_at: proto.expires_at.as_ref().map(kept_expiry),
            user: KeyUser::kept(&proto.user_id),
            name: proto.name,
            prefix: proto.prefix,
        })
    }
}

/// A moment that cannot be read has passed: such a key is one for nothing.
fn kept_expiry(proto: &prost_types::Timestamp) -> Timestamp {
    read_timestamp(proto).unwrap_or_default()
}

fn read_expiry(
    proto: Option<&prost_types::Timestamp>,
    now: Timestamp,
    violations: &mut Violations,
) -> Option<Timestamp> {
    let expires_at = read_timestamp(proto?).filter(|moment| *moment > now);
    if expires_at.is_none() {
        violations.add("expires_at", "must be a moment to come, or left out");
    }
    expires_at
}

/// A role as a record keeps it. What its bearer could do beyond its tenant is no matter
/// of rules that come and go: such a key is one for nothing.
fn kept_role(number: i32, pool: &str, tenant: TenantId) -> KeyRole {
    let role = match v1::Role::try_from(number) {
        Ok(v1::Role::Admin) => KeyRole::Admin,
        Ok(v1::Role::Member) => KeyRole::Member,
        Ok(v1::Role::Publisher) => KeyRole::Publisher,
        Ok(v1::Role::Viewer) => KeyRole::Viewer,
        Ok(v1::Role::Agent) => {
            let pool = PoolName::kept(pool).resolve(tenant);
            return if pool.owner == tenant {
                KeyRole::Agent(pool)
            } else {
                KeyRole::Unknown
            };
        }
        Ok(v1::Role::Unspecified) | Err(_) => KeyRole::Unknown,
    };
    if tenant == TenantId::PLATFORM {
        return KeyRole::Unknown;
    }
    role
}

fn read_tenant(text: &str) -> Option<TenantId> {
    if text.is_empty() {
        Some(TenantId::PLATFORM)
    } else {
        text.parse().ok()
    }
}

/// The role, or the field that is wrong and why.
fn read_role(
    number: i32,
    pool: &str,
    tenant: TenantId,
) -> Result<KeyRole, (&'static str, &'static str)> {
    let role = match v1::Role::try_from(number) {
        Ok(v1::Role::Admin) => KeyRole::Admin,
        Ok(v1::Role::Member) => KeyRole::Member,
        Ok(v1::Role::Publisher) => KeyRole::Publisher,
        Ok(v1::Role::Viewer) => KeyRole::Viewer,
        Ok(v1::Role::Agent) => {
            let name: PoolName = pool.parse().map_err(|_| ("pool", "not a pool's name"))?;
            let pool = name.resolve(tenant);
            if pool.owner != tenant {
                return Err(("pool", "a tenant's key cannot serve a platform-wide pool"));
            }
            return Ok(KeyRole::Agent(pool));
        }
        Ok(v1::Role::Unspecified) | Err(_) => return Err(("role", "required, and a known role")),
    };
    if tenant == TenantId::PLATFORM {
        return Err((
            "tenant_id",
            "required, except for a platform-wide pool token",
        ));
    }
    if !pool.is_empty() {
        return Err(("pool", "only for agents: leave it empty"));
    }
    Ok(role)
}

#[cfg(test)]
mod tests;
