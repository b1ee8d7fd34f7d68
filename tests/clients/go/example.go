// A client of Sidehook: subscribes, publishes, and watches what is delivered.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	pb "sidehook-example/gen/sidehook/v1"
)

// apiKey goes with every call.
type apiKey string

func (key apiKey) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(key)}, nil
}

// RequireTransportSecurity allows plaintext, for this machine alone.
func (apiKey) RequireTransportSecurity() bool { return false }

// client has the three services.
type client struct {
	webhooks   pb.WebhookServiceClient
	events     pb.EventServiceClient
	deliveries pb.DeliveryServiceClient
}

func (c client) create(ctx context.Context, url string, events ...*pb.EventPattern) (*pb.Subscription, error) {
	answer, err := c.webhooks.CreateSubscription(ctx, &pb.CreateSubscriptionRequest{
		Subscription: &pb.Subscription{Url: url, Events: events},
	})
	return answer.GetSubscription(), err
}

// all lists the subscriptions, page by page.
func (c client) all(ctx context.Context) iter.Seq2[*pb.Subscription, error] {
	return func(yield func(*pb.Subscription, error) bool) {
		request := &pb.ListSubscriptionsRequest{PageSize: 1}
		for {
			page, err := c.webhooks.ListSubscriptions(ctx, request)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, subscription := range page.Subscriptions {
				if !yield(subscription, nil) {
					return
				}
			}
			if page.NextPageToken == "" {
				return
			}
			request.PageToken = page.NextPageToken
		}
	}
}

// update changes what the mask names, unless somebody else was faster.
func (c client) update(ctx context.Context, subscription *pb.Subscription) error {
	_, err := c.webhooks.UpdateSubscription(ctx, &pb.UpdateSubscriptionRequest{
		Subscription: &pb.Subscription{
			Id:          subscription.Id,
			Etag:        subscription.Etag,
			Description: "won and lost",
			RetryPolicy: &pb.RetryPolicy{MaxAge: durationpb.New(time.Hour)},
		},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"description", "retry_policy.max_age"}},
	})
	return err
}

// event has a key, with which it can be published again without harm.
func event(key, objectType, action string, data map[string]any) *pb.Event {
	body, err := json.Marshal(data)
	if err != nil {
		log.Fatal(err)
	}
	return &pb.Event{IdempotencyKey: key, ObjectType: objectType, Action: action, Data: body}
}

// publishAndWatch publishes a batch and follows its deliveries until all have arrived.
func (c client) publishAndWatch(ctx context.Context, batch ...*pb.Event) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel() // Ends the watch.
	watch, err := c.deliveries.WatchDeliveries(ctx, &pb.WatchDeliveriesRequest{})
	if err != nil {
		return err
	}
	if _, err := watch.Recv(); err != nil { // An empty message: the watch is on.
		return err
	}
	answer, err := c.events.PublishEvents(ctx, &pb.PublishEventsRequest{Events: batch})
	if err != nil {
		return err
	}
	awaited := map[string]uint32{}
	for _, result := range answer.Results { // Each succeeds or fails on its own.
		if result.Error != nil {
			fmt.Println("refused:", result.Error.Message)
			continue
		}
		fmt.Printf("published %s: matched %d\n", result.EventId, result.Matched)
		if result.Matched > 0 {
			awaited[result.EventId] = result.Matched
		}
	}
	for len(awaited) > 0 {
		message, err := watch.Recv()
		if err != nil {
			return err
		}
		delivery := message.Delivery
		if awaited[delivery.EventId] == 0 {
			continue
		}
		last := delivery.Attempts[len(delivery.Attempts)-1]
		fmt.Printf("attempt %d: %v, status %d\n", last.Number, delivery.State, last.ResponseStatus)
		if delivery.State == pb.DeliveryState_DELIVERY_STATE_DELIVERED {
			if awaited[delivery.EventId]--; awaited[delivery.EventId] == 0 {
				delete(awaited, delivery.EventId)
			}
		}
	}
	return nil
}

// fieldViolations finds what was wrong in a request in the details of its error.
func fieldViolations(err error) []*errdetails.BadRequest_FieldViolation {
	for _, detail := range status.Convert(err).Details() {
		if badRequest, ok := detail.(*errdetails.BadRequest); ok {
			return badRequest.FieldViolations
		}
	}
	return nil
}

func run(ctx context.Context, c client, receiver string) error {
	sales, err := c.create(ctx, receiver, &pb.EventPattern{ObjectType: "opportunity", Action: "*"})
	if err != nil {
		return err
	}
	support, err := c.create(ctx, receiver, &pb.EventPattern{ObjectType: "lead", Action: "created"})
	if err != nil {
		return err
	}
	// The key that signs is in the answer: the receiver verifies with it.
	fmt.Printf("created %s with %d key\n", sales.Id, len(sales.Signing.Keys))

	if err := c.update(ctx, sales); err != nil {
		return err
	}
	for subscription, err := range c.all(ctx) {
		if err != nil {
			return err
		}
		fmt.Println(subscription.Id, subscription.Url, subscription.Description)
	}

	key := rand.Text()
	if err := c.publishAndWatch(ctx,
		event(key+"-1", "opportunity", "won", map[string]any{"id": "oppo_1", "value": 900}),
		event(key+"-2", "opportunity", "lost", map[string]any{"id": "oppo_2"}),
		event(key+"-3", "lead", "created", map[string]any{"id": "lead_1", "name": "Ada"}),
	); err != nil {
		return err
	}

	_, err = c.create(ctx, "ftp://127.0.0.1/")
	for _, violation := range fieldViolations(err) {
		fmt.Printf("%s: %s\n", violation.Field, violation.Description)
	}

	var failed error
	for _, subscription := range []*pb.Subscription{sales, support} {
		_, err := c.webhooks.DeleteSubscription(ctx, &pb.DeleteSubscriptionRequest{Id: subscription.Id})
		failed = errors.Join(failed, err)
	}
	return failed
}

func main() {
	receiver := os.Getenv("RECEIVER_URL")
	if receiver == "" {
		receiver = "http://127.0.0.1:9000/hook"
	}
	// Beyond this machine: credentials.NewTLS(nil) instead of insecure.NewCredentials()
	conn, err := grpc.NewClient(os.Getenv("SIDEHOOK_ADDRESS"),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithPerRPCCredentials(apiKey(os.Getenv("SIDEHOOK_KEY"))))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	c := client{
		webhooks:   pb.NewWebhookServiceClient(conn),
		events:     pb.NewEventServiceClient(conn),
		deliveries: pb.NewDeliveryServiceClient(conn),
	}
	if err := run(context.Background(), c, receiver); err != nil {
		log.Fatal(err)
	}
}
