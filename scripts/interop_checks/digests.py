"""The digests that `find` prints, compared with those of the usual programs."""

import os

from .check import check, expect, run, tool, version_of
from .swarm import LOOPBACK, swarm

PIECE = 1 << 20
FILES = {f"of {size} bytes": os.urandom(size) for size in (0, 1, PIECE - 1, PIECE, PIECE + 1, 9 * PIECE + 17)}


def compare(args, summer, key):
    """Runs a program on the node's files, and compares each digest with the field `key` of `find`."""
    with swarm(args, FILES) as made:
        for name in FILES:
            summed = run(summer, made.folder / LOOPBACK / name).split()[0]
            printed = made.found(name)[key]
            expect(printed == summed, f"{name}: find prints {printed}, {summer} {summed}")
    return f"{version_of(summer)}: the same for {len(FILES)} files of 0 to {max(map(len, FILES.values()))} bytes"


@check("`find` prints the MD5 that md5sum computes")
def md5sum(args):
    return compare(args, tool("md5sum"), "md5")


@check("`find` prints the BLAKE3 that b3sum computes")
def b3sum(args):
    return compare(args, tool("b3sum"), "b3")
