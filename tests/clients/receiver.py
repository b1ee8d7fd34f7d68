"""A receiver for the examples: accepts what is signed, and keeps count.

Writes its port into the file PORT once it listens, and a line for each POST that it
accepted into the file LOG. Usage: receiver.py PORT LOG
"""

import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

port_file, log_file = sys.argv[1:]


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        signed = self.headers.get("webhook-signature", "").startswith("v1,")
        if signed:
            with open(log_file, "a") as log:
                log.write(self.path + "\n")
        self.send_response(200 if signed else 400)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
    with open(port_file + ".part", "w") as file:
        file.write(str(server.server_port))
    os.rename(port_file + ".part", port_file)
    server.serve_forever()
