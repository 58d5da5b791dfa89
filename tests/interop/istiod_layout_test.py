"""The control plane lays resources out as a real istiod did for the same Services and rules.

What istiod sent to the sidecar of productpage is compared with `outrigger proxy` on the same input, less what Outrigger does not
send: TLS between sidecars, tracing, and the gRPC statistics filter; and less extended CONNECT, which Outrigger offers and istiod
does not, so that WebSockets pass where sidecars speak HTTP/2.
"""
import json
import subprocess

import pytest
import yaml

NAMESPACE = "bookinfo"
POD = "productpage-v1-0"
# Its routes on istiod come from an HTTPRoute, which is not built yet.
FOREIGN = {"details.bookinfo.svc.cluster.local:9080"}
MESH = {"accessLogFile": "/dev/stdout"}


def dump(istiod_xds, what):
    resources = json.loads((istiod_xds / "plain" / f"{what}.json").read_text())["resources"]
    return [{k: v for k, v in r.items() if k != "@type"} for r in resources]


def addresses(istiod_xds):
    """Service -> cluster IP, as the virtual hosts of the dump tell them."""
    found = {}
    for table in dump(istiod_xds, "rds"):
        for host in table["virtualHosts"]:
            ips = [d for d in host["domains"] if d.replace(".", "").isdigit()]
            if ips:
                found[host["name"].split(":")[0]] = ips[0]
    return found


def pods(istiod_xds):
    """The pods that the endpoints of the dump tell of, and that of the proxy itself."""
    made = {}
    for assignment in dump(istiod_xds, "eds"):
        for locality in assignment.get("endpoints", []):
            for endpoint in locality["lbEndpoints"]:
                ip = endpoint["endpoint"]["address"]["socketAddress"]["address"]
                name, ns, app, version, _ = endpoint["metadata"]["filterMetadata"]["istio"]["workload"].split(";")
                if ns == NAMESPACE:
                    made[ip] = (name, app, version)
    for ip, (workload, app, version) in made.items():
        yield {"apiVersion": "v1", "kind": "Pod",
               "metadata": {"name": f"{workload}-0", "namespace": NAMESPACE,
                            "labels": {"app": app, "version": version, "service.istio.io/workload-name": workload}},
               "status": {"podIP": ip, "conditions": [{"type": "Ready", "status": "True"}]}}


@pytest.fixture(scope="module")
def configuration(istiod_xds, tmp_path_factory):
    """A directory with the same input, but for the kinds that are refused."""
    where = tmp_path_factory.mktemp("config")
    ips = addresses(istiod_xds)
    documents = []
    for name in ("bookinfo.yaml", "routing.yaml"):
        for document in yaml.safe_load_all((istiod_xds / "input" / name).read_text()):
            if document["kind"] == "Service":
                host = "{name}.{namespace}.svc.cluster.local".format(**document["metadata"])
                document["spec"]["clusterIP"] = ips[host]
            documents.append(document)
    documents += pods(istiod_xds)
    documents.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "outrigger", "namespace": "outrigger-system"},
                      "data": {"mesh": yaml.safe_dump(MESH)}})
    (where / "all.yaml").write_text(yaml.safe_dump_all(documents))
    return where


@pytest.fixture(scope="module")
def ours(build, configuration):
    def ask(what):
        command = [build / "control" / "outrigger", "proxy", what, f"{POD}.{NAMESPACE}", "-f", configuration, "-o", "json"]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return ask


def is_ours(name):
    return NAMESPACE in name or "ext.example.com" in name or "|" not in name or name.startswith("inbound|")


def clean(value):
    """Without what Outrigger does not send, and without differences that protobuf's JSON leaves open."""
    if isinstance(value, list):
        return [clean(v) for v in value
                if not (isinstance(v, dict) and (v.get("name") == "envoy.filters.http.grpc_stats" or "transportSocket" in v))]
    if not isinstance(value, dict):
        return value
    out = {}
    for key, inner in value.items():
        if key in ("transportSocketMatches", "tracing", "requestIdExtension", "envoy.transport_socket_match"):
            continue
        if key == "http2ProtocolOptions" and inner in ({}, {"allowConnect": True}):
            continue
        out[key] = clean(inner)
    return out


def by_name(resources, key="name"):
    return {r[key]: clean(r) for r in resources}


def compare(theirs, mine):
    assert sorted(theirs) == sorted(mine)
    for name, resource in theirs.items():
        assert json.dumps(mine[name], sort_keys=True, indent=1) == json.dumps(resource, sort_keys=True, indent=1), name


def test_clusters(istiod_xds, ours):
    theirs = {n: c for n, c in by_name(dump(istiod_xds, "cds")).items() if is_ours(n)}
    for cluster in theirs.values():
        # The endpoint of a name outside of the mesh is described there as a workload of the mesh.
        for locality in cluster.get("loadAssignment", {}).get("endpoints", []):
            for endpoint in locality["lbEndpoints"]:
                endpoint.pop("metadata", None)
    compare(theirs, by_name(ours("clusters")))


def test_endpoints(istiod_xds, ours):
    def ordered(assignments):
        for assignment in assignments.values():
            for locality in assignment.get("endpoints", []):
                locality["lbEndpoints"].sort(key=json.dumps)
        return assignments
    theirs = {n: a for n, a in by_name(dump(istiod_xds, "eds"), "clusterName").items() if is_ours(n)}
    compare(ordered(theirs), ordered(by_name(ours("endpoints"), "clusterName")))


def test_listeners(istiod_xds, ours):
    mine = by_name(ours("listeners"))
    theirs = {n: listener for n, listener in by_name(dump(istiod_xds, "lds")).items() if n in mine}
    # Theirs has more Services than the input; ours must be among them, all that bind, and one for each port of the input.
    assert {"virtualOutbound", "virtualInbound", "0.0.0.0_9080", "0.0.0.0_7070", "0.0.0.0_80", "0.0.0.0_443"} <= set(mine)
    assert len([n for n in mine if n.endswith("_9090")]) == 5
    compare(theirs, mine)


def test_routes(istiod_xds, ours):
    def hosts(tables):
        return {t["name"]: {h["name"]: clean(h) for h in t["virtualHosts"]
                            if h["name"] not in FOREIGN and (is_ours(h["name"]) and "." in h["name"] and
                                                             (NAMESPACE in h["name"] or "ext." in h["name"]) or "." not in h["name"])}
                for t in tables}
    mine = hosts(ours("routes"))
    theirs = {n: h for n, h in hosts(dump(istiod_xds, "rds")).items() if n in mine}
    assert {"80", "7070", "9080"} == set(mine)
    for name, table in theirs.items():
        for host in list(table.values()) + list(mine[name].values()):
            host["domains"].sort()
        compare(table, mine[name])
    settings = [{k: v for k, v in t.items() if k != "virtualHosts"} for t in ours("routes")]
    assert settings == [{k: v for k, v in t.items() if k != "virtualHosts"}
                        for t in sorted(dump(istiod_xds, "rds"), key=lambda t: t["name"]) if t["name"] in mine]
