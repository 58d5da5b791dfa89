"""The mesh of the demo as its steps and tests handle it: a control plane, rules put in force as an operator does, traffic."""
import json
import pathlib
import re
import signal
import time

from machine import GATEWAY

HERE = pathlib.Path(__file__).resolve().parent
FLEET = HERE / "fleet.yaml"
MESH = HERE / "mesh.yaml"
RULES = HERE / "rules"
WEBAPP = "http://webapp:8080/"
MAP = "http://webapp:8080/map"  # its page that needs no staff-service
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

    def __init__(self, node, is_envoy=False):
        self.node, self.is_envoy = node, is_envoy
        self.visits = None  # traffic that goes on from step 5 to step 6
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

    def ejected(self, caller, pod):
        """What the operator is told of a pod that a caller's sidecar has ejected; empty: nothing."""
        ip = next(p["ip"] for p in self.node.list() if p["pod"] == f"default.{pod}")
        if self.is_envoy:
            clusters = self.node.sh(caller, "curl -s http://127.0.0.1:15000/clusters")
            return f"{caller}'s Envoy has ejected {ip}" if f"{ip}:8080::health_flags::/failed_outlier_check" in clusters else ""
        done = self.outrigger("breakers", "--proxy", caller)
        must(done["code"] == 0, f"outrigger breakers: {done['err'].strip()}")
        found = re.search(rf"{re.escape(pod)} \(.*?\) +ejected +(.*?Z\))", done["out"])
        return f"outrigger breakers: {pod} is ejected for {found[1]}" if found else ""

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

    def apply_named(self, name, pod):
        """A file whose first route is named as the file is: waits until a pod's sidecar has it."""
        self.apply(name)
        until(lambda: f'"{name}"' in self.node.sh(pod, "curl -s http://127.0.0.1:15000/config_dump"), 5, f"{name}.yaml in force")

    # The applications.

    def knobs(self, pod, **knobs):
        self.node.sh(pod, f"curl -sf -X PUT -d '{json.dumps(knobs)}' http://127.0.0.1:9900/knobs")

    def counters(self, pod):
        return json.loads(self.node.sh(pod, "curl -sf http://127.0.0.1:9900/counters"))

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

    def rule(self, name, in_force, *headers):
        """Puts a rule about photo-service in force; how long that took. in_force judges the versions of ten answers."""
        self.apply("photo-versions")
        self.apply(name)
        return until(lambda: in_force(*self.ask(PHOTOS, 10, *headers)), 5, f"{name}.yaml in force")
