"""A tracker and nodes on loopback for checks, on free ports. They end with the check."""

import contextlib
import json
import re
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from compare_stage import PATIENCE_S, world

from .check import program, run

LOOPBACK = "127.0.0.1"
# Without the user's proxies.
DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass
class Site:
    """A tracker or node: its address, and its pages as `http://ADDR:PORT`."""

    addr: str
    pages: str

    def get(self, path):
        with DIRECTLY.open(self.pages + path, timeout=PATIENCE_S) as answer:
            return answer.read().decode()

    def figure(self, name):
        """The value of a metric that has no labels."""
        return float(re.search(rf"^{name} (\S+)$", self.get("/metrics"), re.MULTILINE)[1])


@dataclass
class Swarm:
    world: object
    folder: Path
    tracker: Site
    nodes: list
    find_argv: list

    def sources(self, name):
        """URLs of the file on the nodes that have it, as the tracker lists them."""
        items = json.loads(self.tracker.get(f"/api/v1/find?name={quote(name, safe='')}"))["items"]
        return [source["http"] for item in items for source in item["sources"] if source["http"]]

    def found(self, name):
        """The first `found` event of `node find --json`."""
        lines = run(*self.find_argv, "--json", "--", name).splitlines()
        events = (json.loads(line) for line in lines if line.startswith("{"))
        return next(event for event in events if event["event"] == "found")

    def wait_published(self, names, holders):
        """Waits until the tracker knows all holders of the files, and their pages."""
        with DIRECTLY.open(f"{self.tracker.pages}/api/v1/events", timeout=PATIENCE_S) as changes:
            for name in names:
                while len(self.sources(name)) < holders:
                    changes.readline()


@contextlib.contextmanager
def swarm(args, files, addresses=(LOOPBACK,), flags=()):
    """A tracker, and on each address a node with the files. `files` maps names to bytes."""
    programs = {name: program(args, name) for name in ("tracker", "node")}
    with world(programs, parent=tempfile.gettempdir()) as made:
        def start(name, *argv):
            running = made.start(programs[name], *argv, "--headless")
            addr = running.wait_for(rf"^{name} listening on (\S+)")[1][1]
            return Site(addr, running.wait_for(r"pages at (http://\S+)/$")[1][1])

        tracker = start("tracker", "--listen", f"{LOOPBACK}:0", "--http", f"{LOOPBACK}:0")
        nodes = []
        for address in addresses:
            share = made.make_folder(address)
            for name, content in files.items():
                (share / name).write_bytes(content)
            joins = ["--tracker", tracker.addr, "--latency-file", "none", "--http", f"{address}:0"]
            nodes.append(start("node", address, 0, share, *joins, *flags))
        find_argv = [programs["node"], "find", "--tracker", tracker.addr, "--latency-file", "none"]
        swarm = Swarm(made, made.folder, tracker, nodes, find_argv)
        swarm.wait_published(files, len(nodes))
        yield swarm
