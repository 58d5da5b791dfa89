"""What stands on either side of a sidecar while its configuration changes: backends, and callers that keep their connections.

    churn.py backends NAME...                  each on a port of its own, HTTP/1.1 or HTTP/2 by the first bytes; one line
                                               {"NAME": PORT, ...} on stdout, then serves until stdin ends
    churn.py load PORT SECONDS FILE            four callers of each protocol; every answer is one JSON line in FILE

Both run in processes of their own, so that neither waits for the control plane's interpreter lock. Times are of
time.monotonic(), which all processes of a machine share.
"""
import asyncio
import json
import random
import sys
import time

import h2.config
import h2.connection
import h2.events

CALLERS = 4          # of each protocol
STREAMS = 3          # at once on each HTTP/2 connection
PAUSE_S = 0.02       # between two requests of one caller
BIG = 40000          # bytes of the larger bodies: more than one read, more than a stream's first frames
CANARIES = ("a", "b", "c", "d")


# ---- Backends. ----

class Backend(asyncio.Protocol):
    """Answers with its name; some answers take a while, some are large, so that changes meet them half way."""

    def __init__(self, name):
        self.name, self.data, self.h2, self.tasks = name, b"", None, set()

    def connection_made(self, transport):
        self.transport = transport

    def connection_lost(self, error):
        for task in self.tasks:
            task.cancel()

    def data_received(self, data):
        if self.h2 is None and not self.data and data.startswith(b"PRI"):
            self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
            self.h2.initiate_connection()
        if self.h2:
            self.on_h2(data)
            return
        self.data += data
        while b"\r\n\r\n" in self.data:
            head, self.data = self.data.split(b"\r\n\r\n", 1)
            self.later(self.answer_h1(head.split(b" ", 2)[1].decode()))

    def later(self, job):
        task = asyncio.ensure_future(job)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def answer_h1(self, path):
        """A proxy asks for one thing at a time on an HTTP/1.1 connection."""
        await asyncio.sleep(delay())
        body = bytes(size(path))
        head = f"HTTP/1.1 200 OK\r\nx-backend: {self.name}\r\ncontent-length: {len(body)}\r\n\r\n"
        half = len(body) // 2
        self.transport.write(head.encode() + body[:half])
        if half:
            await asyncio.sleep(delay())
        self.transport.write(body[half:])

    def on_h2(self, data):
        for e in self.h2.receive_data(data):
            if isinstance(e, h2.events.RequestReceived):
                self.later(self.answer_h2(e.stream_id, dict(e.headers)[":path"]))
        self.transport.write(self.h2.data_to_send())

    async def answer_h2(self, stream, path):
        await asyncio.sleep(delay())
        left = size(path)
        self.h2.send_headers(stream, [(":status", "200"), ("x-backend", self.name), ("content-length", str(left))])
        while left:
            n = min(left, self.h2.local_flow_control_window(stream), 16000)
            if n:
                self.h2.send_data(stream, bytes(n))
                left -= n
            self.transport.write(self.h2.data_to_send())
            await asyncio.sleep(0 if n else 0.002)
        self.h2.end_stream(stream)
        self.transport.write(self.h2.data_to_send())


def delay():
    return random.choice((0, 0, 0, 0.005, 0.03))


def size(path):
    return BIG if path.endswith("/big") else 2


async def backends(names):
    loop, ports, servers = asyncio.get_running_loop(), {}, []
    for name in names:
        servers.append(await loop.create_server(lambda name=name: Backend(name), "127.0.0.1", 0, backlog=256))
        ports[name] = servers[-1].sockets[0].getsockname()[1]
    print(json.dumps(ports), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


# ---- Callers. ----

def next_request():
    path = random.choice(("/weights", "/match", "/hosts1", "/hosts2")) + random.choice(("", "", "", "/big"))
    return path, random.choice(CANARIES)


class Notes:
    def __init__(self, file):
        self.file = file

    def put(self, caller, request, sent, status=0, headers=(), length=0, error=""):
        headers = dict(headers)
        path, canary = request
        self.file.write(json.dumps({
            "caller": caller, "path": path, "canary": canary, "sent": sent, "got": time.monotonic(), "status": status,
            "backend": headers.get("x-backend", ""), "version": int(headers.get("x-version", -1)),
            "whole": length == size(path), "error": error}) + "\n")


async def call_h1(name, port, end, notes):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.monotonic() < end:
        request = path, canary = next_request()
        sent = time.monotonic()
        writer.write(f"GET {path} HTTP/1.1\r\nhost: h\r\nx-canary: {canary}\r\n\r\n".encode())
        try:
            head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).decode().split("\r\n")
            headers = [(k.lower(), v) for k, _, v in (line.partition(": ") for line in head[1:] if line)]
            if "connection" in dict(headers):
                raise ConnectionError("the connection is to be closed")
            body = await asyncio.wait_for(reader.readexactly(int(dict(headers)["content-length"])), 10)
        except (OSError, EOFError, asyncio.TimeoutError) as e:
            notes.put(name, request, sent, error=repr(e))
            return
        notes.put(name, request, sent, int(head[0].split(" ")[1]), headers, len(body))
        await asyncio.sleep(PAUSE_S)


class H2Caller(asyncio.Protocol):
    def __init__(self, name, end, notes):
        self.name, self.end, self.notes = name, end, notes
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.open = {}  # stream -> [request, time, headers, length, future]
        self.lost = None

    def connection_made(self, transport):
        self.transport = transport
        self.h2.initiate_connection()
        transport.write(self.h2.data_to_send())

    def connection_lost(self, error):
        self.fail(f"the connection ended: {error!r}")

    def fail(self, why):
        self.lost = why
        for stream in list(self.open):
            self.done(stream, why)

    def done(self, stream, error=""):
        request, sent, headers, length, future = self.open.pop(stream)
        self.notes.put(self.name, request, sent, int(dict(headers).get(":status", 0)), headers, length, error)
        if not future.done():
            future.set_result(None)

    def data_received(self, data):
        for e in self.h2.receive_data(data):
            if isinstance(e, h2.events.ResponseReceived):
                self.open[e.stream_id][2] = e.headers
            elif isinstance(e, h2.events.DataReceived):
                self.open[e.stream_id][3] += len(e.data)
                self.h2.acknowledge_received_data(e.flow_controlled_length, e.stream_id)
            elif isinstance(e, h2.events.StreamEnded):
                self.done(e.stream_id)
            elif isinstance(e, h2.events.StreamReset):
                self.done(e.stream_id, f"reset by {e.error_code!r}")
            elif isinstance(e, h2.events.ConnectionTerminated):
                self.fail(f"GOAWAY {e.error_code!r}")
        self.transport.write(self.h2.data_to_send())

    async def run(self):
        while time.monotonic() < self.end and not self.lost:
            request = path, canary = next_request()
            stream = self.h2.get_next_available_stream_id()
            future = asyncio.get_running_loop().create_future()
            self.open[stream] = [request, time.monotonic(), (), 0, future]
            self.h2.send_headers(stream, [(":method", "GET"), (":scheme", "http"), (":authority", "h"), (":path", path),
                                          ("x-canary", canary)], end_stream=True)
            self.transport.write(self.h2.data_to_send())
            try:
                await asyncio.wait_for(future, 10)
            except asyncio.TimeoutError:
                self.done(stream, "no answer within 10 s")
            await asyncio.sleep(PAUSE_S * STREAMS)


async def call_h2(name, port, end, notes):
    _, caller = await asyncio.get_running_loop().create_connection(lambda: H2Caller(name, end, notes), "127.0.0.1", port)
    await asyncio.gather(*(caller.run() for _ in range(STREAMS)))


async def load(port, seconds, path):
    end = time.monotonic() + seconds
    with open(path, "w") as file:
        notes = Notes(file)
        await asyncio.gather(*(call_h1(f"h1-{i}", port, end, notes) for i in range(CALLERS)),
                             *(call_h2(f"h2-{i}", port, end, notes) for i in range(CALLERS)))


if __name__ == "__main__":
    if sys.argv[1] == "backends":
        asyncio.run(backends(sys.argv[2:]))
    else:
        asyncio.run(load(int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]))
