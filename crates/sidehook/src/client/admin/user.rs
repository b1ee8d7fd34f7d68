//! `sidehook admin user`: the people of tenants.

use serde_json::{Value, json};
use sidehook_api::v1::{self, admin_service_client::AdminServiceClient};

use super::{
    super::{
        Failure, Global, Output,
        channel::{Api, pages},
        render::{json_line, line, list, moment, one, some, word},
    },
    PAGE,
};

/// Commands on users.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Create a user; keys are made for them with `admin key create --user`
    Create {
        /// The tenant
        #[arg(long)]
        tenant: String,
        /// Their name, 1 to 100 bytes
        #[arg(long)]
        name: String,
        /// Where mail reaches them
        #[arg(long)]
        email: String,
        /// What they may do, which bounds what their keys do
        #[arg(long, value_enum)]
        role: Role,
    },
    /// List the users of a tenant
    List {
        /// The tenant
        #[arg(long)]
        tenant: String,
        /// At most this many
        #[arg(long, default_value_t = 1_000)]
        limit: u32,
    },
    /// Change a user: what is given, and nothing else
    #[command(group(clap::ArgGroup::new("change").required(true).multiple(true)))]
    Update {
        /// Their id
        id: String,
        /// Their name, 1 to 100 bytes
        #[arg(long, group = "change")]
        name: Option<String>,
        /// Where mail reaches them
        #[arg(long, group = "change")]
        email: Option<String>,
        /// What they may do; a smaller role counts everywhere within 5 s
        #[arg(long, value_enum, group = "change")]
        role: Option<Role>,
    },
    /// Delete a user: their keys are out of force everywhere within 5 s
    Delete {
        /// Their id
        id: String,
    },
}

/// What a user may do.
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
}

impl From<Role> for v1::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Admin => Self::Admin,
            Role::Member => Self::Member,
            Role::Publisher => Self::Publisher,
            Role::Viewer => Self::Viewer,
        }
    }
}

pub(super) async fn run(
    command: Command,
    mut client: AdminServiceClient<Api>,
    global: &Global,
) -> Result<(), Failure> {
    let user = match command {
        Command::Create {
            tenant,
            name,
            email,
            role,
        } => {
            let request = v1::CreateUserRequest {
                tenant_id: tenant,
                name,
                email,
                role: v1::Role::from(role).into(),
            };
            client.create_user(request).await?.into_inner().user
        }
        Command::Update {
            id,
            name,
            email,
            role,
        } => {
            let request = update(id, name, email, role);
            client.update_user(request).await?.into_inner().user
        }
        Command::List { tenant, limit } => {
            return list_users(&client, tenant, limit, global.output).await;
        }
        Command::Delete { id } => {
            let request = v1::DeleteUserRequest { id: id.clone() };
            client.delete_user(request).await?;
            return match global.output {
                Output::Json => json_line(&json!({ "id": id, "deleted": true })),
                Output::Table => line(&format!(
                    "{id} is deleted; their keys are out of force everywhere within 5 s"
                )),
            };
        }
    };
    let user = user.unwrap_or_default();
    let fields = [
        ("ID", user.id.clone()),
        ("TENANT", user.tenant_id.clone()),
        ("NAME", user.name.clone()),
        ("EMAIL", user.email.clone()),
        ("ROLE", role_of(&user)),
    ];
    one(global.output, &as_json(&user), &fields)
}

/// The request that changes what is given.
fn update(
    id: String,
    name: Option<String>,
    email: Option<String>,
    role: Option<Role>,
) -> v1::UpdateUserRequest {
    let given = [
        ("name", name.is_some()),
        ("email", email.is_some()),
        ("role", role.is_some()),
    ];
    let given = given.into_iter().filter(|(_, is_given)| *is_given);
    let paths = given.map(|(path, _)| path.to_owned());
    v1::UpdateUserRequest {
        update_mask: Some(prost_types::FieldMask {
            paths: paths.collect(),
        }),
        user: Some(v1::User {
            id,
            name: name.unwrap_or_default(),
            email: email.unwrap_or_default(),
            role: role.map_or(0, |role| v1::Role::from(role).into()),
            ..v1::User::default()
        }),
    }
}

async fn list_users(
    client: &AdminServiceClient<Api>,
    tenant_id: String,
    limit: u32,
    output: Output,
) -> Result<(), Failure> {
    let users = pages(limit, PAGE, |page_size, page_token| {
        let mut client = client.clone();
        let request = v1::ListUsersRequest {
            tenant_id: tenant_id.clone(),
            page_size,
            page_token,
        };
        async move {
            let page = client.list_users(request).await?.into_inner();
            Ok((page.users, page.next_page_token))
        }
    })
    .await?;
    let head = ["ID", "NAME", "EMAIL", "ROLE", "CREATED", "UPDATED"];
    list(output, &users, as_json, &head, |user| {
        vec![
            user.id.clone(),
            user.name.clone(),
            user.email.clone(),
            role_of(user),
            moment(user.created_at.as_ref()),
            moment(user.updated_at.as_ref()),
        ]
    })
}

fn role_of(user: &v1::User) -> String {
    word(user.role().as_str_name(), "ROLE_")
}

fn as_json(user: &v1::User) -> Value {
    json!({
        "id": user.id,
        "tenant_id": user.tenant_id,
        "name": user.name,
        "email": user.email,
        "role": role_of(user),
        "created_at": some(moment(user.created_at.as_ref())),
        "updated_at": some(moment(user.updated_at.as_ref())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_names_what_is_given() {
        let request = update("usr_1".to_owned(), None, None, Some(Role::Viewer));
        assert_eq!(request.update_mask.expect("always").paths, ["role"]);
        let user = request.user.expect("always");
        assert_eq!((&*user.id, user.role()), ("usr_1", v1::Role::Viewer));
        let request = update("usr_1".to_owned(), Some(String::new()), None, None);
        assert_eq!(request.update_mask.expect("always").paths, ["name"]);
    }
}
