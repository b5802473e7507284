"""curl and wget fetch files of a node: whole, in ranges, resumed, and only if they have changed."""

import os
import re
from urllib.parse import unquote

from .check import check, expect, run, tool, version_of
from .swarm import swarm

SURVEY = "survey.bin"
SIZE = 5_000_001
SURVEY_BYTES = os.urandom(SIZE)
# Names that need quotes somewhere, and sizes at the limits of buffers and pieces.
AWKWARD = {
    "two words.txt": b"a",
    "Übersicht 地図.bin": os.urandom(1 << 20),
    "100% #1?;&+=.txt": os.urandom((1 << 20) + 1),
    "it's \"quoted\".txt": b"q" * 65537,
    "empty": b"",
}


def curl(*words, exits=0):
    """Runs curl. Returns status, received bytes and ETag, as `--write-out` prints them."""
    form = "\n%{http_code} %{size_download} %header{etag}"
    said = run(tool("curl"), "-q", "--silent", "--show-error", "--write-out", form, *words, exits=exits)
    code, size, etag = said.splitlines()[-1].split(" ", 2)
    return int(code), int(size), etag


def expect_same(path, content, what):
    expect(path.read_bytes() == content, f"{what}: {path.name} differs from the node's file")


@check("curl fetches files from a node, whatever their names")
def curl_whole(args):
    version = version_of(tool("curl"))
    with swarm(args, {SURVEY: SURVEY_BYTES, **AWKWARD}) as made:
        total = 0
        for number, (name, content) in enumerate({SURVEY: SURVEY_BYTES, **AWKWARD}.items()):
            [link] = made.sources(name)
            copy = made.folder / f"copy-{number}"
            code, size, _ = curl("--output", copy, "--create-dirs", link)
            # curl makes no file for an empty reply.
            copy.touch()
            expect_same(copy, content, name)
            expect((code, size) == (200, len(content)), f"{name}: {code}, {size} bytes")
            total += size
        named = made.world.make_folder("named")
        [link] = made.sources("two words.txt")
        curl("--remote-name", "--remote-header-name", "--output-dir", named, link)
        expect_same(named / "two words.txt", AWKWARD["two words.txt"], "--remote-header-name")
    names = ", ".join(f"`{name}`" for name in AWKWARD)
    return f"{version}: {total} bytes in {len(AWKWARD) + 1} files, each byte the same, {names} among them"


@check("curl fetches ranges of a file")
def curl_ranges(args):
    version = version_of(tool("curl"))
    with swarm(args, {SURVEY: SURVEY_BYTES}) as made:
        [link] = made.sources(SURVEY)
        part = made.folder / "part"
        for words, status, content in [
            ("0-65535", 206, SURVEY_BYTES[:65536]),
            ("2000000-2999999", 206, SURVEY_BYTES[2000000:3000000]),
            ("-4097", 206, SURVEY_BYTES[-4097:]),
            ("4000000-", 206, SURVEY_BYTES[4000000:]),
            ("5000000-9999999", 206, SURVEY_BYTES[-1:]),
            # The node answers several ranges with the whole file, as RFC 9110 (14.2) allows.
            ("0-9,100-199", 200, SURVEY_BYTES),
        ]:
            code, size, _ = curl("--range", words, "--output", part, link)
            expect((code, size) == (status, len(content)), f"-r {words}: {code}, {size} bytes")
            expect_same(part, content, f"-r {words}")
        code, _, _ = curl("--range", f"{SIZE}-", "--output", part, link)
        expect(code == 416, f"after the end: {code}")
    return (f"{version}: first, middle, suffix, open and beyond the end are 206 with these bytes, after the end 416; "
            "several at once are 200 and the whole file")


@check("curl resumes a half file")
def curl_resume(args):
    version = version_of(tool("curl"))
    with swarm(args, {SURVEY: SURVEY_BYTES}) as made:
        [link] = made.sources(SURVEY)
        copy, half = made.folder / "copy", SIZE // 2
        copy.write_bytes(SURVEY_BYTES[:half])
        code, size, _ = curl("--continue-at", "-", "--output", copy, link)
        expect((code, size) == (206, SIZE - half), f"{code}, {size} bytes")
        expect_same(copy, SURVEY_BYTES, "resumed")
        code, _, _ = curl("--continue-at", "-", "--output", copy, link)
        expect(code == 416, f"once more: {code}")
        expect_same(copy, SURVEY_BYTES, "resumed once more")
    return f"{version}: `-C -` at {half} of {SIZE} bytes: 206, {size} fetched, the file is right; once more: 416, still right"


@check("curl does not fetch an unchanged file again, and can request headers only")
def curl_conditions(args):
    version = version_of(tool("curl"))
    with swarm(args, {SURVEY: SURVEY_BYTES}) as made:
        [link] = made.sources(SURVEY)
        copy, other, tag = made.folder / "copy", made.folder / "other", made.folder / "etag"
        first = curl("--remote-time", "--etag-save", tag, "--output", copy, link)
        b3 = made.found(SURVEY)["b3"]
        expect(first == (200, SIZE, f'"{b3}"'), f"first: {first}")
        share = made.folder / "127.0.0.1" / SURVEY
        expect(int(copy.stat().st_mtime) == int(share.stat().st_mtime), "--remote-time: another time")
        for words, status in [
            (("--etag-compare", tag), 304),
            (("--header", f'If-None-Match: "{b3}"'), 304),
            (("--header", 'If-None-Match: "0"'), 200),
            (("--time-cond", copy), 304),
            (("--time-cond", "Sun, 06 Nov 1994 08:49:37 GMT"), 200),
            (("--header", 'If-Match: "0"'), 412),
        ]:
            code, size, _ = curl(*words, "--output", other, link)
            expect(code == status, f"{' '.join(map(str, words))}: {code}, not {status}")
            expect(size == {304: 0, 200: SIZE}.get(status, size), f"{status} with {size} bytes")
        head = run(tool("curl"), "-q", "--silent", "--show-error", "--head", link)
        expect(head.startswith("HTTP/1.1 200 ") and f"content-length: {SIZE}" in head.lower(), f"HEAD: {head}")
        expect("accept-ranges: bytes" in head.lower() and b3 in head, f"HEAD: {head}")
    return (f"{version}: `--etag-compare`, If-None-Match and `-z` with what it has are 304 and 0 bytes, with another 200, "
            f"If-Match with another 412; HEAD says {SIZE} bytes; the ETag is the BLAKE3 that `find` prints")


def wget(*words, exits=0):
    return run(tool("wget"), "--no-config", "--no-verbose", "--tries=1", *words, exits=exits)


@check("wget saves files of a node under their names")
def wget_whole(args):
    version = version_of(tool("wget"))
    with swarm(args, {SURVEY: SURVEY_BYTES, **AWKWARD}) as made:
        for name, content in {SURVEY: SURVEY_BYTES, **AWKWARD}.items():
            [link] = made.sources(name)
            folder = made.world.make_folder("to")
            wget("--content-disposition", "--restrict-file-names=nocontrol", "--directory-prefix", folder, link)
            [copy] = folder.iterdir()
            expect_same(copy, content, name)
            expect(unquote(copy.name) == name, f"{name}: saved as {copy.name}")
            copy.unlink()
            folder.rmdir()
    return f"{version}: `--content-disposition`: {len(AWKWARD) + 1} files, each byte and each name the same"


@check("wget resumes a half file, and does not fetch an unchanged file again")
def wget_resume(args):
    version = version_of(tool("wget"))
    with swarm(args, {SURVEY: SURVEY_BYTES}) as made:
        [link] = made.sources(SURVEY)
        folder, half = made.world.make_folder("to"), SIZE // 2
        copy = folder / SURVEY
        copy.write_bytes(SURVEY_BYTES[:half])
        said = wget("--verbose", "--continue", "--directory-prefix", folder, link)
        expect("206 Partial Content" in said, said)
        left = re.search(r"Length: (\d+) .*?, (\d+) .*remaining", said)
        expect(left and (int(left[1]), int(left[2])) == (SIZE, SIZE - half), said)
        expect_same(copy, SURVEY_BYTES, "resumed")
        said = wget("--verbose", "--continue", "--directory-prefix", folder, link)
        expect("already fully retrieved" in said, said)
        said = wget("--verbose", "--timestamping", "--directory-prefix", folder, link)
        expect("304 Not Modified" in said, said)
        expect_same(copy, SURVEY_BYTES, "asked for again")
    return f"{version}: `-c` at {half} of {SIZE} bytes: 206, {SIZE - half} fetched, the file is right; `-c` again: nothing; `-N`: 304"
