"""Connections cut at every byte: by upstream in its answer (by length, chunked, HTTP/2), by clients in their request; by FIN
and by RST. Neighbours are served meanwhile, every request has its right end, and nothing is left behind.
"""
import asyncio
import collections
import re
import socket
import struct

import pytest

from support.measured import SANITIZED, Sidecar, cluster, listener

LENGTH = (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", b"hello")
CHUNKED = (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n")


def frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


# SETTINGS and its acknowledgement, HEADERS of :status 200 and content-length 5; DATA that ends the stream.
H2 = (frame(4, 0, 0, b"") + frame(4, 1, 0, b"") + frame(1, 4, 1, b"\x88\x0f\x0d\x015"), frame(0, 1, 1, b"hello"))
KINDS = {"length": LENGTH, "chunked": CHUNKED, "h2": H2}


def h2_request(path):
    """What a client sends: :method POST, :scheme http, :path, :authority, content-length as literals; DATA that ends the stream."""
    fields = b"\x83\x86\x04%c%s\x01\x01a\x0f\x0d\x015" % (len(path), path)
    return (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + frame(1, 4, 1, fields) + frame(0, 1, 1, b"hello"))


POST = {
    "length": lambda path: b"POST %s HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello" % path,
    "chunked": lambda path: b"POST %s HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" % path,
    "h2": h2_request,
}
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
MOMENT = 0.004   # what was sent before it is read by then, mostly


def cut(writer, how):
    if how == "rst":
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort() if how == "rst" else writer.close()


class Upstream:
    """/cut/KIND/N/HOW: N bytes of the answer, then the end. Else it answers requests that are whole, and keeps their paths."""

    def __init__(self):
        self.whole = collections.Counter()

    async def serve(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split(b" ")[1].decode()
                if path.startswith("/cut/"):
                    _, _, kind, n, how = path.split("/")
                    writer.write(b"".join(KINDS[kind])[:int(n)])
                    await asyncio.sleep(MOMENT if how == "rst" else 0)
                    return cut(writer, how)
                if b"chunked" in head:
                    await reader.readuntil(b"0\r\n\r\n")
                elif (length := re.search(rb"content-length: (\d+)", head)):
                    await reader.readexactly(int(length[1]))
                self.whole[path] += 1
                writer.write(OK)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.close()

    async def serve_h2(self, reader, writer):
        """What to do is not read from the path: one request is under way at a time."""
        try:
            await reader.readexactly(24)
            while True:
                head = await reader.readexactly(9)
                await reader.readexactly(int.from_bytes(head[:3], "big"))
                if head[3] == 1:
                    break
            n, how = self.next_h2
            writer.write(b"".join(H2)[:n])
            await asyncio.sleep(MOMENT if how == "rst" else 0)
            cut(writer, how)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.close()


async def ask(port, request, timeout=5):
    """(status, body, whether it is whole) of the answer on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), timeout)
        status = int(head.split(b" ")[1])
        if b"chunked" in head:
            try:
                return status, await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), timeout), True
            except asyncio.IncompleteReadError as e:
                return status, e.partial, False
        length = int(re.search(rb"content-length: (\d+)", head)[1])
        try:
            return status, await asyncio.wait_for(reader.readexactly(length), timeout), True
        except asyncio.IncompleteReadError as e:
            return status, e.partial, False
    except ConnectionResetError:
        return 0, b"", False
    finally:
        writer.close()


class Neighbours:
    """Requests one after another on connections of their own, which nobody may disturb."""

    def __init__(self, port):
        self.port, self.served, self.failed, self.going = port, 0, [], True

    async def one(self, number):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        while self.going:
            writer.write(b"GET /ok/%d HTTP/1.1\r\nhost: a\r\n\r\n" % number)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
            body = await reader.readexactly(2)
            if b" 200 " not in head or body != b"ok":
                self.failed.append(head)
            self.served += 1
            await asyncio.sleep(0.002)
        writer.close()

    async def __aenter__(self):
        self.tasks = [asyncio.ensure_future(self.one(n)) for n in range(4)]
        return self

    async def __aexit__(self, *_):
        self.going = False
        await asyncio.gather(*self.tasks)


@pytest.fixture
def world(build, tmp_path):
    """A function that runs (sidecar, upstream) -> coroutine, and looks for what is left afterwards."""
    def run(body):
        async def main():
            upstream = Upstream()
            h1 = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
            h2 = await asyncio.start_server(upstream.serve_h2, "127.0.0.1", 0)
            up1, up2 = (s.sockets[0].getsockname()[1] for s in (h1, h2))
            sidecar = Sidecar(build, tmp_path, ["main"], lambda ports, log: (
                [listener("main", ports["main"], {"/cut/h2": {"cluster": "two"}, "/": {"cluster": "one"}}, log)],
                [cluster("one", up1), cluster("two", up2, h2=True)]))
            try:
                for _ in range(3):
                    await ask(sidecar.ports["main"], b"GET /ok/warm HTTP/1.1\r\nhost: a\r\n\r\n")
                await body(sidecar, upstream)
                left = await asyncio.to_thread(lambda: [
                    (name, sidecar.settles(lambda: sidecar.gauges(name), 0))
                    for name in ("downstream_cx_active", "downstream_rq_active", "upstream_rq_active",
                                 "upstream_rq_pending_active")])
                assert not any(n for _, n in left), left
            finally:
                sidecar.process.poll() is None and sidecar.stop()
                for s in (h1, h2):
                    s.close()
                for task in asyncio.all_tasks() - {asyncio.current_task()}:
                    task.cancel()
        asyncio.run(main())
    return run


def right_end(kind, n, how, got):
    """Whether a client may see that of an answer cut behind n bytes."""
    head, body = KINDS[kind]
    status, text, whole = got
    if n == len(head) + len(body):
        return (status, whole) == (200, True) or (how == "rst" and not whole)
    # An RST may overtake what was sent before it.
    errors = {503} if n == 0 else {502, 503}
    if n < len(head) or (how == "rst" and status != 200):
        return status in errors and whole
    return status == 200 and not whole


async def cut_answers(sidecar, upstream, kind, whole):
    """whole: behind the last byte, too. That is a connection of the pool that ends, and may take a neighbour's request along."""
    wrong, port = [], sidecar.ports["main"]
    end = sum(map(len, KINDS[kind])) + whole

    async def one(n, how):
        upstream.next_h2 = (n, how)
        got = await ask(port, f"GET /cut/{kind}/{n}/{how} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
        if not right_end(kind, n, how, got):
            wrong.append((n, how, got))
    for how in ("fin", "rst"):
        if kind == "h2":  # one at a time: streams would share a connection, and its end
            for n in range(end):
                await one(n, how)
        else:
            for first in range(0, end, 16):
                await asyncio.gather(*(one(n, how) for n in range(first, min(first + 16, end))))
    assert not wrong, wrong[:10]


@pytest.mark.parametrize("kind", KINDS)
def test_upstream_leaves_at_every_byte(world, kind):
    async def body(sidecar, upstream):
        await cut_answers(sidecar, upstream, kind, True)
        files, rss = sidecar.descriptors(), sidecar.rss_kib()
        async with Neighbours(sidecar.ports["main"]) as neighbours:
            await cut_answers(sidecar, upstream, kind, False)
        assert neighbours.served > 10 and not neighbours.failed, neighbours.failed[:3]
        # The neighbours' connections to upstream stay in the pool.
        assert sidecar.settles(sidecar.descriptors, files + 4) <= files + 4
        assert SANITIZED or sidecar.rss_kib() < rss + 1024
        wanted = 2 * (2 * sum(map(len, KINDS[kind])) + 1)

        def lines():
            return [x for x in sidecar.logged() if x["path"].startswith("/cut/")]
        assert sidecar.settles(lambda: wanted - len(lines()), 0) == 0
        bad = [x for x in lines() if x["code"] in (502, 503) and x["flags"] not in ("UPE", "UC")]
        assert not bad, bad[:3]
    world(body)


async def cut_requests(port, request_of, tag):
    async def one(n, how):
        request = request_of(b"/up/%s-%03d-%s" % (tag, n, how.encode()))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request[:n])
        await asyncio.sleep(MOMENT)
        cut(writer, how)
    total = len(request_of(b"/up/c-000-rst"))
    for how in ("fin", "rst"):
        for first in range(0, total, 16):
            await asyncio.gather(*(one(n, how) for n in range(first, min(first + 16, total))))


@pytest.mark.parametrize("kind", POST)
def test_clients_leave_at_every_byte(world, kind):
    async def body(sidecar, upstream):
        port = sidecar.ports["main"]
        await cut_requests(port, POST[kind], b"w")
        files = await asyncio.to_thread(sidecar.settles, sidecar.descriptors, 0, 0.5)
        rss = sidecar.rss_kib()
        async with Neighbours(port) as neighbours:
            await cut_requests(port, POST[kind], b"c")
        assert neighbours.served > 10 and not neighbours.failed, neighbours.failed[:3]
        files_after = await asyncio.to_thread(sidecar.settles, sidecar.descriptors, files + 4)
        assert files_after <= files + 4
        assert SANITIZED or sidecar.rss_kib() < rss + 1024
        # Nobody sent a whole request, so nobody may have got one.
        made_up = [p for p in upstream.whole if p.startswith("/up/")]
        assert not made_up, made_up[:5]
    world(body)


def test_a_whole_request_and_its_end_at_once(world):
    """FIN right behind the last byte: the answer is not wanted any more, as for Envoy; nothing hangs."""
    async def body(sidecar, upstream):
        for kind in POST:
            for how in ("fin", "rst"):
                for _ in range(20):
                    reader, writer = await asyncio.open_connection("127.0.0.1", sidecar.ports["main"])
                    writer.write(POST[kind](b"/up/all"))
                    cut(writer, how)
        for kind in POST:  # and that they are whole
            path = f"/up/whole-{kind}"
            reader, writer = await asyncio.open_connection("127.0.0.1", sidecar.ports["main"])
            writer.write(POST[kind](path.encode()))
            for _ in range(500):
                if upstream.whole[path]:
                    break
                await asyncio.sleep(0.01)
            assert upstream.whole[path] == 1, path
            writer.close()
        codes = collections.Counter((x["code"], x["flags"]) for x in sidecar.logged() if x["path"].startswith("/up/"))
        assert set(codes) <= {(200, "-"), (0, "DC"), (200, "DC")}, codes
    world(body)
