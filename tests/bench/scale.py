"""What a large mesh costs: 1,000 services with 10 endpoints each, 20 sidecars, one control plane.

    python tests/bench/scale.py [--services N] [--endpoints N] [--sidecars N] [--rules]

Prints JSON: time to the first full push (from the start of the control plane until all sidecars have acknowledged everything),
memory, and what one change of a VirtualService and of an endpoint costs.
"""
import argparse
import json
import pathlib
import statistics
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import fleet  # noqa: E402


def summary(values):
    return {"median_ms": round(statistics.median(values), 1), "max_ms": round(max(values), 1)}


def write_world(f, options):
    """Services in namespaces of fifty; the pods one a file, as the kubelet of the one-machine mode writes them."""
    for i in range(options.services):
        ns, name = f"ns-{i // 50}", f"svc-{i}"
        documents = [fleet.document("Service", ns, name, spec={
            "selector": {"app": name}, "clusterIP": f"10.97.{i // 250}.{i % 250 + 1}",
            "ports": [{"name": "http", "port": 80, "targetPort": 8080}]})]
        if options.rules:
            documents.append(fleet.document("VirtualService", ns, name, spec={"hosts": [name], "http": [
                {"timeout": "5s", "route": [{"destination": {"host": name, "subset": "v1"}}]}]}))
            documents.append(fleet.document("DestinationRule", ns, name, spec={
                "host": name, "trafficPolicy": {"connectionPool": {"http": {"http2MaxRequests": 100}}},
                "subsets": [{"name": "v1", "labels": {"version": "v1"}}]}))
        (f.config / f"{ns}.{name}.yaml").write_text("\n---\n".join(documents))
        for e in range(options.endpoints):
            f.write_pod(ns, f"{name}-{e}", endpoint_ip(i, e), app=name, version="v1")


def endpoint_ip(service, endpoint):
    n = service * 10 + endpoint
    return f"10.{100 + n // 62500}.{n // 250 % 250}.{n % 250 + 1}"


def wait_synced(f, limit=300):
    end = time.monotonic() + limit
    while time.monotonic() < end:
        f.check_alive()
        try:
            proxies = json.loads(f.outrigger("status", "-o", "json"))
        except Exception:  # noqa: BLE001: it does not serve yet
            proxies = []
        if len(proxies) == f.count and all(t["state"] == "SYNCED" for p in proxies for t in p["types"].values()):
            return time.monotonic()
        time.sleep(0.05)
    raise AssertionError(f"not in step after {limit} s: see {f.where}")


def cpu(f):
    return fleet.cpu_us(f.control.pid), sum(fleet.cpu_us(s.pid) for s in f.sidecars)


def cost(f, before, changes):
    """CPU milliseconds of one change: of the control plane, and of one sidecar."""
    after = cpu(f)
    return {"control_cpu_ms": round((after[0] - before[0]) / changes / 1000, 2),
            "sidecar_cpu_ms": round((after[1] - before[1]) / changes / f.count / 1000, 2)}


def change_rules(f, changes):
    last, before = [], cpu(f)
    for i in range(changes):
        at = f.write_rule(f"rule-{i}")
        last.append((max(f.await_all(f"rule-{i}", pause=0.02)) - at) * 1000)
        time.sleep(0.5)
    return {**summary(last), **cost(f, before, changes)}


def change_endpoints(f, changes):
    """A pod becomes unready, or ready again; until every sidecar has acknowledged it."""
    took, before = [], cpu(f)
    for i in range(changes):
        at = time.monotonic()
        (f.state / "ns-0.svc-0-0.json").write_text(
            fleet.pod("ns-0", "svc-0-0", endpoint_ip(0, 0), ready=i % 2 == 1, app="svc-0", version="v1"))
        took.append((wait_told(f, at) - at) * 1000)
        time.sleep(0.5)
    return {**summary(took), **cost(f, before, changes)}


def wait_told(f, since, limit=30):
    """The newest moment at which a sidecar acknowledged endpoints, once all have since."""
    wall = time.time() - (time.monotonic() - since)
    end = time.monotonic() + limit
    while time.monotonic() < end:
        time.sleep(0.1)
        proxies = json.loads(f.outrigger("status", "-o", "json"))
        answered = [parse_time(p["types"]["EDS"]["answered"]) for p in proxies]
        if min(answered) > wall and all(p["types"]["EDS"]["state"] == "SYNCED" for p in proxies):
            return since + max(answered) - wall
    raise AssertionError(f"endpoints are not told after {limit} s: see {f.where}")


def parse_time(text):
    import datetime
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() if text else 0


def measure(options, where):
    f = fleet.Fleet(options.build, where, options.sidecars)
    write_world(f, options)
    f.write_rule("first")
    start = time.monotonic()
    with f:
        f.await_all("first", limit=300, pause=0.1)
        answered = time.monotonic()
        synced = wait_synced(f)
        time.sleep(2)
        result = {"services": options.services, "endpoints": options.services * options.endpoints,
                  "sidecars": options.sidecars, "first_answer_s": round(answered - start, 2),
                  "first_push_s": round(synced - start, 2),
                  "first_push_control_cpu_ms": round(fleet.cpu_us(f.control.pid) / 1000),
                  "first_push_sidecar_cpu_ms": round(fleet.cpu_us(f.sidecars[0].pid) / 1000)}
        result["virtual_service"] = change_rules(f, options.changes)
        result["endpoint"] = change_endpoints(f, options.changes)
        now, peak = fleet.memory_kib(f.control.pid)
        result["control_mib"] = {"now": now // 1024, "peak": peak // 1024}
        result["sidecar_mib"] = fleet.memory_kib(f.sidecars[0].pid)[0] // 1024
        return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--endpoints", type=int, default=10, help="of each service")
    parser.add_argument("--sidecars", type=int, default=20)
    parser.add_argument("--rules", action="store_true", help="a VirtualService and a DestinationRule for each service")
    parser.add_argument("--changes", type=int, default=10)
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parents[2] / "build")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.inside:
        print(fleet.isolated([__file__, "--inside", *sys.argv[1:]], timeout=3600), end="")
        return
    with tempfile.TemporaryDirectory() as where:
        print(json.dumps(measure(options, pathlib.Path(where) / "fleet"), indent=1))


if __name__ == "__main__":
    main()
