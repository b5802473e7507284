"""aria2 fetches a file from two nodes at once with a metalink."""

import hashlib
import os

from .check import check, expect, run, tool, version_of
from .swarm import swarm

ADDRESSES = ("127.0.0.1", "127.0.0.2")
MIB = 1 << 20
# Long enough at two nodes' rates for aria2 to take from both.
SIZE = 64 * MIB
RATE = "8MiB"
NAME = "big survey.bin"
METALINK = "/metalink/big%20survey.bin.meta4"
# aria2's "checksum validation failed".
WRONG_CHECKSUM = 32


def aria2(*words, exits=0):
    split = ["--split=4", "--min-split-size=1M", "--max-connection-per-server=2"]
    plain = ["--no-conf", "--file-allocation=none", "--summary-interval=0", "--console-log-level=notice"]
    return run(tool("aria2c"), *plain, *split, *words, exits=exits)


def fetch_by(made, site, content, *how):
    """Fetches with the metalink of `site`. Returns the MiB that each node sent."""
    metalink, folder = made.folder / "wanted.meta4", made.folder / "to"
    text = site.get(METALINK)
    metalink.write_text(text)
    md5 = hashlib.md5(content).hexdigest()
    expect(f'<hash type="md5">{md5}</hash>' in text, f"the metalink has another MD5 than {md5}")
    before = [node.figure("nearpeer_upload_bytes_total") for node in made.nodes]
    said = aria2("--dir", folder, *(how or ("--metalink-file", metalink)))
    sent = [node.figure("nearpeer_upload_bytes_total") - was for node, was in zip(made.nodes, before)]
    expect((folder / NAME).read_bytes() == content, f"not what the nodes have: {said}")
    (folder / NAME).unlink()
    expect(min(sent) >= SIZE / 10 and sum(sent) >= SIZE, f"the nodes have sent {sent} bytes")
    return " and ".join(f"{number / MIB:.1f} MiB" for number in sent)


@check("aria2 fetches a file from two nodes with a node's metalink")
def aria2_node(args):
    version = version_of(tool("aria2c"))
    content = os.urandom(SIZE)
    with swarm(args, {NAME: content}, ADDRESSES, ["--max-upload", RATE]) as made:
        sent = fetch_by(made, made.nodes[0], content)
    return f"{version}: `-M`, 64 MiB at {RATE}/s a node: {sent} from them, MD5 and bytes right"


@check("aria2 fetches a file from two nodes with the tracker's metalink")
def aria2_tracker(args):
    version = version_of(tool("aria2c"))
    content = os.urandom(SIZE)
    with swarm(args, {NAME: content}, ADDRESSES, ["--max-upload", RATE]) as made:
        link = made.tracker.pages + METALINK
        sent = fetch_by(made, made.tracker, content, "--follow-metalink=mem", link)
    return f"{version}: given its address, 64 MiB at {RATE}/s a node: {sent} from them, MD5 and bytes right"


@check("aria2 refuses a file whose MD5 differs from the metalink")
def aria2_wrong(args):
    version = version_of(tool("aria2c"))
    content = os.urandom(MIB)
    with swarm(args, {NAME: content}) as made:
        md5 = hashlib.md5(content).hexdigest()
        metalink = made.folder / "wanted.meta4"
        text = made.nodes[0].get(METALINK)
        metalink.write_text(text.replace(md5, hashlib.md5(b"another").hexdigest()))
        aria2("--dir", made.folder, "--metalink-file", metalink, exits=WRONG_CHECKSUM)
    return f"{version}: exit {WRONG_CHECKSUM}, so it checks the MD5"
