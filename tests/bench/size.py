"""What the sidecar costs at size, beside Envoy with the same configuration: many routes and clusters, two workers, two sidecars in
a row, and idle connections.

    tests/bench/run.sh size [routes] [workers] [chain] [memory] [--rounds N]

As in bench.py a figure is refused when any request failed or bytes differ, CPU is utime + stime of all threads over a fixed number
of requests, and a ratio is taken within a round.
"""
import argparse
import json
import os
import random
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

import bench
from bench import BUILD, Process, free_port

TENANTS, CLUSTERS, HOSTS = 500, 1000, 10


def spread(values, form="{:.2f}"):
    text = lambda x: form.format(x)
    return f"{text(statistics.median(values))} ({text(min(values))}-{text(max(values))})"


def argv_of(name, config, workers):
    binary = bench.envoy_binary() if name == "envoy" else os.path.abspath(f"{BUILD}/sidecar/outrigger-sidecar")
    return [binary] + (["--use-dynamic-base-id"] if name == "envoy" else []) + ["--concurrency", str(workers), "-l", "error", "-c", config]


def start(name, bootstrap, port, directory, cores="0", workers=1):
    config = os.path.join(directory, f"{name}-{port}.json")
    json.dump(bootstrap, open(config, "w"))
    return Process(name, cores, argv_of(name, config, workers), port, directory)


# ---- The same bootstraps for Envoy and for us. ----

def at(port, address="127.0.0.1"):
    return {"address": {"socket_address": {"address": address, "port_value": port}}}


def cluster(name, hosts):
    return {"name": name, "type": "STATIC", "connect_timeout": "5s",
            "circuit_breakers": {"thresholds": [{"max_connections": 20000, "max_pending_requests": 20000, "max_requests": 20000}]},
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": h} for h in hosts]}]}}


def bootstrap(port, admin, routes, clusters, codec="HTTP1"):
    kind = "type.googleapis.com/envoy.extensions.filters."
    manager = {"@type": kind + "network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": "bench", "codec_type": codec,
               "http_filters": [{"name": "router", "typed_config": {"@type": kind + "http.router.v3.Router"}}],
               "route_config": {"name": "bench", "virtual_hosts": [{"name": "bench", "domains": ["*"], "routes": routes}]}}
    listener = {"name": "bench", **at(port), "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}]}
    return {"admin": at(admin), "static_resources": {"listeners": [listener], "clusters": clusters}}


def simple(port, upstream, codec="HTTP1", admin=None):
    routes = [{"match": {"path": "/health"}, "direct_response": {"status": 200}}, {"match": {"prefix": "/"}, "route": {"cluster": "up"}}]
    return bootstrap(port, admin or free_port(), routes, [cluster("up", [at(upstream)])], codec)


def of_tenants(port, upstream, tenants, clusters, hosts):
    """Routes by header and regular expression, each to a cluster of its own; the last one is asked for, and has one host."""
    routes = [{"match": {"safe_regex": {"regex": f"/service{i}/items/[0-9]+"},
                         "headers": [{"name": "x-tenant", "string_match": {"exact": f"tenant{i}"}}]},
               "route": {"cluster": f"cluster{i}"}} for i in range(tenants)]
    others = [cluster(f"cluster{i}", [at(8080, f"10.{i // 250}.{i % 250}.{h + 1}") for h in range(hosts)])
              for i in range(clusters) if i != tenants - 1]
    return bootstrap(port, free_port(), routes, others + [cluster(f"cluster{tenants - 1}", [at(upstream)])])


# ---- Load. ----

def h2load(port, count, rate=0, connections=16, path="/bench", headers=(), log=None):
    """All of it answered 2xx with the right number of bytes, or the end. Seconds it took."""
    argv = ["taskset", "-c", "1", "h2load", "--h1", "-c", str(connections), "-n", str(count)]
    argv += [f"--rps={rate / connections}"] if rate else []
    argv += [f"--log-file={log}"] if log else []
    argv += [x for h in headers for x in ("-H", h)] + [f"http://127.0.0.1:{port}{path}"]
    began = time.monotonic()
    out = subprocess.run(argv, capture_output=True, text=True).stdout
    took = time.monotonic() - began
    codes, data = re.search(r"status codes: (\d+) 2xx", out), re.search(r"\((\d+)\) data", out)
    if not codes or int(codes[1]) != count or int(data[1]) != count * bench.BODY:
        sys.exit(f"bench: not all of {count} requests were answered in full; no figure is worth anything:\n{out}")
    return took


def cpu_of(processes, run):
    """CPU seconds and wall seconds of a run."""
    before = sum(p.cpu_s() for p in processes)
    took = run()
    return sum(p.cpu_s() for p in processes) - before, took


# ---- Many routes and clusters. ----

def measure_routes(name, size, upstream, count, directory):
    tenants, clusters, hosts = size
    port = free_port()
    proxy = start(name, of_tenants(port, upstream, tenants, clusters, hosts), port, directory)
    ask = lambda n, rate: h2load(port, n, rate, path=f"/service{tenants - 1}/items/7", headers=[f"x-tenant: tenant{tenants - 1}"])
    try:
        ask(count // 5, 0)
        full, full_s = cpu_of([proxy], lambda: ask(count, 0))
        rated, rated_s = cpu_of([proxy], lambda: ask(count // 2, 5000))
        return {"us": full / count * 1e6, "busy": full / full_s * 100, "rate_us": rated / (count // 2) * 1e6,
                "rate_busy": rated / rated_s * 100, "mib": proxy.pss_kib() / 1024}
    finally:
        proxy.stop()


def routes(options, directory):
    upstream = bench.start_upstream("h1", directory)
    sizes = {"one": (1, 1, 1), "many": (TENANTS, CLUSTERS, HOSTS)}
    rounds = []
    for _ in range(options.rounds):
        cells = [(n, s) for n in ("envoy", "outrigger") for s in sizes]
        rounds.append({c: measure_routes(c[0], sizes[c[1]], upstream.port, options.messages, directory)
                       for c in random.sample(cells, len(cells))})
    upstream.stop()
    print(f"\n{TENANTS} routes (header and regex), {CLUSTERS} clusters of {HOSTS} hosts, beside one; HTTP/1.1, saturated and 5000 a second")
    print(f"{'':10} {'':5} {'CPU us':>22} {'busy %':>7} {'at a rate, us':>22} {'busy %':>7} {'PSS MiB':>8} {'CPU to one':>18} {'at a rate':>18}")
    for name in ("envoy", "outrigger"):
        for size in sizes:
            v = lambda key: [r[name, size][key] for r in rounds]
            ratio = lambda key: spread([r[name, size][key] / r[name, "one"][key] for r in rounds])
            print(f"{name:10} {size:5} {spread(v('us')):>22} {statistics.median(v('busy')):7.0f} {spread(v('rate_us')):>22} "
                  f"{statistics.median(v('rate_busy')):7.0f} {statistics.median(v('mib')):8.1f} {ratio('us'):>18} {ratio('rate_us'):>18}")
    for size in sizes:
        print(f"outrigger, {size}: {instructions(sizes[size], directory):.0f} user instructions a request (callgrind)")


def instructions(size, directory, count=1000):
    """The difference of twice as many requests and once as many, so that start and end do not count."""
    upstream = bench.start_upstream("h1", directory)
    counts = []
    for n in (count, 2 * count):
        port = free_port()
        config = os.path.join(directory, "callgrind.json")
        json.dump(of_tenants(port, upstream.port, *size), open(config, "w"))
        process = Process("callgrind", 0, ["valgrind", "--tool=callgrind", f"--callgrind-out-file={directory}/callgrind.out"] +
                          argv_of("outrigger", config, 1), port, directory)
        h2load(port, n, connections=4, path=f"/service{size[0] - 1}/items/7", headers=[f"x-tenant: tenant{size[0] - 1}"])
        process.process.terminate()
        process.process.wait()
        counts.append(int(re.search(r"Collected : (\d+)", open(process.log.name).read())[1]))
        process.log.close()
    upstream.stop()
    return (counts[1] - counts[0]) / count


# ---- Two workers. ----

def accepts(admin):
    """Connections that each worker accepted."""
    text = urllib.request.urlopen(f"http://127.0.0.1:{admin}/stats?filter=worker_.*downstream_cx_total", timeout=10).read().decode()
    return [int(x) for x in re.findall(r"worker_\d+\.downstream_cx_total: (\d+)", text)]


# Two processes on one port share nothing: what they cost more than one is the machine's, not the proxy's.
LAYOUTS = {"one worker": [1], "two workers": [2], "two processes": [1, 1]}


def measure_workers(name, layout, upstream, count, directory):
    """layout: the workers of each process."""
    port, admins = free_port(), [free_port() for _ in layout]
    proxies = [start(name, simple(port, upstream, admin=a), port, directory, "0,1", w) for a, w in zip(admins, layout)]
    accepted = lambda: [n for a in admins for n in accepts(a)]
    try:
        h2load(port, count // 5, connections=64)
        full, full_s = cpu_of(proxies, lambda: h2load(port, count, connections=64))
        rated, rated_s = cpu_of(proxies, lambda: h2load(port, count // 2, 5000, connections=64))
        before = accepted()
        held = [socket.create_connection(("127.0.0.1", port)) for _ in range(1000)]
        time.sleep(1)
        shares = [b - a for a, b in zip(before, accepted())]
        for s in held:
            s.close()
        return {"us": full / count * 1e6, "busy": full / full_s * 100, "rate_us": rated / (count // 2) * 1e6,
                "rate_busy": rated / rated_s * 100, "share": min(shares) / 10}
    finally:
        for p in proxies:
            p.stop()


def workers(options, directory):
    upstream = bench.start_upstream("h1", directory)
    rounds = []
    for _ in range(options.rounds):
        cells = [(n, layout) for n in ("envoy", "outrigger") for layout in LAYOUTS]
        rounds.append({c: measure_workers(c[0], LAYOUTS[c[1]], upstream.port, options.messages, directory)
                       for c in random.sample(cells, len(cells))})
    upstream.stop()
    print("\nTwo workers beside one, and beside two processes of one, all on the two cores that load and upstream use too; HTTP/1.1, 64 connections")
    print(f"{'':10} {'':13} {'CPU us':>22} {'busy %':>7} {'5000 a second, us':>22} {'busy %':>7} {'CPU to one':>18} {'at a rate':>18} {'fewer of 1000 connections, %':>30}")
    for name in ("envoy", "outrigger"):
        for layout in LAYOUTS:
            v = lambda key: [r[name, layout][key] for r in rounds]
            ratio = lambda key: spread([r[name, layout][key] / r[name, "one worker"][key] for r in rounds])
            print(f"{name:10} {layout:13} {spread(v('us')):>22} {statistics.median(v('busy')):7.0f} {spread(v('rate_us')):>22} "
                  f"{statistics.median(v('rate_busy')):7.0f} {ratio('us'):>18} {ratio('rate_us'):>18} "
                  f"{spread(v('share'), '{:.1f}') if layout != 'one worker' else '-':>30}")


# ---- Two sidecars in a row. ----

def latencies_ms(port, count, rate, directory):
    log = os.path.join(directory, "h2load.log")
    if os.path.exists(log):
        os.unlink(log)
    h2load(port, count // 10, rate)
    h2load(port, count, rate, log=log)
    times = sorted(int(line.split("\t")[2]) / 1000 for line in open(log))
    return {"p50": times[len(times) // 2], "p99": times[len(times) * 99 // 100]}


def measure_chain(name, upstream, count, directory):
    if name == "none":
        return latencies_ms(upstream, count, 1000, directory)
    ports = [free_port(), free_port()]
    inbound = start(name, simple(ports[1], upstream), ports[1], directory)
    outbound = start(name, simple(ports[0], ports[1]), ports[0], directory)
    try:
        result = {}
        cpu, took = cpu_of([inbound, outbound], lambda: result.update(latencies_ms(ports[0], count, 1000, directory)) or count * 1.1 / 1000)
        return {**result, "us": cpu / (count * 1.1) * 1e6, "busy": cpu / took * 100}
    finally:
        outbound.stop()
        inbound.stop()


def chain(options, directory):
    bench.BODY = 1024
    upstream = bench.start_upstream("h1", directory)
    rounds = []
    for _ in range(options.rounds):
        names = ["none", "envoy", "outrigger"]
        rounds.append({n: measure_chain(n, upstream.port, 10000, directory) for n in random.sample(names, 3)})
    upstream.stop()
    print("\nload -> sidecar -> sidecar -> upstream, 1 KiB, 1000 a second over 16 connections; what the two add")
    print(f"{'':10} {'p50 ms':>20} {'p99 ms':>20} {'added p50':>20} {'added p99':>20} {'CPU us of both':>22} {'busy %':>7}")
    for name in ("none", "envoy", "outrigger"):
        v = lambda key: [r[name][key] for r in rounds]
        added = lambda key: spread([r[name][key] - r["none"][key] for r in rounds], "{:.3f}") if name != "none" else "-"
        print(f"{name:10} {spread(v('p50'), '{:.3f}'):>20} {spread(v('p99'), '{:.3f}'):>20} {added('p50'):>20} {added('p99'):>20} "
              f"{spread(v('us')) if name != 'none' else '-':>22} {statistics.median(v('busy')) if name != 'none' else 0:7.0f}")
    bench.BODY = 512


# ---- Memory of connections. ----

H1_REQUEST = b"GET /health HTTP/1.1\r\nhost: bench\r\n\r\n"
# Preface, empty SETTINGS, and HEADERS of stream 1: :method GET, :scheme http, :path /health, :authority bench.
H2_HEAD = b"\x82\x86\x44\x07/health\x41\x05bench"
H2_REQUEST = (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0" +
              len(H2_HEAD).to_bytes(3, "big") + b"\1\5\0\0\0\1" + H2_HEAD)


def answered_h1(data):
    return data.startswith(b"HTTP/1.1 200 ") and b"\r\n\r\n" in data


def answered_h2(data):
    """A HEADERS frame of stream 1 that begins with :status 200 (index 8)."""
    while len(data) >= 9 and len(data) >= 9 + int.from_bytes(data[:3], "big"):
        length = int.from_bytes(data[:3], "big")
        if data[3] == 1 and data[9:10] == b"\x88":
            return True
        data = data[9 + length:]
    return False


def open_idle(port, request, answered, count):
    """Connections that asked once, were answered, and stay."""
    held = []
    for _ in range(count):
        s = socket.create_connection(("127.0.0.1", port), 10)
        s.sendall(request)
        data = b""
        while not answered(data):
            more = s.recv(65536)
            if not more:
                sys.exit(f"bench: a connection ended unanswered after {data!r}; no figure is worth anything")
            data += more
        held.append(s)
    return held


def measure_memory(name, protocol, count, directory):
    port = free_port()
    proxy = start(name, simple(port, free_port(), "HTTP2" if protocol == "h2" else "HTTP1"), port, directory)
    request, answered = (H2_REQUEST, answered_h2) if protocol == "h2" else (H1_REQUEST, answered_h1)
    try:
        idle = proxy.pss_kib()
        held = open_idle(port, request, answered, 100)
        few = proxy.pss_kib()
        held += open_idle(port, request, answered, count - 100)
        many = proxy.pss_kib()
        for s in held:
            s.close()
        return {"idle": idle / 1024, "connection": (many - few) / (count - 100), "many": many / 1024}
    finally:
        proxy.stop()


def memory(options, directory):
    print(f"\n{options.connections} idle keep-alive connections, each answered once")
    print(f"{'':10} {'':3} {'idle process, MiB':>18} {'a connection, KiB':>18} {'with all, MiB':>14}")
    for name in ("envoy", "outrigger"):
        for protocol in ("h1", "h2"):
            m = measure_memory(name, protocol, options.connections, directory)
            print(f"{name:10} {protocol:3} {m['idle']:18.1f} {m['connection']:18.2f} {m['many']:14.1f}")


CASES = {"routes": routes, "workers": workers, "chain": chain, "memory": memory}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("case", nargs="*", help=f"of {', '.join(CASES)}; default: all")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--messages", type=int, default=20000, help="a measurement")
    p.add_argument("--connections", type=int, default=10000, help="for memory; ulimit -n must allow a few more")
    options = p.parse_args()
    unknown = [c for c in options.case if c not in CASES]
    if unknown:
        sys.exit(f"bench: unknown: {', '.join(unknown)}")
    directory = tempfile.mkdtemp(prefix="outrigger-size-")
    for case in options.case or CASES:
        CASES[case](options, directory)
    shutil.rmtree(directory)


if __name__ == "__main__":
    main()
