"""One pod: namespaces, volumes and containers, and what the control plane is told of it. Each has a thread that looks after it."""
import functools
import ipaddress
import json
import re
import shlex
import shutil
import signal
import subprocess
import threading
import time

from container import Container
from machine import BRIDGE, GATEWAY, NETWORK, NODE_NAME, POD_BIN, Fault, call, in_parallel, now, tool_path, write_atomically

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
