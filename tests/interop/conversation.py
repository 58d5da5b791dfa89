"""Conversations with a proxy on one connection, act by act: talk(request, act, ...), talk2 for HTTP/2, exchange for several answers.

Acts: bytes are sent; until(bytes) waits for them; a number waits so many seconds; FIN ends our half (HTTP/2: of the stream);
RST breaks off. In the end what is left is read until the peer ends its half, or nothing comes for a moment.
"""
import copy
import io
import socket
import struct
import time

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

from envoy_pair import read_body, read_head

FIN, RST = "FIN", "RST"


class until:
    def __init__(self, what):
        self.what = what


class talk:
    """Over HTTP/1.1, or bare TCP when the request is empty."""

    def __init__(self, request, *acts, patience=3.0, first=1.2, idle=0.4):
        """Waits so long for what is asked for, in the end for a first byte, and for more."""
        self.request, self.acts, self.patience, self.first, self.idle = request, acts, patience, first, idle

    def carry_out(self, port, mark):
        """Several may be under way at once."""
        one = copy.copy(self)
        one.mark = mark.encode()
        return one.run(port)

    def run(self, port):
        c = socket.create_connection(("127.0.0.1", port), timeout=self.patience)
        got = bytearray()
        end = "open"
        try:
            if self.request:
                c.sendall(self.request.replace(b"CASE", self.mark))
            for act in self.acts:
                self.act(c, got, act)
            end = self.rest(c, got)
        except ConnectionError:
            end = "reset"
        except TimeoutError:
            end = "silent"
        c.close()
        return self.ended(self.parts(bytes(got)), end)

    def act(self, c, got, act):
        if isinstance(act, bytes):
            c.sendall(act.replace(b"CASE", self.mark))
        elif isinstance(act, until):
            while act.what not in got:
                data = c.recv(65536)
                if not data:
                    return
                got += data
        elif act == FIN:
            c.shutdown(socket.SHUT_WR)
        elif act == RST:
            c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            c.close()
            raise ConnectionResetError
        else:
            time.sleep(act)

    def rest(self, c, got):
        try:
            c.settimeout(self.idle if got else self.first)
            while (data := c.recv(65536)):
                got += data
                c.settimeout(self.idle)
            return "closed"
        except TimeoutError:
            return "open"

    def parts(self, got):
        if not self.request:
            return {"data": got.decode("latin-1")}
        head, _, rest = got.partition(b"\r\n\r\n")
        line, *fields = head.decode("latin-1").split("\r\n")
        return {"status": line, "headers": [[n.lower(), v] for n, _, v in (f.partition(": ") for f in fields)],
                "data": rest.decode("latin-1")}

    def ended(self, parts, end):
        """A peer that says it closes may take its time."""
        says_so = ["connection", "close"] in parts.get("headers", [])
        return dict(parts, end="closing" if says_so and end in ("open", "closed") else end)


class exchange(talk):
    """A conversation whose answers are taken apart one by one; bodiless: which of them, but interim ones, have no body."""

    def __init__(self, request, *acts, bodiless=(), **options):
        super().__init__(request, *acts, **options)
        self.bodiless = bodiless

    def parts(self, got):
        f, answers, finals = io.BytesIO(got), [], 0
        while (head := read_head(f)):
            code = int(head[0].split(" ")[1])
            answers.append({"status": head[0], "headers": [list(h) for h in head[1]]})
            if code >= 200:
                has_body = finals not in self.bodiless and code not in (204, 304)
                body, trailers = read_body(f, dict(head[1]), True) if has_body else (b"", [])
                answers[-1].update(body=body.decode("latin-1"), trailers=trailers)
                finals += 1
        return {"answers": answers}

    def ended(self, parts, end):
        last = parts["answers"][-1]["headers"] if parts["answers"] else []
        return dict(parts, end="closing" if ["connection", "close"] in last and end in ("open", "closed") else end)


class talk2(talk):
    """The same on stream 1 of an HTTP/2 connection; the request is a list of fields."""

    def __init__(self, request, *acts, end=False, **options):
        super().__init__(request, *acts, **options)
        self.ends = end

    def run(self, port):
        c = socket.create_connection(("127.0.0.1", port), timeout=self.patience)
        self.h = h2.connection.H2Connection(h2.config.H2Configuration(
            header_encoding="utf-8", validate_outbound_headers=False, normalize_outbound_headers=False))
        self.h.initiate_connection()
        self.seen = {"headers": [], "offers": False}
        self.is_over, self.partial = False, b""
        got = bytearray()
        end = "open"
        try:
            c.sendall(self.h.data_to_send())
            while not self.seen.pop("settings", None):  # RFC 8441: the offer comes first
                self.receive(c, got)
            self.h.send_headers(1, [*self.request, ("x-case", self.mark.decode())], end_stream=self.ends)
            c.sendall(self.h.data_to_send())
            for act in self.acts:
                self.act(c, got, act)
            end = self.rest(c, got)
        except ConnectionError:
            end = "closed"
        except TimeoutError:
            end = "silent"
        except h2.exceptions.ProtocolError as e:
            end = str(e)
        c.close()
        return dict(self.seen, data=got.decode("latin-1"), end=self.seen.get("end", end))

    def receive(self, c, got):
        data = c.recv(65536)
        if not data:
            raise ConnectionResetError
        for e in self.h.receive_data(self.without_goaway(data)):
            if isinstance(e, h2.events.RemoteSettingsChanged):
                self.seen["settings"] = True
                self.seen["offers"] = bool(self.h.remote_settings.enable_connect_protocol)
            elif isinstance(e, (h2.events.ResponseReceived, h2.events.InformationalResponseReceived)):
                self.seen["headers"] += [list(x) for x in e.headers]
            elif isinstance(e, h2.events.DataReceived):
                got += e.data
                self.h.acknowledge_received_data(e.flow_controlled_length, e.stream_id)
            elif isinstance(e, h2.events.StreamEnded):
                self.seen["end"] = "ended"
            elif isinstance(e, h2.events.StreamReset):
                self.seen["end"] = (self.seen["end"] + ", " if "end" in self.seen else "") + f"reset {int(e.error_code)}"
                self.is_over = True
        c.sendall(self.h.data_to_send())

    def without_goaway(self, data):
        """h2 takes nothing any more behind one, but its streams go on."""
        whole = b""
        self.partial += data
        while len(self.partial) >= 9 and len(self.partial) >= (n := 9 + int.from_bytes(self.partial[:3], "big")):
            if self.partial[3] == 7:
                self.seen["goaway"] = int.from_bytes(self.partial[13:17], "big")
            else:
                whole += self.partial[:n]
            self.partial = self.partial[n:]
        return whole

    def act(self, c, got, act):
        if isinstance(act, until):
            while act.what not in got and not self.is_over:
                self.receive(c, got)
            return
        if self.is_over:
            return
        if isinstance(act, bytes):
            self.h.send_data(1, act)
        elif act == FIN:
            self.h.end_stream(1)
        elif act == RST:
            self.h.reset_stream(1, h2.errors.ErrorCodes.CANCEL)
            c.sendall(self.h.data_to_send())
            raise ConnectionResetError
        else:
            time.sleep(act)
        c.sendall(self.h.data_to_send())

    def rest(self, c, got):
        try:
            while not self.is_over:
                c.settimeout(self.idle if self.seen["headers"] else self.first)
                self.receive(c, got)
        except TimeoutError:
            pass
        return "open"
