#!/usr/bin/env python3
"""A registry (v2, read only) on loopback that misbehaves on request.

    odd-registry.py DIRECTORY [--delay-ms N]

Serves DIRECTORY/NAME, OCI layout directories, as repositories NAME; by tag (index.json) or digest. Prints "listening on
127.0.0.1:PORT", then one line per request: METHOD PATH RANGE STATUS BYTES. The file DIRECTORY/fault is read at each request:
"WHERE FAULT [ARGUMENT] [COUNT]", WHERE is manifests, blobs or BLOB-DIGEST; COUNT: how many requests it hits (default: all).
No such file, or an empty one: all is well. Faults:

    status N        answers with status N; 429 and 503 may be given as N:SECONDS of Retry-After
    sometimes N     answers N percent of the requests with status 500
    slow MS         answers MS milliseconds later
    hang            accepts the request and never answers
    hang-body       sends half of the body, then nothing
    cut             sends half of the body and closes
    flip            inverts bytes all over the body
    no-range        answers 200 with the whole blob to a ranged request
    wrong-range     answers 206 with bytes from another place, and says so in Content-Range
    loop            redirects to itself
"""
import argparse
import http.server
import json
import os
import random
import re
import threading

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
STOP = threading.Event()


class Faults:
    def __init__(self, path):
        self.path, self.lock, self.text, self.left = path, threading.Lock(), "", 0

    def take(self, where, digest):
        """(fault, argument) for this request, or ("", "")."""
        with self.lock:
            try:
                with open(self.path) as file:
                    text = file.read().strip()
            except FileNotFoundError:
                text = ""
            words = text.split()
            if text != self.text:
                self.text = text
                self.left = int(words[3]) if len(words) > 3 else 1 << 30
            if not words or words[0] not in (where, digest) or self.left == 0:
                return "", ""
            self.left -= 1
            return words[1], words[2] if len(words) > 2 else ""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    directory = delay_s = faults = None

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", headers=(), limit=None):
        """`limit`: how much of the body is really sent."""
        self.send_response(status)
        for key, value in headers:
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body if limit is None else body[:limit])
        print(self.command, self.path, self.headers.get("Range", "-"), status, len(body), flush=True)

    def find(self, name, kind, reference):
        """The file of a manifest or blob, or None."""
        layout = os.path.join(self.directory, name)
        if kind == "manifests" and not reference.startswith("sha256:"):
            try:
                with open(os.path.join(layout, "index.json")) as file:
                    entries = json.load(file)["manifests"]
            except FileNotFoundError:
                return None
            found = [e["digest"] for e in entries if e["annotations"]["org.opencontainers.image.ref.name"] == reference]
            if not found:
                return None
            reference = found[0]
        path = os.path.join(layout, "blobs", "sha256", reference[7:])
        return path if os.path.exists(path) else None

    def do_GET(self):
        if self.path == "/v2/":
            return self.answer(200, b"{}")
        match = re.fullmatch(r"/v2/([\w/-]+)/(manifests|blobs)/([\w:.-]+)", self.path)
        if not match:
            return self.answer(404)
        STOP.wait(self.delay_s)
        fault, argument = self.faults.take(match[2], match[3])
        if fault == "status":
            status, _, wait = argument.partition(":")
            headers = [("Retry-After", wait)] if wait else []
            if status == "401":
                headers.append(("WWW-Authenticate", 'Basic realm="closed"'))
            return self.answer(int(status), b'{"errors":[{"code":"DENIED","message":"as ordered"}]}', headers)
        if fault == "sometimes" and random.random() < int(argument) / 100:
            return self.answer(500, b'{"errors":[{"code":"UNKNOWN","message":"as ordered"}]}')
        if fault == "slow":
            STOP.wait(int(argument) / 1000)
        if fault == "hang":
            STOP.wait()
            return None
        if fault == "loop":
            return self.answer(307, b"", [("Location", self.path)])
        path = self.find(*match.groups())
        if path is None:
            return self.answer(404)
        return self.send_found(path, MANIFEST_TYPE if match[2] == "manifests" else "application/octet-stream", fault)

    do_HEAD = do_GET

    def send_found(self, path, media_type, fault):
        headers, status, size = [("Content-Type", media_type)], 200, os.path.getsize(path)
        first, last = 0, size - 1
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked and fault != "no-range":
            first, last = int(asked[1]), min(int(asked[2] or size - 1), size - 1)
            if first >= size:
                return self.answer(416, b"", [("Content-Range", f"bytes */{size}")])
            if fault == "wrong-range":
                shift = 1 if last + 1 < size else -1
                first, last = first + shift, last + shift
            headers.append(("Content-Range", f"bytes {first}-{last}/{size}"))
            status = 206
        with open(path, "rb") as file:
            file.seek(first)
            body = file.read(last + 1 - first)
        if fault == "flip":
            body = bytes(byte ^ 0xFF * (i % 256 == 128) for i, byte in enumerate(body))
        if fault in ("cut", "hang-body"):
            self.answer(status, body, headers, len(body) // 2)
            self.wfile.flush()
            if fault == "hang-body":
                STOP.wait()
            self.close_connection = True
            return None
        return self.answer(status, body, headers)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_):
        pass  # clients that hang up are part of the game


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory")
    parser.add_argument("--delay-ms", type=int, default=0, help="before each answer")
    options = parser.parse_args()
    Handler.directory, Handler.delay_s = options.directory, options.delay_ms / 1000
    Handler.faults = Faults(os.path.join(options.directory, "fault"))
    server = Server(("127.0.0.1", 0), Handler)
    print(f"listening on 127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
