"""An HTTP server that answers everything with 503: broken.py PORT"""

import http.server
import sys


class Broken(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(503)
        self.send_header("content-length", "13")
        self.end_headers()
        self.wfile.write(b"out of order\n")


http.server.ThreadingHTTPServer(("", int(sys.argv[1])), Broken).serve_forever()
