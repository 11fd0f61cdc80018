package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"sync"
	"time"
)

const large = 64 << 20

var cases = map[string]func(peer, context.Context) error{
	"upload": upload, "download": download, "echo": echoLarge, "duplex": duplex, "trailers": trailers,
	"continue": continued, "continue-refused": continueRefused, "early": earlyAnswer, "parallel": parallel,
	"cancel": cancelled, "hints": earlyHints, "empty": empty, "close": closes,
}

func runCase(p peer, name string) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	run, known := cases[name]
	if !known {
		log.Fatalf("no case %q", name)
	}
	if err := run(p, ctx); err != nil {
		log.Fatalf("%s: %v", name, err)
	}
	fmt.Println(name)
}

// A body of unknown length there.
func upload(p peer, ctx context.Context) error {
	text, err := p.text(ctx, http.StatusOK, "POST", "/digest", newContent(large))
	if err != nil {
		return err
	}
	return expect(text == fmt.Sprintf("%d %s", large, sumOf(large)), "what came", text)
}

// A body of unknown length back.
func download(p peer, ctx context.Context) error {
	answer, err := p.do(ctx, "GET", fmt.Sprint("/make/", large), nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	return whole(answer.Body, large)
}

// Both at once.
func echoLarge(p peer, ctx context.Context) error {
	answer, err := p.do(ctx, "POST", "/echo", newContent(large))
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	return whole(answer.Body, large)
}

// A piece goes only when the one before is back: whoever holds one back to fill a buffer, stops all.
func duplex(p peer, ctx context.Context) error {
	reader, writer := io.Pipe()
	answer, err := p.do(ctx, "POST", "/echo", reader)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	for i := range 100 {
		piece := fmt.Sprintf("piece %d\n", i)
		if _, err := io.WriteString(writer, piece); err != nil {
			return err
		}
		back := make([]byte, len(piece))
		if _, err := io.ReadFull(answer.Body, back); err != nil {
			return err
		}
		if string(back) != piece {
			return fmt.Errorf("sent %q, %q came back", piece, back)
		}
	}
	_ = writer.Close()
	rest, err := io.ReadAll(answer.Body)
	if err == nil {
		err = expect(len(rest) == 0, "behind the end", rest)
	}
	return err
}

func trailers(p peer, ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, "POST", p.base+"/echo", newContent(1000))
	if err != nil {
		return err
	}
	request.Header.Set("TE", "trailers")
	request.Trailer = http.Header{"Request-Sum": {"sum of the request"}}
	answer, err := p.client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if err := whole(answer.Body, 1000); err != nil {
		return err
	}
	return errors.Join(
		expect(answer.Trailer.Get("Echo-Sum") == "declared", "the answer's trailers", answer.Trailer),
		expect(answer.Trailer.Get("Undeclared-Request-Sum") == "sum of the request", "the request's trailers", answer.Trailer),
	)
}

// What is sent only when asked for; whether it was.
type awaited struct {
	content *content
	asked   func() bool
	tooSoon bool
	read    int
}

func (a *awaited) Read(buffer []byte) (int, error) {
	a.tooSoon = a.tooSoon || !a.asked()
	count, err := a.content.Read(buffer)
	a.read += count
	return count, err
}

func (a *awaited) Close() error { return nil }

func continued(p peer, ctx context.Context) error {
	var lock sync.Mutex
	was := false
	// Unlike Got1xxResponse, it is called before the body is begun.
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got100Continue: func() {
		lock.Lock()
		was = true
		lock.Unlock()
	}})
	asked := func() bool {
		lock.Lock()
		defer lock.Unlock()
		return was
	}
	body := &awaited{content: newContent(100_000), asked: asked}
	text, err := p.text(ctx, http.StatusOK, "POST", "/digest", body, "Expect", "100-continue")
	if err != nil {
		return err
	}
	return errors.Join(
		expect(text == fmt.Sprintf("100000 %s", sumOf(100_000)), "what came", text),
		expect(asked() && !body.tooSoon, "sent without having been asked for", body.read),
	)
}

func continueRefused(p peer, ctx context.Context) error {
	body := &awaited{content: newContent(100_000), asked: func() bool { return true }}
	_, err := p.text(ctx, http.StatusRequestEntityTooLarge, "POST", "/early", body, "Expect", "100-continue")
	// Over HTTP/1.1 it has to send it, or give the connection up (RFC 9110 §10.1.1).
	unasked := p.major == 2 && body.read > 0
	return errors.Join(err, expect(!unasked, "bytes sent that nobody asked for", body.read), p.own(ctx, "after"))
}

// The answer comes while most of the body is still here.
func earlyAnswer(p peer, ctx context.Context) error {
	for range 3 {
		_, err := p.text(ctx, http.StatusRequestEntityTooLarge, "POST", "/early", newContent(large))
		if err := errors.Join(err, p.own(ctx, "after")); err != nil {
			return err
		}
	}
	return nil
}

// 32 at a time, over connections that are kept; no answer is another's.
func parallel(p peer, ctx context.Context) error {
	failures := make(chan error, 32)
	for worker := range cap(failures) {
		go func() {
			for i := range 50 {
				if err := p.own(ctx, fmt.Sprintf("%d-%d", worker, i)); err != nil {
					failures <- err
					return
				}
			}
			failures <- nil
		}()
	}
	var all error
	for range cap(failures) {
		all = errors.Join(all, <-failures)
	}
	// Of 1600 requests; Go dials for all that begin at once, and may end with more than it needs.
	return errors.Join(all, expect(p.connections.Load() <= 100, "connections", p.connections.Load()))
}

// The server learns that the client wants no more, and the connection, where it has others, goes on.
func cancelled(p peer, ctx context.Context) error {
	name := fmt.Sprint(time.Now().UnixNano())
	own, cancel := context.WithCancel(ctx)
	answer, err := p.do(own, "GET", "/wait/"+name, nil)
	if err != nil {
		cancel()
		return err
	}
	defer answer.Body.Close()
	cancel()
	if _, err := p.text(ctx, http.StatusOK, "GET", "/gone/"+name, nil); err != nil {
		return fmt.Errorf("the server did not learn of it: %w", err)
	}
	most := map[int]int64{1: 2, 2: 1}[p.major]
	return expect(p.connections.Load() <= most, "connections", p.connections.Load())
}

func earlyHints(p peer, ctx context.Context) error {
	links := make(chan string, 8)
	ctx = informed(ctx, func(status int, fields textproto.MIMEHeader) {
		if status == http.StatusEarlyHints {
			links <- fields.Get("Link")
		}
	})
	if _, err := p.text(ctx, http.StatusOK, "GET", "/hints", nil); err != nil {
		return err
	}
	select {
	case link := <-links:
		return expect(link == "</style.css>; rel=preload", "the hint", link)
	default:
		return errors.New("no hint came")
	}
}

// Answers without a body, each followed by another over the same connection.
func empty(p peer, ctx context.Context) error {
	for _, asked := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/status/204", 204}, {"GET", "/status/304", 304}, {"HEAD", "/make/1000", 200}, {"HEAD", "/status/404", 404},
		{"DELETE", "/status/204", 204}, {"OPTIONS", "/status/200", 200},
	} {
		text, err := p.text(ctx, asked.status, asked.method, asked.path, nil)
		err = errors.Join(err, expect(text == "", "a body", text), p.own(ctx, "after"))
		if err != nil {
			return fmt.Errorf("%s %s: %w", asked.method, asked.path, err)
		}
	}
	return expect(p.connections.Load() == 1, "connections", p.connections.Load())
}

// A server that closes after its answer; what comes after finds another connection.
func closes(p peer, ctx context.Context) error {
	for range 5 {
		if _, err := p.text(ctx, http.StatusOK, "GET", "/close", nil); err != nil {
			return err
		}
	}
	return nil
}
