"""Peers that are slow, idle, half gone or too many: each costs little, is given up in time, and disturbs nobody."""
import contextlib
import re
import resource
import selectors
import socket
import threading
import time

import pytest

from support.measured import SANITIZED, Sidecar, cluster, listener

GET = b"GET /ok HTTP/1.1\r\nhost: a\r\n\r\n"
BIG = bytes(8 << 20)


class Upstream:
    """/big: 8 MiB. /late: ok, 50 ms later. Else: ok. It reads bodies by their length."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = self.listener.getsockname()[1]
        self.threads = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                c, _ = self.listener.accept()
                # Head and body are two writes: the second shall not wait for the acknowledgement of the first.
                c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self.serve, args=(c,), daemon=True).start()

    def serve(self, c):
        with contextlib.suppress(OSError), c, c.makefile("rb") as f:
            while (line := f.readline()):
                length = 0
                while (field := f.readline()) not in (b"\r\n", b""):
                    if field.lower().startswith(b"content-length"):
                        length = int(field.split(b":")[1])
                f.read(length)
                body = BIG if b"/big" in line else b"ok"
                time.sleep(0.05 if b"/late" in line else 0)
                c.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body))
                c.sendall(body)


@pytest.fixture(scope="module")
def upstream():
    return Upstream()


@pytest.fixture
def start(build, tmp_path, upstream):
    """A sidecar whose listener has these options of a connection manager; it has to end well, and with no connection left."""
    running = []

    def one(options=None, max_files=None, runtime=None, **fields):
        s = Sidecar(build, tmp_path, ["main"], lambda ports, log: (
            [listener("main", ports["main"], {"/": {"cluster": "up", "timeout": "0s"}}, log, options, **fields)],
            [cluster("up", upstream.port)]), max_files, runtime)
        running.append(s)
        assert ask(s)[0] == 200
        return s
    yield one
    for s in running:
        s.stop()


@pytest.fixture
def many_files():
    """Room for 10,000 connections in this process and those it starts."""
    old = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 12000   # a process, on either side
    if old[1] < wanted:
        pytest.skip(f"RLIMIT_NOFILE allows {old[1]} of {wanted} descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, old[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, old)


def connect(sidecar, timeout=5):
    return socket.create_connection(("127.0.0.1", sidecar.ports["main"]), timeout=timeout)


def answer(c):
    """(status, body) of the next answer; (0, what came) when the connection ends before."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = c.recv(65536)
        if not more:
            return 0, data
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(re.search(rb"content-length: (\d+)", head)[1])
    while len(body) < length and (more := c.recv(65536)):
        body += more
    return int(head.split(b" ")[1]), body


def ask(sidecar, c=None):
    if c:
        c.sendall(GET)
        return answer(c)
    with connect(sidecar) as own:
        return ask(sidecar, own)


def ended(connections, seconds):
    """{connection: bytes that came} of those that the sidecar ended in time."""
    came, done, deadline = {c: b"" for c in connections}, {}, time.time() + seconds
    with selectors.DefaultSelector() as s:
        for c in connections:
            c.setblocking(False)
            s.register(c, selectors.EVENT_READ)
        while len(done) < len(connections) and time.time() < deadline:
            for key, _ in s.select(0.1):
                c = key.fileobj
                try:
                    data = c.recv(65536)
                except BlockingIOError:
                    continue
                except OSError:
                    data = b""
                came[c] += data
                if not data:
                    done[c] = came[c]
                    s.unregister(c)
    return done


def logged(sidecar, path, wanted):
    def lines():
        return [x for x in sidecar.logged() if x["path"] == path]
    assert sidecar.settles(lambda: wanted - len(lines()), 0) == 0
    return lines()


class Dripping:
    """Sends a byte on each connection every 50 ms, whatever becomes of it."""

    def __init__(self, connections, data):
        self.connections, self.data, self.going = connections, data, True
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        at = 0
        while self.going:
            for c in self.connections:
                with contextlib.suppress(OSError):
                    c.send(self.data[at:at + 1])
            at = (at + 1) % len(self.data)
            time.sleep(0.05)

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.going = False
        self.thread.join()


def close_all(connections):
    for c in connections:
        c.close()


def test_slow_heads_end_by_request_headers_timeout(start):
    """Slowloris: 200 clients that send a byte of their heads now and then. 408, and nothing of them stays."""
    s = start({"request_headers_timeout": "0.6s"})
    files = s.held()
    slow = [connect(s) for _ in range(200)]
    neighbour = connect(s)
    for c in slow:
        c.sendall(b"GET / HTTP/1.1\r\nhost: a\r\nx: ")
    with Dripping(slow, b"y"):
        assert ask(s, neighbour) == (200, b"ok")
        done = ended(slow, 6)
    assert len(done) == 200 and all(b" 408 " in text for text in done.values()), list(done.values())[:2]
    assert ask(s, neighbour) == (200, b"ok")
    neighbour.close()
    close_all(slow)
    assert s.settles(s.held, files) <= files
    assert s.gauges("downstream_rq_active") == 0


@pytest.mark.parametrize("name,options,flag", [
    ("nothing comes any more: stream_idle_timeout", {"stream_idle_timeout": "0.5s"}, "SI"),
    ("it never ends: request_timeout", {"request_timeout": "0.6s"}, "-"),
])
def test_slow_bodies_end(start, name, options, flag):
    s = start(options)
    files = s.held()
    slow = [connect(s) for _ in range(100)]
    for c in slow:
        c.sendall(b"POST /slow HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nabc")
    with Dripping(slow if flag == "-" else [], b"y"):
        done = ended(slow, 6)
    assert len(done) == 100 and all(b" 408 " in text for text in done.values()), list(done.values())[:2]
    close_all(slow)
    assert s.settles(s.held, files) <= files
    lines = logged(s, "/slow", 100)
    assert {(x["code"], x["flags"]) for x in lines} == {(408, flag)}, lines[:2]
    assert s.gauges("upstream_rq_active") == 0 and ask(s)[0] == 200


def test_who_does_not_read_costs_its_buffers_only_and_is_given_up(start):
    """50 clients ask for 8 MiB and read nothing: 400 MiB that must stay with upstream."""
    s = start({"stream_idle_timeout": "2s"}, per_connection_buffer_limit_bytes=32768)
    files, rss = s.held(), s.rss_kib()
    slow = []
    for _ in range(50):
        c = socket.socket()
        c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        c.settimeout(5)
        c.connect(("127.0.0.1", s.ports["main"]))
        c.sendall(b"GET /big HTTP/1.1\r\nhost: a\r\n\r\n")
        slow.append(c)
    time.sleep(0.5)
    held = s.rss_kib() - rss
    assert ask(s)[0] == 200
    assert SANITIZED or held < 50 * 256, f"{held} KiB for 50 clients"
    assert s.settles(lambda: s.gauges("downstream_rq_active"), 0) == 0
    lines = logged(s, "/big", 50)
    assert {x["flags"] for x in lines} == {"SI"}, lines[:2]
    close_all(slow)
    assert s.settles(s.held, files) <= files


@pytest.mark.alone
def test_ten_thousand_idle_connections(start, many_files, record_property):
    """Each has been used once. They cost a few KiB, close in order, and others are served meanwhile."""
    s = start()
    files, rss = s.held(), s.rss_kib()
    idle = [connect(s) for _ in range(10000)]
    for first in range(0, 10000, 500):
        for c in idle[first:first + 500]:
            c.sendall(GET)
        assert all(answer(c) == (200, b"ok") for c in idle[first:first + 500])
    each = (s.rss_kib() - rss) / 10000
    record_property("KiB for an idle connection", each)
    print(f"{each:.2f} KiB for an idle connection")
    assert SANITIZED or each < 4, f"{each:.2f} KiB for an idle connection"
    begin = time.time()
    assert ask(s) == (200, b"ok") and time.time() - begin < 0.5
    close_all(idle)
    assert s.settles(s.held, files) <= files
    assert s.settles(lambda: s.gauges("downstream_cx_active"), 0) == 0


def test_churn_leaves_nothing(start):
    """3,000 connections that ask once, or say nothing, and go in different ways."""
    s = start()

    def some(n):
        for i in range(n):
            c = connect(s)
            if i % 3:
                assert ask(s, c) == (200, b"ok")
            if i % 2:
                c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            c.close()
    some(1500)
    files, rss = s.settles(s.held, 0, 0.3), s.rss_kib()
    some(1500)
    assert s.settles(s.held, files) <= files
    assert SANITIZED or s.rss_kib() < rss + 512
    assert s.gauges("downstream_cx_active") == 0


def test_idle_and_half_closed_connections_are_reaped(start):
    s = start({"common_http_protocol_options": {"idle_timeout": "0.5s"}, "drain_timeout": "0.3s", "delayed_close_timeout": "0.5s"})
    files = s.held()
    silent = [connect(s) for _ in range(50)]
    used = []
    for _ in range(50):
        used.append(connect(s))
        assert ask(s, used[-1])[0] == 200
    half = [connect(s) for _ in range(50)]
    closing = [connect(s) for _ in range(50)]
    bad = [connect(s) for _ in range(50)]
    for c in half:
        c.shutdown(socket.SHUT_WR)   # and it never closes
    for c in closing:
        c.sendall(b"GET /ok HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    for c in bad:
        c.sendall(b"nonsense\r\n\r\n")
    everyone = silent + used + half + closing + bad
    done = ended(everyone, 5)
    assert len(done) == len(everyone), f"{len(everyone) - len(done)} were not ended"
    # Our descriptors are still open: the sidecar does not wait for us.
    assert s.settles(s.held, files) <= files
    close_all(everyone)
    assert ask(s)[0] == 200


def test_lack_of_descriptors_pauses_accepting_only(start):
    """Who was served before is served still, the loop does not spin, and all recovers."""
    s = start(max_files=100)
    neighbour = connect(s)
    assert ask(s, neighbour)[0] == 200
    files = s.held()
    crowd = [connect(s) for _ in range(300)]
    time.sleep(0.2)
    assert s.descriptors() > 80, "the crowd did not use the descriptors up"
    cpu, begin, served = s.cpu_s(), time.time(), 0
    while time.time() - begin < 1:
        assert ask(s, neighbour) == (200, b"ok")
        served += 1
        time.sleep(0.02)
    assert served > 5
    assert SANITIZED or s.cpu_s() - cpu < 0.3, "it spins while it cannot accept"
    close_all(crowd)
    newcomer = connect(s)
    assert ask(s, newcomer) == (200, b"ok")
    close_all([neighbour, newcomer])
    assert s.settles(s.held, files) <= files


def test_who_was_accepted_finds_descriptors_left(start):
    """An eighth of the descriptors is not for newcomers: requests of those who are there reach upstream on connections of their own,
    logs are written and the administration answers, also while places that become free are fought for."""
    s = start(max_files=100)
    inside = [connect(s) for _ in range(5)]
    assert all(ask(s, c) == (200, b"ok") for c in inside)
    crowd = [connect(s) for _ in range(300)]
    time.sleep(0.2)
    files = s.descriptors()
    assert 80 < files < 100, files
    lines = len(s.log.read_text().splitlines())
    for _ in range(3):
        for c in inside:  # five at once: each needs its own
            c.sendall(b"GET /late HTTP/1.1\r\nhost: a\r\n\r\n")
        close_all(crowd[:3])
        crowd = crowd[3:] + [connect(s) for _ in range(3)]
        for c in inside:
            assert answer(c)[0] == 200
    assert s.gauges("downstream_rq_5xx") == 0 and s.gauges("upstream_cx_active") >= 5
    assert s.settles(lambda: -len(s.log.read_text().splitlines()), -(lines + 15)) == -(lines + 15)
    assert s.descriptors() < 100
    close_all(crowd)
    newcomer = connect(s)
    assert ask(s, newcomer) == (200, b"ok")
    close_all([newcomer, *inside])


def test_a_listener_takes_no_more_connections_than_its_limit(start):
    """Envoy's runtime key: those beyond are closed at once, those within do not notice, and places are given back."""
    s = start(runtime={"envoy.resource_limits.listener.main.connection_limit": 20})
    # The connection that start() asked on may just be ending.
    assert s.settles(lambda: s.gauges("downstream_cx_active"), 0) == 0
    within = [connect(s) for _ in range(20)]
    assert all(ask(s, c) == (200, b"ok") for c in within)
    beyond = [connect(s) for _ in range(50)]
    done = ended(beyond, 3)
    assert len(done) == 50 and not any(done.values())
    assert s.gauges(f"{s.ports['main']}.downstream_cx_overflow") == 50
    assert all(ask(s, c) == (200, b"ok") for c in within)
    close_all(within[:5])
    assert s.settles(lambda: s.gauges(f"listener.127.0.0.1_{s.ports['main']}.downstream_cx_active"), 15) == 15
    assert ask(s) == (200, b"ok")
    close_all(within + beyond)
