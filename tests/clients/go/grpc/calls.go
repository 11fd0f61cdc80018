package main

import (
	"context"
	"fmt"
	"log"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// A stream stays open and goes on while others of its connection are denied. A line for each call: its name, its
// code, its message.
func denied(connection *grpc.ClientConn) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	service := testgrpc.NewTestServiceClient(connection)
	stream, err := service.FullDuplexCall(ctx)
	if err != nil {
		log.Fatal(err)
	}
	exchange(stream)

	// Where from, so that one connection is seen to have carried all.
	own := func() *peer.Peer { return new(peer.Peer) }
	first, last := own(), own()
	_, err = service.UnaryCall(ctx, &testgrpc.SimpleRequest{})
	say("UnaryCall", err)
	_, err = service.EmptyCall(ctx, &testgrpc.Empty{}, grpc.Peer(first))
	say("EmptyCall", err)
	say("StreamingInputCall", upload(ctx, service))
	_, err = service.EmptyCall(ctx, &testgrpc.Empty{}, grpc.Peer(last))
	say("EmptyCall", err)

	exchange(stream)
	if err := stream.CloseSend(); err != nil {
		log.Fatal(err)
	}
	through, _ := peer.FromContext(stream.Context())
	fmt.Println("one connection:", same(first, last) && same(through, last))
}

// One call of any method, with nothing in it.
func call(connection *grpc.ClientConn, method string) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	err := connection.Invoke(ctx, method, &testgrpc.Empty{}, &testgrpc.Empty{})
	fmt.Println(method, status.Code(err))
}

// A message on a stream, and its answer.
func exchange(stream testgrpc.TestService_FullDuplexCallClient) {
	request := &testgrpc.StreamingOutputCallRequest{
		ResponseParameters: []*testgrpc.ResponseParameters{{Size: 1000}},
		Payload:            interop.ClientNewPayload(testgrpc.PayloadType_COMPRESSABLE, 1000),
	}
	if err := stream.Send(request); err != nil {
		log.Fatal("sending on the stream: ", err)
	}
	reply, err := stream.Recv()
	if err != nil {
		log.Fatal("the stream: ", err)
	}
	fmt.Println("FullDuplexCall", len(reply.GetPayload().GetBody()))
}

// Sends for as long as the server listens, or until a megabyte is sent.
func upload(ctx context.Context, service testgrpc.TestServiceClient) error {
	stream, err := service.StreamingInputCall(ctx)
	if err != nil {
		return err
	}
	piece := interop.ClientNewPayload(testgrpc.PayloadType_COMPRESSABLE, 64*1024)
	for range 16 {
		// Why it is not taken, the answer says.
		if stream.Send(&testgrpc.StreamingInputCallRequest{Payload: piece}) != nil {
			break
		}
	}
	_, err = stream.CloseAndRecv()
	return err
}

func say(call string, err error) {
	fmt.Println(call, status.Code(err), status.Convert(err).Message())
}

func same(left, right *peer.Peer) bool {
	return left != nil && right != nil && left.LocalAddr != nil && left.LocalAddr.String() == right.LocalAddr.String()
}

// 32 at a time of four kinds; each checks its own answers.
func many(connection *grpc.ClientConn) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	service := testgrpc.NewTestServiceClient(connection)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 25 {
				interop.DoEmptyUnaryCall(ctx, service)
			}
		})
		all.Go(func() { interop.DoLargeUnaryCall(ctx, service) })
		all.Go(func() { interop.DoPingPong(ctx, service) })
		all.Go(func() { interop.DoServerStreaming(ctx, service) })
	}
	all.Wait()
	fmt.Println("many")
}
