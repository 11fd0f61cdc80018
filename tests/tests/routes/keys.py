"""An issuer's keys by HTTP on port 8999."""
import http.server, sys


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        text = sys.argv[2].encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer.allow_reuse_address = True
server = http.server.ThreadingHTTPServer((sys.argv[1], 8999), Handler)
print("listening", flush=True)
server.serve_forever()
