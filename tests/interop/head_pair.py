"""Envoy and our sidecar on one configuration, asked many small questions on open connections: what becomes of a head.

An exchange takes a millisecond or two, so tables of hundreds of rows and generated requests are compared in seconds.
"""
import collections
import re
import socket
import threading

from envoy_pair import HCM, ROUTER, Proxy, Upstream, address, cluster, read_body, read_head
from support.ports import free_port, free_ports

LOCAL = re.compile(r"127\.0\.0\.1:\d+")
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class Kept:
    """What upstream saw, by the mark of the request."""

    def __init__(self):
        self.by_mark = collections.defaultdict(list)

    def append(self, item):
        self.by_mark[item[0]].append(item[1:])


class Connection:
    """To one listener; opened again when the answer before ended it."""

    def __init__(self, port):
        self.port, self.socket, self.file = port, None, None

    def close(self):
        if self.socket:
            self.file.close()
            self.socket.close()
        self.socket = None

    def ask(self, request, is_head=False):
        """{status, headers, body, closed}; an end without an answer: {end}."""
        if not self.socket:
            self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=5)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.file = self.socket.makefile("rb")
        try:
            self.socket.sendall(request)
            while True:
                head = read_head(self.file)
                if not head:
                    self.close()
                    return {"end": "closed"}
                code = int(head[0].split(" ")[1])
                if code >= 200 or code == 101:
                    break
        except OSError as e:
            self.close()
            return {"end": type(e).__name__}
        names = dict(head[1])
        has_body = not is_head and code not in (101, 204, 304)
        body, trailers = read_body(self.file, names, names.get("connection") == "close") if has_body else (b"", [])
        closed = names.get("connection") == "close"
        if closed or code == 101:
            self.close()
        return {"status": head[0], "headers": head[1], "body": body.decode("latin-1"), "trailers": trailers, "closed": closed}


class HeadSide:
    def __init__(self, name, command, config, listeners, ports, where, up):
        self.name, self.up = name, up
        self.proxy = Proxy(name, command, config, ports, where)
        self.connections = {listener: Connection(ports[listener]) for listener in listeners}
        self.count = 0

    def ask(self, listener, request, is_head=False):
        """request: bytes with MARK where the mark goes. The answer, and what upstream saw, in neutral form."""
        mark = self.mark()
        return self.result(mark, self.connections[listener].ask(request.replace(b"MARK", mark.encode()), is_head))

    def mark(self):
        self.count += 1
        return f"{self.name}{self.count}x"

    def result(self, mark, answer):
        """The answer to the request of that mark, and what upstream saw of it."""
        seen = [{"line": s[0], "headers": s[1], "body": s[2].decode("latin-1"), "trailers": s[3]}
                for s in self.up.seen.by_mark.pop(mark, [])]
        return self.neutral({"answer": answer, "seen": seen}, mark)

    def neutral(self, part, mark):
        if isinstance(part, dict):
            return {k: sorted(([n, self.value(n, v, mark)] for n, v in p), key=lambda h: h[0]) if k == "headers"
                    else self.neutral(p, mark) for k, p in part.items()}
        if isinstance(part, list):
            return [self.neutral(p, mark) for p in part]
        return LOCAL.sub("<local>", part.replace(mark, "<mark>")) if isinstance(part, str) else part

    def value(self, name, value, mark):
        if name in ("date", "x-envoy-upstream-service-time"):
            return "<" + name + ">"
        return LOCAL.sub("<local>", UUID.sub("<uuid>", value.replace(mark, "<mark>")))

    def stop(self):
        for c in self.connections.values():
            c.close()
        self.proxy.stop()


class HeadPair:
    """listeners: {name: fields of its connection manager}; routes: of all of them. "up" is the one cluster."""

    def __init__(self, envoy, sidecar, listeners, routes, where, upstream=Upstream):
        self.up = upstream()
        self.up.seen = Kept()
        names = list(listeners)
        ports = free_ports(2 * len(names))

        def config(at, log):
            made = []
            for name, fields in listeners.items():
                manager = dict({"@type": HCM, "stat_prefix": name, "http_filters": [ROUTER], "route_config": {
                    "name": "t", "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": routes}]}}, **fields)
                made.append({"name": name, "address": address(at[name]), "filter_chains": [
                    {"filters": [{"name": "hcm", "typed_config": manager}]}]})
            return {"node": {"id": "n", "cluster": "c"}, "static_resources": {
                "listeners": made, "clusters": [cluster("up", self.up.port)]}}

        commands = [("envoy", [str(envoy), "-l", "error", "--base-id", str(free_port())]),
                    ("outrigger", [str(sidecar), "-l", "error"])]
        self.sides = [HeadSide(name, command, config, names, dict(zip(names, ports[i * len(names):])), where, self.up)
                      for i, (name, command) in enumerate(commands)]

    def both(self, listener, request, is_head=False):
        """[Envoy's, ours]."""
        results = [None, None]

        def run(i):
            results[i] = self.sides[i].ask(listener, request, is_head)
        other = threading.Thread(target=run, args=(1,))
        other.start()
        run(0)
        other.join()
        return results

    def stop(self):
        for side in self.sides:
            side.stop()
