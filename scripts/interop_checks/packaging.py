"""Packaging and shortcuts, read by systemd, make, ShellCheck and the programs for containers."""

import hashlib
import json
import os
import re
import shutil
import tempfile
from pathlib import Path

from .check import ROOT, Failed, Skipped, check, first_line, program, run, tool

# Above this `systemd-analyze security` calls a unit more than OK.
EXPOSURE_MAX = 2.0


@check("systemd accepts `packaging/systemd/`")
def systemd_units(args):
    analyze = tool("systemd-analyze")
    version = first_line(run(analyze, "--version"))
    with tempfile.TemporaryDirectory() as folder:
        copies = []
        for unit in sorted((ROOT / "packaging" / "systemd").glob("*.service")):
            # As installed: the commands of the units must be there.
            here = program(args, "node").parent
            copy = Path(folder) / unit.name
            copy.write_text(unit.read_text().replace("/usr/lib/nearpeer/", f"{here}/"))
            copies.append(copy)
        said = run(analyze, "verify", "--man=no", *copies).strip()
        if said:
            raise Failed(f"verify: {said}")
    return f"{version}: `verify` has no complaint about {', '.join(f'`{copy.name}`' for copy in copies)}"


@check("the units restrict what a service can do")
def systemd_exposure(args):
    analyze = tool("systemd-analyze")
    levels = []
    for unit in sorted((ROOT / "packaging" / "systemd").glob("*.service")):
        said = run(analyze, "security", "--offline=yes", "--no-pager", unit)
        level = re.search(r"exposure level for \S+: ([0-9.]+) (\w+)", said)
        if level is None:
            raise Failed(f"`security` prints no level: {first_line(said)}")
        if float(level[1]) > EXPOSURE_MAX:
            raise Failed(f"{unit.name}: exposure {level[1]}, more than {EXPOSURE_MAX}")
        levels.append(f"`{unit.name}` {level[1]} {level[2]}")
    return f"`security --offline=yes`: exposure {', '.join(levels)} of 10"


def group(analyze, name, seen):
    """The system calls of a systemd group, and of the groups in it."""
    calls = set()
    for line in run(analyze, "syscall-filter", "--no-pager", name).splitlines()[1:]:
        word = line.strip()
        if word.startswith("@") and word not in seen:
            seen.add(word)
            calls |= group(analyze, word, seen)
        elif re.fullmatch(r"[a-z_][a-z0-9_]*", word):
            calls.add(word)
    return calls


@check("the units' filter of system calls allows all calls of the demo")
def systemd_syscalls(args):
    analyze, strace, demo = tool("systemd-analyze"), tool("strace"), program(args, "demo")
    version = first_line(run(strace, "--version"))
    with tempfile.TemporaryDirectory() as folder:
        counts = Path(folder) / "counts"
        run(strace, "--follow-forks", "--summary-only", "--quiet=all", "-o", counts, demo)
        rows = re.findall(r"^\s*[0-9.]+\s.*?(\S+)$", counts.read_text(), re.MULTILINE)
    used = {name for name in rows if name != "total"}
    if len(used) < 20:
        raise Failed(f"strace counted only {sorted(used)}")
    for unit in sorted((ROOT / "packaging" / "systemd").glob("*.service")):
        allowed = set()
        for line in re.findall(r"^SystemCallFilter=(.*)$", unit.read_text(), re.MULTILINE):
            calls = set().union(*(group(analyze, name, set()) for name in line.lstrip("~").split()))
            allowed = allowed - calls if line.startswith("~") else allowed | calls
        if used - allowed:
            raise Failed(f"{unit.name} forbids {', '.join(sorted(used - allowed))}")
    return f"{version}: each of the {len(used)} system calls made is allowed"


@check("`make` lists every shortcut, and each exists")
def make_list(args):
    make = tool("make")
    version = first_line(run(make, "--version"))
    listed = re.findall(r"^  make (\S+)", run(make, "--no-print-directory"), re.MULTILINE)
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    if set(listed) != set(phony):
        raise Failed(f"listed are {listed}, there are {phony}")
    for target in listed:
        run(make, "--dry-run", "--warn-undefined-variables", target)
    return f"{version}: {', '.join(listed)}"


@check("`make up try down clean` as a user runs it, without the build")
def make_swarm(args):
    make, folder = tool("make"), program(args, "node").parent
    with tempfile.TemporaryDirectory() as made:
        # `setup` counts as done. Four ports in a row are usually free.
        argv = [make, "--no-print-directory", "-o", "setup", f"RUN={made}/run", f"BIN={folder}"]
        argv += ["DATASET=3x64KiB,1x2MiB"]
        for port in (27440, 28440, 29440):
            try:
                run(*argv, f"PORT={port}", "up")
                break
            except Failed as why:
                run(*argv, f"PORT={port}", "clean")
                failure = why
        else:
            raise failure
        try:
            said = run(*argv, f"PORT={port}", "try")
        finally:
            run(*argv, f"PORT={port}", "down", "clean")
        if Path(made, "run").exists():
            raise Failed("`make clean` leaves something")
    fetched = len(re.findall(r"^downloaded ", said, re.MULTILINE))
    if fetched != 3:
        raise Failed(f"{fetched} files were fetched: {said}")
    return "a tracker and three nodes with generated data; a file of each was fetched and is the same"


@check("ShellCheck accepts the shell scripts")
def shellcheck(args):
    checker = tool("shellcheck")
    version = re.search(r"version: (\S+)", run(checker, "--version"))[1]
    run(checker, ROOT / "scripts" / "swarm", ROOT / "packaging" / "docker" / "healthcheck")
    return f"shellcheck {version}: nothing found"


@check("the linter accepts the Dockerfile")
def dockerfile_lint(args):
    linter = tool("hadolint")
    run(linter, ROOT / "packaging" / "docker" / "Dockerfile")
    return f"{first_line(run(linter, '--version'))}: nothing found"


@check("the files that the Dockerfile copies are enough to build the programs")
def docker_context(args):
    cargo = tool("cargo")
    dockerfile = (ROOT / "packaging" / "docker" / "Dockerfile").read_text()
    copied = re.findall(r"^COPY (?!--from)(?!packaging)(.*) \S+$", dockerfile, re.MULTILINE)
    allowed = set(re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    with tempfile.TemporaryDirectory() as folder:
        for name in " ".join(copied).split():
            if name not in allowed:
                raise Failed(f".dockerignore hides {name}")
            source, copy = ROOT / name, Path(folder) / name
            shutil.copytree(source, copy) if source.is_dir() else shutil.copy2(source, copy)
        # The target directory has the built dependencies.
        argv = [cargo, "check", "--quiet", "--locked", "--offline", "--bins", "--target-dir", ROOT / "target"]
        run(*argv, cwd=folder, deadline_s=900)
    version = first_line(run(cargo, "--version"))
    return f"{version}: `cargo check --locked --bins` with these files alone; the image itself was not built"


@check("`docker compose` accepts the compose file")
def compose_config(args):
    docker = tool("docker")
    version = run(docker, "compose", "version", exits=None)
    if "version" not in version.lower() or "unknown" in version.lower():
        version = first_line(run(docker, "--version"))
        raise Skipped(f"{version} has no `compose`; `up` and the health checks were not run either")
    run(docker, "compose", "--file", ROOT / "packaging" / "docker" / "compose.yaml", "config", "--quiet")
    return f"{first_line(version)}: `config` accepts it; not started here"


@check("the compose file matches the schema of the Compose Specification")
def compose_schema(args):
    """The schema is schema/compose-spec.json of github.com/compose-spec/compose-spec; COMPOSE_SCHEMA names a copy."""
    try:
        import jsonschema
        import yaml
    except ImportError as why:
        raise Skipped(f"no Python module `{why.name}` on this machine") from None
    path = os.environ.get("COMPOSE_SCHEMA")
    if path is None:
        raise Skipped("no schema: name a copy of compose-spec.json in COMPOSE_SCHEMA")
    text = Path(path).read_bytes()
    composed = yaml.safe_load((ROOT / "packaging" / "docker" / "compose.yaml").read_text())
    for fault in jsonschema.Draft7Validator(json.loads(text)).iter_errors(composed):
        raise Failed(f"{'.'.join(map(str, fault.path))}: {fault.message}")
    return f"schema with sha256 {hashlib.sha256(text).hexdigest()[:12]}: {', '.join(composed['services'])}"
