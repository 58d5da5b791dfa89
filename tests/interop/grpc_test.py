"""sidecar/grpc against grpcio, in both roles."""
import subprocess
import threading
import time
from concurrent import futures

import grpc
import pytest

MIB = 1 << 20


@pytest.fixture(scope="module")
def server(build):
    """The address of test-grpc-server; that it ends by itself, and well, is part of the tests."""
    p = subprocess.Popen([build / "tests" / "support" / "test-grpc-server"], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, text=True)
    yield f"127.0.0.1:{int(p.stdout.readline())}"
    p.stdin.close()
    assert p.wait(timeout=10) == 0


@pytest.fixture
def channel(server):
    with grpc.insecure_channel(server, options=[("grpc.max_receive_message_length", -1)]) as c:
        yield c


def unary(channel, method, message, **kw):
    return channel.unary_unary("/t.T/" + method)(message, timeout=kw.pop("timeout", 10), **kw)


class TestOurServer:
    @pytest.mark.parametrize("size", [0, 1, 4, 5, 16379, 16384, 100_000, 4 * MIB])
    def test_a_message_comes_back(self, channel, size):
        message = bytes(i % 251 for i in range(size))
        assert unary(channel, "Echo", message) == message

    def test_a_message_above_the_limit_is_refused(self, channel):
        with pytest.raises(grpc.RpcError) as e:
            unary(channel, "Echo", bytes(4 * MIB + 1))
        assert e.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert e.value.details() == "a message of 4194305 bytes; the limit is 4194304"
        assert unary(channel, "Echo", b"still here") == b"still here"

    def test_a_stream_from_the_server(self, channel):
        got = [len(m) for m in channel.unary_stream("/t.T/Repeat")(b"500 100", timeout=10)]
        assert got == [100] * 500

    def test_a_large_stream_from_the_server(self, channel):
        total = 0
        for m in channel.unary_stream("/t.T/Repeat")(b"60 1000000", timeout=60):
            total += len(m)
            time.sleep(0.002)  # slower than the server: back-pressure holds
        assert total == 60_000_000

    def test_a_stream_to_the_server(self, channel):
        messages = (bytes(50_000) for _ in range(400))
        assert channel.stream_unary("/t.T/Count")(messages, timeout=60) == b"400 20000000"

    def test_a_conversation(self, channel):
        sent, go = [], threading.Event()

        def ask():
            for i in range(50):
                sent.append(i)
                yield b"%d" % i
                assert go.wait(10)  # not before the answer to the one before
                go.clear()

        answers = []
        for m in channel.stream_stream("/t.T/Chat")(ask(), timeout=20):
            answers.append(int(m))
            assert sent == answers
            go.set()
        assert answers == list(range(50))

    @pytest.mark.parametrize("code", [c for c in grpc.StatusCode if c is not grpc.StatusCode.OK])
    def test_a_status_and_its_text(self, channel, code):
        text = "50% of\nwhat: \u00e9 \u4f60"
        with pytest.raises(grpc.RpcError) as e:
            unary(channel, "Fail", b"%d " % code.value[0] + text.encode())
        assert e.value.code() == code
        assert e.value.details() == text

    def test_an_unknown_method(self, channel):
        with pytest.raises(grpc.RpcError) as e:
            unary(channel, "Nothing", b"")
        assert e.value.code() == grpc.StatusCode.UNIMPLEMENTED
        assert e.value.details() == "unknown method /t.T/Nothing"

    def test_a_deadline(self, channel):
        start = time.monotonic()
        with pytest.raises(grpc.RpcError) as e:
            unary(channel, "Hang", b"", timeout=0.2)
        assert e.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert 0.15 < time.monotonic() - start < 2
        time.sleep(0.2)
        # Either its own clock or the client's RST_STREAM was first.
        assert unary(channel, "Ended", b"") in (b"DEADLINE_EXCEEDED", b"CANCELLED")

    def test_a_cancel_is_seen(self, channel):
        call = channel.unary_unary("/t.T/Hang").future(b"", timeout=10)
        time.sleep(0.1)
        call.cancel()
        time.sleep(0.1)
        assert unary(channel, "Ended", b"") == b"CANCELLED"

    def test_many_calls_at_once(self, channel):
        calls = [channel.unary_unary("/t.T/Echo").future(b"%d" % i, timeout=20) for i in range(1000)]
        assert [c.result() for c in calls] == [b"%d" % i for i in range(1000)]

    def test_compressed_messages_are_refused_in_words(self, server):
        with grpc.insecure_channel(server, compression=grpc.Compression.Gzip) as c:
            with pytest.raises(grpc.RpcError) as e:
                unary(c, "Echo", bytes(10_000))
        assert e.value.code() == grpc.StatusCode.UNIMPLEMENTED
        assert "compressed messages are not supported" in e.value.details()

    def test_a_client_with_keepalive_pings_is_welcome(self, server):
        options = [("grpc.keepalive_time_ms", 100), ("grpc.keepalive_timeout_ms", 2000),
                   ("grpc.keepalive_permit_without_calls", 1), ("grpc.http2.max_pings_without_data", 0)]
        with grpc.insecure_channel(server, options=options) as c:
            call = c.unary_unary("/t.T/Hang").future(b"", timeout=1.5)
            with pytest.raises(grpc.RpcError) as e:
                call.result()
            assert e.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


# ---- grpcio's server, our client. ----

class Service(grpc.GenericRpcHandler):
    def __init__(self):
        self.cancelled = threading.Event()
        self.metadata = {}

    def service(self, details):
        self.metadata = dict(details.invocation_metadata)
        name = details.method.rsplit("/")[-1]
        method = getattr(self, name, None)
        if method is None:
            return None
        make = {"echo": grpc.unary_unary_rpc_method_handler, "fail": grpc.unary_unary_rpc_method_handler,
                "hang": grpc.unary_unary_rpc_method_handler, "repeat": grpc.unary_stream_rpc_method_handler,
                "early": grpc.stream_unary_rpc_method_handler, "count": grpc.stream_unary_rpc_method_handler,
                "chat": grpc.stream_stream_rpc_method_handler}[name]
        return make(method)

    def echo(self, message, context):
        return message

    def fail(self, message, context):
        context.abort(grpc.StatusCode(tuple(c.value for c in grpc.StatusCode if c.name == message.decode())[0]),
                      "why: 100% \u00e9")

    def hang(self, message, context):
        context.add_callback(self.cancelled.set)
        self.cancelled.wait(20)
        return b""

    def repeat(self, message, context):
        n, size = map(int, message.split())
        for _ in range(n):
            yield bytes(size)

    def count(self, messages, context):
        return b"%d" % sum(len(m) for m in messages)

    def early(self, messages, context):
        next(messages)
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "enough")

    def chat(self, messages, context):
        for m in messages:
            yield m + m


@pytest.fixture(scope="module")
def grpcio_server():
    service = Service()
    s = grpc.server(futures.ThreadPoolExecutor(8), handlers=[service],
                    options=[("grpc.max_receive_message_length", -1)])
    port = s.add_insecure_port("127.0.0.1:0")
    s.start()
    yield f"127.0.0.1:{port}", service
    s.stop(None)


@pytest.fixture
def client(build, grpcio_server):
    def run(method, *messages, deadline=10000, cancel=0, timeout=60):
        p = subprocess.run([build / "tests" / "support" / "test-grpc-client", grpcio_server[0], "/t.T/" + method,
                            str(deadline), str(cancel), *messages], capture_output=True, text=True, timeout=timeout)
        assert p.returncode == 0, p.stderr
        return p.stdout.splitlines()
    return run


class TestOurClient:
    def test_a_message_comes_back(self, client, grpcio_server):
        assert client("echo", "hello") == ["message 5 hello", "done OK "]
        assert grpcio_server[1].metadata["user-agent"].startswith("grpc-c-outrigger/")

    def test_a_large_message(self, client):
        assert client("echo", "@4000000") == ["message 4000000 " + "x" * 40, "done OK "]

    def test_an_answer_above_the_limit(self, client):
        assert client("repeat", "1 5000000") == [
            "done RESOURCE_EXHAUSTED a message of 5000000 bytes; the limit is 4194304"]

    def test_a_stream_from_the_server(self, client):
        out = client("repeat", "300 100000")
        assert len(out) == 301 and out[-1] == "done OK "

    def test_a_stream_to_the_server(self, client):
        assert client("count", *["@1000000"] * 20) == ["message 8 20000000", "done OK "]

    def test_a_conversation(self, client):
        assert client("chat", "a", "b", "c") == ["message 2 aa", "message 2 bb", "message 2 cc", "done OK "]

    @pytest.mark.parametrize("code", ["CANCELLED", "NOT_FOUND", "UNAVAILABLE", "UNAUTHENTICATED"])
    def test_a_status_and_its_text(self, client, code):
        assert client("fail", code) == [f"done {code} why: 100% \u00e9"]

    def test_an_unknown_method(self, client):
        assert client("nothing", "x")[0].startswith("done UNIMPLEMENTED")

    def test_a_server_that_has_enough(self, client):
        assert client("early", "x", "-") == ["done FAILED_PRECONDITION enough"]

    def test_a_deadline(self, client, grpcio_server):
        grpcio_server[1].cancelled.clear()
        # Our own words, or the server's where its clock was first.
        assert client("hang", "x", deadline=200)[0] in ("done DEADLINE_EXCEEDED deadline exceeded", "done DEADLINE_EXCEEDED Deadline Exceeded")
        assert grpcio_server[1].cancelled.wait(5)

    def test_a_cancel(self, client, grpcio_server):
        grpcio_server[1].cancelled.clear()
        assert client("hang", "x", cancel=100) == ["done CANCELLED cancelled"]
        assert grpcio_server[1].cancelled.wait(5)
