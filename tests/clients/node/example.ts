// A client of Sidehook: subscribes, publishes, and watches what is delivered.

import { randomUUID } from "node:crypto";
import { env } from "node:process";
import { type Channel, createChannel, createClientFactory, Metadata } from "nice-grpc";
import {
  BadRequest,
  errorDetailsClientMiddleware,
  RichClientError,
} from "nice-grpc-error-details";

import { DeliveryState } from "./gen/sidehook/v1/delivery.js";
import { DeliveryServiceDefinition } from "./gen/sidehook/v1/delivery_service.js";
import { Event } from "./gen/sidehook/v1/event.js";
import { EventServiceDefinition } from "./gen/sidehook/v1/event_service.js";
import type { DeepPartial, Subscription } from "./gen/sidehook/v1/subscription.js";
import { WebhookServiceDefinition } from "./gen/sidehook/v1/webhook_service.js";

const receiver = env.RECEIVER_URL ?? "http://127.0.0.1:9000/hook";

/** Clients of the three services; every call carries the key. */
function connect(channel: Channel, key: string) {
  const factory = createClientFactory().use(errorDetailsClientMiddleware);
  const all = { "*": { metadata: Metadata({ authorization: `Bearer ${key}` }) } };
  return {
    webhooks: factory.create(WebhookServiceDefinition, channel, all),
    events: factory.create(EventServiceDefinition, channel, all),
    deliveries: factory.create(DeliveryServiceDefinition, channel, all),
  };
}

type Clients = ReturnType<typeof connect>;

async function create({ webhooks }: Clients, subscription: DeepPartial<Subscription>) {
  const answer = await webhooks.createSubscription({ subscription });
  return answer.subscription!;
}

/** Every subscription, page by page. */
async function* listAll({ webhooks }: Clients) {
  let pageToken = "";
  do {
    const page = await webhooks.listSubscriptions({ pageSize: 1, pageToken });
    yield* page.subscriptions;
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
}

/** Changes what the mask names, unless somebody else was faster. */
async function update({ webhooks }: Clients, { id, etag }: Subscription) {
  await webhooks.updateSubscription({
    subscription: {
      id,
      etag,
      description: "won and lost",
      retryPolicy: { maxAge: { seconds: 3600 } },
    },
    updateMask: ["description", "retry_policy.max_age"],
  });
}

/** An event; with its key it can be published again without harm. */
function event(key: string, objectType: string, action: string, data: object) {
  return Event.fromPartial({
    idempotencyKey: key,
    objectType,
    action,
    data: Buffer.from(JSON.stringify(data)),
  });
}

/** Publishes a batch; answers how many deliveries each event has. */
async function publish({ events }: Clients, batch: Event[]) {
  const { results } = await events.publishEvents({ events: batch });
  const matched = new Map<string, number>();
  for (const result of results) {
    // Each succeeds or fails on its own.
    if (result.error) {
      console.log(`refused: ${result.error.message}`);
    } else {
      console.log(`published ${result.eventId}: matched ${result.matched}`);
      matched.set(result.eventId, result.matched);
    }
  }
  return matched;
}

/** Publishes a batch, and follows its deliveries until all have arrived. */
async function publishAndWatch(clients: Clients, batch: Event[]) {
  const signal = AbortSignal.timeout(60_000);
  let awaited = new Map<string, number>();
  for await (const { delivery } of clients.deliveries.watchDeliveries({}, { signal })) {
    if (!delivery) {
      // The first message is empty: the watch is on.
      awaited = await publish(clients, batch);
    } else if (awaited.has(delivery.eventId)) {
      const { number, responseStatus } = delivery.attempts.at(-1)!;
      console.log(`attempt ${number}: ${delivery.state}, status ${responseStatus}`);
      if (delivery.state === DeliveryState.DELIVERY_STATE_DELIVERED) {
        awaited.set(delivery.eventId, awaited.get(delivery.eventId)! - 1);
      }
    }
    if ([...awaited.values()].every((count) => count === 0)) break;
  }
}

/** The fields that were wrong in a request, from the details of its error. */
function fieldViolations(error: unknown) {
  if (!(error instanceof RichClientError)) throw error;
  return error.extra.flatMap((detail) =>
    detail.$type === BadRequest.$type ? (detail as BadRequest).fieldViolations : [],
  );
}

// Beyond this machine the address begins with https://
const channel = createChannel(`http://${env.SIDEHOOK_ADDRESS}`);
const clients = connect(channel, env.SIDEHOOK_KEY!);

const sales = await create(clients, {
  url: receiver,
  events: [{ objectType: "opportunity", action: "*" }],
});
const support = await create(clients, {
  url: receiver,
  events: [{ objectType: "lead", action: "created" }],
});
// The key that signs is in the answer: the receiver verifies with it.
console.log(`created ${sales.id} with ${sales.signing?.keys.length} key`);

await update(clients, sales);
for await (const { id, url, description } of listAll(clients)) {
  console.log(`${id} ${url} ${description}`);
}

const run = randomUUID();
await publishAndWatch(clients, [
  event(`${run}-1`, "opportunity", "won", { id: "oppo_1", value: 900 }),
  event(`${run}-2`, "opportunity", "lost", { id: "oppo_2" }),
  event(`${run}-3`, "lead", "created", { id: "lead_1", name: "Ada" }),
]);

try {
  await create(clients, { url: "ftp://127.0.0.1/" });
} catch (error) {
  for (const { field, description } of fieldViolations(error)) {
    console.log(`${field}: ${description}`);
  }
}

for (const { id } of [sales, support]) await clients.webhooks.deleteSubscription({ id });
channel.close();
