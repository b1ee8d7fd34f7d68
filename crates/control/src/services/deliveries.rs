//! `DeliveryService`.

use sidehook_api::{
    delivery::state_filter,
    v1::{self, delivery_service_server::DeliveryService},
};
use sidehook_core::{
    id::{SubscriptionId, TenantId},
    violation::Violations,
};
use sidehook_runtime::tasks::{OnPanic, TaskKind, Tasks};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{
    parse::{id, optional_id},
    watching::Watch,
};
use crate::{
    auth::{principal, standing},
    catalog::Catalogs,
    deliveries::{Deliveries, DeliveryFilter},
    engine::Engine,
    errors::OperationError,
    eventlog::Position,
    paging::{List, page_size},
    subscriptions::Subscriptions,
};

const WATCH: TaskKind = TaskKind::new("watch_deliveries", OnPanic::Log);

/// Deliveries on a page, unless asked otherwise and at most.
const PAGE: (usize, usize) = (100, 500);
/// Messages of a watch that its client has not taken yet.
const MESSAGES: usize = 64;

/// The service.
pub(crate) struct DeliveryApi {
    pub(crate) deliveries: Deliveries,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) catalogs: Catalogs,
    pub(crate) engine: Engine,
    pub(crate) tasks: Tasks,
}

#[tonic::async_trait]
impl DeliveryService for DeliveryApi {
    async fn list_deliveries(
        &self,
        request: Request<v1::ListDeliveriesRequest>,
    ) -> Result<Response<v1::ListDeliveriesResponse>, Status> {
        let tenant = principal(&request)?.tenant;
        let request = request.get_ref();
        let state = request.state.to_string();
        let list = List {
            name: "deliveries",
            tenant,
            filters: &[&request.subscription_id, &request.event_id, &state],
        };
        let mut violations = Violations::new();
        let size = page_size(request.page_size, PAGE.0, PAGE.1, &mut violations);
        let from = list.position(&request.page_token, &mut violations, Position::read);
        let (subscription, filter) = read_filter(request, &mut violations);
        violations
            .into_result(())
            .map_err(OperationError::Invalid)?;
        if let Some(subscription) = subscription {
            self.existed(tenant, subscription).await?;
        }
        let page = self.deliveries.list(tenant, from, size, &filter).await?;
        Ok(Response::new(v1::ListDeliveriesResponse {
            deliveries: page.items,
            next_page_token: page
                .next
                .map_or_else(String::new, |next| list.token(&next.write())),
        }))
    }

    async fn get_delivery(
        &self,
        request: Request<v1::GetDeliveryRequest>,
    ) -> Result<Response<v1::GetDeliveryResponse>, Status> {
        let tenant = principal(&request)?.tenant;
        let id = id(&request.get_ref().id, "id")?;
        let delivery = self.deliveries.get(tenant, id).await?;
        Ok(Response::new(v1::GetDeliveryResponse {
            delivery: Some(delivery),
        }))
    }

    async fn retry_delivery(
        &self,
        request: Request<v1::RetryDeliveryRequest>,
    ) -> Result<Response<v1::RetryDeliveryResponse>, Status> {
        let who = principal(&request)?;
        let id = id(&request.get_ref().id, "id")?;
        let delivery = self.deliveries.retry(who, id).await?;
        Ok(Response::new(v1::RetryDeliveryResponse {
            delivery: Some(delivery),
        }))
    }

    type WatchDeliveriesStream = ReceiverStream<Result<v1::WatchDeliveriesResponse, Status>>;

    async fn watch_deliveries(
        &self,
        request: Request<v1::WatchDeliveriesRequest>,
    ) -> Result<Response<Self::WatchDeliveriesStream>, Status> {
        let tenant = principal(&request)?.tenant;
        let standing = standing(&request)?;
        let mut violations = Violations::new();
        let wanted = &request.get_ref().subscription_id;
        let only: Option<SubscriptionId> = optional_id(wanted, "subscription_id", &mut violations);
        violations
            .into_result(())
            .map_err(OperationError::Invalid)?;
        if let Some(only) = only {
            self.subscriptions.version_of(tenant, only).await?;
        }
        let (messages, stream) = mpsc::channel(MESSAGES + 1);
        let (deliveries, catalogs) = (self.deliveries.clone(), self.catalogs.clone());
        let watch = Watch::new(tenant, only, deliveries, catalogs, messages.clone());
        let (engine, drain) = (self.engine.clone(), self.tasks.drain());
        self.tasks.spawn(WATCH, async move {
            // Room from the beginning: the end must not wait for a client that takes
            // nothing. Fails only if the client is gone already.
            let Ok(last) = messages.try_reserve() else {
                return;
            };
            let end = tokio::select! {
                error = standing.lost() => error,
                () = drain.draining() => OperationError::draining(),
                () = messages.closed() => return,
                () = watch.run(&engine) => return,
            };
            last.send(Err(end.into()));
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

impl DeliveryApi {
    /// Whether the tenant has this subscription, or had it.
    async fn existed(&self, tenant: TenantId, id: SubscriptionId) -> Result<(), OperationError> {
        match self.subscriptions.version_of(tenant, id).await {
            Err(unknown @ OperationError::NotFound { .. }) => {
                let deleted = self.deliveries.deleted(tenant, id.number()).await?;
                let is_it = deleted == Some(id);
                is_it.then_some(()).ok_or(unknown)
            }
            found => found.map(drop),
        }
    }
}

/// What a list is to show, and the subscription that has to be the tenant's.
fn read_filter(
    request: &v1::ListDeliveriesRequest,
    violations: &mut Violations,
) -> (Option<SubscriptionId>, DeliveryFilter) {
    let subscription: Option<SubscriptionId> =
        optional_id(&request.subscription_id, "subscription_id", violations);
    let event = optional_id(&request.event_id, "event_id", violations);
    let state = state_filter(request.state).unwrap_or_else(|_| {
        violations.add("state", "not a delivery state that this server knows");
        None
    });
    let filter = DeliveryFilter {
        subscription: subscription.map(SubscriptionId::number),
        event,
        state,
    };
    (subscription, filter)
}
