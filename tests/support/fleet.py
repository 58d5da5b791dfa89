"""One control plane, many sidecars, one real backend: each sidecar in a network namespace of its own, as in a pod.

All of it must run in a namespace that the test owns (`isolated`). A probe is a socket that was opened in a sidecar's namespace
towards the address of the service `app`, redirected to the sidecar as capture does it.
"""
import ctypes
import json
import os
import pathlib
import select
import socket
import subprocess
import sys
import time

from support.netspace import AT_ONCE, end

XDS, ADMIN, OUTBOUND = 15010, 15000, 15001
BACKEND_IP, BACKEND_PORT = "10.60.0.1", 8080
VIP = "10.96.0.10"
HOST = "app.shop.svc.cluster.local"
CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


def isolated(argv, timeout):
    """Runs a Python program where it may make network namespaces; its standard output."""
    setup = "mount -t tmpfs none /run && ip link set lo up && ip address add 10.60.0.1/32 dev lo"
    inside = ["sh", "-c", setup + ' && exec "$@"', "sh", sys.executable, *map(str, argv)]
    done = subprocess.run(["unshare", "--user", "--map-root-user", "--net", "--mount", *inside], capture_output=True,
                          text=True, timeout=timeout)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def document(kind, ns, name, **more):
    api = "v1" if kind in ("Service", "Pod") else "networking.istio.io/v1"
    metadata = {"name": name, "namespace": ns, **more.pop("metadata", {})}
    return json.dumps({"apiVersion": api, "kind": kind, "metadata": metadata, **more})


def pod(ns, name, ip, ready=True, **labels):
    return document("Pod", ns, name, metadata={"labels": labels},
                    status={"podIP": ip, "conditions": [{"type": "Ready", "status": str(ready)}]})


def address_of(i):
    """The pod's, and the other end's: where the control plane is for it."""
    return f"10.50.{i}.2", f"10.50.{i}.1"


def make_namespace(i):
    """s<i>: a way out to the outer namespace, and the capture of what goes to services."""
    own, outer = address_of(i)
    script = f"""
        ip netns add s{i}
        ip link add v{i} type veth peer name eth0 netns s{i}
        ip address add {outer}/30 dev v{i} && ip link set v{i} up
        ip -n s{i} address add {own}/30 dev eth0
        ip -n s{i} link set lo up && ip -n s{i} link set eth0 up
        ip -n s{i} route add default via {outer}
        nsenter --net=/run/netns/s{i} iptables -t nat -A OUTPUT -p tcp -d 10.96.0.0/16 -j REDIRECT --to-ports {OUTBOUND}
    """
    subprocess.run(["sh", "-ec", script], check=True, capture_output=True, text=True)


def bootstrap(i, ns):
    own, outer = address_of(i)
    options = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    ads = {"ads": {}, "resource_api_version": "V3"}
    address = lambda ip, port: {"socket_address": {"address": ip, "port_value": port}}  # noqa: E731
    return {
        "node": {"id": f"sidecar~{own}~client-{i}.{ns}~{ns}.svc.cluster.local", "cluster": f"client.{ns}",
                 "metadata": {"NAMESPACE": ns}},
        "admin": {"address": address("127.0.0.1", ADMIN)},
        "dynamic_resources": {
            "ads_config": {"api_type": "DELTA_GRPC", "transport_api_version": "V3",
                           "grpc_services": [{"envoy_grpc": {"cluster_name": "control"}}]},
            "cds_config": ads, "lds_config": ads},
        "static_resources": {
            "clusters": [{
                "name": "control", "type": "STATIC", "connect_timeout": "1s",
                "typed_extension_protocol_options": {
                    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions":
                        {"@type": options, "explicit_http_config": {"http2_protocol_options": {}}}},
                "load_assignment": {"cluster_name": "control", "endpoints": [
                    {"lb_endpoints": [{"endpoint": {"address": address(outer, XDS)}}]}]}}]}}


def cpu_us(pid):
    """CPU time of a process, all threads, as the scheduler counted it."""
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1000


def memory_kib(pid):
    """Resident memory: (now, peak)."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    field = lambda name: int(status.split(name + ":")[1].split()[0])  # noqa: E731
    return field("VmRSS"), field("VmHWM")


class Fleet:
    """with Fleet(build, where, sidecars=20) as fleet: fleet.write_rule("1"); fleet.await_all("1")."""

    def __init__(self, build, where, sidecars=20, namespaces=4, control_log="info"):
        self.build, self.where, self.count = pathlib.Path(build), pathlib.Path(where), sidecars
        self.config, self.state = self.where / "config", self.where / "state"
        self.children, self.logs = [], []
        self.namespaces = [f"team-{i}" for i in range(namespaces)]
        self.control_log = control_log
        for path in (self.config, self.state, self.where / "run"):
            path.mkdir(parents=True)
        (self.config / "app.yaml").write_text(document(
            "Service", "shop", "app", spec={"selector": {"app": "app"}, "clusterIP": VIP,
                                            "ports": [{"name": "http", "port": 80, "targetPort": BACKEND_PORT}]}))
        (self.state / "app-1.json").write_text(pod("shop", "app-1", BACKEND_IP, app="app"))
        for i in range(sidecars):
            self.write_pod(self.namespace(i), f"client-{i}", address_of(i)[0], app="client")

    def namespace(self, i):
        return self.namespaces[i % len(self.namespaces)]

    def write_pod(self, ns, name, ip, **labels):
        (self.state / f"{ns}.{name}.json").write_text(pod(ns, name, ip, **labels))

    def spawn(self, name, argv, **env):
        log = open(self.where / f"{name}.log", "w")
        self.logs.append(log)
        child = subprocess.Popen([str(a) for a in argv], stdout=log, stderr=log,
                                 env={**os.environ, "OUTRIGGER_RUN": str(self.where / "run"), **env})
        self.children.append(child)
        return child

    def __enter__(self):
        try:
            self.backend = self.spawn("backend", [self.build / "deploy" / "demo" / "outrigger-demo-app", "--name", "app",
                                                  "--version", "v1", "--port", BACKEND_PORT])
            self.control = self.start_control()
            self.sidecars = [self.start_sidecar(i) for i in range(self.count)]
        except BaseException:
            self.__exit__()
            raise
        return self

    def start_control(self):
        return self.spawn("control", [self.build / "control" / "outrigger-control", "--config", self.config, "--state",
                                      self.state, "--xds", f"0.0.0.0:{XDS}", "-l", self.control_log])

    def start_sidecar(self, i):
        path = self.where / f"bootstrap-{i}.json"
        path.write_text(json.dumps(bootstrap(i, self.namespace(i))))
        make_namespace(i)
        return self.spawn(f"sidecar-{i}", ["nsenter", f"--net=/run/netns/s{i}", self.build / "sidecar" / "outrigger-sidecar", "-c", path, "--concurrency", "1",
                                           "-l", "warning"], **AT_ONCE)

    def __exit__(self, *_):
        end(self.children, 10)
        for log in self.logs:
            log.close()

    def check_alive(self):
        for child in self.children:
            assert child.poll() is None, f"{child.args[0]} ended with {child.poll()}: see {self.where}"

    def outrigger(self, *argv):
        return subprocess.run([self.build / "control" / "outrigger", *argv], capture_output=True, text=True, check=True,
                              env={**os.environ, "OUTRIGGER_RUN": str(self.where / "run")}).stdout

    def write_rule(self, revision):
        """Writes the rule that every sidecar's answers tell of; the time right before the file was closed."""
        text = document("VirtualService", "shop", "app", spec={"hosts": [HOST], "http": [{
            "headers": {"response": {"set": {"x-revision": revision}}},
            "route": [{"destination": {"host": HOST}}]}]})
        f = open(self.config / "rule.yaml", "w")
        f.write(text)
        f.flush()
        at = time.monotonic()
        f.close()
        return at

    def await_all(self, revision, limit=30, pause=0.004):
        """When each sidecar first answered by this revision of the rule (time.monotonic())."""
        wanted = b"x-revision: " + revision.encode() + b"\r\n"
        probes = [Probe(i) for i in range(self.count)]
        by_fd, poll, end = {}, select.epoll(), time.monotonic() + limit
        due = [(time.monotonic() + pause * i / self.count, p) for i, p in enumerate(probes)]
        done = {}
        while len(done) < len(probes):
            now = time.monotonic()
            assert now < end, f"{len(probes) - len(done)} sidecars do not answer by revision {revision} after {limit} s"
            while due and due[0][0] <= now:
                p = due.pop(0)[1]
                if p.ask():
                    by_fd[p.fd] = p
                    poll.register(p.fd, select.EPOLLIN)
                else:
                    due.append((now + pause, p))
            for fd, _ in poll.poll(max(0.0005, (due[0][0] - now) if due else 0.05)):
                p = by_fd[fd]
                answer = p.read()
                if answer is None:
                    continue
                poll.unregister(fd)
                del by_fd[fd]
                if wanted in answer:
                    done[p.at] = time.monotonic()
                    p.close()
                else:
                    due.append((time.monotonic() + pause, p))
        poll.close()
        return [done[p.at] for p in probes]


def connect_inside(i):
    """A connection from the namespace of sidecar i. A socket stays where it was made."""
    with open("/proc/self/ns/net") as home, open(f"/run/netns/s{i}") as there:
        assert libc.setns(there.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        try:
            return socket.create_connection((VIP, 80), timeout=5)
        finally:
            assert libc.setns(home.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())


class Probe:
    """One keep-alive connection to a sidecar, one request at a time."""

    def __init__(self, i):
        self.at, self.socket, self.fd, self.data = i, None, -1, b""

    def ask(self):
        try:
            if not self.socket:
                self.socket = connect_inside(self.at)
                self.fd = self.socket.fileno()
            self.socket.sendall(b"GET / HTTP/1.1\r\nhost: " + HOST.encode() + b"\r\n\r\n")
        except OSError:
            self.close()
            return False
        self.data = b""
        return True

    def read(self):
        """The head of the answer; None: not all of it is there; b"": the connection was closed."""
        try:
            got = self.socket.recv(65536)
        except OSError:
            got = b""
        self.data += got
        head, found, body = self.data.partition(b"\r\n\r\n")
        if not got:
            self.socket.close()
            self.socket = None
            return b""
        if not found:
            return None
        length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        if not length or len(body) < int(length[0].split(b":")[1]):
            return None if length or b"transfer-encoding" in head.lower() and not body.endswith(b"0\r\n\r\n") else head + b"\r\n"
        return head.lower() + b"\r\n"

    def close(self):
        if self.socket:
            self.socket.close()
        self.socket = None

