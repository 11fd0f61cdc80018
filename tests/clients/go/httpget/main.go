// Fetches a path from every host and port with net/http, several at once, twice over kept connections, and
// prints a line for each: peer's address, status, length of the body, its SHA-256.
//
//	httpget PATH HOST:PORT…
package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"sync"
)

const atOnce = 4

func get(client *http.Client, host, path string) (string, error) {
	request, err := http.NewRequest("GET", "http://"+host+path, nil)
	if err != nil {
		return "", err
	}
	var peer string
	trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		peer, _, _ = net.SplitHostPort(info.Conn.RemoteAddr().String())
	}}
	answer, err := client.Do(request.WithContext(httptrace.WithClientTrace(request.Context(), trace)))
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	digest := sha256.New()
	length, err := io.Copy(digest, answer.Body)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s %d %d %x", peer, answer.StatusCode, length, digest.Sum(nil)), nil
}

func main() {
	path, hosts := os.Args[1], os.Args[2:]
	var all sync.WaitGroup
	var output sync.Mutex
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: atOnce}}
	for _, host := range hosts {
		for i := 0; i < atOnce; i++ {
			all.Add(1)
			go func(host string) {
				defer all.Done()
				for again := 0; again < 2; again++ {
					line, err := get(client, host, path)
					if err != nil {
						fmt.Fprintln(os.Stderr, host, err)
						os.Exit(1)
					}
					output.Lock()
					fmt.Println(line)
					output.Unlock()
				}
			}(host)
		}
	}
	all.Wait()
}
