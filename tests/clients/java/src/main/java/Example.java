import static java.nio.charset.StandardCharsets.UTF_8;
import static java.util.concurrent.TimeUnit.SECONDS;

import com.google.protobuf.ByteString;
import com.google.protobuf.Duration;
import com.google.protobuf.FieldMask;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import io.grpc.Context;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.MetadataUtils;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import sidehook.v1.CreateSubscriptionRequest;
import sidehook.v1.DeleteSubscriptionRequest;
import sidehook.v1.DeliveryServiceGrpc;
import sidehook.v1.DeliveryServiceGrpc.DeliveryServiceBlockingStub;
import sidehook.v1.DeliveryState;
import sidehook.v1.Event;
import sidehook.v1.EventPattern;
import sidehook.v1.EventServiceGrpc;
import sidehook.v1.EventServiceGrpc.EventServiceBlockingStub;
import sidehook.v1.ListSubscriptionsRequest;
import sidehook.v1.PublishEventsRequest;
import sidehook.v1.RetryPolicy;
import sidehook.v1.Subscription;
import sidehook.v1.UpdateSubscriptionRequest;
import sidehook.v1.WatchDeliveriesRequest;
import sidehook.v1.WebhookServiceGrpc;
import sidehook.v1.WebhookServiceGrpc.WebhookServiceBlockingStub;

/** A client of Sidehook: subscribes, publishes, and watches what is delivered. */
public final class Example {
  private final WebhookServiceBlockingStub webhooks;
  private final EventServiceBlockingStub events;
  private final DeliveryServiceBlockingStub deliveries;

  private Example(ManagedChannel channel, String key) {
    var headers = new Metadata();
    headers.put(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), "Bearer " + key);
    var authorized = MetadataUtils.newAttachHeadersInterceptor(headers);
    webhooks = WebhookServiceGrpc.newBlockingStub(channel).withInterceptors(authorized);
    events = EventServiceGrpc.newBlockingStub(channel).withInterceptors(authorized);
    deliveries = DeliveryServiceGrpc.newBlockingStub(channel).withInterceptors(authorized);
  }

  private Subscription create(Subscription.Builder subscription) {
    var request = CreateSubscriptionRequest.newBuilder().setSubscription(subscription).build();
    return webhooks.createSubscription(request).getSubscription();
  }

  private static EventPattern pattern(String objectType, String action) {
    return EventPattern.newBuilder().setObjectType(objectType).setAction(action).build();
  }

  /** Prints every subscription, page by page. */
  private void listAll() {
    var request = ListSubscriptionsRequest.newBuilder().setPageSize(1);
    do {
      var page = webhooks.listSubscriptions(request.build());
      for (var each : page.getSubscriptionsList()) {
        System.out.printf("%s %s %s%n", each.getId(), each.getUrl(), each.getDescription());
      }
      request.setPageToken(page.getNextPageToken());
    } while (!request.getPageToken().isEmpty());
  }

  /** Changes what the mask names, unless somebody else was faster. */
  private void update(Subscription subscription) {
    var change =
        Subscription.newBuilder()
            .setId(subscription.getId())
            .setEtag(subscription.getEtag())
            .setDescription("won and lost")
            .setRetryPolicy(RetryPolicy.newBuilder().setMaxAge(Duration.newBuilder().setSeconds(3600)));
    var mask = FieldMask.newBuilder().addPaths("description").addPaths("retry_policy.max_age");
    webhooks.updateSubscription(
        UpdateSubscriptionRequest.newBuilder().setSubscription(change).setUpdateMask(mask).build());
  }

  /** An event; with its key it can be published again without harm. */
  private static Event event(String key, String objectType, String action, String json) {
    return Event.newBuilder()
        .setIdempotencyKey(key)
        .setObjectType(objectType)
        .setAction(action)
        .setData(ByteString.copyFrom(json, UTF_8))
        .build();
  }

  /** Publishes a batch; answers how many deliveries each event has. */
  private Map<String, Integer> publish(List<Event> batch) {
    var answer = events.publishEvents(PublishEventsRequest.newBuilder().addAllEvents(batch).build());
    var matched = new HashMap<String, Integer>();
    for (var result : answer.getResultsList()) { // Each succeeds or fails on its own.
      if (result.hasError()) {
        System.out.printf("refused: %s%n", result.getError().getMessage());
        continue;
      }
      System.out.printf("published %s: matched %d%n", result.getEventId(), result.getMatched());
      matched.put(result.getEventId(), result.getMatched());
    }
    return matched;
  }

  /** Publishes a batch, and follows its deliveries until all have arrived. */
  private void publishAndWatch(List<Event> batch) {
    var request = WatchDeliveriesRequest.getDefaultInstance();
    var watch = deliveries.withDeadlineAfter(60, SECONDS).watchDeliveries(request);
    watch.next(); // An empty message: the watch is on.
    var awaited = publish(batch);
    while (awaited.values().stream().anyMatch(count -> count > 0)) {
      var delivery = watch.next().getDelivery();
      if (!awaited.containsKey(delivery.getEventId())) {
        continue;
      }
      var last = delivery.getAttempts(delivery.getAttemptsCount() - 1);
      System.out.printf(
          "attempt %d: %s, status %d%n",
          last.getNumber(), delivery.getState(), last.getResponseStatus());
      if (delivery.getState() == DeliveryState.DELIVERY_STATE_DELIVERED) {
        awaited.merge(delivery.getEventId(), -1, Integer::sum);
      }
    }
  }

  /** The fields that were wrong in a request, from the details of its error. */
  private static List<BadRequest.FieldViolation> fieldViolations(StatusRuntimeException error)
      throws InvalidProtocolBufferException {
    for (var detail : StatusProto.fromThrowable(error).getDetailsList()) {
      if (detail.is(BadRequest.class)) {
        return detail.unpack(BadRequest.class).getFieldViolationsList();
      }
    }
    return List.of();
  }

  private void run(String receiver) throws InvalidProtocolBufferException {
    var sales = create(Subscription.newBuilder().setUrl(receiver).addEvents(pattern("opportunity", "*")));
    var support = create(Subscription.newBuilder().setUrl(receiver).addEvents(pattern("lead", "created")));
    // The key that signs is in the answer: the receiver verifies with it.
    System.out.printf("created %s with %d key%n", sales.getId(), sales.getSigning().getKeysCount());

    update(sales);
    listAll();

    var key = UUID.randomUUID();
    // The watch ends with its context.
    try (var watching = Context.current().withCancellation()) {
      watching.run(
          () ->
              publishAndWatch(
                  List.of(
                      event(key + "-1", "opportunity", "won", "{\"id\":\"oppo_1\",\"value\":900}"),
                      event(key + "-2", "opportunity", "lost", "{\"id\":\"oppo_2\"}"),
                      event(key + "-3", "lead", "created", "{\"id\":\"lead_1\",\"name\":\"Ada\"}"))));
    }

    try {
      create(Subscription.newBuilder().setUrl("ftp://127.0.0.1/"));
    } catch (StatusRuntimeException error) {
      for (var violation : fieldViolations(error)) {
        System.out.printf("%s: %s%n", violation.getField(), violation.getDescription());
      }
    }

    for (var each : List.of(sales, support)) {
      webhooks.deleteSubscription(
          DeleteSubscriptionRequest.newBuilder().setId(each.getId()).build());
    }
  }

  public static void main(String[] arguments) throws InvalidProtocolBufferException {
    var environment = System.getenv();
    var address = environment.get("SIDEHOOK_ADDRESS");
    var receiver = environment.getOrDefault("RECEIVER_URL", "http://127.0.0.1:9000/hook");
    // Beyond this machine: TlsChannelCredentials.create()
    var channel = Grpc.newChannelBuilder(address, InsecureChannelCredentials.create()).build();
    try {
      new Example(channel, environment.get("SIDEHOOK_KEY")).run(receiver);
    } finally {
      channel.shutdownNow();
    }
  }
}
