#!/usr/bin/env python3
"""The kubelet of the one-machine mode: pods are network namespaces, containers are processes of this machine.

    node.py run --run DIR [--build DIR] [--netns NAME] [--http PORT]   until it gets SIGTERM or SIGINT
    node.py -r DIR VERB ...                                           see `node.py -r DIR help`

`run` makes a network, mount and process namespace (without root: a user namespace around them) with a bridge,
10.77.0.0/16, in it. Everything that it starts lives there and ends with it. It is driven over DIR/node.sock, by the verbs
or by class Node; what it does with a pod is what the pod's manifest says: init containers in order, native sidecars,
probes, restarts, an orderly end. The pod's IP and readiness are kept in DIR/state, one core/v1 Pod a file, where the control plane
looks. Only what the demo and the tests need is built; a manifest that asks for more is refused by name.
"""
import argparse
import concurrent.futures
import contextlib
import functools
import http.client
import ipaddress
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time

NETWORK = ipaddress.ip_network("10.77.0.0/16")
GATEWAY = "10.77.0.1"
BRIDGE = "mesh0"
NODE_NAME = "node1"
POD_BIN = "/mnt/outrigger"  # where pods find the programs, whoever may read the build directory
PROXY_UID = 1337
PROGRAMS = {
    "outrigger-sidecar": "sidecar", "outrigger-capture": "deploy/capture", "outrigger-demo-app": "deploy/demo",
    "outrigger-demo-load": "deploy/demo", "outrigger-control": "control", "outrigger": "control",
}


# A directory that this machine does not have, for the pod alone.
COVER = """
cover() {
    parent=$1
    while [ ! -d "$parent" ]; do parent=$(dirname "$parent"); done
    if [ "$parent" != "$1" ] && ! grep -qxF "$parent" /mnt/covered 2>/dev/null; then
        under=/mnt/under$(echo "$parent" | tr / _)
        mkdir "$under"
        mount --rbind "$parent" "$under"
        mount -t tmpfs -o mode=755 tmpfs "$parent"
        for entry in "$under"/* "$under"/.[!.]*; do
            [ ! -e "$entry" ] && [ ! -L "$entry" ] || ln -s "$entry" "$parent/"
        done
        echo "$parent" >>/mnt/covered
    fi
    mkdir -p "$1"
}"""


class Fault(Exception):
    """What an operator has to read: what, where, the value, the way out."""


def tool_path():
    return os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"


def call(*argv, **options):
    """Runs a tool; its output. A failure is a Fault with what the tool said."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, **options)
    if done.returncode != 0:
        raise Fault(f"{shlex.join(argv)}: {done.stderr.strip() or f'exit code {done.returncode}'}")
    return done.stdout


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def in_parallel(calls):
    """Makes all calls at once and waits for their ends. The first fault among them is raised."""
    with concurrent.futures.ThreadPoolExecutor(max(len(calls), 1)) as pool:
        for done in [pool.submit(call) for call in calls]:
            done.result()


def how_it_ended(code):
    return f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"


def write_atomically(path, text):
    """Readers, the control plane's watch among them, see the old text or the new one."""
    temporary = path.with_name(f".{path.name}.{threading.get_ident()}")
    temporary.write_text(text)
    temporary.rename(path)


# ---- Containers. ----


class Container:
    """One container of a pod: its process, restarted as restartPolicy says, and its probes."""

    def __init__(self, pod, spec, is_sidecar=False):
        self.pod, self.spec, self.name, self.is_sidecar = pod, spec, spec["name"], is_sidecar
        self.process = None
        self.restarts = 0
        self.last_end = None
        self.is_held = False  # stays dead until it is released
        self.is_started = "startupProbe" not in spec
        self.is_ready = False
        self.probe_results = []
        self.next_probe = 0.0
        self.next_start = 0.0

    @property
    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def environment(self):
        env = {"PATH": f"{POD_BIN}:{tool_path()}", "HOSTNAME": self.pod.name, "LANG": "C.UTF-8"}
        for variable in self.spec.get("env", []):
            env[variable["name"]] = self.pod.expand(self.pod.value_of(variable, self.spec), env)
        if self.is_mesh_proxy and self.pod.node.is_rootless:
            env["OUTRIGGER_SO_MARK"] = str(PROXY_UID)
        return env

    @property
    def is_mesh_proxy(self):
        return self.name == "istio-proxy"

    def argv(self, env):
        argv = [*self.spec.get("command", []), *self.spec.get("args", [])]
        if not self.spec.get("command"):
            raise Fault(f"pod {self.pod.name}: container {self.name}: images are not run here; give it a command")
        argv = [self.pod.expand(arg, env) for arg in argv]
        if argv[0] == "outrigger-capture" and self.pod.node.is_rootless:
            # Only one uid is mapped: the sidecar is known by its mark instead.
            argv += ["--proxy-mark", str(PROXY_UID)]
        return argv

    def logs(self):
        """Standard output and error."""
        if self.is_mesh_proxy:
            return self.pod.directory / "access.log", self.pod.directory / "sidecar.log"
        name = "init.log" if self.name == "istio-init" else "app.log"
        return self.pod.directory / name, self.pod.directory / name

    def user(self):
        security = {**self.pod.spec.get("securityContext", {}), **self.spec.get("securityContext", {})}
        uid = security.get("runAsUser", 0)
        return (uid, security.get("runAsGroup", uid)) if uid and not self.pod.node.is_rootless else None

    def start(self):
        env = self.environment()
        argv = self.pod.enter(self.argv(env), self.user())
        out, err = (open(path, "ab") for path in self.logs())
        with out, err:
            self.process = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                            start_new_session=True)
        self.is_started = "startupProbe" not in self.spec
        self.is_ready = False
        self.probe_results = []
        probe = self.spec.get("startupProbe") or self.spec.get("readinessProbe") or {}
        self.next_probe = time.monotonic() + probe.get("initialDelaySeconds", 0)

    def run_to_end(self):
        """An init container: until it has succeeded, or Fault."""
        self.start()
        code = self.process.wait(timeout=60)
        if code != 0:
            log = self.logs()[1].read_text(errors="replace").strip().splitlines()[-5:]
            raise Fault(f"pod {self.pod.name}: init container {self.name} ended with {code}: " + " / ".join(log))

    def signal(self, number):
        if self.is_running:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)

    def stop(self, grace):
        """SIGTERM, and SIGKILL after the grace."""
        self.is_held = True
        self.signal(signal.SIGTERM)
        if self.process is not None:
            try:
                self.process.wait(timeout=max(grace, 0.01))
            except subprocess.TimeoutExpired:
                self.signal(signal.SIGKILL)
                self.process.wait(timeout=10)

    # Probes: one check a call, never blocking for longer than its timeout.

    def probe(self, probe):
        timeout = probe.get("timeoutSeconds", 1)
        if "httpGet" in probe:
            get = probe["httpGet"]
            connection = http.client.HTTPConnection(get.get("host", self.pod.ip), self.port(get["port"]), timeout=timeout)
            with contextlib.closing(connection):
                try:
                    connection.request("GET", get.get("path", "/"), headers={"User-Agent": "kube-probe/1.34"})
                    return 200 <= connection.getresponse().status < 400
                except (OSError, http.client.HTTPException):
                    return False
        if "tcpSocket" in probe:
            try:
                socket.create_connection((self.pod.ip, self.port(probe["tcpSocket"]["port"])), timeout=timeout).close()
                return True
            except OSError:
                return False
        if "exec" in probe:
            return self.pod.run(probe["exec"]["command"], timeout=timeout, env=self.environment())[0] == 0
        raise Fault(f"pod {self.pod.name}: container {self.name}: a probe must be httpGet, tcpSocket or exec")

    def port(self, port):
        if isinstance(port, int) or port.isdigit():
            return int(port)
        for named in self.spec.get("ports", []):
            if named.get("name") == port:
                return named["containerPort"]
        raise Fault(f"pod {self.pod.name}: container {self.name}: no port is named {port}")

    def check(self):
        """One turn of restarting and probing. Whether readiness has changed."""
        was_ready = self.is_ready
        if not self.is_running:
            self.is_ready = False
            self.last_end = how_it_ended(self.process.returncode)
            if not self.is_held and time.monotonic() >= self.next_start:
                self.restarts += 1
                self.pod.node.say(f"pod {self.pod.key}: container {self.name} {self.last_end}; starting it again")
                # As a kubelet backs off, but at a demo's pace.
                self.next_start = time.monotonic() + min(0.5 * 2 ** min(self.restarts, 5), 10)
                self.start()
            return was_ready != self.is_ready
        probe = self.spec.get("readinessProbe" if self.is_started else "startupProbe")
        if probe is None:
            self.is_ready = self.is_started
        elif time.monotonic() >= self.next_probe:
            self.count(probe, self.probe(probe))
            # The first success is waited for impatiently.
            settled = self.is_started and self.is_ready
            self.next_probe = time.monotonic() + (probe.get("periodSeconds", 10) if settled else 0.1)
        return was_ready != self.is_ready

    def count(self, probe, result):
        self.probe_results.append(result)
        needed = probe.get("successThreshold", 1) if result else (probe.get("failureThreshold", 3) if self.is_ready else 1)
        if len(self.probe_results) < needed or any(r != result for r in self.probe_results[-needed:]):
            return
        self.probe_results = []
        if not self.is_started:
            self.is_started = result
            self.is_ready = self.is_started and "readinessProbe" not in self.spec
        else:
            self.is_ready = result


# ---- Pods. ----


class Pod:
    """A pod: an infra process that holds its namespaces, containers in them, a thread that looks after them."""

    def __init__(self, node, manifest, ip):
        self.node, self.manifest, self.ip = node, manifest, ip
        self.metadata, self.spec = manifest["metadata"], manifest["spec"]
        self.name, self.namespace = self.metadata["name"], self.metadata["namespace"]
        self.key = f"{self.namespace}.{self.name}"
        self.directory = node.directory / "pods" / self.key
        self.created = now()
        self.deleted = None
        self.infra = self.pid = None
        self.phase, self.fault = "Pending", None
        self.containers = []
        self.lock = threading.RLock()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.live, name=self.key, daemon=True)

    # What a manifest may refer to.

    def field(self, path):
        match = re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path)
        if match:
            return self.metadata.get(match[1], {}).get(match[2], "")
        fields = {"metadata.name": self.name, "metadata.namespace": self.namespace, "status.podIP": self.ip,
                  "status.hostIP": GATEWAY, "spec.nodeName": NODE_NAME, "metadata.uid": self.key,
                  "spec.serviceAccountName": self.spec.get("serviceAccountName", "default")}
        if path not in fields:
            raise Fault(f"pod {self.name}: fieldRef {path} is not built; there are {', '.join(fields)}")
        return fields[path]

    def value_of(self, variable, container):
        source = variable.get("valueFrom")
        if source is None:
            return variable.get("value", "")
        if "fieldRef" in source:
            return self.field(source["fieldRef"]["fieldPath"])
        raise Fault(f"pod {self.name}: container {container['name']}: env {variable['name']}: only value and fieldRef are built")

    @staticmethod
    def expand(text, env):
        """$(NAME) as Kubernetes has it; $$(NAME) stands for itself."""
        return re.sub(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)",
                      lambda m: "$" if m[0] == "$$" else env.get(m[1], m[0]), text)

    # Namespaces.

    def enter(self, argv, user=None):
        """The command that runs argv in this pod."""
        into = ["nsenter", f"--net=/proc/{self.pid}/ns/net", f"--mount=/proc/{self.pid}/ns/mnt", "--"]
        if user is not None:
            into += ["setpriv", "--reuid", str(user[0]), "--regid", str(user[1]), "--clear-groups", "--"]
        return into + argv

    def run(self, argv, timeout=30, env=None, stdin=None):
        env = env or {"PATH": f"{POD_BIN}:{tool_path()}", "LANG": "C.UTF-8"}
        return self.node.run(self.enter(argv), timeout, env, stdin)

    def make_namespaces(self):
        hosts = self.node.hosts(self.namespace)
        bins = " && ".join(f"touch {POD_BIN}/{name} && mount --bind {shlex.quote(str(path))} {POD_BIN}/{name}"
                           for name, path in self.node.programs.items())
        setup = f"""set -e
            PATH={tool_path()}
            mount --bind {shlex.quote(str(hosts))} /etc/hosts
            [ ! -e /etc/resolv.conf ] || mount --bind {shlex.quote(str(self.node.directory))}/resolv.conf /etc/resolv.conf
            mount -t tmpfs -o mode=755 tmpfs /mnt
            mkdir {POD_BIN}
            mount -t tmpfs -o mode=1777 tmpfs /dev/shm
            {bins or ':'}
            {self.mounts()}
            ip link set lo up
            echo 1024 65000 >/proc/sys/net/ipv4/ip_local_port_range
            read pid rest </proc/self/stat
            echo $pid
            exec cat >/dev/null"""
        # Its number is its own where it reads it: this process may see other numbers than its children's tools do.
        self.infra = subprocess.Popen(["unshare", "--net", "--mount", "sh", "-c", setup], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        self.pid = self.infra.stdout.readline().strip()
        if not self.pid:
            raise Fault(f"pod {self.name}: its namespaces cannot be set up: {self.infra.stderr.read().strip()}")
        (self.directory / "pid").write_text(self.pid + "\n")
        link = f"pod{int(ipaddress.ip_address(self.ip)) & 0xffff}"
        call("ip", "link", "add", link, "master", BRIDGE, "type", "veth", "peer", "name", "eth0", "netns", str(self.infra.pid))
        call("ip", "link", "set", link, "up")
        call(*self.enter(["sh", "-c", f"""set -e
            PATH={tool_path()}
            ip addr add {self.ip}/{NETWORK.prefixlen} dev eth0
            ip link set eth0 up
            ip route add default via {GATEWAY}"""]))

    def mounts(self):
        """Lines of shell that mount the pod's volumes. A path that this machine does not have is made in a tmpfs that covers its
        nearest parent, with links to all that is there."""
        volumes = {v["name"]: v for v in self.spec.get("volumes", [])}
        lines, seen = [COVER], {}
        for container in [*self.spec.get("initContainers", []), *self.spec["containers"]]:
            for mount in container.get("volumeMounts", []):
                name, path = mount["name"], mount["mountPath"]
                if "emptyDir" not in volumes.get(name, {}):
                    raise Fault(f"pod {self.name}: container {container['name']}: volume {name}: only emptyDir is built")
                if seen.setdefault(path, name) != name:
                    raise Fault(f"pod {self.name}: two volumes at {path}: containers share their files here")
                source = self.directory / "volumes" / name
                source.mkdir(parents=True, exist_ok=True)
                source.chmod(0o777)
                lines.append(f"cover {shlex.quote(path)}; mount --bind {shlex.quote(str(source))} {shlex.quote(path)}")
        return "\n".join(lines)

    # Life.

    def live(self):
        try:
            self.begin()
            while not self.ended.wait(0.05):
                with self.lock:
                    if self.deleted is None and any([c.check() for c in self.containers]):
                        self.report()
        except (Fault, OSError, subprocess.SubprocessError) as fault:
            self.fail(fault)

    def fail(self, fault):
        self.fault = str(fault)
        self.phase = "Failed"
        self.node.say(f"pod {self.key}: {fault}")
        self.report()

    def begin(self):
        self.directory.mkdir(parents=True)
        (self.directory / "injected.yaml").write_text(json.dumps(self.manifest, indent=2) + "\n")
        self.make_namespaces()
        self.report()
        for spec in self.spec.get("initContainers", []):
            container = Container(self, spec, is_sidecar=spec.get("restartPolicy") == "Always")
            if not container.is_sidecar:
                container.run_to_end()
                continue
            container.start()
            with self.lock:
                self.containers.append(container)
            self.wait_started(container)
        with self.lock:
            for spec in self.spec["containers"]:
                container = Container(self, spec)
                container.start()
                self.containers.append(container)
            self.phase = "Running"
        self.report()

    def wait_started(self, container):
        """What comes after a native sidecar waits for its startupProbe."""
        limit = container.spec.get("startupProbe", {})
        deadline = time.monotonic() + min(limit.get("failureThreshold", 3) * limit.get("periodSeconds", 10), 60)
        while not container.is_started:
            if self.ended.wait(0.02):
                raise Fault("it was deleted while it started")
            with self.lock:
                container.check()
            if time.monotonic() > deadline:
                log = container.logs()[1].read_text(errors="replace").strip().splitlines()[-5:]
                raise Fault(f"sidecar {container.name} has not become ready, {container.last_end or 'it runs'}: " + " / ".join(log))

    @property
    def is_ready(self):
        return self.phase == "Running" and self.deleted is None and all(c.is_ready for c in self.containers)

    def report(self):
        """Writes the pod as the control plane shall see it."""
        with self.lock:
            ready = "True" if self.is_ready else "False"
            metadata = {**self.metadata, "creationTimestamp": self.created}
            if self.deleted:
                metadata["deletionTimestamp"] = self.deleted
            status = {"phase": self.phase, "podIP": self.ip, "podIPs": [{"ip": self.ip}], "hostIP": GATEWAY,
                      "conditions": [{"type": "Ready", "status": ready}],
                      "containerStatuses": [{"name": c.name, "ready": c.is_ready, "restartCount": c.restarts}
                                            for c in self.containers]}
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata,
                   "spec": {**self.spec, "nodeName": NODE_NAME}, "status": status}
            write_atomically(self.node.directory / "state" / f"{self.key}.json", json.dumps(pod, indent=1) + "\n")

    def delete(self, grace=None):
        """Drains as Kubernetes does: says so first, then preStop, SIGTERM to the applications, at last the sidecars."""
        with self.lock:
            if self.deleted:
                return
            self.deleted = now()
            self.report()
        grace = self.spec.get("terminationGracePeriodSeconds", 30) if grace is None else grace
        deadline = time.monotonic() + grace
        in_parallel([functools.partial(self.stop_container, c, deadline) for c in self.containers if not c.is_sidecar])
        for container in reversed([c for c in self.containers if c.is_sidecar]):
            container.stop(deadline - time.monotonic())
        self.remove()

    def stop_container(self, container, deadline):
        hook = container.spec.get("lifecycle", {}).get("preStop", {})
        seconds = deadline - time.monotonic()
        if "sleep" in hook and container.is_running:
            time.sleep(max(0.0, min(hook["sleep"]["seconds"], seconds)))
        elif "exec" in hook and container.is_running:
            self.run(hook["exec"]["command"], timeout=max(seconds, 0.1), env=container.environment())
        container.stop(deadline - time.monotonic())

    def remove(self):
        self.ended.set()
        for container in self.containers:
            container.is_held = True
            container.signal(signal.SIGKILL)
        if self.infra is not None:
            self.infra.stdin.close()  # it ends, and with it the namespaces and the veth pair
            self.infra.wait(timeout=10)
        (self.node.directory / "state" / f"{self.key}.json").unlink(missing_ok=True)
        shutil.rmtree(self.directory, ignore_errors=True)

    def container(self, name):
        for container in self.containers:
            if container.name == name:
                return container
        raise Fault(f"pod {self.key}: no container {name}; there are {', '.join(c.name for c in self.containers) or 'none'}")


# ---- The node. ----


class Kubelet:
    """All pods of this machine, and processes beside them in the mesh's namespace. Verbs are methods named do_VERB."""

    def __init__(self, directory, build, discovery, inherited, programs):
        self.directory, self.build, self.discovery, self.inherited = directory, build, discovery, inherited
        self.is_rootless = os.environ.get("OUTRIGGER_ROOTLESS") == "1"
        self.pods, self.system = {}, {}
        self.free_ips = iter(NETWORK.hosts())
        next(self.free_ips)  # the gateway
        self.lock = threading.RLock()
        self.stopping = threading.Event()
        self.programs = {name: path for name, where in PROGRAMS.items() if (path := build / where / name).is_file()}
        self.programs.update((name, pathlib.Path(path).resolve()) for name, _, path in (p.partition("=") for p in programs))

    def say(self, text):
        print(f"node: {text}", file=sys.stderr, flush=True)

    def set_up(self):
        for name in ("state", "hosts", "pods", "log"):
            (self.directory / name).mkdir(exist_ok=True)
        # Nobody answers there, and says so at once: what the names file does not have is not found.
        (self.directory / "resolv.conf").write_text(f"nameserver {GATEWAY}\noptions timeout:1 attempts:1\n")
        call("ip", "link", "set", "lo", "up")
        call("ip", "link", "add", BRIDGE, "type", "bridge")
        call("ip", "addr", "add", f"{GATEWAY}/{NETWORK.prefixlen}", "dev", BRIDGE)
        call("ip", "link", "set", BRIDGE, "up")
        pathlib.Path("/proc/sys/net/ipv4/ip_forward").write_text("1\n")

    def tear_down(self):
        in_parallel([functools.partial(pod.delete, 2) for pod in self.pods.values()])
        for process in self.system.values():
            process.kill()
            process.wait(timeout=10)
        for name in ("state", "hosts", "pods", "log"):
            shutil.rmtree(self.directory / name, ignore_errors=True)
        (self.directory / "resolv.conf").unlink(missing_ok=True)

    def hosts(self, namespace):
        """The file that the control plane keeps names in, and that the namespace's pods see as /etc/hosts."""
        path = self.directory / "hosts" / namespace
        if not path.exists():
            path.write_text("127.0.0.1 localhost\n::1 localhost ip6-localhost\n")
        return path

    @staticmethod
    def run(argv, timeout, env=None, stdin=None):
        """Exit code, output and errors; 124 when it took too long."""
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   env=env, errors="replace", start_new_session=True)
        try:
            out, err = process.communicate(stdin, timeout=timeout)
            return process.returncode, out, err
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            return 124, out, err

    # Manifests.

    def read(self, path, text, inject):
        """All documents of a manifest, a file or a text, with or without the sidecar in its pods."""
        verb = ["inject", "--discovery", self.discovery] if inject else ["uninject"]
        outrigger = self.programs.get("outrigger")
        if outrigger is None:
            raise Fault(f"{self.build}/control/outrigger is not built; run ninja -C {self.build}")
        return json.loads(call(str(outrigger), *verb, "-q", "-o", "json", "--", path, input=text))["items"]

    @staticmethod
    def pods_of(document):
        """The pods that a document asks for, by name."""
        kind, metadata = document.get("kind"), document.get("metadata", {})
        namespace = metadata.get("namespace", "default")
        if kind == "Pod":
            metadata.setdefault("namespace", namespace)
            return {f"{namespace}.{metadata['name']}": document}
        if kind != "Deployment":
            return {}
        template, pods = document["spec"]["template"], {}
        for at in range(1, document["spec"].get("replicas", 1) + 1):
            name = f"{metadata['name']}-{at}"
            pod = json.loads(json.dumps(template))
            pod.setdefault("metadata", {}).update(name=name, namespace=namespace)
            pods[f"{namespace}.{name}"] = pod
        return pods

    def start_pod(self, key, manifest):
        with self.lock:
            ip = str(next(self.free_ips))
            self.pods[key] = Pod(self, manifest, ip)
        self.pods[key].thread.start()

    def do_apply(self, path="-", text=None, inject=True):
        """Starts the pods of a manifest; one that runs already is replaced if it changed, and of a Deployment the surplus goes."""
        wanted, gone = {}, []
        for document in self.read(path, text, inject):
            pods = self.pods_of(document)
            owner = f"{document['metadata'].get('namespace', 'default')}.{document['metadata']['name']}-"
            wanted.update(pods)
            gone += [key for key in self.pods if document["kind"] == "Deployment" and key not in pods and
                     re.fullmatch(re.escape(owner) + r"\d+", key)]
        gone += [key for key in wanted if key in self.pods and self.pods[key].manifest != wanted[key]]
        in_parallel([functools.partial(self.do_delete, key) for key in gone])
        started = [key for key in wanted if key not in self.pods]
        for key in started:
            self.start_pod(key, wanted[key])
        return started

    def find(self, pod):
        key = pod if pod in self.pods else f"default.{pod}"
        if key not in self.pods:
            raise Fault(f"no pod {pod}; there are {', '.join(sorted(self.pods)) or 'none'}")
        return self.pods[key]

    def do_delete(self, pod, grace=None):
        found = self.find(pod)
        found.delete(grace)
        with self.lock:
            del self.pods[found.key]

    def do_list(self):
        return [{"pod": p.key, "ip": p.ip, "phase": p.phase, "ready": p.is_ready, "fault": p.fault, "pid": p.pid,
                 "containers": [{"name": c.name, "running": c.is_running, "ready": c.is_ready, "restarts": c.restarts,
                                 "last_end": c.last_end} for c in p.containers]} for p in self.pods.values()]

    def do_wait(self, timeout=60):
        """Until all pods are ready."""
        deadline = time.monotonic() + timeout
        while not all(p.is_ready for p in list(self.pods.values())):
            for pod in list(self.pods.values()):
                if pod.fault:
                    raise Fault(f"pod {pod.key}: {pod.fault}")
            if time.monotonic() > deadline:
                waiting = ", ".join(f"{p.key} ({', '.join(c.name for c in p.containers if not c.is_ready) or p.phase})"
                                    for p in self.pods.values() if not p.is_ready)
                raise Fault(f"not ready after {timeout} s: {waiting}; see {self.directory}/pods/*/*.log")
            time.sleep(0.05)

    # Looking and poking.

    def do_exec(self, argv, pod=None, timeout=30, user=None, stdin=None):
        """Runs a command in a pod, or beside them all."""
        env = {"PATH": f"{POD_BIN}:{tool_path()}", "LANG": "C.UTF-8"}
        if pod is not None:
            argv = self.find(pod).enter(argv, (user, user) if user and not self.is_rootless else None)
        else:
            env["PATH"] = ":".join([*{str(p.parent) for p in self.programs.values()}, tool_path()])
        code, out, err = self.run(argv, timeout, env, stdin)
        return {"code": code, "out": out, "err": err}

    def do_kill(self, pod, container, number=signal.SIGKILL, hold=False):
        """A signal to a container's process; hold: it is not started again until `release`."""
        found = self.find(pod)
        with found.lock:
            found.container(container).is_held = hold
            found.container(container).signal(number)

    def do_release(self, pod, container):
        self.find(pod).container(container).is_held = False

    def do_spawn(self, name, argv, env=None):
        """A process beside the pods, in the mesh's namespace: the control plane. Not restarted."""
        old = self.system.get(name)
        if old is not None and old.poll() is None:
            raise Fault(f"{name} runs already, as process {old.pid}")
        program = self.programs.get(argv[0])
        with open(self.directory / "log" / f"{name}.log", "ab") as log:
            self.system[name] = subprocess.Popen([str(program or argv[0]), *argv[1:]], stdin=subprocess.DEVNULL, stdout=log,
                                                 stderr=log, env={**os.environ, **(env or {})}, pass_fds=self.inherited,
                                                 start_new_session=True)

    def do_signal(self, name, number):
        if name not in self.system:
            raise Fault(f"no process {name}; there are {', '.join(self.system) or 'none'}")
        self.system[name].send_signal(number)

    def do_reap(self, name, timeout=10):
        """Waits for the end of a process beside the pods; its exit code."""
        return self.system[name].wait(timeout=timeout)

    def do_names(self, lines, namespace="default"):
        """Writes the names that pods of a namespace see, where no control plane does: ["10.77.0.2 web", ...]."""
        path = self.hosts(namespace)
        path.write_text("127.0.0.1 localhost\n::1 localhost ip6-localhost\n" + "".join(f"{line}\n" for line in lines))

    def do_stop(self):
        self.stopping.set()

    def do_help(self):
        return [f"{name[3:]} {' '.join(getattr(self, name).__code__.co_varnames[1:getattr(self, name).__code__.co_argcount])}"
                for name in dir(self) if name.startswith("do_")]


class Handler(socketserver.StreamRequestHandler):
    """One request a connection: {"verb": ..., arguments} in a line, {"result": ...} or {"fault": ...} back."""

    def handle(self):
        request = json.loads(self.rfile.readline())
        try:
            verb = getattr(self.server.kubelet, "do_" + request.pop("verb", "help"), None)
            if verb is None:
                raise Fault("no such verb")
            reply = {"result": verb(**request)}
        except (Fault, OSError, subprocess.SubprocessError, KeyError, TypeError) as fault:
            reply = {"fault": f"{fault}" if isinstance(fault, Fault) else f"{type(fault).__name__}: {fault}"}
        with contextlib.suppress(BrokenPipeError):
            self.wfile.write(json.dumps(reply).encode() + b"\n")


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False  # a verb may take as long as a pod's end
    request_queue_size = 64


def run_inside(options):
    """In the namespaces: serves until it is told to stop."""
    directory = pathlib.Path(options.run).resolve()
    kubelet = Kubelet(directory, pathlib.Path(options.build).resolve(), options.discovery, options.fd, options.program)
    path = directory / "node.sock"
    path.unlink(missing_ok=True)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: kubelet.stopping.set())
    try:
        kubelet.set_up()
        server = Server(str(path), Handler)
        server.kubelet = kubelet
        threading.Thread(target=server.serve_forever, daemon=True).start()
        kubelet.say(f"ready; {path}")
        kubelet.stopping.wait()
    finally:
        path.unlink(missing_ok=True)
        kubelet.tear_down()


# ---- From outside. ----


class Node:
    """A running node, driven over its socket: Node(dir).apply(path="x.yaml"). A fault there is a Fault here."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)

    def __getattr__(self, verb):
        def ask(timeout_s=300, **arguments):
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(timeout_s)
                s.connect(os.path.relpath(self.directory / "node.sock"))
                s.sendall(json.dumps({"verb": verb, **arguments}).encode() + b"\n")
                with s.makefile() as lines:
                    reply = json.loads(lines.readline() or '{"fault": "the node has gone away"}')
            if "fault" in reply:
                raise Fault(reply["fault"])
            return reply["result"]
        return ask

    def sh(self, pod, script, timeout=30, **options):
        """Output of a shell script in a pod (None: beside them), which must succeed."""
        done = self.exec(pod=pod, argv=["sh", "-c", script], timeout=timeout, **options)
        if done["code"] != 0:
            raise Fault(f"{pod or 'mesh'}: {script}: exit code {done['code']}: {done['err'].strip()}{done['out'].strip()}")
        return done["out"]


def start_inside(arguments, directory, netns):
    """The command that runs this program in fresh namespaces, and what it needs in its environment."""
    # A shell is the first process: it buries what others leave behind, and with its end all ends.
    me = ["sh", "-c", '"$@" & wait $!', "node", sys.executable, os.path.abspath(__file__), "inside", *arguments]
    env = {**os.environ, "XTABLES_LOCKFILE": str(directory / "xtables.lock"), "PATH": tool_path()}
    # However this process ends, the namespaces end with it.
    unshare = ["setpriv", "--pdeathsig", "KILL", "--", "unshare", "--mount", "--pid", "--fork", "--kill-child"]
    if os.geteuid() != 0:
        env["OUTRIGGER_ROOTLESS"] = "1"
        return [*unshare, "--user", "--map-root-user", "--net", *me], env
    env.pop("OUTRIGGER_ROOTLESS", None)
    if netns:
        return [*unshare[:4], "nsenter", f"--net=/run/netns/{netns}", *unshare[4:], *me], env
    return [*unshare, "--net", *me], env


def check_namespaces():
    """Without root, whether this kernel lets us make a user namespace."""
    if os.geteuid() == 0:
        return
    done = subprocess.run(["unshare", "--user", "--map-root-user", "--net", "true"], capture_output=True, text=True)
    if done.returncode != 0:
        raise Fault(f"no user namespaces for users here ({done.stderr.strip()}); run it as root, or as root set "
                    "kernel.unprivileged_userns_clone=1 (Debian) or kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu)")


def run(options):
    """Makes the namespaces and stays outside of them, to clean up what is not in them."""
    check_namespaces()
    directory = pathlib.Path(options.run).resolve()
    was_there = directory.exists()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    netns = options.netns if os.geteuid() == 0 else None
    arguments = ["--run", str(directory), "--build", options.build, "--discovery", options.discovery,
                 *(x for program in options.program for x in ("--program", program))]
    fds = []
    if options.http:
        # The page's socket is this machine's, not the namespace's: a browser can reach it.
        listener = socket.create_server(("127.0.0.1", options.http), backlog=64)
        fds.append(listener.fileno())
        os.set_inheritable(listener.fileno(), True)
    if netns:
        call("ip", "netns", "add", netns)
    try:
        argv, env = start_inside([*arguments, *(x for fd in fds for x in ("--fd", str(fd)))], directory, netns)
        child = subprocess.Popen(argv, env=env, pass_fds=fds, start_new_session=True)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: ask_to_stop(directory, child))
        return child.wait()
    finally:
        if netns:
            subprocess.run(["ip", "netns", "delete", netns], env={**os.environ, "PATH": tool_path()}, check=False)
        for name in ("node.sock", "xtables.lock"):
            (directory / name).unlink(missing_ok=True)
        if not was_there:
            shutil.rmtree(directory, ignore_errors=True)


def ask_to_stop(directory, child):
    """The namespace's first process gets no signal from its own children's world: it is asked by its socket."""
    try:
        Node(directory).stop(timeout_s=5)
    except (Fault, OSError):
        child.kill()


@contextlib.contextmanager
def running(build, directory=None, user=None, **options):
    """A node for the length of a with block, as another user if one is given (for root alone). What its log said is in the
    exception when it does not start."""
    with tempfile.TemporaryDirectory(prefix="outrigger-") as temporary:
        become = [] if user is None else ["--reuid", str(user), "--regid", str(user), "--clear-groups"]
        python = sys.executable if user is None else "/usr/bin/python3"  # ours may be in root's home
        if user is not None:
            os.chown(temporary, user, user)
        directory = pathlib.Path(directory or temporary + "/run")
        log = open(f"{temporary}/node.log", "w+")
        flags = [x for name, value in options.items() for x in (f"--{name}", str(value))]
        process = subprocess.Popen(["setpriv", *become, "--pdeathsig", "TERM", "--", python, os.path.abspath(__file__), "run",
                                    "--run", str(directory), "--build", str(build), *flags],
                                   stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wait_for_socket(directory, process, log)
            yield Node(directory)
        finally:
            process.terminate()
            try:
                process.wait(timeout=40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(timeout=10)
            log.close()


def wait_for_socket(directory, process, log, timeout=20):
    deadline = time.monotonic() + timeout
    while not (directory / "node.sock").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            log.seek(0)
            raise Fault(f"the node does not start: {log.read().strip()}")
        time.sleep(0.02)


def parse():
    here = pathlib.Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(prog="node.py")
    parser.add_argument("-r", "--run-directory", dest="drive", help="drive the node of this run directory")
    verbs = parser.add_subparsers(dest="command")
    for name in ("run", "inside"):
        verb = verbs.add_parser(name)
        verb.add_argument("--run", required=True)
        verb.add_argument("--build", default=os.environ.get("OUTRIGGER_BUILD", str(here / "build")))
        verb.add_argument("--discovery", default=f"{GATEWAY}:15010")
        verb.add_argument("--program", action="append", default=[], metavar="NAME=PATH", help="one more for pods to run")
        verb.add_argument("--netns")
        verb.add_argument("--http", type=int)
        verb.add_argument("--fd", type=int, action="append", default=[])
    return parser


def drive(directory, words):
    """node.py -r DIR VERB key=value...: values are JSON where they can be, else strings."""
    arguments = {}
    for word in words[1:]:
        key, _, value = word.partition("=")
        try:
            arguments[key] = json.loads(value)
        except ValueError:
            arguments[key] = value
    result = getattr(Node(directory), words[0])(**arguments)
    print(result if isinstance(result, str) else json.dumps(result, indent=2))


def main():
    if len(sys.argv) > 3 and sys.argv[1] == "-r":
        drive(sys.argv[2], sys.argv[3:])
        return 0
    options = parse().parse_args()
    if options.command == "inside":
        run_inside(options)
        return 0
    if options.command == "run":
        return run(options)
    parse().print_help()
    return 2


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Fault as fault:
        sys.exit(f"node.py: {fault}")
