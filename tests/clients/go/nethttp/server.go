package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"sync"
)

// Requests that wait for their client to go: closed when it has gone.
var gone sync.Map

func serve(port string) {
	listener, err := net.Listen("tcp", "[::]:"+port)
	if err != nil {
		log.Fatal(err)
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	handler := http.NewServeMux()
	handler.HandleFunc("/id/{id}", id)
	handler.HandleFunc("/echo", echo)
	handler.HandleFunc("/digest", digest)
	handler.HandleFunc("/make/{bytes}", produce)
	handler.HandleFunc("/early", early)
	handler.HandleFunc("/hints", hints)
	handler.HandleFunc("/wait/{id}", wait)
	handler.HandleFunc("/gone/{id}", isGone)
	handler.HandleFunc("/status/{status}", answerStatus)
	handler.HandleFunc("/close", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		id(w, r)
	})
	server := http.Server{Handler: handler, Protocols: protocols}
	fmt.Println("listening")
	log.Fatal(server.Serve(listener))
}

// What was asked for, and how.
func id(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "%s over %s", r.PathValue("id"), r.Proto)
}

// Each piece goes back when it has come, and so do trailers, their names and values marked.
func echo(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	// HTTP/1 only; HTTP/2 always is.
	_ = control.EnableFullDuplex()
	w.Header().Set("Trailer", "echo-sum")
	w.WriteHeader(http.StatusOK)
	_ = control.Flush()
	buffer := make([]byte, 64*1024)
	for {
		count, err := r.Body.Read(buffer)
		if _, failed := w.Write(buffer[:count]); failed != nil {
			return
		}
		_ = control.Flush()
		if err != nil {
			break
		}
	}
	for name, values := range r.Trailer {
		w.Header().Set(http.TrailerPrefix+"Undeclared-"+name, values[0])
	}
	w.Header().Set("echo-sum", "declared")
}

// Length and digest of what was sent.
func digest(w http.ResponseWriter, r *http.Request) {
	sum := sha256.New()
	length, err := io.Copy(sum, r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Fprintf(w, "%d %x", length, sum.Sum(nil))
}

func produce(w http.ResponseWriter, r *http.Request) {
	length, err := strconv.ParseInt(r.PathValue("bytes"), 10, 64)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	// Without a length: in chunks, where the protocol has them.
	_, _ = io.Copy(w, newContent(length))
}

// Answers what it does not read.
func early(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusRequestEntityTooLarge)
	_, _ = io.WriteString(w, "too large")
}

func hints(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Link", "</style.css>; rel=preload")
	w.WriteHeader(http.StatusEarlyHints)
	id(w, r)
}

func wait(w http.ResponseWriter, r *http.Request) {
	left := make(chan struct{})
	gone.Store(r.PathValue("id"), left)
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
	close(left)
}

// Answers when the client of that request has gone.
func isGone(_ http.ResponseWriter, r *http.Request) {
	if left, waited := gone.Load(r.PathValue("id")); waited {
		<-left.(chan struct{})
	}
}

func answerStatus(w http.ResponseWriter, r *http.Request) {
	status, err := strconv.Atoi(r.PathValue("status"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("ETag", `"one"`)
	w.WriteHeader(status)
}
