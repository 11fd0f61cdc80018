// Go's net/http at both ends, HTTP/1.1 and HTTP/2 without TLS.
//
//	nethttp serve PORT
//	nethttp client 1|2 HOST:PORT CASE…    a line for each case that holds; the first that does not ends the program
//	nethttp bystander 1|2 HOST:PORT       GET after GET until its input ends; then a line that counts them
package main

import (
	"log"
	"os"
)

func main() {
	log.SetFlags(0)
	words := os.Args[1:]
	switch {
	case len(words) == 2 && words[0] == "serve":
		serve(words[1])
	case len(words) > 3 && words[0] == "client":
		for _, name := range words[3:] {
			runCase(newPeer(words[1], words[2]), name)
		}
	case len(words) == 3 && words[0] == "bystander":
		newPeer(words[1], words[2]).bystander()
	default:
		log.Fatal("nethttp serve PORT | client 1|2 HOST:PORT CASE… | bystander 1|2 HOST:PORT")
	}
}
