"""The type of a check, and how a check runs programs: those of nearpeer and foreign ones."""

import re
import shutil
import subprocess
from pathlib import Path

# `Failed`: a tool does not accept its input, or a program of nearpeer does not do its work.
from compare_stage import ENVIRONMENT, Failed

ROOT = Path(__file__).resolve().parent.parent.parent
DEADLINE_S = 60
# Without the user's proxies and language.
PLAIN = {**ENVIRONMENT, "LC_ALL": "C.UTF-8", "TZ": "UTC"}

# Name to (what the check shows, function), in the order of the report.
CHECKS = {}


class Skipped(Exception):
    """The tool or its input is missing."""


def check(shows):
    """Makes a function a check. The function returns a line with the result and the tool's version, or raises `Failed` or `Skipped`."""
    def note(function):
        CHECKS[function.__name__] = (shows, function)
        return function
    return note


def expect(holds, what):
    if not holds:
        raise Failed(what)


def run(*argv, cwd=ROOT, exits=0, deadline_s=DEADLINE_S, given="", env=PLAIN):
    """Runs a program to its end, and returns its standard output and standard error as one text.

    `given` is its standard input. The exit code must be `exits`. With `None` any exit code is accepted.
    """
    argv = [str(word) for word in argv]
    try:
        ended = subprocess.run(argv, cwd=cwd, input=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True, timeout=deadline_s, env=env)
    except subprocess.TimeoutExpired:
        raise Failed(f"`{' '.join(argv)}` does not end within {deadline_s} s") from None
    if exits is not None and ended.returncode != exits:
        raise Failed(f"`{' '.join(argv)}` ended with {ended.returncode}: {ended.stdout.strip()}")
    return ended.stdout


def tool(name):
    """The path of a foreign program."""
    path = shutil.which(name)
    if path is None:
        raise Skipped(f"no `{name}` on this machine")
    return path


def program(args, name):
    """The path of a program of nearpeer."""
    folders = [args.bin] if args.bin else [ROOT / "target" / "release", ROOT / "target" / "debug"]
    for folder in folders:
        if (Path(folder) / name).is_file():
            return Path(folder).resolve() / name
    raise Skipped(f"no `{name}` in {' or '.join(str(folder) for folder in folders)}: run `make setup`")


def first_line(text):
    return text.strip().splitlines()[0].strip() if text.strip() else ""


def version_of(path):
    """Name and version: the first line of `--version`, up to and including its first number."""
    line = first_line(run(path, "--version"))
    found = re.match(r".*?\s\d[\w.+~-]*", line)
    return found[0] if found else line
