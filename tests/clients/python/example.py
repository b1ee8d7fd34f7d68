"""A client of Sidehook: subscribes, publishes, and watches what is delivered."""

import json
import os

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc.error_details_pb2 import BadRequest
from grpc_status import rpc_status

from sidehook.v1.delivery_pb2 import DELIVERY_STATE_DELIVERED, DeliveryState
from sidehook.v1.delivery_service_pb2 import WatchDeliveriesRequest
from sidehook.v1.delivery_service_pb2_grpc import DeliveryServiceStub
from sidehook.v1.event_pb2 import Event
from sidehook.v1.event_service_pb2 import PublishEventsRequest
from sidehook.v1.event_service_pb2_grpc import EventServiceStub
from sidehook.v1.subscription_pb2 import EventPattern, RetryPolicy, Subscription
from sidehook.v1.webhook_service_pb2 import (
    CreateSubscriptionRequest,
    DeleteSubscriptionRequest,
    ListSubscriptionsRequest,
    UpdateSubscriptionRequest,
)
from sidehook.v1.webhook_service_pb2_grpc import WebhookServiceStub

RECEIVER = os.environ.get("RECEIVER_URL", "http://127.0.0.1:9000/hook")
AUTH = [("authorization", f"Bearer {os.environ['SIDEHOOK_KEY']}")]


def create(webhooks, url, **fields):
    request = CreateSubscriptionRequest(subscription=Subscription(url=url, **fields))
    return webhooks.CreateSubscription(request, metadata=AUTH).subscription


def list_all(webhooks):
    """Every subscription, page by page."""
    request = ListSubscriptionsRequest(page_size=1)
    while True:
        page = webhooks.ListSubscriptions(request, metadata=AUTH)
        yield from page.subscriptions
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def update(webhooks, subscription):
    """Changes what the mask names, unless somebody else was faster."""
    change = Subscription(
        id=subscription.id,
        etag=subscription.etag,
        description="won and lost",
        retry_policy=RetryPolicy(max_age=Duration(seconds=3600)),
    )
    mask = FieldMask(paths=["description", "retry_policy.max_age"])
    request = UpdateSubscriptionRequest(subscription=change, update_mask=mask)
    return webhooks.UpdateSubscription(request, metadata=AUTH).subscription


def event(key, object_type, action, data):
    """An event; with its key it can be published again without harm."""
    return Event(
        idempotency_key=key,
        object_type=object_type,
        action=action,
        data=json.dumps(data).encode(),
    )


def publish_and_watch(channel, batch):
    """Publishes a batch and follows its deliveries until all have arrived."""
    watch = DeliveryServiceStub(channel).WatchDeliveries(
        WatchDeliveriesRequest(), metadata=AUTH, timeout=60
    )
    next(watch)  # An empty message: the watch is on.
    answer = EventServiceStub(channel).PublishEvents(
        PublishEventsRequest(events=batch), metadata=AUTH
    )
    awaited = {}
    for result in answer.results:  # Each succeeds or fails on its own.
        if result.HasField("error"):
            print(f"refused: {result.error.message}")
            continue
        print(f"published {result.event_id}: matched {result.matched}")
        awaited[result.event_id] = result.matched
    while any(awaited.values()):
        delivery = next(watch).delivery
        if delivery.event_id not in awaited:
            continue
        last = delivery.attempts[-1]
        state = DeliveryState.Name(delivery.state)
        print(f"attempt {last.number}: {state}, status {last.response_status}")
        if delivery.state == DELIVERY_STATE_DELIVERED:
            awaited[delivery.event_id] -= 1
    watch.cancel()


def field_violations(error):
    """The fields that were wrong in a request, from the details of its error."""
    status = rpc_status.from_call(error)
    bad_request = BadRequest()
    for detail in status.details if status else ():
        if detail.Unpack(bad_request):
            return bad_request.field_violations
    return ()


def main():
    # Beyond this machine: grpc.secure_channel(address, grpc.ssl_channel_credentials())
    with grpc.insecure_channel(os.environ["SIDEHOOK_ADDRESS"]) as channel:
        webhooks = WebhookServiceStub(channel)
        opportunities = [EventPattern(object_type="opportunity", action="*")]
        sales = create(webhooks, RECEIVER, events=opportunities)
        leads = [EventPattern(object_type="lead", action="created")]
        support = create(webhooks, RECEIVER, events=leads)
        # The key that signs is in the answer: the receiver verifies with it.
        print(f"created {sales.id} with {len(sales.signing.keys)} key")

        sales = update(webhooks, sales)
        for subscription in list_all(webhooks):
            print(f"{subscription.id} {subscription.url} {subscription.description}")

        run = os.urandom(8).hex()
        publish_and_watch(
            channel,
            [
                event(f"{run}-1", "opportunity", "won", {"id": "oppo_1", "value": 900}),
                event(f"{run}-2", "opportunity", "lost", {"id": "oppo_2"}),
                event(f"{run}-3", "lead", "created", {"id": "lead_1", "name": "Ada"}),
            ],
        )

        try:
            create(webhooks, "ftp://127.0.0.1/")
        except grpc.RpcError as error:
            for violation in field_violations(error):
                print(f"{violation.field}: {violation.description}")

        for subscription in (sales, support):
            request = DeleteSubscriptionRequest(id=subscription.id)
            webhooks.DeleteSubscription(request, metadata=AUTH)


if __name__ == "__main__":
    main()
