"""gRPC through two sidecars, HTTP/2 all the way: grpc's own interoperability tests, and what calls that fail look like."""
import os
import pathlib
import re
import shutil
import subprocess
import threading
from concurrent import futures

import grpc
import pytest

from hops import hop, settles
from support.ports import free_port

VERSION = "v1.85.0"
CASES = ["empty_unary", "large_unary", "client_streaming", "server_streaming", "ping_pong", "empty_stream", "timeout_on_sleeping_server",
         "cancel_after_begin", "cancel_after_first_response", "status_code_and_message", "special_status_message",
         "custom_metadata", "unimplemented_method", "unimplemented_service"]


@pytest.fixture(scope="module")
def tools():
    """grpc-go's client and server of the tests."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
    where = cache / "outrigger" / "bin" / f"grpc-interop-{VERSION}"
    if not ((where / "client").exists() and (where / "server").exists()):
        if not shutil.which("go"):
            pytest.skip("go is not installed, so grpc's interoperability tests cannot be built")
        subprocess.run(["go", "install", *(f"google.golang.org/grpc/interop/{name}@{VERSION}" for name in ("client", "server"))],
                       check=True, env=dict(os.environ, GOBIN=str(where), GOFLAGS="-p=2"), timeout=600)
    return where


@pytest.fixture(scope="module")
def chain(build, tmp_path_factory):
    """Starts two sidecars in front of a port, and gives where to call."""
    where, started = tmp_path_factory.mktemp("grpc"), []

    def start(port, **last):
        sidecar = [build / "sidecar" / "outrigger-sidecar", "-l", "warning"]
        names = f"last{len(started)}", f"first{len(started)}"
        started.append(hop(names[0], sidecar, port, where, h2=True, **last))
        started.append(hop(names[1], sidecar, started[-1].ports["in"], where, h2=True))
        return started[-1].ports["in"]

    yield start
    for proxy in started:
        assert proxy.process.poll() is None
        proxy.stop()


@pytest.fixture(scope="module")
def interop(tools, chain):
    port = free_port()
    server = subprocess.Popen([tools / "server", f"--port={port}"], stderr=subprocess.DEVNULL)
    yield chain(port)
    server.kill()
    server.wait()


@pytest.mark.parametrize("name", CASES)
def test_interoperability(tools, interop, name):
    done = subprocess.run([tools / "client", "--server_host=127.0.0.1", f"--server_port={interop}", f"--test_case={name}"],
                          capture_output=True, text=True, timeout=30, env=dict(os.environ, GRPC_GO_LOG_SEVERITY_LEVEL="info"))
    assert done.returncode == 0, done.stderr[-2000:]
    assert re.search(r"\bdone\b", done.stderr, re.I), done.stderr[-2000:]


class Calls(grpc.GenericRpcHandler):
    """/t.T/wait does not answer before its caller gives up; /t.T/refuse says so in its head."""

    def __init__(self):
        self.gone = threading.Event()
        self.left, self.is_waiting = None, False

    def service(self, details):
        if details.method == "/t.T/wait":
            return grpc.unary_unary_rpc_method_handler(self.wait)
        if details.method == "/t.T/refuse":
            return grpc.unary_unary_rpc_method_handler(lambda request, c: c.abort(grpc.StatusCode.PERMISSION_DENIED, "not für you"))
        return None

    def wait(self, request, context):
        self.left = context.time_remaining()
        context.add_callback(self.gone.set)
        self.is_waiting = True
        self.gone.wait(10)
        return b""


@pytest.fixture(scope="module")
def calls():
    handler = Calls()
    server = grpc.server(futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers([handler])
    handler.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield handler
    server.stop(0)


@pytest.fixture(scope="module")
def channel(calls, chain):
    with grpc.insecure_channel(f"127.0.0.1:{chain(calls.port)}") as c:
        yield c


def failure(channel, method, **options):
    with pytest.raises(grpc.RpcError) as e:
        channel.unary_unary(method)(b"x", timeout=options.pop("timeout", 5), **options)
    return e.value.code(), e.value.details()


def test_a_deadline_is_told_on_and_its_end_reaches_the_server(channel, calls):
    calls.gone.clear()
    assert failure(channel, "/t.T/wait", timeout=0.5)[0] == grpc.StatusCode.DEADLINE_EXCEEDED
    assert 0 < calls.left <= 0.5
    assert calls.gone.wait(3)


def test_a_cancelled_call_ends_at_the_server(channel, calls):
    calls.gone.clear()
    calls.is_waiting = False
    call = channel.unary_unary("/t.T/wait").future(b"x")
    assert settles(lambda: calls.is_waiting, True)
    call.cancel()
    assert calls.gone.wait(3)


def test_trailers_alone(channel):
    assert failure(channel, "/t.T/refuse") == (grpc.StatusCode.PERMISSION_DENIED, "not für you")


def test_a_sidecars_own_refusals_are_statuses(chain, calls):
    with grpc.insecure_channel(f"127.0.0.1:{chain(free_port())}") as nobody:
        code, details = failure(nobody, "/t.T/wait")
        assert code == grpc.StatusCode.UNAVAILABLE and "reset reason: remote connection failure" in details
    calls.gone.clear()
    with grpc.insecure_channel(f"127.0.0.1:{chain(calls.port, route={'timeout': '0.2s'})}") as late:
        assert failure(late, "/t.T/wait") == (grpc.StatusCode.UNAVAILABLE, "upstream request timeout")
