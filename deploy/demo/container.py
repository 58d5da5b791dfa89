"""One container of a pod: a process of this machine, restarted and probed as its manifest says. Looked after by its pod's thread."""
import contextlib
import http.client
import os
import signal
import socket
import subprocess
import time

import stock_envoy
from machine import POD_BIN, PROXY_UID, Fault, how_it_ended, tool_path


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
        if argv[0] == "outrigger-sidecar" and self.pod.node.is_envoy_mesh:
            argv = stock_envoy.argv(env, self.pod.node.discovery, PROXY_UID if self.pod.node.is_rootless else None)
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
        user = self.user()
        argv = self.pod.enter(self.argv(env), user)
        out, err = (open(path, "ab") for path in self.logs())
        with out, err:
            if user is not None:
                os.fchown(out.fileno(), *user)  # Envoy opens /dev/stdout anew
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
