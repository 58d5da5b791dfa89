"""Our .proto subset against the official descriptors.

Every message, field, enum value and method of proto/*.proto must exist upstream under the same full name, with the
same number, type, label, oneof and JSON name. Envoy's, xds', udpa's and google's come from PyPI xds-protos and
protobuf; Istio's and Kubernetes' from the .proto files of the Go modules pinned in proto_oracle/go.mod.
"""
import copy
import glob
import importlib
import json
import os
import subprocess
import sysconfig

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
FIELD = descriptor_pb2.FieldDescriptorProto

# The operator's kinds are whole, so that a field that is not built yet is refused by its name.
WHOLE = ["VirtualService", "DestinationRule", "ServiceEntry", "WorkloadEntry", "Gateway", "Sidecar"]


def protoc(include, files, out):
    subprocess.run(["protoc", *("-I" + i for i in include), "--include_imports", "-o", out, *files],
                   check=True, stderr=subprocess.PIPE, text=True)
    with open(out, "rb") as f:
        return descriptor_pb2.FileDescriptorSet.FromString(f.read())


def pool_of(file_set):
    pool = descriptor_pool.DescriptorPool()
    for f in file_set.file:
        pool.Add(f)
    return pool


@pytest.fixture(scope="session")
def ours(tmp_path_factory):
    files = sorted(os.path.relpath(f, ROOT) for f in glob.glob(ROOT + "/proto/*.proto"))
    assert len(files) > 40
    out = str(tmp_path_factory.mktemp("protoc") / "ours.pb")
    return protoc([ROOT], [os.path.join(ROOT, f) for f in files], out)


def python_pool():
    site = sysconfig.get_paths()["purelib"]
    for top in ("envoy", "xds", "udpa", "google/rpc", "google/protobuf"):
        found = glob.glob(f"{site}/{top}/**/*_pb2.py", recursive=True)
        assert found, f"no descriptors under {site}/{top}: install xds-protos"
        for f in found:
            importlib.import_module(os.path.relpath(f, site)[:-3].replace("/", "."))
    return descriptor_pool.Default()


def module_dirs():
    names = ["istio.io/api", "k8s.io/api", "k8s.io/apimachinery"]
    out = subprocess.run(["go", "mod", "download", "-json", *names], cwd=HERE + "/proto_oracle",
                         check=True, capture_output=True, text=True).stdout
    decoder, dirs, at = json.JSONDecoder(), {}, 0
    while at < len(out.rstrip()):
        entry, at = decoder.raw_decode(out, at)
        dirs[entry["Path"]] = entry["Dir"]
        at += 1
    assert sorted(dirs) == names
    return dirs


@pytest.fixture(scope="session")
def official(tmp_path_factory):
    """Pools by the first part of the package name."""
    tmp = tmp_path_factory.mktemp("official")
    dirs = module_dirs()
    istio = dirs["istio.io/api"]
    kinds = [istio + p for p in ("/networking/v1alpha3/virtual_service.proto",
                                 "/networking/v1alpha3/destination_rule.proto",
                                 "/networking/v1alpha3/service_entry.proto",
                                 "/networking/v1alpha3/workload_entry.proto",
                                 "/networking/v1alpha3/gateway.proto",
                                 "/networking/v1alpha3/sidecar.proto",
                                 "/mesh/v1alpha1/config.proto", "/type/v1beta1/selector.proto")]
    istio_pool = pool_of(protoc([istio, istio + "/common-protos"], kinds, str(tmp / "istio.pb")))
    os.mkdir(tmp / "k8s.io")
    for name in ("api", "apimachinery"):
        os.symlink(dirs["k8s.io/" + name], tmp / "k8s.io" / name)
    groups = [f"k8s.io/api/{g}/v1/generated.proto" for g in ("core", "apps", "discovery")]
    k8s_pool = pool_of(protoc([str(tmp)], groups, str(tmp / "k8s.pb")))
    python = python_pool()
    return {"istio": istio_pool, "k8s": k8s_pool, "envoy": python, "xds": python, "udpa": python,
            "google": python}


def find(official, full_name, kind):
    pool = official[full_name.split(".", 1)[0]]
    try:
        return getattr(pool, f"Find{kind}ByName")(full_name)
    except KeyError:
        return None


def field_facts(field, message):
    oneof = None
    if field.HasField("oneof_index") and not field.proto3_optional:
        oneof = message.oneof_decl[field.oneof_index].name
    return {"number": field.number, "type": FIELD.Type.Name(field.type), "label": FIELD.Label.Name(field.label),
            "type_name": field.type_name, "oneof": oneof, "json_name": field.json_name,
            "proto3_optional": field.proto3_optional}


def with_json_names(message):
    """protoc fills json_name, a Python pool leaves out the derived ones."""
    for field in message.field:
        if not field.HasField("json_name"):
            head, *rest = field.name.split("_")
            field.json_name = head + "".join(part[:1].upper() + part[1:] for part in rest)
    return message


def check_enum(full_name, enum, official):
    theirs = find(official, full_name, "EnumType")
    if theirs is None:
        return [f"{full_name}: no such enum upstream"]
    numbers = {v.name: v.number for v in theirs.values}
    return [f"{full_name}.{v.name}: {v.number}, upstream {numbers.get(v.name)}"
            for v in enum.value if numbers.get(v.name) != v.number]


def check_message(full_name, message, official):
    descriptor = find(official, full_name, "MessageType")
    if descriptor is None:
        return [f"{full_name}: no such message upstream"]
    theirs = descriptor_pb2.DescriptorProto()
    descriptor.CopyToProto(theirs)
    with_json_names(theirs)
    faults = []
    upstream = {f.name: field_facts(f, theirs) for f in theirs.field}
    if message.options.map_entry != theirs.options.map_entry:
        faults.append(f"{full_name}: map entry differs")
    for field in message.field:
        want, got = upstream.get(field.name), field_facts(field, message)
        if want is None:
            faults.append(f"{full_name}.{field.name}: no such field upstream")
        elif want != got:
            faults.append(f"{full_name}.{field.name}: {got}, upstream {want}")
    for nested in message.nested_type:
        faults += check_message(f"{full_name}.{nested.name}", nested, official)
    for enum in message.enum_type:
        faults += check_enum(f"{full_name}.{enum.name}", enum, official)
    return faults


def check_service(full_name, service, official):
    theirs = find(official, full_name, "Service")
    if theirs is None:
        return [f"{full_name}: no such service upstream"]
    want = descriptor_pb2.ServiceDescriptorProto()
    theirs.CopyToProto(want)
    methods = {m.name: (m.input_type, m.output_type, m.client_streaming, m.server_streaming) for m in want.method}
    return [f"{full_name}.{m.name}: differs from upstream" for m in service.method
            if methods.get(m.name) != (m.input_type, m.output_type, m.client_streaming, m.server_streaming)]


def check(file_set, official):
    faults, messages = [], 0
    for file in file_set.file:
        if file.package.startswith("outrigger."):
            continue  # our own: nobody else has it
        for message in file.message_type:
            messages += 1
            faults += check_message(f"{file.package}.{message.name}", message, official)
        for enum in file.enum_type:
            faults += check_enum(f"{file.package}.{enum.name}", enum, official)
        for service in file.service:
            faults += check_service(f"{file.package}.{service.name}", service, official)
    assert messages > 150
    return faults


def test_the_subset_agrees_with_the_official_descriptors(ours, official):
    assert check(ours, official) == []


def test_files_have_one_package_each_and_no_optional_but_kubernetes(ours):
    packages = [f.package for f in ours.file]
    assert len(packages) == len(set(packages))
    for f in ours.file:
        assert (f.syntax == "proto3") == (not f.package.startswith("k8s.")), f.name
        for m in f.message_type:
            assert not any(field.proto3_optional for field in m.field), m.name


def reachable(descriptor, prefix, seen):
    if descriptor.full_name in seen or not descriptor.full_name.startswith(prefix):
        return seen
    seen[descriptor.full_name] = descriptor
    for field in descriptor.fields:
        if field.message_type:
            reachable(field.message_type, prefix, seen)
    return seen


@pytest.mark.parametrize("kind", WHOLE)
def test_the_operators_kinds_are_whole(ours, official, kind):
    pool = pool_of(ours)
    for name, theirs in reachable(official["istio"].FindMessageTypeByName("istio.networking.v1alpha3." + kind),
                                  "istio.", {}).items():
        try:
            mine = pool.FindMessageTypeByName(name)
        except KeyError:
            pytest.fail(f"{name} is missing")
        assert sorted(mine.fields_by_name) == sorted(theirs.fields_by_name), name
        for field in theirs.fields:
            if field.enum_type:
                values = pool.FindEnumTypeByName(field.enum_type.full_name).values_by_name
                assert sorted(values) == sorted(field.enum_type.values_by_name)


def spoil_number(f):
    f.field[0].number += 100


def spoil_type(f):
    f.field[0].type = FIELD.TYPE_BYTES


def spoil_label(f):
    repeated = f.field[0].label == FIELD.LABEL_REPEATED
    f.field[0].label = FIELD.LABEL_OPTIONAL if repeated else FIELD.LABEL_REPEATED


def spoil_name(f):
    f.field[0].name += "x"


def spoil_json_name(f):
    f.field[0].json_name += "x"


def spoil_type_name(f):
    next(x for x in f.field if x.type_name).type_name = ".google.protobuf.Any"


def spoil_oneof(f):
    next(x for x in f.field if x.HasField("oneof_index")).ClearField("oneof_index")


def spoil_message_name(f):
    f.name += "x"


def spoil_enum_value(f):
    f.enum_type[0].value[1].number += 100


EVERYWHERE = [spoil_number, spoil_type, spoil_label, spoil_name, spoil_json_name, spoil_type_name, spoil_message_name]


@pytest.mark.parametrize("package, message, spoil", [
    *(("envoy.config.cluster.v3", "Cluster", s) for s in [*EVERYWHERE, spoil_oneof, spoil_enum_value]),
    *(("istio.networking.v1alpha3", "ServiceEntry", s) for s in [*EVERYWHERE, spoil_enum_value]),
    *(("k8s.io.api.core.v1", "ServiceSpec", s) for s in EVERYWHERE)])
def test_a_wrong_subset_is_found_out(ours, official, package, message, spoil):
    spoiled = copy.deepcopy(ours)
    spoil(next(m for f in spoiled.file if f.package == package for m in f.message_type if m.name == message))
    faults = check(spoiled, official)
    assert len(faults) >= 1 and all(f.startswith(f"{package}.{message}") for f in faults)
