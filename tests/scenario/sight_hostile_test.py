"""Sidecars that mean ill: what a session with the control plane may say, and what it can cost."""
import concurrent.futures
import pathlib
import queue
import re
import subprocess
import threading
import time

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from sight import mesh, until  # noqa: F401 (mesh is a fixture)
from support import ads_client

SESSION = "/outrigger.agent.v1.Agent/Session"


@pytest.fixture(scope="session")
def agent_types(tmp_path_factory):
    """Report and Order, from the .proto file."""
    out = tmp_path_factory.mktemp("protoc") / "agent.pb"
    root = pathlib.Path(__file__).resolve().parents[2]
    subprocess.run(["protoc", f"-I{root}", "-o", out, root / "proto" / "outrigger_agent.proto"], check=True)
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file:
        pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"outrigger.agent.v1.{name}")) for name in ("Report", "Order")}


class Pretender:
    """An ADS stream and a session on the same connection, which says what a test wants."""

    def __init__(self, mesh, agent_types, name="evil", agent="outrigger", ads=True):
        self.types, self.node = agent_types, f"sidecar~127.3.0.1~{name}.shop~shop.svc.cluster.local"
        self.stream = ads_client.Stream(f"127.0.0.1:{mesh.xds}", node=self.node, agent=agent)
        if ads:
            self.stream.subscribe(ads_client.CDS)
            self.stream.next()
        self.out, self.orders, self.ended = queue.Queue(), queue.Queue(), queue.Queue()
        call = self.stream.channel.stream_stream(SESSION, request_serializer=bytes, response_deserializer=agent_types["Order"].FromString)
        self.call = call(iter(self.out.get, None))
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        try:
            for order in self.call:
                self.orders.put(order)
            self.ended.put((grpc.StatusCode.OK, ""))
        except grpc.RpcError as error:
            self.ended.put((error.code(), error.details()))

    def say(self, **fields):
        self.out.put(self.types["Report"](**fields).SerializeToString())

    def greet(self):
        self.say(node_id=self.node)
        assert not self.orders.get(timeout=5).HasField("query")
        return self

    def end(self):
        return self.ended.get(timeout=20)

    def close(self):
        self.out.put(None)
        self.call.cancel()
        self.stream.close()


def rss_mib(process):
    text = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text).group(1)) / 1024


def test_who_may_not_speak_is_refused_by_name(mesh, agent_types):
    cases = [
        ("evil", "outrigger", False, "", grpc.StatusCode.FAILED_PRECONDITION, "ADS stream"),
        ("evil", "envoy", True, "", grpc.StatusCode.PERMISSION_DENIED, "user_agent_name"),
        ("evil", "outrigger", True, "sidecar~127.3.0.1~web-1.shop~shop.svc.cluster.local", grpc.StatusCode.INVALID_ARGUMENT, "node_id"),
        ("evil", "outrigger", True, "", grpc.StatusCode.INVALID_ARGUMENT, "node_id"),
    ]
    for name, agent, ads, node, code, text in cases:
        p = Pretender(mesh, agent_types, name, agent, ads)
        p.say(node_id=node)
        got = p.end()
        assert got[0] == code and text in got[1], got
        p.close()
    for message, code in ((b"\xff\xff\xff\xff", grpc.StatusCode.INVALID_ARGUMENT), (bytes(5 << 20), grpc.StatusCode.RESOURCE_EXHAUSTED)):
        p = Pretender(mesh, agent_types)
        p.greet().out.put(message)
        assert p.end()[0] == code
        p.close()
    first = Pretender(mesh, agent_types).greet()
    second = Pretender(mesh, agent_types).greet()
    assert first.end()[0] == grpc.StatusCode.ABORTED
    assert mesh.rows() == []
    first.close()
    second.close()


def test_a_hostile_session_takes_bounded_memory_and_disturbs_nobody(mesh, agent_types):
    mesh.backend("reviews-1", "127.1.0.1")
    web = mesh.sidecar()
    mesh.ready(web)
    before = rss_mib(mesh.control)
    # More clusters than are kept.
    p = Pretender(mesh, agent_types).greet()
    for batch in range(40):
        p.say(clusters=[{"name": f"{batch}-{i}" + "x" * 900, "has_hosts": True, "hosts": [{"address": "y" * 200}] * 4} for i in range(500)])
    code, text = p.end()
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED and "clusters" in text
    p.close()
    assert {r["proxy"] for r in mesh.rows()} == {"web-1.shop"}
    # More events than may be told: the rest is counted.
    p = Pretender(mesh, agent_types).greet()
    p.say(events=[{"kind": 1, "host": "h" * 400, "reason": "\x1b[31mred\r\n\x07", "time_us": 2**63, "until_us": 2**63}] * 7000)
    p.say(events=[{"kind": 99, "cluster": "c"}])
    until(lambda: len(mesh.events(proxy="evil.shop")) > 400, mesh.events, 5)
    time.sleep(1.1)
    p.say(events=[{"kind": 2, "cluster": "last"}])
    found = until(lambda: (e := mesh.events(proxy="evil.shop"))[-1]["cluster"] == "last" and e, "the last event", 5)
    lost = [e for e in found if e["kind"] == "lost"]
    assert len(found) < 700 and sum(e["count"] for e in lost) + len([e for e in found if e["kind"] == "ejected"]) >= 7000
    ejected = next(e for e in found if e["kind"] == "ejected")
    assert len(ejected["host"]) == 300 and ejected["reason"] == "?[31mred???" and ejected["until"].startswith("9999-")
    assert "\x1b" not in mesh.outrigger("events")
    # Questions that are not answered, or with too much, or by nobody who was asked.
    answers = queue.Queue()
    for _ in range(12):
        threading.Thread(target=lambda: answers.put(mesh.api("/api/v1/proxies/evil.shop/admin/stats")), daemon=True).start()
    first = until(lambda: p.orders.qsize() == 8 and p.orders.get(), "eight questions", 5)
    p.say(answer={"id": 4711, "body": b"x"})
    for i in range(40):
        p.say(answer={"id": first.query.id, "status": 200, "body": bytes(1 << 20)})
    statuses = sorted(answers.get(timeout=20)[0] for _ in range(12))
    assert statuses == [502] + [503] * 4 + [504] * 7
    # Whoever was there before is not disturbed.
    assert mesh.api("/api/v1/proxies/web-1.shop/admin/ready")[0] in (200, 503) and mesh.row()
    assert rss_mib(mesh.control) - before < (1000 if "asan" in str(mesh.build) or "tsan" in str(mesh.build) else 80)
    p.close()


def test_who_never_reads_makes_nobody_hold_anything(mesh, agent_types):
    """A control plane that says nothing, and one that knows no sessions, get no reports."""
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
    calls = []

    class Handler(grpc.GenericRpcHandler):
        def service(self, details):
            calls.append(details.method)
            if details.method == SESSION:
                return None
            return grpc.stream_stream_rpc_method_handler(self.serve, request_deserializer=bytes, response_serializer=bytes)

        def serve(self, requests, context):
            for _ in requests:
                pass
            return iter(())
    server.add_generic_rpc_handlers((Handler(),))
    mesh.xds = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        web = mesh.sidecar()
        until(lambda: SESSION in calls, lambda: (calls, web.log.read_text()), 10)
        time.sleep(3)
        assert calls.count(SESSION) == 1, "it asked again"
        assert web.process.poll() is None
    finally:
        server.stop(None)
