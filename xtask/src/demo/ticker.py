"""An HTTP server whose answer never ends: ticker.py PORT"""

import http.server
import itertools
import sys
import time


class Ticker(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        for number in itertools.count(1):
            self.wfile.write(f"tick {number}\n".encode())
            time.sleep(0.3)


http.server.ThreadingHTTPServer(("", int(sys.argv[1])), Ticker).serve_forever()
