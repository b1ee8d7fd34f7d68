//! `sidehook admin tenant`.

use serde_json::{Map, Value, json};
use sidehook_api::v1::{self, admin_service_client::AdminServiceClient};
use sidehook_runtime::config::{ByteSize, Setting as _};

use super::{
    super::{
        Failure, Global, Output,
        channel::{Api, pages},
        render::{list, moment, one, some},
    },
    PAGE,
};

/// Commands on tenants.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Create a tenant
    Create {
        /// Its name, 1 to 100 bytes
        name: String,
        /// It is an automation platform: 500 subscriptions instead of 40 by default
        #[arg(long)]
        platform: bool,
        #[command(flatten)]
        limits: Limits,
    },
    /// Show a tenant and the limits that hold
    Get {
        /// The tenant's id
        id: String,
    },
    /// Change what the given flags name, everywhere within 5 s
    Update {
        /// The tenant's id
        id: String,
        /// Its name, 1 to 100 bytes
        #[arg(long)]
        name: Option<String>,
        /// Whether it is an automation platform: 500 subscriptions instead of 40 by default
        #[arg(long)]
        platform: Option<bool>,
        #[command(flatten)]
        limits: Limits,
    },
    /// List tenants
    List {
        /// At most this many
        #[arg(long, default_value_t = 1_000)]
        limit: u32,
    },
}

/// What it may have and do.
#[derive(Debug, clap::Args)]
pub(crate) struct Limits {
    /// Subscriptions, at most 1,000; 0: the default (40, of a platform 500)
    #[arg(long, value_name = "COUNT")]
    max_subscriptions: Option<u32>,
    /// Requests of a key in a second, to read and to manage; 0: the default (100)
    #[arg(long, value_name = "COUNT")]
    requests_per_second: Option<u32>,
    /// Requests of a key at once after a rest; 0: the default (twice as many as in a second)
    #[arg(long, value_name = "COUNT")]
    request_burst: Option<u32>,
    /// Requests of a key in a second, to publish; 0: the default (no limit)
    #[arg(long, value_name = "COUNT")]
    publish_requests_per_second: Option<u32>,
    /// What deliveries to be made may count, as 512MiB; 0: the server's default
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pending_bytes: Option<u64>,
    /// What the events in the log may count, as 2GiB; 0: the server's default
    #[arg(long, value_name = "SIZE", value_parser = size)]
    log_bytes: Option<u64>,
    /// Longest payload of an event, as 512KiB; 0: the server's default
    #[arg(long, value_name = "SIZE", value_parser = size)]
    event_bytes: Option<u64>,
}

fn size(text: &str) -> Result<u64, String> {
    match text {
        "0" => Ok(0),
        text => {
            let size = ByteSize::from_text(text).map(ByteSize::bytes);
            size.ok_or_else(|| format!("must be {}, or 0", ByteSize::RIGHT))
        }
    }
}

impl Limits {
    /// The limits, and the paths of those that are given.
    fn read(&self) -> Result<(v1::TenantLimits, Vec<String>), Failure> {
        let event_bytes = self.event_bytes.unwrap_or(0);
        let event_bytes = u32::try_from(event_bytes)
            .map_err(|_| Failure::new("--event-bytes: must be at most 1MiB"))?;
        let limits = v1::TenantLimits {
            max_subscriptions: self.max_subscriptions.unwrap_or(0),
            requests_per_second: self.requests_per_second.unwrap_or(0),
            request_burst: self.request_burst.unwrap_or(0),
            publish_requests_per_second: self.publish_requests_per_second.unwrap_or(0),
            tenant_pending_bytes: self.pending_bytes.unwrap_or(0),
            tenant_log_bytes: self.log_bytes.unwrap_or(0),
            event_bytes,
        };
        let given = [
            ("max_subscriptions", self.max_subscriptions.is_some()),
            ("requests_per_second", self.requests_per_second.is_some()),
            ("request_burst", self.request_burst.is_some()),
            (
                "publish_requests_per_second",
                self.publish_requests_per_second.is_some(),
            ),
            ("tenant_pending_bytes", self.pending_bytes.is_some()),
            ("tenant_log_bytes", self.log_bytes.is_some()),
            ("event_bytes", self.event_bytes.is_some()),
        ];
        let given = given.iter().filter(|(_, is)| *is);
        let paths = given.map(|(name, _)| format!("limits.{name}"));
        Ok((limits, paths.collect()))
    }
}

/// Runs `command`.
pub(super) async fn run(
    command: Command,
    mut client: AdminServiceClient<Api>,
    global: &Global,
) -> Result<(), Failure> {
    let tenant = match command {
        Command::Create {
            name,
            platform,
            limits,
        } => {
            let request = v1::CreateTenantRequest {
                name,
                platform,
                limits: Some(limits.read()?.0),
            };
            client.create_tenant(request).await?.into_inner().tenant
        }
        Command::Get { id } => {
            let request = v1::GetTenantRequest { id };
            client.get_tenant(request).await?.into_inner().tenant
        }
        Command::Update {
            id,
            name,
            platform,
            limits,
        } => {
            let request = update(id, name, platform, &limits)?;
            client.update_tenant(request).await?.into_inner().tenant
        }
        Command::List { limit } => return show_list(&client, limit, global.output).await,
    };
    show(&tenant.unwrap_or_default(), global.output)
}

fn update(
    id: String,
    name: Option<String>,
    platform: Option<bool>,
    limits: &Limits,
) -> Result<v1::UpdateTenantRequest, Failure> {
    let (limits, mut paths) = limits.read()?;
    paths.extend(name.is_some().then(|| "name".to_owned()));
    paths.extend(platform.is_some().then(|| "platform".to_owned()));
    if paths.is_empty() {
        return Err(Failure::new("nothing to change").hint("give a flag for each field to change"));
    }
    Ok(v1::UpdateTenantRequest {
        tenant: Some(v1::Tenant {
            id,
            name: name.unwrap_or_default(),
            platform: platform.unwrap_or_default(),
            limits: Some(limits),
            ..v1::Tenant::default()
        }),
        update_mask: Some(prost_types::FieldMask { paths }),
    })
}

fn show(tenant: &v1::Tenant, output: Output) -> Result<(), Failure> {
    let set = tenant.limits.unwrap_or_default();
    let mut fields = vec![
        ("ID", tenant.id.clone()),
        ("NAME", tenant.name.clone()),
        ("PLATFORM", tenant.platform.to_string()),
    ];
    let limits = rows(&tenant.effective_limits.unwrap_or_default());
    for ((name, value), (_, set)) in limits.into_iter().zip(rows(&set)) {
        let word = match (value, set) {
            (0, _) => "no limit".to_owned(),
            (value, 0) => format!("{value} (default)"),
            (value, _) => value.to_string(),
        };
        fields.push((name, word));
    }
    one(output, &to_json(tenant), &fields)
}

fn rows(limits: &v1::TenantLimits) -> [(&'static str, u64); 7] {
    [
        ("MAX_SUBSCRIPTIONS", limits.max_subscriptions.into()),
        ("REQUESTS_PER_SECOND", limits.requests_per_second.into()),
        ("REQUEST_BURST", limits.request_burst.into()),
        (
            "PUBLISH_REQUESTS_PER_SECOND",
            limits.publish_requests_per_second.into(),
        ),
        ("TENANT_PENDING_BYTES", limits.tenant_pending_bytes),
        ("TENANT_LOG_BYTES", limits.tenant_log_bytes),
        ("EVENT_BYTES", limits.event_bytes.into()),
    ]
}

async fn show_list(
    client: &AdminServiceClient<Api>,
    limit: u32,
    output: Output,
) -> Result<(), Failure> {
    let tenants = pages(limit, PAGE, |page_size, page_token| {
        let mut client = client.clone();
        async move {
            let request = v1::ListTenantsRequest {
                page_size,
                page_token,
            };
            let page = client.list_tenants(request).await?.into_inner();
            Ok((page.tenants, page.next_page_token))
        }
    });
    let head = ["ID", "NAME", "PLATFORM", "CREATED"];
    list(output, &tenants.await?, to_json, &head, |tenant| {
        vec![
            tenant.id.clone(),
            tenant.name.clone(),
            tenant.platform.to_string(),
            moment(tenant.created_at.as_ref()),
        ]
    })
}

fn to_json(tenant: &v1::Tenant) -> Value {
    let limits = |limits: Option<v1::TenantLimits>| {
        let rows = rows(&limits.unwrap_or_default());
        let rows = rows.into_iter().filter(|(_, value)| *value > 0);
        let rows = rows.map(|(name, value)| (name.to_lowercase(), value.into()));
        Value::Object(rows.collect::<Map<String, Value>>())
    };
    json!({
        "id": tenant.id,
        "name": tenant.name,
        "platform": tenant.platform,
        "limits": limits(tenant.limits),
        "effective_limits": limits(tenant.effective_limits),
        "created_at": some(moment(tenant.created_at.as_ref())),
    })
}
