"""What a forwarded HTTP/1.1 request costs a sidecar in counts, which do not wobble as times do: callgrind's of its instructions and
calls, strace's of its system calls. Requests go in lockstep over a few keep-alive connections, after some that warm up pools,
caches and lazily made statistics."""
import contextlib
import pathlib
import re
import selectors
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest

from support.ports import free_ports

CONNECTIONS = 8
WARM, MEASURED = 240, 800

BODY = b"x" * 512
REQUEST = (b"GET /bench HTTP/1.1\r\nhost: 127.0.0.1:8080\r\nuser-agent: h2load nghttp2/1.52.0\r\naccept: */*\r\n\r\n")
ANSWER = (b"HTTP/1.1 200 OK\r\nserver: nginx\r\ndate: Sat, 21 Nov 2026 10:21:29 GMT\r\ncontent-type: text/plain\r\n"
          b"content-length: 512\r\nconnection: keep-alive\r\n\r\n" + BODY)

BOOTSTRAP = """
static_resources:
  listeners:
  - name: cost
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: cost
          codec_type: HTTP1
          http_filters:
          - {{name: router, typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}
          route_config:
            virtual_hosts:
            - name: cost
              domains: ["*"]
              routes:
              - {{match: {{path: /health}}, direct_response: {{status: 200}}}}
              - {{match: {{prefix: /}}, route: {{cluster: upstream}}}}
{terminates}  clusters:
  - name: upstream
    type: STATIC
    load_assignment:
      cluster_name: upstream
      endpoints:
      - lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}}}]
{originates}"""
TERMINATES = """
      transport_socket:
        name: tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_certificates: [{{certificate_chain: {{filename: {0}.pem}}, private_key: {{filename: {0}.key}}}}]
"""
ORIGINATES = """
    transport_socket:
      name: tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        common_tls_context: {tls_params: {tls_maximum_protocol_version: TLSv1_3}}
"""


def receive(connection):
    with contextlib.suppress(ssl.SSLError):
        return connection.recv(65536)
    return b""


@contextlib.contextmanager
def answering(certificate):
    """Answers every request, in a thread; its port. By TLS where there is a certificate, the path of NAME.pem and NAME.key."""
    listener, ended = socket.create_server(("127.0.0.1", 0)), threading.Event()
    watched = selectors.DefaultSelector()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if certificate:
        context.load_cert_chain(f"{certificate}.pem", f"{certificate}.key")

    def accept():
        connection = listener.accept()[0]
        connection.settimeout(30)
        watched.register(context.wrap_socket(connection, server_side=True) if certificate else connection, selectors.EVENT_READ)

    def serve():
        watched.register(listener, selectors.EVENT_READ)
        while not ended.is_set():
            for key, _ in watched.select(0.1):
                if key.fileobj is listener:
                    accept()
                    continue
                data = receive(key.fileobj)
                if data:
                    key.fileobj.sendall(ANSWER * data.count(b"\r\n\r\n"))
                else:
                    watched.unregister(key.fileobj)
                    key.fileobj.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        ended.set()
        thread.join()
        for key in list(watched.get_map().values()):
            key.fileobj.close()


class Sidecar:
    """A sidecar with one worker under a tool that looks on; with a certificate it speaks TLS to both sides."""

    def __init__(self, tool, build, upstream_port, where, certificate):
        self.port, = free_ports(1)
        (where / "bootstrap.yaml").write_text(BOOTSTRAP.format(port=self.port, upstream=upstream_port,
                                                               terminates=TERMINATES.format(certificate) if certificate else "",
                                                               originates=ORIGINATES if certificate else ""))
        self.log = open(where / "log", "w+")
        self.process = subprocess.Popen(tool + [build / "sidecar" / "outrigger-sidecar", "--concurrency", "1", "-l", "error",
                                                "-c", where / "bootstrap.yaml"], stdout=self.log, stderr=self.log)
        self.clients, self.context = [], ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if certificate else None
        if certificate:
            self.context.check_hostname, self.context.verify_mode = False, ssl.CERT_NONE
        deadline = time.monotonic() + 30
        while len(self.clients) < CONNECTIONS:
            try:
                self.clients.append(self.connect())
            except ConnectionRefusedError:
                assert self.process.poll() is None and time.monotonic() < deadline, (where / "log").read_text()
                time.sleep(0.05)

    def connect(self):
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        return self.context.wrap_socket(connection) if self.context else connection

    def send(self, requests):
        for _ in range(requests // CONNECTIONS):
            for c in self.clients:
                c.sendall(REQUEST)
            for c in self.clients:
                answer = b""
                while not answer.endswith(BODY):
                    got = c.recv(65536)
                    assert got, answer
                    answer += got
                assert answer.startswith(b"HTTP/1.1 200 OK\r\n"), answer

    def stop(self):
        for c in self.clients:
            c.close()
        self.process.terminate()
        self.process.wait(30)
        self.log.close()


def calls_in(dump, functions, but_by=()):
    """How often functions were called, but by those, by a callgrind dump without compressed names."""
    calls, caller, callee = 0, None, None
    for line in dump.splitlines():
        if line.startswith("fn="):
            caller = line[3:].partition("'")[0]
        elif line.startswith("cfn="):
            callee = line[4:].partition("'")[0]
        elif line.startswith("calls=") and callee in functions and caller not in but_by:
            calls += int(line[6:].split()[0])
    return calls


def dump_of(build, where, requests=MEASURED, certificate=None):
    """Callgrind's dump of so many requests."""
    dumps = where / "callgrind"
    with answering(certificate) as upstream:
        sidecar = Sidecar(["valgrind", "--tool=callgrind", f"--callgrind-out-file={dumps}", "--compress-strings=no"], build, upstream,
                          where, certificate)
        try:
            for count in WARM, requests:
                sidecar.send(count)
                subprocess.run(["callgrind_control", "--dump", str(sidecar.process.pid)], check=True, stdout=subprocess.DEVNULL)
        finally:
            sidecar.stop()
    dump = pathlib.Path(f"{dumps}.2").read_text()
    assert "exchange_open" in dump, "the dump names no functions: calls would not be seen"
    return dump


def instructions_in(dump):
    return int(re.search(r"^totals: (\d+)", dump, re.M).group(1))


def allocations_in(dump):
    """The sidecar's own: what OpenSSL does within itself is not for us to change."""
    return calls_in(dump, {"malloc", "calloc", "realloc", "aligned_alloc", "strdup"}, but_by={"CRYPTO_malloc", "CRYPTO_realloc"})


def wait_until_traced(pid):
    """All of its threads, by their status."""
    for _ in range(200):
        if all("TracerPid:\t0" not in (t / "status").read_text() for t in pathlib.Path(f"/proc/{pid}/task").iterdir()):
            return
        time.sleep(0.05)
    pytest.fail("strace does not attach")


def system_calls_of(build, where, requests=MEASURED, certificate=None):
    """strace's counts of so many requests by name, and how often epoll waited."""
    with answering(certificate) as upstream:
        sidecar = Sidecar([], build, upstream, where, certificate)
        try:
            sidecar.send(WARM)
            pid = sidecar.process.pid
            strace = subprocess.Popen(["strace", "-f", "-c", "-p", str(pid), "-o", where / "strace"], stderr=subprocess.DEVNULL)
            wait_until_traced(pid)
            sidecar.send(requests)
            strace.send_signal(signal.SIGINT)
            strace.wait(10)
        finally:
            sidecar.stop()
    counts = {name: int(calls) for calls, name in
              re.findall(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", (where / "strace").read_text(), re.M)}
    waits = counts.pop("epoll_wait", 0) + counts.pop("epoll_pwait", 0)
    counts.pop("total", None)
    print(f"{counts}, {waits} waits")
    return counts, waits
