"""A server of HTTP/1.1 that answers with the head that it was sent, and says each request line."""
import http.server, socket, sys


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        print("heard", self.requestline, flush=True)
        length = int(self.headers.get("content-length") or 0)
        if self.headers.get("transfer-encoding"):
            while size := int(self.rfile.readline().split(b";")[0], 16):
                length += len(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
        else:
            self.rfile.read(length)
        text = f"{self.requestline}\n{self.headers}body {length}\n".encode()
        self.send_response(200)
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


server = Server(("::", int(sys.argv[1])), Handler)
print("listening", flush=True)
server.serve_forever()
