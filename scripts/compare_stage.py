"""Processes, folders, the rivals' daemons and nearpeer's programs for scripts/compare and scripts/interop.

Every process has a group of its own. A `World` ends its processes and removes its folders when it is closed. This module prints
nothing.
"""

import contextlib
import grp
import os
import pwd
import queue
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

TMPFS = Path("/dev/shm")
MIB = 1 << 20
GIB = 1 << 30
LOOPBACK = "127.0.0.1"
# Longer than any step takes, unless it hangs.
PATIENCE_S = 600
# Without the user's proxies and options, which would change the figures.
ENVIRONMENT = {k: v for k, v in os.environ.items() if not re.search("(?i)proxy$|^RSYNC_|^NGINX", k)}


class Failed(Exception):
    """A program or file is missing, or did not do its work."""


# Processes


class Running:
    """A process. A thread reads its lines of output and errors, with the time of each."""

    def __init__(self, argv):
        self.name = Path(argv[0]).name
        self.process = subprocess.Popen(
            [str(a) for a in argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True, env=ENVIRONMENT, text=True, errors="replace", bufsize=1)
        self.lines = queue.Queue()
        self.seen = []
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.lines.put((time.monotonic(), line.rstrip("\n")))
        self.lines.put((time.monotonic(), None))

    def wait_for(self, pattern, accept=lambda match: True):
        """Waits for the next line with `pattern`. Returns its time and its match."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                at, line = self.lines.get(timeout=max(0, deadline - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                raise Failed(f"{self.name}: no line `{pattern}`, but: " + " / ".join(self.seen[-5:]))
            self.seen.append(line)
            match = re.search(pattern, line)
            if match and accept(match):
                return at, match

    def take_lines(self):
        """Takes all lines that have arrived, without waiting."""
        with contextlib.suppress(queue.Empty):
            while True:
                self.seen.append(self.lines.get_nowait()[1] or "")

    def type(self, line):
        self.process.stdin.write(line + "\n")

    def peak_mib(self):
        """Peak resident memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024

    def finish(self):
        """Closes its input and waits for exit code 0."""
        self.process.stdin.close()
        if self.process.wait(PATIENCE_S) != 0:
            raise Failed(f"{self.name}: exit {self.process.returncode}")

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class World:
    """Started programs and made folders. `close` ends and removes them."""

    def __init__(self, programs, folder):
        self.programs = programs
        self.folder = folder
        # In append mode, so that it can be emptied between commands.
        self.log = open(folder / "log", "a+")
        self.processes = []

    def start(self, *argv):
        running = Running(argv)
        self.processes.append(running.process)
        return running

    def timed(self, commands):
        """Seconds from the start of the first command to the end of the last.

        A command is its words and its input.
        """
        self.log.truncate(0)
        begun, started = time.monotonic(), []
        for argv, text in commands:
            process = subprocess.Popen(
                [str(a) for a in argv], stdin=subprocess.PIPE, stdout=self.log, stderr=self.log,
                start_new_session=True, env=ENVIRONMENT)
            process.stdin.write(text.encode())
            process.stdin.close()
            started.append(process)
            self.processes.append(process)
        # `wait` with a timeout would look only every 50 ms.
        watchdog = threading.Timer(PATIENCE_S, lambda: [end_group(p) for p in started])
        watchdog.start()
        try:
            codes = [process.wait() for process in started]
            taken = time.monotonic() - begun
        finally:
            watchdog.cancel()
        if any(codes):
            self.log.seek(0)
            raise Failed(f"{commands[0][0][0]}: exit {codes}: {self.log.read()[-1000:]}")
        self.processes = [p for p in self.processes if p not in started]
        return taken

    def make_folder(self, name):
        folder = self.folder / name
        folder.mkdir()
        return folder

    def close(self):
        for process in reversed(self.processes):
            end_group(process)
        self.log.close()

    # The programs of nearpeer.

    def tracker(self):
        tracker = self.start(self.programs["tracker"], "--listen", f"{LOOPBACK}:0")
        return tracker, tracker.wait_for("^tracker listening on (.*)")[1][1]

    def node_argv(self, folder, tracker, *flags, port=0, latencies="none"):
        where = [self.programs["node"], LOOPBACK, port, folder]
        return [*where, "--tracker", tracker, "--latency-file", latencies, *flags]

    def source(self, *args, **more):
        """A headless node and its address. It may still be scanning."""
        source = self.start(*self.node_argv(*args, "--headless", **more))
        return source, source.wait_for("^node listening on (.*)")[1][1]

    def downloader(self, *args, **more):
        """A node that waits for commands."""
        node = self.start(*self.node_argv(*args, **more))
        node.wait_for("^node listening on ")
        return node

    def wait_published(self, tracker, name, holders):
        """Waits until `find` lists so many holders."""
        empty = self.make_folder("finder")
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            found = subprocess.run(
                [str(a) for a in self.node_argv(empty, tracker)], input=f"find {name}\n", capture_output=True,
                text=True, env=ENVIRONMENT)
            if len(re.findall(rf"(?m) full {re.escape(name)}$", found.stdout)) >= holders:
                shutil.rmtree(empty)
                return
            time.sleep(0.2)
        raise Failed(f"{name}: not published by {holders} nodes")


def end_group(process):
    """Ends a process and all its children."""
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(6)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def world(programs, parent=TMPFS):
    folder = Path(tempfile.mkdtemp(prefix="nearpeer-compare-", dir=parent))
    made = None
    try:
        made = World(programs, folder)
        yield made
    finally:
        # A second Ctrl-C must not interrupt the clean-up.
        before = [(s, signal.signal(s, signal.SIG_IGN)) for s in (signal.SIGINT, signal.SIGTERM)]
        if made:
            made.close()
        shutil.rmtree(folder, ignore_errors=True)
        for number, action in before:
            signal.signal(number, action)


def free_port():
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return probe.getsockname()[1]


def wait_listening(port):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), 1):
            return
        time.sleep(0.02)
    raise Failed(f"nothing listens on port {port}")


def start_rsync(made, folder):
    """Starts an rsync daemon with `folder` as its module `m`. Returns the module's address."""
    port, config = free_port(), made.folder / "rsyncd.conf"
    # As root it would change to a user that cannot read the folder.
    own = f"uid = {os.getuid()}\ngid = {os.getgid()}\n" if os.getuid() == 0 else ""
    config.write_text(f"use chroot = no\nlog file = {made.folder}/rsyncd.log\n{own}[m]\npath = {folder}\n")
    daemon = ["--daemon", "--no-detach", f"--config={config}", f"--address={LOOPBACK}", f"--port={port}"]
    made.start(made.programs["rsync"], *daemon)
    wait_listening(port)
    return f"rsync://{LOOPBACK}:{port}/m"


def start_nginx(made, folder):
    """Starts an nginx that serves `folder`, configured as its documentation advises for large files. Returns its address."""
    port, at = free_port(), made.make_folder("nginx")
    names = f"{pwd.getpwuid(os.getuid()).pw_name} {grp.getgrgid(os.getgid()).gr_name}"
    user = f"user {names};" if os.getuid() == 0 else ""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    scratch = " ".join(f"{kind}_temp_path {at}/{kind};" for kind in kinds)
    config = at / "nginx.conf"
    config.write_text(
        f"{user} daemon off; worker_processes auto; pid {at}/pid; error_log {at}/error.log;\n"
        f"events {{ worker_connections 64; }}\n"
        f"http {{ access_log off; sendfile on; tcp_nopush on; {scratch}\n"
        f"server {{ listen {LOOPBACK}:{port}; root {folder}; }} }}\n")
    made.start(made.programs["nginx"], "-p", at, "-e", at / "error.log", "-c", config)
    wait_listening(port)
    return f"http://{LOOPBACK}:{port}"


# Files


def write_random(path, size):
    with open(path, "wb") as file:
        for _ in range(size // MIB):
            file.write(os.urandom(MIB))


def check_same(one, other):
    if subprocess.run(["cmp", "-s", one, other]).returncode != 0:
        raise Failed(f"{other.parent.name}/{other.name} differs from the original")


def has_room(folder, size):
    """Whether `folder` has space for `size` more bytes. On tmpfs they are memory."""
    free = shutil.disk_usage(folder).free
    if is_tmpfs(folder):
        available = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
        free = min(free, int(available[1]) * 1024)
    return free > size + GIB


def is_tmpfs(folder):
    kind = subprocess.run(["stat", "-f", "-c", "%T", folder], capture_output=True, text=True)
    return kind.stdout.strip() == "tmpfs"
