#!/usr/bin/env python3
"""Plays systemd for one service: Type=notify, Restart=always, KillMode=process and, with --fd-store, the fd store.

    service-manager.py [--fd-store] [--delay-ms N] --state DIRECTORY COMMAND...

DIRECTORY gets `pid` (of the main process), `ready` (how often READY=1 came) and `stored` (names in the fd store, one per line). SIGTERM
stops the service the way systemd does: SIGTERM for the main process only.
"""
import argparse
import os
import resource
import select
import signal
import socket
import sys
import time

MOST_FDS = 253


class Service:
    def __init__(self, options):
        self.options = options
        self.store = []  # (name, fd)
        self.ready = 0
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket_path = os.path.join(options.state, "notify")
        if os.path.exists(self.socket_path):
            os.unlink(self.socket_path)
        self.socket.bind(self.socket_path)
        self.stopping = False
        self.main = 0

    def write(self, name, text):
        path = os.path.join(self.options.state, name)
        with open(path + ".new", "w") as file:
            file.write(text)
        os.rename(path + ".new", path)

    def start(self):
        self.main = os.fork()
        if self.main == 0:
            try:
                self.exec_main()
            finally:
                os._exit(127)
        self.write("pid", f"{self.main}\n")

    def exec_main(self):
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        environment = dict(os.environ, NOTIFY_SOCKET=self.socket_path)
        if self.store:
            environment.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(self.store)),
                               LISTEN_FDNAMES=":".join(name for name, _ in self.store))
            # High first: the numbers wanted may be those of other stored fds.
            high = [os.dup2(fd, 10000 + i, inheritable=False) for i, (_, fd) in enumerate(self.store)]
            for i, fd in enumerate(high):
                os.dup2(fd, 3 + i, inheritable=True)
        os.execve(self.options.command[0], self.options.command, environment)

    def receive(self):
        message, fds, _, _ = socket.recv_fds(self.socket, 4096, MOST_FDS)
        fields = dict(line.split("=", 1) for line in message.decode().splitlines() if "=" in line)
        name = fields.get("FDNAME", "stored")
        if "READY" in fields:
            self.ready += 1
            self.write("ready", f"{self.ready}\n")
        if "FDSTOREREMOVE" in fields and self.options.fd_store:
            for stored, fd in self.store:
                if stored == name:
                    os.close(fd)
            self.store = [entry for entry in self.store if entry[0] != name]
        if "FDSTORE" in fields and self.options.fd_store:
            # systemd keeps one of several fds of the same open file.
            for fd in fds:
                if any(os.path.sameopenfile(fd, have) and n == name for n, have in self.store):
                    os.close(fd)
                else:
                    self.store.append((name, fd))
            fds = []
        for fd in fds:
            os.close(fd)
        self.write("stored", "".join(f"{stored}\n" for stored, _ in self.store))

    def reap(self):
        """True when the service has ended for good."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return False
            if pid != self.main:
                continue
            # systemd, too, takes messages before it takes note of a death.
            while select.select([self.socket], [], [], 0)[0]:
                self.receive()
            if self.stopping:
                sys.exit(os.waitstatus_to_exitcode(status) & 255)
            time.sleep(self.options.delay_ms / 1000)
            self.start()

    def run(self):
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGCHLD])
        self.start()
        while True:
            if select.select([self.socket], [], [], 0.01)[0]:
                self.receive()
            while (number := signal.sigtimedwait([signal.SIGTERM, signal.SIGCHLD], 0)) is not None:
                if number.si_signo == signal.SIGTERM:
                    self.stopping = True
                    os.kill(self.main, signal.SIGTERM)
            self.reap()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fd-store", action="store_true")
    parser.add_argument("--delay-ms", type=int, default=100)
    parser.add_argument("--state", required=True)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    Service(parser.parse_args()).run()


if __name__ == "__main__":
    main()
