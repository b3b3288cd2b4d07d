"""Proofpoint's community tool for Isolation (iso2web) collects 30 days from a simulated API.

    isolation.py URL API_KEY PAGE_SIZE

Prints the records that it would have sent on, as one JSON list. Its checkpoint goes to the current
folder.
"""

import json
import logging
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import iso2web

url, key, page_size = sys.argv[1:]
collected = []


class Callback(BaseHTTPRequestHandler):
    def do_POST(self):
        collected.extend(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


callback = HTTPServer(("127.0.0.1", 0), Callback)
threading.Thread(target=callback.serve_forever, daemon=True).start()
# the host is fixed, but for this
iso2web.ISO_URL_INFO["WEB"]["URL"] = url
options = {
    "input_type": "WEB",
    "identifier": "test",
    "api_key": key,
    "page_size": int(page_size),
    "chunk_size": 10000,
    "timeout": 60,
    "callback": f"http://127.0.0.1:{callback.server_port}/",
}
logging.basicConfig(level=logging.INFO, stream=sys.stderr)
iso2web.collect_events(logging.getLogger("iso2web"), options, True)
json.dump(collected, sys.stdout)
