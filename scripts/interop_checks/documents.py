"""Metrics and the OpenAPI document, read by Prometheus and by a validator."""

import json
import time
from urllib.parse import quote

from .check import DEADLINE_S, Failed, check, expect, run, tool, version_of
from .swarm import LOOPBACK, Site, swarm


def sites(made):
    return {"tracker": made.tracker, "node": made.nodes[0]}.items()


@check("Prometheus' checker accepts the metrics")
def promtool_metrics(args):
    promtool = tool("promtool")
    with swarm(args, {"a": b"a"}) as made:
        families = []
        # With one find, no metric of finds is 0.
        made.found("a")
        for name, site in sites(made):
            text = site.get("/metrics")
            said = run(promtool, "check", "metrics", given=text).strip()
            expect(not said, f"{name}: {said}")
            families.append(f"{text.count('# TYPE ')} families of a {name}")
    return f"{version_of(promtool)}: `check metrics` has no complaint about {' and '.join(families)}"


@check("Prometheus scrapes tracker and node in the OpenMetrics form")
def prometheus_scrapes(args):
    server, promtool = tool("prometheus"), tool("promtool")
    with swarm(args, {"a": b"a"}) as made:
        targets = [site.pages.removeprefix("http://") for _, site in sites(made)]
        config = made.folder / "prometheus.yml"
        config.write_text(json.dumps({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "scrape_configs": [{"job_name": "nearpeer", "static_configs": [{"targets": targets}]}],
        }))
        running = made.world.start(server, f"--config.file={config}", f"--storage.tsdb.path={made.folder}/data",
                             f"--web.listen-address={LOOPBACK}:0")
        addr = running.wait_for(r"Listening on.* address=(\S+)")[1][1]
        running.wait_for("Server is ready to receive")
        prometheus = Site(addr, f"http://{addr}")
        # Prometheus scrapes at its own times, so this asks until it has.
        deadline = time.monotonic() + DEADLINE_S
        while True:
            up = run(promtool, "query", "instant", prometheus.pages, "up")
            if up.count("=>") == len(targets):
                break
            if time.monotonic() > deadline:
                raise Failed(f"not scraped within {DEADLINE_S} s: {up}")
        health = json.loads(prometheus.get("/api/v1/targets"))["data"]["activeTargets"]
        faults = [f"{target['scrapeUrl']}: {target['lastError']}" for target in health if target["health"] != "up"]
        expect(not faults and up.count("=> 1 ") == len(targets), f"{faults}: {up}")
        samples = query(prometheus, "sum(scrape_samples_scraped)")
        expect(query(prometheus, "nearpeer_peers{state='live'}") == 1, "the tracker reports another number of nodes")
        # The older form has no units.
        said = json.loads(prometheus.get("/api/v1/metadata?metric=nearpeer_uptime_seconds"))
        [uptime] = said["data"]["nearpeer_uptime_seconds"]
        expect(uptime["unit"] == "seconds", f"not the OpenMetrics form: {uptime}")
    return f"{version_of(server)}: {len(targets)} of {len(targets)} targets up, {samples:.0f} samples, with their units"


def query(prometheus, expression):
    [found] = json.loads(prometheus.get(f"/api/v1/query?query={quote(expression)}"))["data"]["result"]
    return float(found["value"][1])


@check("a validator accepts the OpenAPI document")
def openapi_document(args):
    validator = tool("openapi-spec-validator")
    with swarm(args, {"a": b"a"}) as made:
        valid = []
        for name, site in sites(made):
            text = site.get("/api/v1/openapi.json")
            (made.folder / f"{name}.json").write_text(text)
            run(validator, made.folder / f"{name}.json")
            document = json.loads(text)
            valid.append(f"OpenAPI {document['openapi']}, {len(document['paths'])} paths from a {name}")
        # It must be able to say no.
        del document["paths"]["/metrics"]["get"]["responses"]["200"]["description"]
        (made.folder / "wrong.json").write_text(json.dumps(document))
        run(validator, made.folder / "wrong.json", exits=1)
    return f"{version_of(validator)}: valid: {'; '.join(valid)}; the same without a description is refused"
