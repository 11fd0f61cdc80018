// grpc-go's own interop server and cases, each case over the same one connection, one after the other.
//
//	grpc serve PORT               the health service too, as probes ask for it
//	grpc cases HOST:PORT CASE…    a line for each case that holds; the first that does not ends the program
//	grpc denied HOST:PORT         calls while policy denies UnaryCall and StreamingInputCall, and what became of each
//	grpc many HOST:PORT           calls of all kinds at once
//	grpc call HOST:PORT METHOD…   an empty call of each, /package.Service/Method, and its status
//
// The cases: github.com/grpc/grpc/blob/master/doc/interop-test-descriptions.md.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
)

// For each case, so that one that hangs says which it is.
const limit = 15 * time.Second

func main() {
	log.SetFlags(0)
	if len(os.Args) < 3 {
		log.Fatal("grpc serve PORT | cases HOST:PORT CASE… | denied HOST:PORT | many HOST:PORT | call HOST:PORT METHOD…")
	}
	mode, where := os.Args[1], os.Args[2]
	if mode == "serve" {
		serve(where)
		return
	}
	connection, err := grpc.NewClient("passthrough:///"+where, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	switch mode {
	case "cases":
		for _, name := range os.Args[3:] {
			runCase(connection, name)
		}
	case "denied":
		denied(connection)
	case "many":
		many(connection)
	case "call":
		for _, method := range os.Args[3:] {
			call(connection, method)
		}
	default:
		log.Fatalf("no mode %q", mode)
	}
}

func serve(port string) {
	listener, err := net.Listen("tcp", "[::]:"+port)
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	testgrpc.RegisterTestServiceServer(server, interop.NewTestServer())
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	fmt.Println("listening")
	log.Fatal(server.Serve(listener))
}

// The cases that need no TLS and no credentials. What one asserts is grpc-go's own; it ends the program when it fails.
func runCase(connection *grpc.ClientConn, name string) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	service := testgrpc.NewTestServiceClient(connection)
	zipped := grpc.UseCompressor(gzip.Name)
	cases := map[string]func(){
		"empty_unary":                 func() { interop.DoEmptyUnaryCall(ctx, service) },
		"large_unary":                 func() { interop.DoLargeUnaryCall(ctx, service) },
		"client_streaming":            func() { interop.DoClientStreaming(ctx, service) },
		"server_streaming":            func() { interop.DoServerStreaming(ctx, service) },
		"ping_pong":                   func() { interop.DoPingPong(ctx, service) },
		"empty_stream":                func() { interop.DoEmptyStream(ctx, service) },
		"timeout_on_sleeping_server":  func() { interop.DoTimeoutOnSleepingServer(ctx, service) },
		"cancel_after_begin":          func() { interop.DoCancelAfterBegin(ctx, service) },
		"cancel_after_first_response": func() { interop.DoCancelAfterFirstResponse(ctx, service) },
		"status_code_and_message":     func() { interop.DoStatusCodeAndMessage(ctx, service) },
		"special_status_message":      func() { interop.DoSpecialStatusMessage(ctx, service) },
		"custom_metadata":             func() { interop.DoCustomMetadata(ctx, service) },
		"unimplemented_method":        func() { interop.DoUnimplementedMethod(ctx, connection) },
		"unimplemented_service": func() {
			interop.DoUnimplementedService(ctx, testgrpc.NewUnimplementedServiceClient(connection))
		},
		"compressed_unary":         func() { interop.DoLargeUnaryCall(ctx, service, zipped) },
		"client_compressed_stream": func() { interop.DoClientStreaming(ctx, service, zipped) },
		"server_compressed_stream": func() { interop.DoServerStreaming(ctx, service, zipped) },
	}
	run, known := cases[name]
	if !known {
		log.Fatalf("no case %q", name)
	}
	// The cases say what failed, but not always in which of them.
	log.SetPrefix(name + ": ")
	run()
	fmt.Println(name)
}
