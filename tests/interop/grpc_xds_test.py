"""grpcio's own xDS client, without any sidecar, is routed by the control plane."""
import json
import os
import re
import subprocess
import sys
import textwrap
import time
from concurrent import futures

import grpc
import pytest

HOST = "echo.shop.svc.cluster.local"
DOCUMENTS = [
    {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "echo", "namespace": "shop"},
     "spec": {"selector": {"app": "echo"}, "ports": [{"name": "grpc", "port": 9000, "targetPort": None}]}},
    {"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "echo", "namespace": "shop"},
     "spec": {"host": "echo", "subsets": [{"name": v, "labels": {"version": v}} for v in ("v1", "v2")]}},
]


def rule(*http):
    return {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "echo", "namespace": "shop"},
            "spec": {"hosts": ["echo"], "http": list(http)}}


def to(subset, **match):
    return {"route": [{"destination": {"host": "echo", "subset": subset}}], **({"match": [match]} if match else {})}


def pod(version, ip):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": version, "namespace": "shop", "labels": {"app": "echo", "version": version}},
            "status": {"podIP": ip, "conditions": [{"type": "Ready", "status": "True"}]}}


CLIENT = textwrap.dedent("""
    import grpc, json, sys
    channel = grpc.insecure_channel("xds:///" + sys.argv[1])
    call = channel.unary_unary("/echo.Echo/Say", request_serializer=bytes, response_deserializer=bytes)
    for line in sys.stdin:
        try:
            answer = call(b"", metadata=json.loads(line), timeout=10).decode()
        except grpc.RpcError as error:
            answer = error.code().name + " " + error.details()
        print(json.dumps(answer), flush=True)
""")


class Echo(grpc.GenericRpcHandler):
    def __init__(self, name):
        self.name = name

    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(lambda request, context: self.name.encode())


@pytest.fixture(scope="module")
def servers():
    port, started = 0, []
    for name, ip in (("v1", "127.0.1.1"), ("v2", "127.0.1.2")):
        server = grpc.server(futures.ThreadPoolExecutor(2))
        server.add_generic_rpc_handlers((Echo(name),))
        port = server.add_insecure_port(f"{ip}:{port}")
        assert port
        server.start()
        started.append(server)
    yield port
    for server in started:
        server.stop(None)


@pytest.fixture(scope="module")
def config(build, servers, tmp_path_factory):
    where = tmp_path_factory.mktemp("grpc")
    config, state = where / "config", where / "state"
    config.mkdir()
    state.mkdir()
    DOCUMENTS[0]["spec"]["ports"][0]["targetPort"] = servers
    for at, document in enumerate(DOCUMENTS):
        (config / f"{at}.json").write_text(json.dumps(document))
    (config / "rule.json").write_text(json.dumps(rule(to("v2", headers={"x-my-header": {"exact": "canary"}}), to("v1"))))
    for version, ip in (("v1", "127.0.1.1"), ("v2", "127.0.1.2")):
        (state / f"{version}.json").write_text(json.dumps(pod(version, ip)))
    with open(where / "control.log", "w") as log:
        process = subprocess.Popen([build / "control" / "outrigger-control", "--config", config, "--state", state, "--xds", "127.0.0.1:0"],
                                   env={**os.environ, "OUTRIGGER_RUN": str(where / "run")}, stderr=log)
    found = None
    while not found:
        assert process.poll() is None
        time.sleep(0.01)
        found = re.search(r"served at (\S+)", (where / "control.log").read_text())
    yield config, found.group(1), where
    process.terminate()
    assert process.wait(timeout=10) == 0


@pytest.fixture(scope="module")
def ask(config):
    bootstrap = {"xds_servers": [{"server_uri": config[1], "channel_creds": [{"type": "insecure"}], "server_features": ["xds_v3"]}],
                 "node": {"id": "sidecar~127.0.0.9~client.shop~shop.svc.cluster.local"}}
    client = subprocess.Popen([sys.executable, "-c", CLIENT, f"{HOST}:9000"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                              env={**os.environ, "GRPC_XDS_BOOTSTRAP_CONFIG": json.dumps(bootstrap)})

    def one(**metadata):
        client.stdin.write(json.dumps(list(metadata.items())) + "\n")
        client.stdin.flush()
        return json.loads(client.stdout.readline())
    yield one
    client.stdin.close()
    client.wait(timeout=10)


def until(ask, wanted, **metadata):
    end = time.monotonic() + 10
    while (got := ask(**metadata)) != wanted:
        assert time.monotonic() < end, got


def test_rules_route_calls(ask):
    assert ask() == "v1"
    assert ask(**{"x-my-header": "canary"}) == "v2"


def test_a_change_is_followed(ask, config):
    (config[0] / "rule.json").write_text(json.dumps(rule(to("v2"))))
    until(ask, "v2")
    (config[0] / "rule.json").write_text(json.dumps(rule({**to("v1"), "fault": {"abort": {"grpcStatus": "RESOURCE_EXHAUSTED",
                                                                                         "percentage": {"value": 100}}}})))
    until(ask, "RESOURCE_EXHAUSTED Fault injected")


def test_endpoints_are_followed(ask, config):
    (config[0] / "rule.json").write_text(json.dumps(rule({"route": [{"destination": {"host": "echo"}}]})))
    until(ask, "v1")
    (config[2] / "state" / "v1.json").unlink()
    for _ in range(3):
        until(ask, "v2")
