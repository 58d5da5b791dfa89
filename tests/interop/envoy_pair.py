"""The real Envoy and outrigger-sidecar side by side on one configuration, and an upstream that misbehaves on request.

`Pair.compare(request)` sends the same bytes to both and returns what came back, what upstream saw and what was logged, in a form
in which equal behaviour is equal data: ports, dates, ids and durations are replaced by words.
"""
import collections
import concurrent.futures
import contextlib
import http.client
import json
import re
import socket
import struct
import subprocess
import threading
import time
import urllib.request

from support.ports import free_port, free_ports

TYPE = "type.googleapis.com/"
HCM = TYPE + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = {"name": "envoy.filters.http.router",
          "typed_config": {"@type": TYPE + "envoy.extensions.filters.http.router.v3.Router"}}
FILE_LOG = TYPE + "envoy.extensions.access_loggers.file.v3.FileAccessLog"
OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
LOG_FIELDS = {
    "case": "%REQ(X-CASE)%", "method": "%REQ(:METHOD)%", "path": "%REQ(:PATH)%", "authority": "%REQ(:AUTHORITY)%",
    "protocol": "%PROTOCOL%", "code": "%RESPONSE_CODE%", "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%", "failure": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%", "rx": "%BYTES_RECEIVED%", "tx": "%BYTES_SENT%",
    "host": "%UPSTREAM_HOST%", "cluster": "%UPSTREAM_CLUSTER%", "route": "%ROUTE_NAME%",
    "remote": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "grpc": "%GRPC_STATUS_NUMBER%",
}


def address(port, ip="127.0.0.1"):
    return {"socket_address": {"address": ip, "port_value": port}}


def cluster(name, *ports, **fields):
    c = {"name": name, "connect_timeout": "1s", "type": "STATIC", "load_assignment": {
        "cluster_name": name,
        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(p)}} for p in ports]}]}}
    c.update(fields)
    return c


def http_options(**fields):
    return {OPTIONS: dict({"@type": TYPE + OPTIONS}, **fields)}


H2 = http_options(explicit_http_config={"http2_protocol_options": {}})


def serve_all(listener, serve, *more):
    """Calls serve(connection, *more) for each connection, on a thread of its own, until the listener is closed."""
    def accept():
        with contextlib.suppress(OSError):
            while True:
                c, _ = listener.accept()
                threading.Thread(target=serve, args=(c, *more), daemon=True).start()
    threading.Thread(target=accept, daemon=True).start()


class Upstream:
    """An HTTP/1 server whose behaviour is in the path: /status/503, /fin, /cut, ... It keeps what it was asked."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.seen = []
        self.tries = {}
        self.lock = threading.Lock()
        serve_all(self.listener, self.serve)

    def another(self):
        """Another port of it."""
        listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        serve_all(listener, self.serve)
        return listener.getsockname()[1]

    def serve(self, c):
        f = c.makefile("rb")
        try:
            while True:
                head = read_head(f)
                if not head or not self.answer(c, f, head):
                    break
        except OSError:
            pass
        finally:
            f.close()
            c.close()

    def next_try(self, key):
        with self.lock:
            self.tries[key] = self.tries.get(key, 0) + 1
            return self.tries[key]

    def answer(self, c, f, head):
        line, headers = head
        path = line.split(" ")[1]
        words = path.split("?")[0].strip("/").split("/")
        do = next((w for w in words if w in self.ACTIONS or w == "early503"), "ok")
        get = dict(h for h in headers).get
        case = get("x-case", "")
        if do == "early503":
            with self.lock:
                self.seen.append((case, line, headers, b"", []))
            c.sendall(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n")
            return False
        if do == "early":
            c.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly")
            time.sleep(0.3)
            return False
        body, trailers = read_body(f, dict(headers))
        with self.lock:
            self.seen.append((case, line, headers, body, trailers))
        return self.ACTIONS[do](self, c, words, dict(headers), case)

    def ok(self, c, words, headers, case):
        c.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-up: yes\r\n\r\n" + (b"" if headers.get(":head") else b"ok"))
        return True

    def head(self, c, words, headers, case):
        c.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\n")
        return True

    def status(self, c, words, headers, case):
        code = words[words.index("status") + 1] if "status" in words[:-1] else "503"
        body = b"" if code in ("204", "304") else b"status"
        length = b"" if code in ("204", "304") else b"content-length: 6\r\n"
        c.sendall(b"HTTP/1.1 %s Whatever\r\n%s\r\n%s" % (code.encode(), length, body))
        return True

    def fin(self, c, words, headers, case):
        return False

    def rst(self, c, words, headers, case):
        c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False

    def garbage(self, c, words, headers, case):
        c.sendall(b"this is no HTTP\r\n\r\n")
        return False

    def hang(self, c, words, headers, case):
        time.sleep(3)
        return False

    def after(self, c, words, headers, case):
        """/after/300: 200 after 300 ms."""
        time.sleep(int(words[words.index("after") + 1]) / 1000)
        return self.ok(c, words, headers, case)

    def busy(self, c, words, headers, case):
        """/busy/600: the first try fails at once, later ones take 600 ms."""
        if self.next_try(case) == 1:
            return self.status(c, words, headers, case)
        return self.after(c, ["after", words[words.index("busy") + 1]], headers, case)

    def first(self, c, words, headers, case):
        """/first/500/fin: the first try answers after 500 ms, later ones fail."""
        at = words.index("first")
        if self.next_try(case) == 1:
            return self.after(c, ["after", words[at + 1]], headers, case)
        return self.do(c, words[at + 2], headers, case)

    def firstfails(self, c, words, headers, case):
        """/firstfails/400/503: the first try fails after 400 ms, later ones at once."""
        at = words.index("firstfails")
        if self.next_try(case) == 1:
            time.sleep(int(words[at + 1]) / 1000)
        return self.do(c, words[at + 2], headers, case)

    def do(self, c, what, headers, case):
        """A code, or an action by its name."""
        return self.status(c, ["status", what], headers, case) if what.isdigit() else getattr(self, what)(c, [what], headers, case)

    def slow(self, c, words, headers, case):
        """/slow/700: the rest of the body after 700 ms; without a number the connection ends after 3 s."""
        c.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nfir")
        at = words.index("slow")
        if at + 1 < len(words) and words[at + 1].isdigit():
            time.sleep(int(words[at + 1]) / 1000)
            c.sendall(b"st!")
            return True
        time.sleep(3)
        return False

    def retryafter(self, c, words, headers, case):
        """/retryafter/1: the first try fails and says when to come back."""
        if self.next_try(case) > 1:
            return self.ok(c, words, headers, case)
        c.sendall(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\nretry-after: %s\r\n\r\n" % words[-1].encode())
        return True

    def resetat(self, c, words, headers, case):
        """/resetat/2: the same, by the clock."""
        if self.next_try(case) > 1:
            return self.ok(c, words, headers, case)
        c.sendall(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\nx-reset: %d\r\n\r\n" % (int(time.time()) + int(words[-1])))
        return True

    def cut(self, c, words, headers, case):
        c.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
        time.sleep(0.05)
        return False

    def cutchunk(self, c, words, headers, case):
        c.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        time.sleep(0.05)
        return False

    def cuthead(self, c, words, headers, case):
        c.sendall(b"HTTP/1.1 200 OK\r\ncontent-le")
        time.sleep(0.05)
        return False

    def cutrst(self, c, words, headers, case):
        c.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
        time.sleep(0.05)
        return self.rst(c, words, headers, case)

    def close(self, c, words, headers, case):
        c.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
        return False

    def untilclose(self, c, words, headers, case):
        c.sendall(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        return False

    def chunked(self, c, words, headers, case):
        c.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-t\r\n\r\n3\r\nabc\r\n0\r\nx-t: end\r\n\r\n")
        return True

    def hints(self, c, words, headers, case):
        c.sendall(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
                  b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        return True

    def fields(self, c, words, headers, case):
        c.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nserver: own\r\nvia: 1.0 x\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
                  b"x-envoy-upstream-service-time: 777\r\nx-envoy-attempt-count: 9\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n"
                  b"connection: x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\nx-request-id: mine\r\n\r\nok")
        return True

    def ratelimited(self, c, words, headers, case):
        c.sendall(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\nx-envoy-ratelimited: true\r\n\r\n")
        return True

    def grpc(self, c, code):
        c.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: %d\r\ncontent-length: 0\r\n\r\n" % code)
        return True

    def grpc1(self, c, *rest):
        return self.grpc(c, 1)

    def grpc4(self, c, *rest):
        return self.grpc(c, 4)

    def grpc8(self, c, *rest):
        return self.grpc(c, 8)

    def grpc13(self, c, *rest):
        return self.grpc(c, 13)

    def grpc14(self, c, *rest):
        return self.grpc(c, 14)

    def flaky(self, c, words, headers, case):
        """/flaky/2/503: the first two tries fail."""
        at = words.index("flaky")
        if self.next_try(case) > int(words[at + 1]):
            return self.ok(c, words, headers, case)
        return getattr(self, words[at + 2])(c, words[at + 2:], headers, case) if not words[at + 2].isdigit() \
            else self.status(c, ["status", words[at + 2]], headers, case)

    def upgradelater(self, c, words, headers, case):
        """The first try fails."""
        return self.status(c, words, headers, case) if self.next_try(case) == 1 else self.upgrade(c, words, headers, case)

    def upgrade(self, c, words, headers, case):
        c.sendall(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nhello")
        while True:
            data = c.recv(4096)
            if not data:
                return False
            c.sendall(data.upper())

    def manyhints(self, c, words, headers, case):
        c.sendall(b"".join(b"HTTP/1.1 103 Early Hints\r\nlink: </%d>\r\n\r\n" % i for i in range(3)))
        return self.ok(c, words, headers, case)

    def headchunked(self, c, words, headers, case):
        c.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        return True

    def headbare(self, c, words, headers, case):
        c.sendall(b"HTTP/1.1 200 OK\r\nx-up: bare\r\n\r\n")
        return True

    def notmodified(self, c, words, headers, case):
        c.sendall(b"HTTP/1.1 304 Not Modified\r\ncontent-length: 500\r\netag: x\r\n\r\n")
        return True

    def nocontentbody(self, c, words, headers, case):
        c.sendall(b"HTTP/1.1 204 No Content\r\ncontent-length: 4\r\n\r\nbody")
        return True

    def switch(self, c, protocol=b"websocket", before=b"", after=b"hello"):
        c.sendall(before + b"HTTP/1.1 101 Switching Protocols\r\nupgrade: " + protocol + b"\r\nconnection: upgrade\r\n\r\n" + after)

    def upgradeother(self, c, words, headers, case):
        self.switch(c, b"other")
        return False

    def upgradehints(self, c, words, headers, case):
        self.switch(c, before=b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n")
        return c.recv(1) != b""

    def upgradeleave(self, c, words, headers, case):
        """Ends its half at once and hears the client out."""
        self.switch(c, after=b"bye")
        c.shutdown(socket.SHUT_WR)
        while c.recv(4096):
            pass
        return False

    def upgradereset(self, c, words, headers, case):
        self.switch(c)
        c.recv(1)
        return self.rst(c, words, headers, case)

    ACTIONS = {name: value for name, value in list(locals().items())
               if callable(value) and name not in ("__init__", "another", "serve", "next_try", "answer", "do", "grpc", "switch")}


def read_head(f):
    """(request or status line, [(lower-case name, value)]), or None."""
    line = f.readline().decode("latin-1").strip()
    if not line:
        return None
    headers = []
    while True:
        h = f.readline().decode("latin-1")
        if h in ("\r\n", "\n", ""):
            return line, headers
        name, _, value = h.partition(":")
        headers.append((name.lower(), value.strip()))


def read_body(f, headers, until_close=False):
    """(body, trailers); what is missing at the end of the stream is marked."""
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while True:
            size = f.readline()
            if not size.strip():
                return body + b"<cut>", []
            n = int(size.split(b";")[0], 16)
            if n == 0:
                break
            body += f.read(n)
            f.readline()
        trailers = []
        while (t := f.readline().decode("latin-1").strip()):
            trailers.append(t)
        return body, trailers
    if "content-length" in headers:
        n = int(headers["content-length"])
        body = f.read(n)
        return body + (b"<cut>" if len(body) < n else b""), []
    return (f.read() if until_close else b""), []


def ask_admin(port, path, method="GET"):
    """The status and the text that an admin endpoint answers."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as c:
        c.request(method, path)
        r = c.getresponse()
        return r.status, r.read().decode()


class Proxy:
    """One of the two, running; ports: listener name -> port."""

    def __init__(self, name, command, config, ports, where, probe=None):
        """probe: the ports to wait for; all of them where it is not given."""
        self.name, self.ports = name, ports
        self.name_of = {str(port): f"<{name}>" for name, port in ports.items()}
        self.any_port = re.compile(r"\b(?:%s)\b" % "|".join(self.name_of))
        self.lock, self.log_read, self.lines_of = threading.Lock(), 0, collections.defaultdict(list)
        self.log = where / f"{name}.access.log"
        text = json.dumps(config(ports, str(self.log)))
        self.file = where / f"{name}.json"
        self.file.write_text(text)
        self.errors = open(where / f"{name}.err", "w")
        self.process = subprocess.Popen(command + ["-c", str(self.file), "--concurrency", "1"], stdout=self.errors,
                                        stderr=self.errors)
        deadline = time.time() + 10
        while True:
            try:
                for port in probe or ports.values():
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert self.process.poll() is None and time.time() < deadline, (where / f"{name}.err").read_text()[-1500:]
                time.sleep(0.05)

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.errors.close()

    def logged(self, case, wanted=1):
        """The log lines of a case."""
        deadline = time.time() + 3
        while True:
            with self.lock:
                self.read_log()
                mine = list(self.lines_of[case])
            if len(mine) >= wanted or time.time() > deadline:
                return mine
            time.sleep(0.03)

    def read_log(self):
        """Takes up what was written since: a log may hold thousands of lines, and be asked for as often."""
        if not self.log.exists():
            return
        with open(self.log, "rb") as f:
            f.seek(self.log_read)
            new = f.read()
        whole = new[:new.rfind(b"\n") + 1]
        self.log_read += len(whole)
        for line in map(json.loads, whole.splitlines()):
            self.lines_of[line.get("case")].append(line)

    def log_lines(self):
        return [json.loads(x) for x in self.log.read_text().splitlines()] if self.log.exists() else []

    def counters(self):
        """{name: value} of all counters and gauges; "admin" must be among the ports."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['admin']}/stats?usedonly", timeout=5) as answer:
            pairs = [line.rsplit(": ", 1) for line in answer.read().decode().splitlines()]
        found = {name: int(value) for name, value in pairs if value.isdigit()}
        return {name.replace(f"127.0.0.1_{self.ports['plain']}", "<plain>"): value for name, value in found.items()}


class Pair:
    def __init__(self, envoy, sidecar, config, listeners, where, upstream):
        def ports():
            return dict(zip(listeners, free_ports(len(listeners))))
        self.upstream = upstream
        self.count = 0
        self.proxies = [
            Proxy("envoy", [str(envoy), "--file-flush-interval-msec", "30", "-l", "error", "--base-id",
                            str(free_port())], config, ports(), where),
            Proxy("outrigger", [str(sidecar), "-l", "warning"], config, ports(), where),
        ]

    def stop(self):
        for p in self.proxies:
            p.stop()

    def one(self, proxy, listener, request, case, timeout, close, logs, then):
        request = request.replace(b"CASE", case.encode())
        c = socket.create_connection(("127.0.0.1", proxy.ports[listener]), timeout=timeout)
        c.sendall(request)
        if close:
            time.sleep(close)
            c.close()
            answers = []
        else:
            answers = read_answers(c, request, timeout, then)
            c.close()
        log = proxy.logged(case, logs) if logs else []
        seen = [s for s in self.upstream.seen if s[0] == case]
        return settled(neutral(proxy, case, {"answers": answers, "log": log, "seen": [
            {"line": x[1], "headers": x[2], "body": x[3].decode("latin-1"), "trailers": x[4]} for x in seen]}))

    def both(self, listener, request, timeout=4.0, close=0, logs=1, then=b""):
        """What each of the two did with the request: [envoy's, outrigger's]."""
        self.count += 1
        return self.at_once(lambda p: self.one(p, listener, request, f"c{self.count}{p.name[0]}x", timeout, close, logs, then))

    def at_once(self, function):
        """What it gives for each of the two, which both are busy meanwhile: [envoy's, outrigger's]."""
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            return list(pool.map(function, self.proxies))


def neutral(proxy, case, result):
    """Ports, dates, ids and durations replaced by words."""
    text = json.dumps(result)
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uuid>", text)
    text = text.replace(case, "<case>")
    text = re.sub(r'\["date", "(?!Thu, 01 Jan 1970)[^"]*"\]', '["date", "<date>"]', text)
    text = re.sub(r'\["x-envoy-upstream-service-time", "(\d+)"\]', '["x-envoy-upstream-service-time", "<ms>"]', text)
    text = re.sub(r'\["x-envoy-expected-rq-timeout-ms", "(\d+)"\]', lambda m:
                  f'["x-envoy-expected-rq-timeout-ms", "{round(int(m[1]), -3 if len(m[1]) > 3 else -2)}ms"]', text)
    text = proxy.any_port.sub(lambda m: proxy.name_of[m[0]], text)
    return json.loads(text)


def flat(part, path=""):
    """(path, value) of all leaves; header fields by name."""
    if isinstance(part, dict):
        for k, v in part.items():
            yield from flat(v, f"{path}.{k}" if path else k)
    elif isinstance(part, list) and path.endswith("headers"):
        for k, v in part:
            yield f"{path}.{k}", v
    elif isinstance(part, list):
        for i, v in enumerate(part):
            yield from flat(v, f"{path}[{i}]")
    else:
        yield path, part


def differences(envoy, ours):
    """{path: (Envoy's values, ours)} of what is not the same."""
    found = {}
    for side, result in enumerate((envoy, ours)):
        for path, value in flat(result):
            found.setdefault(path, ([], []))[side].append(value)
    return {path: both for path, both in found.items() if both[0] != both[1]}


def settled(result):
    """Without what means nothing: the order of fields of different names, and when a connection that is to be closed is."""
    for part in result["answers"] + result["seen"]:
        if "headers" in part:
            part["headers"].sort(key=lambda h: h[0])
    for before, after in zip(result["answers"], result["answers"][1:]):
        if ["connection", "close"] in before.get("headers", []) and "end" in after:
            after["end"] = "closing"
    return result


def read_answers(c, request, timeout, then):
    """Everything until the connection idles for a moment, closes, or the time is over."""
    f = c.makefile("rb")
    answers = []
    is_head = request.startswith(b"HEAD ")
    try:
        while True:
            c.settimeout(timeout if not answers or answers[-1].get("interim") else 0.15)
            head = read_head(f)
            if not head:
                answers.append({"end": "closed"})
                break
            status = head[0].split(" ", 1)[1]
            code = int(status.split(" ")[0])
            names = dict(head[1])
            answer = {"status": head[0], "headers": head[1]}
            answers.append(answer)
            if code == 101:
                c.settimeout(0.3)
                got = b""
                if then:
                    c.sendall(then)
                try:
                    while (data := f.read1(4096)):
                        got += data
                except OSError:
                    pass
                answer["tunnel"] = got.decode("latin-1")
                break
            if 100 <= code < 200:
                answer["interim"] = True
                continue
            c.settimeout(timeout)
            has_body = not is_head and code not in (204, 304)
            body, trailers = read_body(f, names, names.get("connection") == "close") if has_body else (b"", [])
            answer["body"] = body.decode("latin-1")
            if trailers:
                answer["trailers"] = trailers
    except ConnectionError as e:
        answers.append({"end": type(e).__name__})
    except (TimeoutError, socket.timeout):
        answers.append({"end": "open" if answers else "silent"})
    finally:
        f.close()
    return answers
