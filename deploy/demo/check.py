"""The demo's steps, each with what it must show; deploy/demo.sh --check runs them and prints a table."""
import json
import math
import pathlib
import signal
import sys
import time

from machine import GATEWAY, Fault
from node_client import running

HERE = pathlib.Path(__file__).resolve().parent
FLEET = HERE / "fleet.yaml"
RULES = HERE / "rules"
WEBAPP = "http://webapp:8080/"
PHOTOS = "http://photo-service:8080/"
V1, V2 = ('"name":"photo-service","version":"%s"' % v for v in ("v1", "v2"))


class Failed(Exception):
    """A step has not shown what it must."""


def must(condition, text):
    if not condition:
        raise Failed(text)


def until(condition, timeout, text):
    """Waits until it holds; how long that took."""
    start = time.monotonic()
    while not condition():
        must(time.monotonic() - start < timeout, f"{text}: not within {timeout} s")
        time.sleep(0.05)
    return time.monotonic() - start


class Mesh:
    """A node with a control plane, a directory of rules, and the fleet."""

    def __init__(self, node):
        self.node = node
        self.config = node.directory / "config"
        self.config.mkdir(exist_ok=True)

    # The control plane.

    def start_control(self, *flags):
        run = self.node.directory
        self.node.spawn(name="control", argv=[
            "outrigger-control", "--config", str(self.config), "--state", str(run / "state"), "--xds", f"{GATEWAY}:15010",
            "--socket", str(run / "control.sock"), *flags], env={"OUTRIGGER_RUN": str(run)})
        refused = 7  # by curl's count
        until(lambda: self.node.exec(argv=["curl", "-s", "-m", "1", f"http://{GATEWAY}:15010/"])["code"] != refused, 10,
              f"the control plane's port; see {run}/log/control.log")

    def kill_control(self):
        self.node.signal(name="control", number=signal.SIGKILL)
        self.node.reap(name="control")
        (self.node.directory / "control.sock").unlink(missing_ok=True)

    def outrigger(self, *arguments):
        """The operator's program, as the operator runs it."""
        argv = ["env", f"OUTRIGGER_RUN={self.node.directory}", "outrigger", *arguments]
        return self.node.exec(argv=argv, timeout=30)

    def put(self, source, name=None):
        """A file into the directory that the control plane watches, with or without a control plane."""
        path = self.config / (name or pathlib.Path(source).name)
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.write_text(pathlib.Path(source).read_text())
        temporary.rename(path)

    def apply(self, name):
        """A file of rules, as an operator puts it in force."""
        done = self.outrigger("apply", "-f", str(RULES / f"{name}.yaml"))
        must(done["code"] == 0, f"outrigger apply -f {name}.yaml: {done['err']}{done['out']}")

    # Traffic.

    def load(self, url, rps, seconds, *flags, pod="visitor-1"):
        done = self.node.exec(pod=pod, timeout=seconds + 30, argv=[
            "outrigger-demo-load", "--url", url, "--rps", str(rps), "--seconds", str(seconds), *flags], timeout_s=seconds + 60)
        must(done["code"] == 0, f"load on {url}: {done['err'].strip()}")
        return json.loads(done["out"])

    def shares(self, url, count, *headers, rps=200):
        """How many of so many requests were answered by photo-service v1 and v2."""
        flags = [x for h in headers for x in ("-H", h)]
        got = self.load(url, rps, max(1, count // rps), "--count", V1, "--count", V2, *flags)
        must(got["codes"] == {"200": got["sent"]}, f"{url}: errors: {got['codes']}")
        return got["sent"], got["hits"][V1], got["hits"][V2]

    def ask(self, url, count, *headers):
        """The same of so many calls one after the other: soon done, for looking at what is in force now."""
        flags = " ".join(f"-H '{h}'" for h in headers)
        out = self.node.sh("visitor-1", f"for i in $(seq {count}); do curl -s -m 5 {flags} {url}; echo; done", timeout=60)
        return count, out.count(V1), out.count(V2)

    def rule(self, name, in_force, *headers, count=10):
        """Puts a rule about photo-service in force; how long that took. in_force judges the versions of `count` answers."""
        self.apply("photo-versions")
        self.apply(name)
        return until(lambda: in_force(*self.ask(PHOTOS, count, *headers)), 5, f"{name}.yaml in force")


# ---- Steps. Each returns what it has measured. ----


def plain(mesh):
    """the fleet without the mesh: every answer comes straight from an application"""
    node = mesh.node
    node.apply(path=str(FLEET), inject=False)
    write_names(node)
    node.wait(timeout=30)
    write_names(node)
    got = mesh.load(WEBAPP, 50, 4)
    must(got["codes"] == {"200": 200}, f"errors: {got['codes']}")
    names = {c["name"] for p in node.list() for c in p["containers"]}
    must(names == {"app"}, f"containers besides the applications: {names}")
    head = node.sh("visitor-1", f"curl -s -D - -o /dev/null {WEBAPP}")
    must("x-envoy-upstream-service-time" not in head, f"a proxy was in the way: {head}")
    return f"{got['codes']['200']} of 200, p99 {got['p99_ms']:.0f} ms, no sidecar"


def write_names(node):
    """Without a control plane names lead straight to pods."""
    state = [json.loads(p.read_text()) for p in (node.directory / "state").glob("*.json")]
    node.names(lines=[f"{p['status']['podIP']} {p['metadata']['labels']['app']}" for p in state])


def injected(mesh):
    """the same file injected: every pod has a sidecar, and every call goes through two"""
    node = mesh.node
    mesh.put(FLEET)
    mesh.start_control()
    node.apply(path=str(FLEET), inject=True)
    node.wait(timeout=60)
    pods = node.list()
    without = [p["pod"] for p in pods if "istio-proxy" not in {c["name"] for c in p["containers"]}]
    must(not without, f"without a sidecar: {', '.join(without)}")
    until(lambda: mesh.load(WEBAPP, 20, 1)["codes"] == {"200": 20}, 10, "the first calls")
    head = node.sh("visitor-1", f"curl -s -D - -o /dev/null {WEBAPP}").lower()
    must("x-envoy-upstream-service-time" in head, f"no proxy was in the way: {head}")
    return f"{len(pods)} pods, each with a sidecar"


def calm(mesh):
    """calm: 200 requests a second, no error, p99 below 100 ms"""
    mesh.load(WEBAPP, 100, 2)  # connections are made once
    got = mesh.load(WEBAPP, 200, 10)
    must(got["codes"] == {"200": got["sent"]}, f"errors: {got['codes']}")
    must(got["p99_ms"] < 100, f"p99 {got['p99_ms']} ms")
    return f"{got['sent']} of {got['sent']}, p50 {got['p50_ms']:.1f} ms, p99 {got['p99_ms']:.1f} ms"


def dark(mesh):
    """dark release: version 2 for those alone who send x-my-header: canary"""
    took = mesh.rule("photo-dark", lambda sent, v1, v2: v2 == sent, "x-my-header: canary")
    sent, _, v2 = mesh.shares(WEBAPP, 200, "x-my-header: canary")
    must(v2 == sent, f"with the header {v2} of {sent} on version 2")
    others, v1, other_v2 = mesh.shares(WEBAPP, 200)
    must(other_v2 == 0 and v1 == others, f"without the header {other_v2} of {others} on version 2")
    return f"{v2} of {sent} with the header, {other_v2} of {others} without; in force within {took:.2f} s"


def canary(mesh):
    """canary: 10 %, 50 %, 100 % of the requests get version 2"""
    shown = []
    mesh.rule("photo-v1", lambda sent, v1, v2: v1 == sent)
    in_force = {10: lambda sent, v1, v2: v2 > 0, 50: lambda sent, v1, v2: v2 > 25, 100: lambda sent, v1, v2: v2 == sent}
    for percent in (10, 50, 100):
        mesh.rule(f"photo-canary-{percent}", in_force[percent], count=100)
        sent, _, v2 = mesh.shares(PHOTOS, 2000, rps=400)
        expected, share = sent * percent / 100, percent / 100
        sigma = math.sqrt(sent * share * (1 - share))
        off = {10: 4, 50: 3, 100: 0}[percent] * sigma
        must(abs(v2 - expected) <= off, f"{percent} %: {v2} of {sent} on version 2, expected {expected:.0f} +- {off:.0f}")
        shown.append(f"{percent} %: {v2} of {sent}")
    return ", ".join(shown)


def survival(mesh):
    """kill -9 of the control plane: traffic goes on, sidecars restart, changes come in on its return"""
    node = mesh.node
    mesh.rule("photo-v1", lambda sent, v1, v2: v1 == sent)
    mesh.kill_control()
    got = mesh.load(WEBAPP, 100, 20)
    must(got["codes"] == {"200": got["sent"]}, f"without the control plane: {got['codes']}")
    node.kill(pod="api-gateway-1", container="istio-proxy")
    until(lambda: restarts(node, "api-gateway-1") == 1, 5, "the restart of a sidecar")
    node.wait(timeout=15)
    again = mesh.load(WEBAPP, 50, 2)
    must(again["codes"] == {"200": again["sent"]}, f"after a sidecar's restart without the control plane: {again['codes']}")
    mesh.put(RULES / "photo-canary-100.yaml", "applied/VirtualService.default.photo-service.yaml")
    must(mesh.ask(PHOTOS, 10)[2] == 0, "a change without the control plane")
    mesh.start_control()
    took = until(lambda: mesh.ask(PHOTOS, 10)[2] == 10, 5, "the change made meanwhile")
    return (f"{got['sent']} of {got['sent']} in 20 s, {again['sent']} of {again['sent']} after a sidecar's restart, "
            f"the change in force {took:.1f} s after the return")


def restarts(node, pod):
    return sum(c["restarts"] for p in node.list() if p["pod"] == f"default.{pod}" for c in p["containers"])


def broken(mesh):
    """a bad file: refused with its places, nothing changes"""
    mesh.rule("photo-v1", lambda sent, v1, v2: v1 == sent)
    done = mesh.outrigger("apply", "-f", str(RULES / "broken.yaml"))
    must(done["code"] == 1, f"exit code {done['code']}: {done['out']}{done['err']}")
    said = done["out"] + done["err"]
    for place in ("broken.yaml:10:14", "broken.yaml:14:9", "broken.yaml:15:15"):
        must(place in said, f"{place} is not named: {said.strip()}")
    must(mesh.ask(PHOTOS, 20) == (20, 20, 0), "the routes have changed")
    return "exit code 1, three places named, routes as before"


STEPS = [("0a", plain), ("0b", injected), ("1", calm), ("2", dark), ("3", canary), ("8", survival), ("9", broken)]


def run(node, wanted):
    """Runs the steps in order; a step that fails does not keep the next ones from running, but the fleet must be up."""
    mesh, rows = Mesh(node), []
    for name, step in STEPS:
        if wanted and name not in wanted and name not in ("0a", "0b"):
            continue
        start = time.monotonic()
        try:
            measured, ok = step(mesh), True
        except (Failed, Fault, OSError) as failure:
            measured, ok = str(failure), False
        rows.append((name, step.__doc__, measured, ok, time.monotonic() - start))
        print(f"step {name}: {'ok' if ok else 'FAILED'}: {step.__doc__}: {measured}", flush=True)
        if not ok and name in ("0a", "0b"):
            break
    return rows


def table(rows):
    width = max(len(r[1]) for r in rows)
    print()
    for name, what, measured, ok, seconds in rows:
        print(f"{name:3} {'ok  ' if ok else 'FAIL'} {seconds:5.1f} s  {what:{width}}  {measured}")


def main(build, wanted):
    with running(build) as node:
        rows = run(node, wanted)
        if not all(r[3] for r in rows):
            for log in sorted((node.directory / "log").glob("*")):
                print(f"\n--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-20:]), file=sys.stderr)
    table(rows)
    return 0 if all(r[3] for r in rows) else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1], sys.argv[2:]))
    except Fault as fault:
        sys.exit(f"demo: {fault}")
