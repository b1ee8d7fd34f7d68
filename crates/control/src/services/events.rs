//! `EventService`.

use sidehook_api::{
    event::{decode, to_proto},
    time::read_timestamp,
    v1::{self, event_service_server::EventService},
};
use sidehook_core::{address::EventId, time::Timestamp, violation::Violations};
use sidehook_runtime::tasks::{OnPanic, TaskKind, Tasks};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{
    parse::id,
    publishing::{Publishing, check_batch, in_batch},
    streaming::PublishStream,
};
use crate::{
    auth::{principal, standing},
    errors::OperationError,
    eventlog::{EventFilter, EventLog, Position},
    paging::{List, page_size},
};

const STREAM: TaskKind = TaskKind::new("publish_stream", OnPanic::Log);

/// Events on a page, unless asked otherwise and at most.
const PAGE: (usize, usize) = (50, 100);

/// The service.
#[derive(Debug)]
pub(crate) struct Events {
    pub(crate) publishing: Publishing,
    pub(crate) log: EventLog,
    pub(crate) tasks: Tasks,
}

/// A bound of the time, if it is given.
fn bound(
    given: Option<&prost_types::Timestamp>,
    field: &str,
    violations: &mut Violations,
) -> Option<Timestamp> {
    let read = read_timestamp(given?);
    if read.is_none() {
        violations.add(field, "not a time");
    }
    read
}

#[tonic::async_trait]
impl EventService for Events {
    async fn publish_event(
        &self,
        request: Request<v1::PublishEventRequest>,
    ) -> Result<Response<v1::PublishEventResponse>, Status> {
        let tenant = principal(&request)?.tenant;
        let event = request.into_inner().event;
        let event = event.ok_or_else(|| OperationError::field("event", "required"))?;
        let result = self.publishing.publish(tenant, vec![event]).await.pop();
        let result = result.unwrap_or_else(|| Err(OperationError::draining()));
        let result = result.map_err(|error| error.under("event"))?;
        Ok(Response::new(v1::PublishEventResponse {
            result: Some(result),
        }))
    }

    async fn publish_events(
        &self,
        request: Request<v1::PublishEventsRequest>,
    ) -> Result<Response<v1::PublishEventsResponse>, Status> {
        let tenant = principal(&request)?.tenant;
        let events = request.into_inner().events;
        check_batch(&events)?;
        let results = self.publishing.publish(tenant, events).await;
        Ok(Response::new(v1::PublishEventsResponse {
            results: results.into_iter().map(in_batch).collect(),
        }))
    }

    type StreamEventsStream = ReceiverStream<Result<v1::StreamEventsResponse, Status>>;

    async fn stream_events(
        &self,
        request: Request<Streaming<v1::StreamEventsRequest>>,
    ) -> Result<Response<Self::StreamEventsStream>, Status> {
        let tenant = principal(&request)?.tenant;
        let standing = standing(&request)?;
        let publishing = self.publishing.clone();
        let (work, stream) = PublishStream::new(tenant, publishing, standing, self.tasks.drain());
        self.tasks.spawn(STREAM, work.run(request.into_inner()));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn get_event(
        &self,
        request: Request<v1::GetEventRequest>,
    ) -> Result<Response<v1::GetEventResponse>, Status> {
        let tenant = principal(&request)?.tenant;
        let id: EventId = id(&request.get_ref().id, "id")?;
        let record = self.log.event(tenant, id).await?;
        let event = decode(record).and_then(|stored| to_proto(&stored));
        Ok(Response::new(v1::GetEventResponse {
            event: Some(event.map_err(OperationError::from)?),
        }))
    }

    async fn list_events(
        &self,
        request: Request<v1::ListEventsRequest>,
    ) -> Result<Response<v1::ListEventsResponse>, Status> {
        let tenant = principal(&request)?.tenant;
        let request = request.get_ref();
        let mut violations = Violations::new();
        let filter = EventFilter {
            object_type: &request.object_type,
            action: &request.action,
            object_id: &request.object_id,
            user_id: &request.user_id,
            lead_id: &request.lead_id,
            request_id: &request.request_id,
            campaign_id: &request.campaign_id,
            accepted_from: bound(
                request.accepted_from.as_ref(),
                "accepted_from",
                &mut violations,
            ),
            accepted_before: bound(
                request.accepted_before.as_ref(),
                "accepted_before",
                &mut violations,
            ),
        };
        let times = [filter.accepted_from, filter.accepted_before];
        let times = times.map(|time| time.map(|time| time.as_millis().to_string()));
        let [from_text, before_text] = times.map(Option::unwrap_or_default);
        let list = List {
            name: "events",
            tenant,
            filters: &[
                filter.object_type,
                filter.action,
                filter.object_id,
                filter.user_id,
                filter.lead_id,
                filter.request_id,
                filter.campaign_id,
                &from_text,
                &before_text,
            ],
        };
        let size = page_size(request.page_size, PAGE.0, PAGE.1, &mut violations);
        let from = list.position(&request.page_token, &mut violations, Position::read);
        violations
            .into_result(())
            .map_err(OperationError::Invalid)?;
        let page = self.log.events(tenant, from, size, &filter).await?;
        Ok(Response::new(v1::ListEventsResponse {
            events: page.items,
            next_page_token: page
                .next
                .map_or_else(String::new, |next| list.token(&next.write())),
            retained_since: page.retained_since.map(sidehook_api::time::timestamp),
        }))
    }
}
