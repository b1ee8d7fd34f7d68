//! `sidehook admin`: tenants, users and keys, for operators.

use core::time::Duration;
use std::time::SystemTime;

mod tenant;

use serde_json::{Value, json};
use sidehook_api::v1::{self, admin_service_client::AdminServiceClient};

mod user;

use super::{
    Failure, Global, Output,
    channel::{Api, connect, pages},
    render::{json_line, line, list, moment, one, some, word},
    settings::span,
};

/// Largest page of tenants, and of keys.
const PAGE: u32 = 500;

/// Commands for operators.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Manage tenants
    #[command(subcommand)]
    Tenant(tenant::Command),
    /// Manage API keys and pool tokens
    #[command(subcommand)]
    Key(Key),
    /// Manage the users of tenants
    #[command(subcommand)]
    User(user::Command),
}

/// Commands on keys.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Key {
    /// Make a key; its secret is shown once
    Create {
        /// The tenant; left out, with --role agent, for a platform-wide pool token
        #[arg(long)]
        tenant: Option<String>,
        /// What it is for, 1 to 100 bytes
        #[arg(long)]
        name: String,
        /// What its bearer may do
        #[arg(long, value_enum)]
        role: Role,
        /// With --role agent: the pool; `default` if left out
        #[arg(long)]
        pool: Option<String>,
        /// The user whose key it is: what is made with it is theirs
        #[arg(long)]
        user: Option<String>,
        /// How long it is in force, for example `90d`; for ever if left out
        #[arg(long, value_name = "SPAN", value_parser = span)]
        expires_in: Option<prost_types::Duration>,
    },
    /// List the keys of a tenant, revoked ones too
    List {
        /// The tenant; left out, the platform-wide pool tokens
        #[arg(long)]
        tenant: Option<String>,
        /// Only keys that begin so; the first 12 characters count
        #[arg(long, default_value = "")]
        prefix: String,
        /// At most this many
        #[arg(long, default_value_t = 1_000)]
        limit: u32,
    },
    /// Take a key out of force, everywhere within 5 s
    Revoke {
        /// The key's id
        id: String,
    },
}

/// What the bearer of a key may do.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Role {
    /// Everything in the tenant
    Admin,
    /// Read all of the tenant, create subscriptions, and change their own
    Member,
    /// Publish events, and nothing else
    Publisher,
    /// Read, and nothing else
    Viewer,
    /// Be an agent of one pool, and nothing else
    Agent,
}

impl From<Role> for v1::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Admin => Self::Admin,
            Role::Member => Self::Member,
            Role::Publisher => Self::Publisher,
            Role::Viewer => Self::Viewer,
            Role::Agent => Self::Agent,
        }
    }
}

/// Runs `command`.
pub(super) async fn run(command: Command, global: &Global) -> Result<(), Failure> {
    let client = AdminServiceClient::new(connect(global).await?);
    match command {
        Command::Tenant(command) => tenant::run(command, client, global).await,
        Command::Key(command) => key(command, client, global).await,
        Command::User(command) => user::run(command, client, global).await,
    }
}

async fn key(
    command: Key,
    mut client: AdminServiceClient<Api>,
    global: &Global,
) -> Result<(), Failure> {
    let request = match command {
        Key::Create {
            tenant,
            name,
            role,
            pool,
            user,
            expires_in,
        } => v1::CreateApiKeyRequest {
            tenant_id: tenant.unwrap_or_default(),
            name,
            role: v1::Role::from(role).into(),
            pool: pool.unwrap_or_default(),
            expires_at: expires_in.map(from_now).transpose()?,
            user_id: user.unwrap_or_default(),
        },
        Key::List {
            tenant,
            prefix,
            limit,
        } => {
            let wanted = v1::ListApiKeysRequest {
                tenant_id: tenant.unwrap_or_default(),
                prefix,
                ..v1::ListApiKeysRequest::default()
            };
            return list_keys(&client, wanted, limit, global.output).await;
        }
        Key::Revoke { id } => {
            client
                .revoke_api_key(v1::RevokeApiKeyRequest { id: id.clone() })
                .await?;
            return match global.output {
                Output::Json => json_line(&json!({ "id": id, "revoked": true })),
                Output::Table => line(&format!("{id} is out of force everywhere within 5 s")),
            };
        }
    };
    let answer = client.create_api_key(request).await?.into_inner();
    let key = answer.api_key.unwrap_or_default();
    let mut value = key_json(&key);
    value["secret"] = answer.secret.clone().into();
    let fields = [
        ("ID", key.id.clone()),
        ("TENANT", key.tenant_id.clone()),
        ("NAME", key.name.clone()),
        ("ROLE", role(&key)),
        ("POOL", key.pool.clone()),
        ("USER", key.user_id.clone()),
        ("EXPIRES", moment(key.expires_at.as_ref())),
        ("SECRET (shown once)", answer.secret),
    ];
    one(global.output, &value, &fields)
}

async fn list_keys(
    client: &AdminServiceClient<Api>,
    wanted: v1::ListApiKeysRequest,
    limit: u32,
    output: Output,
) -> Result<(), Failure> {
    let keys = pages(limit, PAGE, |page_size, page_token| {
        let mut client = client.clone();
        let request = v1::ListApiKeysRequest {
            page_size,
            page_token,
            ..wanted.clone()
        };
        async move {
            let page = client.list_api_keys(request).await?.into_inner();
            Ok((page.api_keys, page.next_page_token))
        }
    })
    .await?;
    let head = [
        "ID", "NAME", "ROLE", "POOL", "USER", "SECRET", "CREATED", "EXPIRES", "REVOKED",
    ];
    list(output, &keys, key_json, &head, |key| {
        vec![
            key.id.clone(),
            key.name.clone(),
            role(key),
            key.pool.clone(),
            key.user_id.clone(),
            match key.prefix.as_str() {
                "" => String::new(),
                prefix => format!("{prefix}…"),
            },
            moment(key.created_at.as_ref()),
            moment(key.expires_at.as_ref()),
            moment(key.revoked_at.as_ref()),
        ]
    })
}

/// The moment so long from now, by this machine's clock.
fn from_now(span: prost_types::Duration) -> Result<prost_types::Timestamp, Failure> {
    let end = Duration::try_from(span)
        .ok()
        .and_then(|span| SystemTime::now().checked_add(span));
    let end = end.ok_or_else(|| Failure::new("--expires-in: that is too far away"))?;
    Ok(end.into())
}

fn role(key: &v1::ApiKey) -> String {
    word(key.role().as_str_name(), "ROLE_")
}

fn key_json(key: &v1::ApiKey) -> Value {
    json!({
        "id": key.id,
        "tenant_id": some(key.tenant_id.clone()),
        "name": key.name,
        "role": role(key),
        "pool": some(key.pool.clone()),
        "user_id": some(key.user_id.clone()),
        "expires_at": some(moment(key.expires_at.as_ref())),
        "prefix": some(key.prefix.clone()),
        "created_at": some(moment(key.created_at.as_ref())),
        "revoked_at": some(moment(key.revoked_at.as_ref())),
    })
}
