"""A server of HTTP/1.1 that says who it is and what it was asked, and does as the query says.

status=CODE answers with that; fail=N answers the first N requests of each `id` with 503; reset=N breaks off the first N;
wait=SECONDS answers so late; bad=NAME fails there; after=SECONDS sets Retry-After.
"""
import collections, http.server, json, socket, sys, time, urllib.parse

NAME, PORT = sys.argv[1], int(sys.argv[2])
seen = collections.Counter()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        times = seen[query.get("id", "")]
        seen[query.get("id", "")] += 1
        print("heard", self.requestline, self.headers.get("x-copy", ""), len(body), flush=True)
        if times < int(query.get("reset", 0)):
            self.connection.close()
            self.close_connection = True
            return
        time.sleep(float(query.get("wait", 0)))
        status = 503 if query.get("bad") == NAME or times < int(query.get("fail", 0)) else int(query.get("status", 200))
        headers = {name.lower(): value for name, value in self.headers.items()}
        text = json.dumps({"name": NAME, "line": self.requestline, "headers": headers, "body": len(body)}).encode()
        self.send_response(status)
        self.send_header("x-from", NAME)
        if "after" in query:
            self.send_header("retry-after", query["after"])
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_OPTIONS = answer

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
    request_queue_size = 128


server = Server(("::", PORT), Handler)
print("listening", flush=True)
server.serve_forever()
