"""outrigger-demo-app and outrigger-demo-load, on localhost: what the demo and the tests on pods rely on."""
import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import time
import urllib.error
import urllib.request

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = pathlib.Path(os.environ.get("OUTRIGGER_BUILD", ROOT / "build")) / "deploy/demo"


class App:
    def __init__(self, *flags):
        self.process = subprocess.Popen([PROGRAMS / "outrigger-demo-app", "--port", "0", "--knobs-port", "0", *flags],
                                        stdout=subprocess.PIPE, text=True)
        self.port, self.knobs_port = map(int, re.search(r"port (\d+), knobs on (\d+)", self.process.stdout.readline()).groups())
        self.url = f"http://127.0.0.1:{self.port}"

    def get(self, path="/", port=None, method="GET", data=None, **headers):
        request = urllib.request.Request(f"http://127.0.0.1:{port or self.port}{path}", method=method, data=data,
                                         headers={name.replace("_", "-"): value for name, value in headers.items()})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def turn(self, **knobs):
        return self.get("/knobs", self.knobs_port, "PUT", json.dumps(knobs).encode())

    def counters(self):
        return json.loads(self.get("/counters", self.knobs_port)[1])


@pytest.fixture
def app():
    apps = []

    def start(*flags):
        apps.append(App(*flags))
        return apps[-1]
    yield start
    for one in apps:
        one.process.kill()
        one.process.wait()


def load(url, *flags):
    done = subprocess.run([PROGRAMS / "outrigger-demo-load", "--url", url, *map(str, flags)], capture_output=True, text=True,
                          timeout=60, check=True)
    return json.loads(done.stdout)


def test_an_answer_tells_who_gave_it_and_what_its_calls_returned(app):
    back = app("--name", "back", "--version", "v2")
    front = app("--name", "front", "--call", f"/a={back.url}/x?y=1", "--call", "/dead=http://127.0.0.1:1/",
                "--call", "/nobody=http://no-such-name.invalid/")
    status, body = front.get("/a")
    assert status == 200 and json.loads(body) == {
        "name": "front", "version": "v1", "path": "/a", "calls": [
            {"url": f"{back.url}/x?y=1", "status": 200, "body": {"name": "back", "version": "v2", "path": "/x?y=1"}}]}
    status, body = front.get("/dead")
    assert status == 502 and json.loads(body)["calls"][0]["error"] == "Connection refused"
    assert front.get("/nobody")[0] == 502
    assert json.loads(front.get("/other")[1]) == {"name": "front", "version": "v1", "path": "/other"}


def test_trace_headers_and_the_canary_header_are_passed_on(app):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        import socket
        with socket.create_server(("127.0.0.1", 0)) as listener:
            front = app("--name", "front", "--call", f"*=http://127.0.0.1:{listener.getsockname()[1]}/")
            answer = pool.submit(front.get, "/", x_my_header="canary", x_request_id="r1", b3="0", x_b3_traceid="t",
                                 traceparent="00-1", authorization="secret")
            connection = listener.accept()[0]
            head = connection.recv(65536).decode().lower()
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            connection.close()
            assert answer.result()[0] == 200
    for line in ("x-my-header: canary", "x-request-id: r1", "b3: 0", "x-b3-traceid: t", "traceparent: 00-1"):
        assert f"\r\n{line}\r\n" in head
    assert "secret" not in head


def test_more_requests_than_places_wait_for_their_turn(app):
    one = app("--name", "a", "--concurrency", "4", "--knobs", '{"latency_ms": 100}')
    start = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        assert [s for s, _ in pool.map(lambda _: one.get(), range(12))] == [200] * 12
    assert 0.3 <= time.monotonic() - start < 1.0
    assert one.counters() == {"served": 12, "active": 0, "waiting": 0}


def test_a_hanging_application_keeps_its_places_until_it_hangs_no_more(app):
    one = app("--name", "a", "--concurrency", "2")
    assert one.turn(hang=True)[0] == 200
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(one.get) for _ in range(3)]
        deadline = time.monotonic() + 5
        while one.counters() != {"served": 0, "active": 2, "waiting": 1}:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert one.get("/healthz") == (200, "ok\n")
        one.turn(hang=False)
        assert [a.result()[0] for a in answers] == [200] * 3


def test_the_error_rate_and_its_ends(app):
    one = app("--name", "a")
    one.turn(error_rate=1)
    assert one.get()[0] == 500
    assert one.turn(error_rate=2) == (400, "error_rate: must be a number from 0 to 1\n")
    assert json.loads(one.get("/knobs", one.knobs_port)[1])["error_rate"] == 1
    one.turn(error_rate=0.3)
    codes = load(one.url, "--rps", 500, "--seconds", 2)["codes"]
    assert codes["200"] + codes["500"] == 1000 and 230 < codes["500"] < 370


def test_every_request_of_a_busy_chain_is_answered(app):
    back = app("--name", "back", "--knobs", '{"latency_ms": 5, "jitter_ms": 10}')
    front = app("--name", "front", "--call", f"*={back.url}/", "--call", "*=http://127.0.0.1:%d/2" % back.port)
    got = load(front.url, "--rps", 100, "--seconds", 3, "--count", '"name":"back"', "--count", "no such thing")
    assert got["codes"] == {"200": 300} and got["hits"] == {'"name":"back"': 300, "no such thing": 0}
    assert front.counters()["served"] == 300 and back.counters()["served"] == 600


def test_the_load_keeps_its_rate_whatever_comes_back(app):
    one = app("--name", "a", "--knobs", '{"hang": true}')
    start = time.monotonic()
    got = load(one.url, "--rps", 50, "--seconds", 1, "--timeout-ms", 300)
    assert got["sent"] == 50 and got["codes"] == {"ETIMEDOUT": 50}
    assert 290 < got["p50_ms"] < 400 and time.monotonic() - start < 2.5
    assert load("http://127.0.0.1:1/", "--rps", 20, "--seconds", 1)["codes"] == {"ECONNREFUSED": 20}


def test_an_application_that_is_told_to_end_answers_first(app):
    one = app("--name", "a", "--knobs", '{"latency_ms": 500}')
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(one.get)
        while one.counters()["active"] == 0:
            time.sleep(0.01)
        one.process.terminate()
        assert answer.result()[0] == 200
    assert one.process.wait(timeout=5) == 0


@pytest.mark.parametrize("flags, text", [
    ([], "usage:"), (["--name", "a", "--call", "x"], '--call: must be PATH=URL, got "x"'),
    (["--name", "a", "--call", "/=ftp://x"], '--call: must be http://HOST[:PORT]/PATH, got "ftp://x"'),
    (["--name", "a", "--port", "65536"], '--port: must be a number from 0 to 65535, got "65536"'),
    (["--name", "a", "--concurrency", "0"], '--concurrency: must be a number from 1 to 1000000, got "0"'),
    (["--name", "a", "--knobs", "{}{}"], "--knobs: must be a JSON object"),
])
def test_wrong_flags_are_refused_with_their_value(flags, text):
    done = subprocess.run([PROGRAMS / "outrigger-demo-app", *flags], capture_output=True, text=True, timeout=10)
    assert done.returncode == 2 and text in done.stderr
