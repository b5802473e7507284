"""The output of `node completions` in its shells, with keys typed at a pseudo-terminal."""

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import tempfile
import termios
import time
from pathlib import Path

from compare_stage import end_group

from .check import DEADLINE_S, PLAIN, Failed, check, expect, program, run, tool, version_of

# The prompt of the shells, and the beginning of the line that the stand-in for `node` prints.
PROMPT, RAN = "ready> ", "ran:"
ROWS, COLUMNS = 24, 160


class Terminal:
    """A shell at a pseudo-terminal."""

    def __init__(self, argv, env):
        self.ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", ROWS, COLUMNS, 0, 0))
        # The shell needs a controlling terminal: a new session, then TIOCSCTTY.
        self.process = subprocess.Popen(
            argv, env=env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(theirs)
        self.shown = ""

    def type(self, text):
        os.write(self.ours, text.encode())

    def wait_for(self, pattern):
        """Waits until the terminal shows `pattern`, and drops the text up to its end. Returns the match."""
        deadline = time.monotonic() + DEADLINE_S
        while not (match := re.search(pattern, self.shown)):
            if not select.select([self.ours], [], [], max(0, deadline - time.monotonic()))[0]:
                raise Failed(f"no `{pattern}`, but {self.shown!r}")
            try:
                self.shown += os.read(self.ours, 1 << 16).decode(errors="replace")
            except OSError:
                raise Failed(f"the shell ended: {self.shown!r}") from None
        self.shown = self.shown[match.end():]
        return match

    def close(self):
        end_group(self.process)
        os.close(self.ours)


@contextlib.contextmanager
def terminal(argv, **env):
    opened = Terminal([str(word) for word in argv], {**PLAIN, "TERM": "dumb", **env})
    try:
        opened.wait_for(PROMPT)
        yield opened
    finally:
        opened.close()


def complete(opened, line):
    """Types `line`, TAB and Enter. Returns the words of the command that runs."""
    opened.type(f"node {line}\t\n")
    words = opened.wait_for(rf"{RAN}(.*?)\r?\n")[1].strip()
    opened.wait_for(PROMPT)
    return words


def check_completions(args, name, start):
    """Completes every verb and two flags. `start(path, folder, completions)` returns the shell's arguments and environment."""
    path, node = tool(name), program(args, "node")
    verbs = re.findall(r"^  ([a-z]+)  ", run(node, "--help").split("Arguments:")[0], re.MULTILINE)
    expect(len(verbs) >= 10, f"the help has the verbs {verbs}")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        completions = folder / "completions"
        completions.write_text(run(node, "completions", name))
        argv, env = start(path, folder, completions)
        with terminal(argv, HOME=made, **env) as opened:
            for line, expected in [
                *((verb[:-1], verb) for verb in verbs),
                ("download --checks", "download --checksum"),
                ("--max-up", "--max-upload"),
            ]:
                words = complete(opened, line)
                expect(words == expected, f"`node {line}` and TAB: `{words}`, not `{expected}`")
            # An unknown word is not completed.
            expect(complete(opened, "xyzz") == "xyzz", "`xyzz` is completed")
    return f"{version_of(path)}: {len(verbs)} of {len(verbs)} verbs, `--checksum` of `download` and `--max-upload` by TAB"


@check("bash completes commands and flags")
def bash_completions(args):
    def start(path, folder, completions):
        rc = folder / "rc"
        rc.write_text(f"source {completions}\nPS1='{PROMPT}'\nnode() {{ echo \"{RAN}$*\"; }}\n")
        return [path, "--noprofile", "--rcfile", rc, "-i"], {"INPUTRC": "/dev/null"}
    return check_completions(args, "bash", start)


@check("zsh completes commands and flags")
def zsh_completions(args):
    def start(path, folder, completions):
        # As packages install it: in the function path, under the function's name.
        completions.rename(folder / "_node")
        (folder / ".zshrc").write_text(
            f"fpath=({folder} $fpath)\nautoload -Uz compinit && compinit -u -D\n"
            f"PS1='{PROMPT}'\nnode() {{ echo \"{RAN}$*\" }}\n")
        return [path, "-d", "-i"], {"ZDOTDIR": str(folder)}
    return check_completions(args, "zsh", start)


@check("fish completes commands and flags")
def fish_completions(args):
    def start(path, _, completions):
        said = (f"source {completions}; function fish_prompt; echo -n '{PROMPT}'; end; "
                f"function node; echo \"{RAN}$argv\"; end")
        return [path, "--no-config", "--private", "--init-command", said, "-i"], {}
    return check_completions(args, "fish", start)
