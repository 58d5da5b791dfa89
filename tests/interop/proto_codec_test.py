"""Our codec against protobuf's own: binary form, JSON mapping both ways, and what a real istiod sent.

build/tests/support/proto-tool holds our codec behind a pipe. Messages are made by hypothesis from our own descriptors, for
several dozen of our types, and from the bytes of a captured istiod where shared/ is at hand.
"""
import base64
import glob
import json
import math
import os
import subprocess

import pytest
import yaml
from google.protobuf import (any_pb2, descriptor_pb2, descriptor_pool, duration_pb2, empty_pb2, json_format,
                             message_factory, struct_pb2, timestamp_pb2, wrappers_pb2)
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.environ.get("OUTRIGGER_BUILD", os.path.join(ROOT, "build"))
CAPTURED = os.path.join(os.path.dirname(ROOT), "shared", "reference", "istiod-xds")
DISCOVERY = "envoy.service.discovery.v3."

TYPES = """
    google.protobuf.Any google.protobuf.Struct google.protobuf.Value google.protobuf.ListValue google.rpc.Status
    xds.type.v3.TypedStruct
    envoy.type.v3.FractionalPercent envoy.type.v3.Int64Range envoy.type.matcher.v3.StringMatcher
    envoy.type.matcher.v3.MetadataMatcher
    envoy.config.core.v3.Node envoy.config.core.v3.Metadata envoy.config.core.v3.Address envoy.config.core.v3.SocketOption
    envoy.config.core.v3.DataSource envoy.config.core.v3.HeaderValueOption envoy.config.core.v3.ConfigSource
    envoy.config.core.v3.HttpProtocolOptions envoy.config.core.v3.Http2ProtocolOptions
    envoy.config.accesslog.v3.AccessLog envoy.config.endpoint.v3.ClusterLoadAssignment envoy.config.endpoint.v3.LbEndpoint
    envoy.config.cluster.v3.Cluster envoy.config.cluster.v3.CircuitBreakers envoy.config.cluster.v3.OutlierDetection
    envoy.config.route.v3.RouteConfiguration envoy.config.route.v3.Route envoy.config.route.v3.RouteMatch
    envoy.config.route.v3.RouteAction envoy.config.route.v3.RetryPolicy envoy.config.route.v3.RedirectAction
    envoy.config.listener.v3.Listener envoy.config.listener.v3.FilterChainMatch envoy.config.bootstrap.v3.Bootstrap
    envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
    envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy envoy.extensions.filters.http.fault.v3.HTTPFault
    envoy.extensions.filters.http.cors.v3.CorsPolicy envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
    envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    envoy.service.discovery.v3.DiscoveryRequest envoy.service.discovery.v3.DeltaDiscoveryResponse
    istio.networking.v1alpha3.VirtualService istio.networking.v1alpha3.DestinationRule istio.networking.v1alpha3.ServiceEntry
    istio.networking.v1alpha3.Sidecar istio.mesh.v1alpha1.MeshConfig
""".split()

SETTINGS = settings(max_examples=int(os.environ.get("OUTRIGGER_EXAMPLES", "10")), deadline=None, derandomize=True,
                    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example])


class Tool:
    def __init__(self):
        path = os.path.join(BUILD, "tests", "support", "proto-tool")
        self.process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, op, type_name, data):
        self.process.stdin.write(f"{op} {type_name} {len(data)}\n".encode() + data)
        self.process.stdin.flush()
        verdict, n = self.process.stdout.readline().split()
        return verdict == b"ok", self.process.stdout.read(int(n))

    def must(self, op, type_name, data):
        good, answer = self.ask(op, type_name, data)
        assert good, answer.decode()
        return answer


@pytest.fixture(scope="session")
def tool():
    t = Tool()
    yield t
    t.process.stdin.close()
    assert t.process.wait() == 0


@pytest.fixture(scope="session")
def pool(tmp_path_factory):
    """Our own types, as protobuf's Python sees them."""
    out = str(tmp_path_factory.mktemp("protoc") / "ours.pb")
    files = sorted(glob.glob(ROOT + "/proto/*.proto"))
    subprocess.run(["protoc", "-I" + ROOT, "-o", out, *files], check=True)
    with open(out, "rb") as f:
        file_set = descriptor_pb2.FileDescriptorSet.FromString(f.read())
    p = descriptor_pool.DescriptorPool()
    todo = {f.name: f for f in file_set.file}
    # json_format knows the wrappers by the name of their file, so the official files stand in for ours.
    del todo["proto/google_protobuf.proto"]
    known = [any_pb2, duration_pb2, empty_pb2, struct_pb2, timestamp_pb2, wrappers_pb2]
    for module in known:
        p.AddSerializedFile(module.DESCRIPTOR.serialized_pb)

    def add(name):
        f = todo.pop(name, None)
        if f:
            for d in f.dependency:
                add(d)
            if "proto/google_protobuf.proto" in f.dependency:
                f.dependency.remove("proto/google_protobuf.proto")
                f.dependency.extend(module.DESCRIPTOR.name for module in known)
            p.Add(f)
    while todo:
        add(next(iter(todo)))
    return p


def new(pool, name):
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))()


# ---- Making messages. ----

TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=6)
ANY_URLS = ["type.googleapis.com/envoy.config.route.v3.VirtualHost", "t/google.protobuf.Duration", "t/google.protobuf.Struct",
            "t/google.protobuf.StringValue", "t/envoy.extensions.filters.http.router.v3.Router"]


def scalar(draw, field):
    kind = field.cpp_type
    if kind == field.CPPTYPE_STRING:
        return draw(st.binary(max_size=6)) if field.type == field.TYPE_BYTES else draw(TEXT)
    if kind == field.CPPTYPE_BOOL:
        return draw(st.booleans())
    if kind == field.CPPTYPE_ENUM:
        return draw(st.sampled_from([v.number for v in field.enum_type.values]))
    if kind == field.CPPTYPE_DOUBLE:
        return draw(st.floats(allow_nan=False, allow_infinity=False)) + 0.0  # protobuf-c does not pack -0.0
    if kind == field.CPPTYPE_FLOAT:
        return draw(st.floats(width=32, allow_nan=False, allow_infinity=False)) + 0.0
    low, high = {field.CPPTYPE_INT32: (-2**31, 2**31 - 1), field.CPPTYPE_UINT32: (0, 2**32 - 1),
                 field.CPPTYPE_INT64: (-2**63, 2**63 - 1), field.CPPTYPE_UINT64: (0, 2**64 - 1)}[kind]
    return draw(st.sampled_from([0, 1, low, high]) | st.integers(low, high))


def fill_special(draw, pool, message, depth):
    """Types whose fields cannot be just anything. False: not such a type."""
    name = message.DESCRIPTOR.full_name
    if name == "google.protobuf.Duration":
        ns = draw(st.sampled_from([0, 1, 1500 * 10**6, -10**9]) | st.integers(-315576000000 * 10**9, 315576000000 * 10**9))
        message.seconds = math.trunc(ns // 10**9 if ns >= 0 else -(-ns // 10**9))
        message.nanos = ns % 10**9 if ns >= 0 else -(-ns % 10**9)
    elif name == "google.protobuf.Timestamp":
        message.seconds = draw(st.integers(-62135596800, 253402300799))
        message.nanos = draw(st.integers(0, 10**9 - 1))
    elif name == "google.protobuf.Any":
        url = draw(st.sampled_from(ANY_URLS))
        inner = new(pool, url.rsplit("/", 1)[1])
        fill(draw, pool, inner, depth + 1)
        message.type_url = url
        message.value = inner.SerializeToString()
    elif name == "google.protobuf.Value" and depth > 3:
        message.string_value = draw(TEXT)
    elif name == "google.protobuf.Value":
        kind = draw(st.sampled_from(["null_value", "number_value", "string_value", "bool_value", "struct_value", "list_value"]))
        field = message.DESCRIPTOR.fields_by_name[kind]
        if field.message_type:
            getattr(message, kind).SetInParent()
            fill(draw, pool, getattr(message, kind), depth + 1)
        else:
            setattr(message, kind, scalar(draw, field))
    else:
        return False
    return True


def fill_map(draw, pool, message, field, depth):
    key, value = field.message_type.fields_by_name["key"], field.message_type.fields_by_name["value"]
    target = getattr(message, field.name)
    for _ in range(draw(st.integers(0, 2))):
        k = scalar(draw, key)
        if value.message_type:
            fill(draw, pool, target[k], depth + 1)
        else:
            target[k] = scalar(draw, value)


def fill(draw, pool, message, depth=0):
    if fill_special(draw, pool, message, depth):
        return
    fields = list(message.DESCRIPTOR.fields)
    chosen = draw(st.lists(st.sampled_from(fields), max_size=5 if depth < 3 else 2, unique_by=id)) if fields else []
    for field in chosen:
        if field.message_type and field.message_type.GetOptions().map_entry:
            fill_map(draw, pool, message, field, depth)
        elif field.is_repeated:
            for _ in range(draw(st.integers(0, 2))):
                if field.message_type:
                    fill(draw, pool, getattr(message, field.name).add(), depth + 1)
                else:
                    getattr(message, field.name).append(scalar(draw, field))
        elif field.message_type:
            if depth < 5:
                getattr(message, field.name).SetInParent()
                fill(draw, pool, getattr(message, field.name), depth + 1)
        else:
            setattr(message, field.name, scalar(draw, field))


@st.composite
def filled(draw, pool, name):
    message = new(pool, name)
    fill(draw, pool, message)
    return message


def reference_json(message, pool, **options):
    return json_format.MessageToDict(message, descriptor_pool=pool, **options)


class QuotingDumper(yaml.SafeDumper):
    """PyYAML's plain texts are those of YAML 1.1, some of which are numbers by now."""


QuotingDumper.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))


# ---- Round trips. ----

@pytest.mark.parametrize("name", TYPES)
def test_messages_go_round_in_every_form(tool, pool, name):
    @SETTINGS
    @given(st.data())
    def run(data):
        def same(packed):  # as JSON, for the bytes inside of an Any may be packed in another order
            again = new(pool, name)
            again.ParseFromString(packed)
            return reference_json(again, pool) == want
        message = data.draw(filled(pool, name))
        want = json.loads(json.dumps(reference_json(message, pool)))
        assume(want is not None)  # a document of nothing but null is no document
        wire = message.SerializeToString(deterministic=True)
        back = new(pool, name)
        back.ParseFromString(tool.must("to_wire", name, wire))
        assert back == message
        assert json.loads(tool.must("to_json", name, wire)) == want
        for text in (json.dumps(want), json.dumps(want, ensure_ascii=False),
                     json.dumps(reference_json(message, pool, preserving_proto_field_name=True)),
                     json.dumps(reference_json(message, pool, use_integers_for_enums=True)),
                     yaml.dump(want, Dumper=QuotingDumper)):
            assert same(tool.must("from_text", name, text.encode()))
    run()


def test_every_type_is_taken_empty(tool, pool):
    names = []

    def walk(descriptor):
        names.append(descriptor.full_name)
        for nested in descriptor.nested_types:
            walk(nested)
    for path in sorted(glob.glob(ROOT + "/proto/*.proto")):
        if not path.endswith("/google_protobuf.proto"):
            for d in pool.FindFileByName(os.path.relpath(path, ROOT)).message_types_by_name.values():
                walk(d)
    assert len(names) > 300
    for name in names:
        assert tool.must("to_wire", name, b"") == b""


# ---- Verdicts: what protobuf's parser takes, ours takes with the same meaning. ----

VERDICTS = [
    ("google.protobuf.Duration", '"1s"', True), ("google.protobuf.Duration", '"1.5s"', True),
    ("google.protobuf.Duration", '"-0.000000001s"', True), ("google.protobuf.Duration", '"1"', False),
    ("google.protobuf.Duration", '"1m"', False), ("google.protobuf.Duration", '"315576000001s"', False),
    ("google.protobuf.Timestamp", '"2026-02-29T00:00:00Z"', False),
    ("google.protobuf.Timestamp", '"2026-02-28T00:00:00+01:30"', True),
    ("google.protobuf.UInt32Value", "4294967295", True), ("google.protobuf.UInt32Value", "4294967296", False),
    ("google.protobuf.UInt32Value", '"12"', True), ("google.protobuf.UInt32Value", "1.0", True),
    ("google.protobuf.UInt32Value", "1.5", False), ("google.protobuf.UInt32Value", "-1", False),
    ("google.protobuf.UInt32Value", "true", False), ("google.protobuf.UInt32Value", '""', False),
    ("google.protobuf.UInt64Value", '"18446744073709551615"', True),
    ("google.protobuf.Int64Value", "-9223372036854775808", True),
    ("google.protobuf.Int64Value", "9223372036854775808", False),
    ("google.protobuf.DoubleValue", '"NaN"', True), ("google.protobuf.DoubleValue", '"-Infinity"', True),
    ("google.protobuf.DoubleValue", '"1.5"', True), ("google.protobuf.DoubleValue", '"x"', False),
    ("google.protobuf.FloatValue", "3.5e38", False), ("google.protobuf.FloatValue", "1e-46", True),
    ("google.protobuf.BoolValue", '"true"', False), ("google.protobuf.BoolValue", "1", False),
    ("google.protobuf.StringValue", "1", False), ("google.protobuf.BytesValue", '"aGk="', True),
    ("google.protobuf.BytesValue", '"aG_-"', True),
    ("envoy.config.cluster.v3.Cluster", '{"name": "a", "name": "b"}', False),
    ("envoy.config.cluster.v3.Cluster", '{"lbPolicy": "maglev"}', False),
    ("envoy.config.cluster.v3.Cluster", '{"type": "EDS", "clusterType": {"name": "x"}}', False),
    ("envoy.config.cluster.v3.Cluster", '{"type": "EDS", "clusterType": null}', True),
    ("envoy.config.cluster.v3.Cluster", '{"filters": [null]}', False),
    ("envoy.config.cluster.v3.Cluster", '{"unknown": 1}', False),
    ("google.protobuf.Struct", '{"a": [null, 1, "x", {"b": true}]}', True),
    ("google.protobuf.Any", '{"@type": "t/google.protobuf.Duration", "value": "1s"}', True),
    ("google.protobuf.Any", '{"value": "1s"}', False), ("google.protobuf.Any", "{}", True),
]


@pytest.mark.parametrize("name, text, good", VERDICTS)
def test_texts_are_judged_as_protobuf_does(tool, pool, name, text, good):
    message = new(pool, name)
    try:
        json_format.Parse(text, message, descriptor_pool=pool)
        theirs = True
    except json_format.ParseError:
        theirs = False
    assert theirs == good
    ours, answer = tool.ask("from_text", name, text.encode())
    assert ours == good, answer
    if good:
        again = new(pool, name)
        again.ParseFromString(answer)
        assert again.SerializeToString() == message.SerializeToString()


# Where we differ on purpose.
STRICTER = [
    ("envoy.config.cluster.v3.Cluster", '{"lbPolicy": 4}', "an enum number without a name"),
    ("envoy.config.cluster.v3.Cluster", '{"lbPolicy": "MAGLEV", "lb_policy": "MAGLEV"}', "one field twice"),
    ("google.protobuf.StringValue", '"a\\u0000b"', "a NUL, which protobuf-c would cut the text at"),
]


@pytest.mark.parametrize("name, text, why", STRICTER)
def test_texts_that_protobuf_takes_and_we_do_not(tool, pool, name, text, why):
    json_format.Parse(text, new(pool, name), descriptor_pool=pool)
    good, answer = tool.ask("from_text", name, text.encode())
    assert not good, why
    assert b" OG01" in answer


# ---- Wire faults. ----

@SETTINGS
@given(st.data())
def test_damaged_bytes_never_break_it(tool, pool, data):
    name = data.draw(st.sampled_from(TYPES))
    wire = bytearray(data.draw(filled(pool, name)).SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        if wire:
            wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    wire = bytes(wire[:data.draw(st.integers(0, len(wire)))])
    good, answer = tool.ask("to_wire", name, wire)
    if good:  # then it is protobuf too, with the same meaning
        theirs, ours = new(pool, name), new(pool, name)
        theirs.ParseFromString(wire)
        ours.ParseFromString(answer)
        assert json.dumps(reference_json(ours, pool)) == json.dumps(reference_json(theirs, pool))
    else:
        assert answer


# ---- What a real istiod sent. ----

def captured(pattern):
    found = sorted(glob.glob(f"{CAPTURED}/{pattern}"))
    return found or [pytest.param(None, marks=pytest.mark.skip(reason=f"no {CAPTURED}: shared/ is not at hand"))]


def response_type(path):
    return DISCOVERY + ("DeltaDiscoveryResponse" if path.endswith(".delta.pb") else "DiscoveryResponse")


def read(path):
    with open(path, "rb") as f:
        return f.read()


@pytest.mark.parametrize("path", captured("*/*.pb"))
def test_istiods_bytes_are_understood_whole(tool, path):
    """Nothing in them is outside of our subset, and they survive our hands."""
    data = read(path)
    assert tool.must("unknown", response_type(path), data) == b""
    first = tool.must("to_json", response_type(path), data)
    again = tool.must("to_wire", response_type(path), data)
    assert tool.must("to_json", response_type(path), again) == first
    for resource in json.loads(first)["resources"]:
        if "delta" in path:
            resource = resource["resource"]
        name = resource["@type"].rsplit("/", 1)[1]
        body = base64.b64decode(resource["value"]) if "value" in resource else None
        assert body is None, f"{name} is not ours"


def by_name(resources):
    return sorted(resources, key=lambda r: r.get("name") or r.get("clusterName"))


def without_foreign(value):
    """Anys of Istio's own types, which we keep as bytes, compare by their type alone."""
    if isinstance(value, list):
        return [without_foreign(v) for v in value]
    if not isinstance(value, dict):
        return value
    if value.get("@type", "").rsplit("/", 1)[-1] in ("istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig",
                                                    "stats.PluginConfig"):
        return {"@type": value["@type"]}
    return {k: without_foreign(v) for k, v in value.items()}


@pytest.mark.parametrize("path", captured("*/*.sotw.pb"))
def test_istiods_bytes_print_as_the_dump_beside_them(tool, path):
    with open(path.replace(".sotw.pb", ".json"), encoding="utf-8") as f:
        want = json.load(f)
    got = json.loads(tool.must("to_json", response_type(path), read(path)))
    assert len(got["resources"]) > 0
    assert without_foreign(by_name(got["resources"])) == without_foreign(by_name(want["resources"]))


@pytest.mark.parametrize("path", captured("bootstrap*.json"))
def test_istios_bootstraps_are_read(tool, path):
    tool.must("from_text", "envoy.config.bootstrap.v3.Bootstrap", read(path))
