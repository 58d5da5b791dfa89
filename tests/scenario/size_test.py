"""What a large configuration may weigh, and that workers share the connections: counts, where tests/bench/size.py measures time."""
import json
import pathlib
import re
import socket
import subprocess
import sys
import time

import pytest

from support.ports import free_ports

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "bench"))
import size  # noqa: E402

PRIVATE_MIB_MAX = 27  # 23.3 when this was written, 42.6 while the tree of the bootstrap's text stayed


@pytest.fixture
def start(build, tmp_path):
    """Starts sidecars and waits for the admin endpoint, which opens when everything static is built."""
    started = []

    def run(bootstrap, workers):
        admin = bootstrap["admin"]["address"]["socket_address"]["port_value"]
        (tmp_path / "bootstrap.json").write_text(json.dumps(bootstrap))
        log = open(tmp_path / "log", "wb")
        process = subprocess.Popen([build / "sidecar/outrigger-sidecar", "-l", "error", "--concurrency", str(workers), "-c",
                                    tmp_path / "bootstrap.json"], stdout=log, stderr=log)
        started.append(process)
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", admin)).close()
                return process
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
                time.sleep(0.05)

    yield run
    for p in started:
        p.kill()
        p.wait(30)


def test_two_workers_take_at_least_40_of_100_connections_each(start):
    """The kernel spreads by a hash: of 1000 connections 40 % is six standard deviations away."""
    port, admin, nobody = free_ports(3)
    start(size.simple(port, nobody, admin=admin), 2)
    before = size.accepts(admin)
    held = [socket.create_connection(("127.0.0.1", port)) for _ in range(1000)]
    deadline = time.monotonic() + 20
    while sum(size.accepts(admin)) < sum(before) + 1000 and time.monotonic() < deadline:
        time.sleep(0.1)
    shares = [after - b for after, b in zip(size.accepts(admin), before)]
    for s in held:
        s.close()
    print(shares)
    assert len(shares) == 2 and sum(shares) == 1000
    assert min(shares) >= 400


def test_500_routes_and_1000_clusters_of_10_hosts_weigh_little(start):
    port, nobody = free_ports(2)
    process = start(size.of_tenants(port, nobody, size.TENANTS, size.CLUSTERS, size.HOSTS), 1)
    memory = pathlib.Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    private_mib = int(re.search(r"^Private_Dirty:\s+(\d+) kB", memory, re.M).group(1)) / 1024
    print(f"{private_mib:.1f} MiB")
    assert 10 < private_mib < PRIVATE_MIB_MAX
