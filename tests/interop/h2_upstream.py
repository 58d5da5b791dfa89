"""An HTTP/2 server that misbehaves on request."""
import collections
import socket
import time

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from envoy_pair import serve_all


class H2Upstream:
    """An HTTP/2 server; the last word of the path says what it does. Tunnels (RFC 8441) and /bidi give back what comes in upper case."""

    def __init__(self):
        self.seen = []
        self.tries = collections.Counter()
        self.port = self.limited(None)

    def limited(self, max_streams):
        """Another port, where a connection takes so many streams at once."""
        listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        serve_all(listener, self.serve, max_streams)
        return listener.getsockname()[1]

    def serve(self, c, max_streams):
        h = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        offer = (h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS, max_streams) if max_streams else \
            (h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL, 1)
        h.local_settings = h2.settings.Settings(client=False, initial_values=dict([offer]))
        h.initiate_connection()
        c.sendall(h.data_to_send())
        streams, due = {}, []
        try:
            while True:
                c.settimeout(max(0.001, min(due)[0] - time.monotonic()) if due else None)
                try:
                    data = c.recv(65536)
                    if not data:
                        break
                    for e in h.receive_data(data):
                        self.on_event(c, h, streams, due, e)
                except socket.timeout:
                    pass
                for at, s in [d for d in due if d[0] <= time.monotonic()]:
                    due.remove((at, s))
                    h.send_headers(s, [(":status", "200"), ("x-up", "2")])
                    h.send_data(s, b"ok", end_stream=True)
                c.settimeout(None)
                c.sendall(h.data_to_send())
        except (OSError, h2.exceptions.ProtocolError):
            pass
        finally:
            c.close()

    def on_event(self, c, h, streams, due, e):
        if isinstance(e, h2.events.RequestReceived):
            streams[e.stream_id] = {"headers": [list(x) for x in e.headers], "body": b"", "trailers": []}
            get = dict(e.headers).get
            if ":protocol" in dict(e.headers) or get(":path").endswith("/bidi"):
                self.open_tunnel(h, e.stream_id, streams)
            elif get(":path").endswith("/early"):
                h.send_headers(e.stream_id, [(":status", "200")], end_stream=True)
        elif isinstance(e, h2.events.DataReceived):
            streams[e.stream_id]["body"] += e.data
            h.acknowledge_received_data(e.flow_controlled_length, e.stream_id)
            if streams[e.stream_id].get("tunnel"):
                h.send_data(e.stream_id, e.data.upper())
        elif isinstance(e, h2.events.TrailersReceived):
            streams[e.stream_id]["trailers"] = [list(x) for x in e.headers]
        elif isinstance(e, h2.events.StreamEnded):
            self.answer(c, h, e.stream_id, streams.pop(e.stream_id), due)
        elif isinstance(e, h2.events.StreamReset):
            due[:] = [d for d in due if d[1] != e.stream_id]

    def open_tunnel(self, h, s, streams):
        get = dict(streams[s]["headers"]).get
        self.seen.append((get("x-case", ""), streams[s]))
        if get(":path") == "/refuse":
            h.send_headers(s, [(":status", "403")])
            h.send_data(s, b"no", end_stream=True)
            return
        h.send_headers(s, [(":status", "200"), ("x-up", "2")])
        leaves = get(":path") == "/leave"
        h.send_data(s, b"bye" if leaves else b"hello", end_stream=leaves)
        streams[s]["tunnel"] = not leaves

    def answer(self, c, h, s, rq, due):
        if "tunnel" in rq:
            if rq["tunnel"]:
                h.end_stream(s)
            return
        get = dict(rq["headers"]).get
        words = get(":path").split("?")[0].strip("/").split("/")
        do, case = words[-1], get("x-case", "")
        if do == "early":
            return
        self.seen.append((case, rq))
        self.tries[case] += 1
        head = [(":status", "200"), ("content-type", "application/grpc"), ("x-up", "2")]
        if words[-2:-1] == ["after"]:
            due.append((time.monotonic() + int(do) / 1000, s))
        elif do in ("refused", "reset", "refusedonce"):
            if do == "refusedonce" and self.tries[case] > 1:
                h.send_headers(s, [(":status", "200")], end_stream=True)
                return
            h.reset_stream(s, h2.errors.ErrorCodes.INTERNAL_ERROR if do == "reset"
                           else h2.errors.ErrorCodes.REFUSED_STREAM)
        elif do == "trailers":
            h.send_headers(s, head)
            h.send_data(s, b"message")
            h.send_headers(s, [("grpc-status", "5"), ("grpc-message", "not here")], end_stream=True)
        elif do == "trailersonly":
            h.send_headers(s, head + [("grpc-status", "14")], end_stream=True)
        elif do == "resetlate":
            h.send_headers(s, head)
            h.send_data(s, b"mess")
            c.sendall(h.data_to_send())
            time.sleep(0.05)
            h.reset_stream(s, h2.errors.ErrorCodes.INTERNAL_ERROR)
        elif do == "goaway":
            h.send_headers(s, [(":status", "200")], end_stream=True)
            h.close_connection()
        elif do == "gone":
            c.shutdown(socket.SHUT_RDWR)
        elif do == "hang":
            pass
        elif do == "echo":
            h.send_headers(s, [(":status", "200"), ("content-length", str(len(rq["body"])))])
            for i in range(0, len(rq["body"]), 16000):
                h.send_data(s, rq["body"][i:i + 16000])
            h.end_stream(s)
        else:
            h.send_headers(s, [(":status", "200"), ("x-up", "2")])
            h.send_data(s, b"ok", end_stream=True)
