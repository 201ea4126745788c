#!/usr/bin/env python3
"""slow_link is as slow as it says: never faster, and at its best within 10 % of it; connections share fairly; bytes arrive whole.

    slow_link_test.py SLOW_LINK-PROGRAM

The best of several tries is compared with the upper limit, so a busy machine fails nothing.
"""
import hashlib
import json
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time

RTT_S, BYTES_PER_S = 0.020, 200e6 / 8
MAX_TRIES = 20
PATTERN = os.urandom(1 << 20)


class Sender(socketserver.BaseRequestHandler):
    """Receives a line "GET BYTES" or "PUT BYTES" and sends, or takes and acknowledges, so many bytes."""

    def handle(self):
        file = self.request.makefile("rb")
        word, count = file.readline().split()
        if word == b"GET":
            self.request.sendall(content(int(count)))
        else:
            self.request.sendall(hashlib.sha256(file.read(int(count))).digest())


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 64


def content(count):
    return (PATTERN * (count // len(PATTERN) + 1))[:count]


class Client:
    def __init__(self, address, word, count):
        self.begin = time.monotonic()
        self.socket = socket.create_connection(address)
        body = content(count) if word == "PUT" else b""
        self.socket.sendall(f"{word} {count}\n".encode() + body)
        self.first = None
        expected = hashlib.sha256(body).digest() if word == "PUT" else content(count)
        data = b"".join(iter(self.receive, b""))
        self.total = time.monotonic() - self.begin
        self.socket.close()
        if data != expected:
            check(f"{word} of {count} bytes: contents", False)

    def receive(self):
        data = self.socket.recv(1 << 20)
        if self.first is None:
            self.first = time.monotonic() - self.begin
        return data


failures = 0


def check(what, good):
    global failures
    failures += not good
    print("ok   " if good else "FAIL ", what)


def compare(what, expected, run):
    """run() -> seconds"""
    best = 1e9
    for tries in range(1, MAX_TRIES + 1):
        seconds = run()
        if seconds < expected * 0.999:
            return check(f"{what}: {seconds:.4f} s is faster than the link, which takes {expected:.4f} s", False)
        best = min(best, seconds)
        if best <= expected * 1.10:
            break
    return check(f"{what}: best of {tries} {best:.4f} s, the link takes {expected:.4f} s", best <= expected * 1.10)


def shared(address, count, connections):
    """Seconds until the last connection has its bytes, and which part of it the first one needed."""
    clients = []
    threads = [threading.Thread(target=lambda: clients.append(Client(address, "GET", count))) for _ in range(connections)]
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total = time.monotonic() - begin
    return total, min(client.total for client in clients) / total


def measure(address):
    size, shares = 5_000_000, []

    def four():
        seconds, share = shared(address, size // 4, 4)
        shares.append(share)
        return seconds

    transfer = 2 * RTT_S + size / BYTES_PER_S
    compare("connect and first byte", 2 * RTT_S, lambda: Client(address, "GET", 1).first)
    compare(f"GET of {size} bytes", transfer, lambda: Client(address, "GET", size).total)
    compare(f"PUT of {size} bytes", transfer, lambda: Client(address, "PUT", size).total)
    compare(f"4 connections, GET of {size} bytes in all", transfer, four)
    check(f"the first of the 4 ended after {max(shares):.2f} of the time", max(shares) > 0.7)


def main():
    server = Server(("127.0.0.1", 0), Sender)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    link = subprocess.Popen(
        [sys.argv[1], "--to", f"127.0.0.1:{server.server_address[1]}", "--rtt-ms", str(RTT_S * 1000), "--mbit", str(BYTES_PER_S * 8 / 1e6)],
        stdout=subprocess.PIPE, text=True)
    try:
        host, port = link.stdout.readline().split()[-1].split(":")
        measure((host, int(port)))
        link.send_signal(signal.SIGUSR1)
        counters = json.loads(link.stdout.readline())
        check(f"counters {counters}", counters["peak"] >= 4 and min(counters["down_bytes"], counters["up_bytes"]) > 5_000_000)
    finally:
        link.terminate()
        link.wait()
    sys.exit(failures != 0)


if __name__ == "__main__":
    main()
