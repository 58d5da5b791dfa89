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
import contextlib
import functools
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time

from machine import BRIDGE, GATEWAY, NETWORK, POD_BIN, Fault, call, in_parallel, tool_path
from node_client import Node
from pod import Pod

PROGRAMS = {
    "outrigger-sidecar": "sidecar", "outrigger-capture": "deploy/capture", "outrigger-demo-app": "deploy/demo",
    "outrigger-demo-load": "deploy/demo", "outrigger-control": "control", "outrigger": "control",
}


class Kubelet:
    """All pods of this machine, and processes beside them in the mesh's namespace. Verbs are methods named do_VERB."""

    def __init__(self, options):
        self.directory, self.build = pathlib.Path(options.run).resolve(), pathlib.Path(options.build).resolve()
        self.discovery, self.inherited = options.discovery, options.fd
        self.is_envoy_mesh = options.sidecar == "envoy"
        self.is_rootless = os.environ.get("OUTRIGGER_ROOTLESS") == "1"
        self.pods, self.system = {}, {}
        self.free_ips = iter(NETWORK.hosts())
        next(self.free_ips)  # the gateway
        self.lock = threading.RLock()
        self.stopping = threading.Event()
        self.programs = {name: path for name, where in PROGRAMS.items() if (path := self.build / where / name).is_file()}
        self.programs.update((name, pathlib.Path(path).resolve()) for name, _, path in (p.partition("=") for p in options.program))
        if self.is_envoy_mesh and "envoy" not in self.programs:
            raise Fault("--sidecar envoy: where is it? Give --program envoy=PATH")

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
    kubelet = Kubelet(options)
    path, early = kubelet.directory / "node.sock", kubelet.directory / "node.sock~"
    for left in path, early:
        left.unlink(missing_ok=True)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: kubelet.stopping.set())
    try:
        kubelet.set_up()
        server = Server(str(early), Handler)
        early.rename(path)  # who sees the name finds a socket that listens
        server.kubelet = kubelet
        threading.Thread(target=server.serve_forever, daemon=True).start()
        kubelet.say(f"ready; {path}")
        kubelet.stopping.wait()
    finally:
        path.unlink(missing_ok=True)
        kubelet.tear_down()


# ---- From outside. ----


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
                 "--sidecar", options.sidecar, *(x for program in options.program for x in ("--program", program))]
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
        verb.add_argument("--sidecar", choices=["outrigger", "envoy"], default="outrigger",
                          help="envoy: a stock one, of --program envoy=PATH, where a manifest says outrigger-sidecar")
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
