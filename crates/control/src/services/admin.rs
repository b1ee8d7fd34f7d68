//! `AdminService`.

use secrecy::ExposeSecret as _;
use sidehook_api::v1::{self, admin_service_server::AdminService};
use sidehook_core::{
    id::{KeyId, TenantId, UserId},
    violation::Violations,
};
use tonic::{Request, Response, Status};

use super::parse::{id, optional_id};
use crate::{
    allowances::Allowances,
    auth::principal,
    errors::OperationError,
    paging::{List, page_size},
    tenants::Tenants,
    users::Users,
};

/// Tenants, users or keys on a page, unless asked otherwise and at most.
const PAGE: (usize, usize) = (100, 500);

/// The service.
#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) tenants: Tenants,
    pub(crate) allowances: Allowances,
    pub(crate) users: Users,
}

#[tonic::async_trait]
impl AdminService for Admin {
    async fn create_tenant(
        &self,
        request: Request<v1::CreateTenantRequest>,
    ) -> Result<Response<v1::CreateTenantResponse>, Status> {
        let tenant = self.tenants.create_tenant(request.into_inner()).await?;
        Ok(Response::new(v1::CreateTenantResponse {
            tenant: Some(self.allowances.shown(&tenant)),
        }))
    }

    async fn get_tenant(
        &self,
        request: Request<v1::GetTenantRequest>,
    ) -> Result<Response<v1::GetTenantResponse>, Status> {
        let tenant = self.tenants.tenant(id(&request.get_ref().id, "id")?);
        Ok(Response::new(v1::GetTenantResponse {
            tenant: Some(self.allowances.shown(&tenant.await?)),
        }))
    }

    async fn update_tenant(
        &self,
        request: Request<v1::UpdateTenantRequest>,
    ) -> Result<Response<v1::UpdateTenantResponse>, Status> {
        let request = request.into_inner();
        let required = || OperationError::field("tenant", "required");
        let patch = request.tenant.ok_or_else(required)?;
        let id = id(&patch.id, "tenant.id")?;
        let mask = request.update_mask.unwrap_or_default().paths;
        let tenant = self.tenants.update_tenant(id, &patch, &mask).await?;
        Ok(Response::new(v1::UpdateTenantResponse {
            tenant: Some(self.allowances.shown(&tenant)),
        }))
    }

    async fn list_tenants(
        &self,
        request: Request<v1::ListTenantsRequest>,
    ) -> Result<Response<v1::ListTenantsResponse>, Status> {
        let list = List {
            name: "tenants",
            tenant: principal(&request)?.tenant,
            filters: &[],
        };
        let request = request.get_ref();
        let mut violations = Violations::new();
        let size = page_size(request.page_size, PAGE.0, PAGE.1, &mut violations);
        let after = list.position(&request.page_token, &mut violations, TenantId::from_slice);
        violations
            .into_result(())
            .map_err(OperationError::Invalid)?;
        let (tenants, more) = self.tenants.list(after, size).await?;
        let last = tenants.last().filter(|_| more);
        Ok(Response::new(v1::ListTenantsResponse {
            next_page_token: last.map_or_else(String::new, |last| list.token(&last.id.to_bytes())),
            tenants: tenants
                .iter()
                .map(|one| self.allowances.shown(one))
                .collect(),
        }))
    }

    async fn create_api_key(
        &self,
        request: Request<v1::CreateApiKeyRequest>,
    ) -> Result<Response<v1::CreateApiKeyResponse>, Status> {
        let (key, secret) = self.tenants.create_key(request.into_inner()).await?;
        Ok(Response::new(v1::CreateApiKeyResponse {
            api_key: Some(key.to_proto()),
            secret: secret.expose_secret().to_owned(),
        }))
    }

    async fn list_api_keys(
        &self,
        request: Request<v1::ListApiKeysRequest>,
    ) -> Result<Response<v1::ListApiKeysResponse>, Status> {
        let request = request.get_ref();
        let mut violations = Violations::new();
        let tenant = optional_id(&request.tenant_id, "tenant_id", &mut violations);
        let tenant = tenant.unwrap_or(TenantId::PLATFORM);
        let list = List {
            name: "api_keys",
            tenant,
            filters: &[&request.prefix],
        };
        let size = page_size(request.page_size, PAGE.0, PAGE.1, &mut violations);
        let after = list.position(&request.page_token, &mut violations, KeyId::from_slice);
        violations
            .into_result(())
            .map_err(OperationError::Invalid)?;
        let keys = self.tenants.keys(tenant, &request.prefix, after, size);
        let (keys, next) = keys.await?;
        Ok(Response::new(v1::ListApiKeysResponse {
            next_page_token: next.map_or_else(String::new, |next| list.token(&next.to_bytes())),
            api_keys: keys.iter().map(|key| key.to_proto()).collect(),
        }))
    }

    async fn revoke_api_key(
        &self,
        request: Request<v1::RevokeApiKeyRequest>,
    ) -> Result<Response<v1::RevokeApiKeyResponse>, Status> {
        let id: KeyId = id(&request.get_ref().id, "id")?;
        self.tenants.revoke_key(id).await?;
        Ok(Response::new(v1::RevokeApiKeyResponse {}))
    }

    async fn create_user(
        &self,
        request: Request<v1::CreateUserRequest>,
    ) -> Result<Response<v1::CreateUserResponse>, Status> {
        let user = self.users.create(request.into_inner()).await?;
        Ok(Response::new(v1::CreateUserResponse {
            user: Some(user.to_proto()),
        }))
    }

    async fn list_users(
        &self,
        request: Request<v1::ListUsersRequest>,
    ) -> Result<Response<v1::ListUsersResponse>, Status> {
        let request = request.get_ref();
        let tenant: TenantId = id(&request.tenant_id, "tenant_id")?;
        let list = List {
            name: "users",
            tenant,
            filters: &[],
        };
        let mut violations = Violations::new();
        let size = page_size(request.page_size, PAGE.0, PAGE.1, &mut violations);
        let after = list.position(&request.page_token, &mut violations, UserId::from_slice);
        violations
            .into_result(())
            .map_err(OperationError::Invalid)?;
        let (users, next) = self.users.list(tenant, after, size).await?;
        Ok(Response::new(v1::ListUsersResponse {
            next_page_token: next.map_or_else(String::new, |next| list.token(&next.to_bytes())),
            users: users.iter().map(|user| user.to_proto()).collect(),
        }))
    }

    async fn update_user(
        &self,
        request: Request<v1::UpdateUserRequest>,
    ) -> Result<Response<v1::UpdateUserResponse>, Status> {
        let request = request.into_inner();
        let patch = request.user;
        let patch = patch.ok_or_else(|| OperationError::field("user", "required"))?;
        let id: UserId = id(&patch.id, "user.id")?;
        let mask = request.update_mask.unwrap_or_default().paths;
        let user = self.users.update(id, &patch, &mask).await?;
        Ok(Response::new(v1::UpdateUserResponse {
            user: Some(user.to_proto()),
        }))
    }

    async fn delete_user(
        &self,
        request: Request<v1::DeleteUserRequest>,
    ) -> Result<Response<v1::DeleteUserResponse>, Status> {
        let id: UserId = id(&request.get_ref().id, "id")?;
        self.users.delete(id).await?;
        Ok(Response::new(v1::DeleteUserResponse {}))
    }
}
