"""One case at a time through one port of a proxy: the raw client, the recording upstream behind it, and the verdict.

Upstream keeps every byte it gets. It answers what it can read, leniently, as real servers do, and tells in X-Target which
request an answer is for; so an answer that went to the wrong request shows itself.
"""
import asyncio
import collections
import dataclasses
import re
import socket
import struct

from cases import FIN, PAUSE, RST
from reading import EXACT, LENIENT, WAYS, answers, requests

PATIENCE = 1.0   # seconds without any byte, until it counts as waiting
PAUSE_TIME = 0.06
OWN = (".ok", ".second", ".probe1", ".probe2")
Verdict = collections.namedtuple("Verdict", "verdict detail status")


def reset(writer):
    sock = writer.get_extra_info("socket")
    if sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()


async def write_parts(writer, parts):
    """Sends bytes and pauses; returns how it ended: "", fin or rst."""
    for part in parts:
        if part == PAUSE:
            await asyncio.sleep(PAUSE_TIME)
        elif part == FIN:
            writer.close()
            return FIN
        elif part == RST:
            await asyncio.sleep(PAUSE_TIME)
            reset(writer)
            return RST
        else:
            writer.write(part)
            await writer.drain()
    return ""


@dataclasses.dataclass(eq=False)
class Record:
    """What came on one connection while one case ran."""
    writer: object
    data: bytes = b""
    answered: int = 0       # bytes of it that were read as requests
    tunnel: int = None      # from here on it is no HTTP any more
    ended: bool = False


class Upstream:
    def __init__(self):
        self.records = []
        self.case = None

    async def start(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0, limit=1 << 22)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    def begin(self, case):
        """Forgets what was, but for the connections that may be used again."""
        self.case = case
        for r in list(self.records):
            if r.ended or r.answered != len(r.data) or r.tunnel is not None:
                r.writer.close()
                self.records.remove(r)
            r.data, r.answered = b"", 0

    async def serve(self, reader, writer):
        record = Record(writer)
        self.records.append(record)
        try:
            while data := await reader.read(1 << 20):
                record.data += data
                if record.tunnel is None and not await self.answer(record, writer):
                    break
        except OSError:
            pass
        record.ended = True
        writer.close()

    async def answer(self, record, writer):
        while record.answered < len(record.data):
            m = LENIENT.message(record.data, record.answered)
            if not m.whole:
                if m.fields and m.values(b"expect") and not m.body:
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                return True
            record.answered = m.end
            if not await self.answer_one(record, writer, m):
                return False
        return True

    async def answer_one(self, record, writer, m):
        target = re.sub(r"^https?://[^/]*", "", m.target)
        case = self.case
        if case.answers and case.code in target and not target.endswith(OWN):
            if any(p[:12] in (b"HTTP/1.1 101", b"HTTP/1.0 101") for p in case.answers) or m.start.startswith(b"CONNECT"):
                record.tunnel = m.end
            how = await write_parts(writer, case.answers)
            return not how
        if m.start.startswith(b"CONNECT "):
            record.tunnel = m.end
        body = b"" if m.start.startswith(b"HEAD ") else target.encode("latin-1")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX-Target: %s\r\n\r\n%s"
                     % (len(target.encode("latin-1")), target.encode("latin-1"), body))
        return True


@dataclasses.dataclass
class Seen:
    """What the client got."""
    data: bytes = b""
    end: str = ""           # "", fin or rst


class Lane:
    def __init__(self, upstream, port, is_alive):
        self.upstream, self.port, self.is_alive = upstream, port, is_alive

    async def read(self, reader, seen, enough, patience=PATIENCE):
        while not seen.end and not enough(seen.data):
            try:
                data = await asyncio.wait_for(reader.read(1 << 20), patience)
            except asyncio.TimeoutError:
                return False
            except OSError:
                seen.end = RST
                return True
            seen.data += data
            if not data:
                seen.end = FIN
        return True

    async def send(self, writer, parts):
        try:
            await asyncio.wait_for(write_parts(writer, parts), 3)
        except (OSError, asyncio.TimeoutError):
            pass  # refused while we talk

    async def case(self, case):
        """The verdict on it."""
        self.upstream.begin(case)
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 22)
        except OSError as e:
            return Verdict("crash" if not self.is_alive() else "hang", f"no connection: {e}", 0)
        seen = Seen()
        heads = (0,) if case.raw.startswith(b"HEAD ") else ()
        wanted = len(case.bodies) + case.raw.count(b".ok HTTP/")
        if case.answers:
            wanted = 1

        def enough(data):
            found = finals(data, False, heads)
            return len(found) >= wanted or any(m.status >= 400 for m in found) or any(m.status == 101 for m in found)
        sending = asyncio.ensure_future(self.send(writer, case.sends))
        heard = await self.read(reader, seen, enough)
        await sending
        more = 0.04 + PAUSE_TIME * case.answers.count(PAUSE)  # for what comes behind the answer
        await self.read(reader, seen, lambda d: False, 0.3 if refused(seen.data, heads) else more)
        second = None
        if heard and not seen.end and not case.raw.startswith(b"CONNECT") and can_go_on(seen.data, heads):
            second = await self.ask(reader, writer, case, "second")
        elif heard and not seen.end and refused(seen.data, heads):
            await self.send(writer, [f"GET /{case.code}.deaf HTTP/1.1\r\nHost: corpus.test\r\n\r\n".encode()])
        trouble = await self.probes(case)
        writer.close()
        return self.judge(case, seen, heads, second, trouble)

    async def ask(self, reader, writer, case, word):
        """Trouble with an ordinary request on this connection, or None."""
        target, seen = f"/{case.code}.{word}", Seen()
        await self.send(writer, [f"GET {target} HTTP/1.1\r\nHost: corpus.test\r\n\r\n".encode()])
        heard = await self.read(reader, seen, lambda d: finals(d, False))
        found = finals(seen.data, bool(seen.end))
        if not found:
            return None if seen.end else ("hang", f"no answer to .{word}, heard {heard}")
        if found[0].status == 200 and [target.encode()] == found[0].values(b"x-target") and len(found) == 1:
            return None
        return "poisoned", f".{word} got {seen.data[:120]!r}"

    async def probes(self, case):
        for word in ("probe1", "probe2"):
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError as e:
                return "crash" if not self.is_alive() else "hang", f"no connection for .{word}: {e}"
            trouble = await self.ask(reader, writer, case, word)
            writer.close()
            if trouble:
                return trouble
        return None if self.is_alive() else ("crash", "the process has ended")

    def judge(self, case, seen, heads, second, trouble):
        mine = Answers(case, seen, heads)
        theirs = Requests(case, self.upstream.records)
        for found in (trouble, second, theirs.unsafe(), mine.unsafe(), unmet(case, theirs.bytes, seen.data, theirs.whole)):
            if found:
                return Verdict(*found, mine.status)
        verdict = mine.verdict() if case.answers and theirs.found else request_verdict(mine, theirs)
        return Verdict(verdict, mine.detail(), mine.status)


def finals(data, eof, heads=()):
    return [m for m in answers(EXACT, data, FIN if eof else "", heads)[0] if (m.status >= 200 or m.status == 101) and m.whole]


def refused(data, heads):
    return any(m.status >= 400 for m in finals(data, False, heads))


def can_go_on(data, heads):
    found = finals(data, False, heads)
    return bool(found) and found[-1].status != 101 and \
        not any(b"close" in v.lower() for m in found for v in m.values(b"connection"))


def request_verdict(mine, theirs):
    if len(theirs.whole) == len(mine.case.bodies):
        return "forwarded"
    if theirs.begun:
        return "aborted"
    if not mine.final:
        return "closed" if mine.end else "waits"
    if mine.status < 400:
        return "answered"
    return "rejected" if mine.end or mine.closes else "refused"


def unmet(case, up, down, went_on):
    """What the case says must or must not be, and is (not). Checks of answers look at what the client got."""
    for kind, text in case.checks:
        where = down if case.answers or kind == "as" else up
        found = re.search(text, where, re.I | re.S)
        if bool(found) if kind == "no" else went_on and not found:
            return "failed", f"{kind} {text!r} in {where[:300]!r}"
    return None


class Requests:
    """What upstream saw of the case."""

    def __init__(self, case, records):
        self.case = case
        self.bytes = b"".join(r.data for r in records)
        self.ways = [self.all(way, records) for way in WAYS]
        self.found = self.ways[WAYS.index(EXACT)]
        self.whole = [m for m in self.found if m.whole]
        self.begun = len(self.found) > len(self.whole)

    def all(self, way, records):
        found = []
        for r in records:
            found += requests(way, r.data if r.tunnel is None else r.data[:r.tunnel])
        return [m for m in found if not m.target.endswith(OWN) or m.faults or m.body]

    def unsafe(self):
        told = [sorted((m.start, m.body, m.whole) for m in way) for way in self.ways]
        faults = [f for m in self.found for f in m.faults]
        if any(t != told[0] for t in told):
            return "split", f"readers of {self.bytes[:300]!r} see {[len(t) for t in told]} requests"
        if faults:
            return "raw", f"{faults[0]} in {self.bytes[:300]!r}"
        if self.case.answers:
            return None
        if "forwarded" not in self.case.safe:
            return ("accepted", f"whole: {self.bytes[:300]!r}") if self.whole else None
        bodies = [m.body for m in self.whole]
        if len(bodies) > len(self.case.bodies) or any(".evil" in m.target for m in self.whole):
            return "smuggled", f"{len(bodies)} requests: {self.bytes[:300]!r}"
        if bodies != self.case.bodies[:len(bodies)]:
            return "altered", f"bodies {[b[:80] for b in bodies]}, not {self.case.bodies}"
        return None


class Answers:
    """What the client saw of the case."""

    def __init__(self, case, seen, heads):
        self.case, self.data, self.end = case, seen.data, seen.end
        self.ways, self.left = [], b""
        for way in WAYS:
            found, left = answers(way, seen.data, seen.end, heads)
            self.ways.append(found)
            if way is EXACT:
                self.left = left
        own = [m for m in self.ways[WAYS.index(EXACT)]
               if not any(v.endswith((b".ok",)) for v in m.values(b"x-target"))]
        self.all = own
        self.final = [m for m in own if m.status >= 200 or m.status == 101]
        self.status = self.final[-1].status if self.final else 0
        self.closes = bool(self.final) and any(b"close" in v.lower() for v in self.final[-1].values(b"connection"))

    def unsafe(self):
        told = [[(m.start, m.body, m.whole) for m in way] for way in self.ways]
        faults = [f for m in self.all for f in m.faults]
        if any(t != told[0] for t in told):
            return "split", f"readers of the answer disagree: {self.data[:300]!r}"
        if faults:
            return "raw", f"answer: {faults[0]} in {self.data[:300]!r}"
        targets = [v.decode("latin-1") for m in self.final for v in m.values(b"x-target")]
        if any(self.case.code not in t and t != "*" for t in targets) and not self.case.raw.startswith(b"CONNECT"):
            return "poisoned", f"answers for {targets}"
        wanted = 1 if self.case.answers else len(self.case.bodies)
        if len(self.final) > wanted + (self.status >= 400):
            return "smuggled", f"{len(self.final)} answers: {self.data[:300]!r}"
        return None

    def verdict(self):
        """For cases in which upstream's answer is the attack."""
        if not self.final:
            return "closed" if self.end else "waits"
        m = self.final[0]
        if m.status in (502, 503, 504) and b"x-raw" not in self.data.lower():
            return "rejected"
        if not m.whole:
            return "aborted" if self.end else "waits"
        if m.body != self.case.bodies[0]:
            return "altered"
        return "forwarded"

    def detail(self):
        return repr(self.data[:200])
