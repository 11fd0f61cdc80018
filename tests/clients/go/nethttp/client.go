package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// For each case, so that one that hangs says which it is.
const limit = 15 * time.Second

// A server, and a client for it alone.
type peer struct {
	client      *http.Client
	base        string
	major       int
	connections *atomic.Int64
}

func newPeer(version, host string) peer {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(version == "1")
	protocols.SetUnencryptedHTTP2(version == "2")
	count := new(atomic.Int64)
	transport := &http.Transport{
		Protocols:           protocols,
		MaxIdleConnsPerHost: 100,
		// It sends the body after as long without an answer: longer than any test.
		ExpectContinueTimeout: time.Minute,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			count.Add(1)
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}
	major := 1
	if version == "2" {
		major = 2
	}
	return peer{&http.Client{Transport: transport}, "http://" + host, major, count}
}

// Sends a request; the answer's protocol must be the client's own.
func (p peer) do(ctx context.Context, method, path string, body io.Reader, fields ...string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, p.base+path, body)
	if err != nil {
		return nil, err
	}
	for i := 0; i+1 < len(fields); i += 2 {
		request.Header.Set(fields[i], fields[i+1])
	}
	answer, err := p.client.Do(request)
	if err == nil && answer.ProtoMajor != p.major {
		return nil, fmt.Errorf("answered over %s", answer.Proto)
	}
	return answer, err
}

// The whole answer, which must have this status.
func (p peer) text(ctx context.Context, status int, method, path string, body io.Reader, fields ...string) (string, error) {
	answer, err := p.do(ctx, method, path, body, fields...)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != status {
		err = fmt.Errorf("%s instead of %d: %s", answer.Status, status, text)
	}
	return string(text), err
}

// Asks again and again, each answer whole and its own, until there is nothing more to read.
func (p peer) bystander() {
	stop := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(stop)
	}()
	for count := 0; ; count++ {
		select {
		case <-stop:
			fmt.Printf("%d answers over %d connections\n", count, p.connections.Load())
			return
		default:
		}
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		if err := p.own(ctx, fmt.Sprint("bystander-", count)); err != nil {
			log.Fatalf("after %d answers: %v", count, err)
		}
		cancel()
		if count == 0 {
			fmt.Println("answered")
		}
	}
}

// A GET of /id/NAME, and that the answer is to it, over the protocol that was asked with.
func (p peer) own(ctx context.Context, name string) error {
	text, err := p.text(ctx, http.StatusOK, "GET", "/id/"+name, nil)
	if wanted := fmt.Sprintf("%s over HTTP/%d.", name, p.major); err == nil && !strings.HasPrefix(text, wanted) {
		err = fmt.Errorf("asked for %s, was answered %s", name, text)
	}
	return err
}

// Whether a body of content came whole.
func whole(body io.Reader, length int64) error {
	sum := sha256.New()
	came, err := io.Copy(sum, body)
	if err != nil {
		return fmt.Errorf("after %d bytes: %w", came, err)
	}
	if wanted := sumOf(length); fmt.Sprintf("%x", sum.Sum(nil)) != wanted {
		return fmt.Errorf("%d bytes came, and not those that were sent", came)
	}
	return nil
}

func sumOf(length int64) string {
	sum := sha256.New()
	_, _ = io.Copy(sum, newContent(length))
	return fmt.Sprintf("%x", sum.Sum(nil))
}

// Calls `then` for each answer of status 1xx.
func informed(ctx context.Context, then func(status int, fields textproto.MIMEHeader)) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		Got1xxResponse: func(status int, fields textproto.MIMEHeader) error {
			then(status, fields)
			return nil
		},
	})
}

func expect(holds bool, what string, value any) error {
	if holds {
		return nil
	}
	return fmt.Errorf("%s: %v", what, value)
}
