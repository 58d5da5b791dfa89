"""A stock Envoy in the sidecar's place: the bootstrap that it needs, from the environment that injection has set.

Envoy answers no health port by itself and cannot be told by a mark in the environment: a listener on 15021 leads to its own
/ready, and the mark is a socket option of all that it opens.
"""
import json

API = "type.googleapis.com/envoy.extensions."
SOL_SOCKET, SO_MARK = 1, 36


def address(host, port):
    return {"socket_address": {"address": host, "port_value": port}}


def cluster(name, host, port, **fields):
    return {"name": name, "type": "STATIC", "connect_timeout": "1s", **fields, "load_assignment": {
        "cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(host, port)}}]}]}}


def control_plane(discovery):
    host, _, port = discovery.rpartition(":")
    options = {"@type": f"{API}upstreams.http.v3.HttpProtocolOptions", "explicit_http_config": {
        "http2_protocol_options": {"connection_keepalive": {"interval": "30s", "timeout": "10s"}}}}
    return cluster("xds-grpc", host, int(port), typed_extension_protocol_options={
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options})


def health_listener():
    route = {"match": {"path": "/healthz/ready"}, "route": {"cluster": "admin", "prefix_rewrite": "/ready"}}
    manager = {"@type": f"{API}filters.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": "health",
               "route_config": {"virtual_hosts": [{"name": "health", "domains": ["*"], "routes": [route]}]},
               "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
                   "@type": f"{API}filters.http.router.v3.Router"}}]}
    return {"name": "health", "address": address("0.0.0.0", 15021), "filter_chains": [{"filters": [
        {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}]}


def bootstrap(env, discovery, mark=None):
    """What makes an Envoy the sidecar of the pod that env tells of."""
    pod, namespace, ip = env["POD_NAME"], env["POD_NAMESPACE"], env["INSTANCE_IP"]
    labels = json.loads(env.get("ISTIO_METAJSON_LABELS", "{}"))
    source = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
    whole = {
        "node": {"id": f"sidecar~{ip}~{pod}.{namespace}~{namespace}.svc.cluster.local",
                 "cluster": f"{labels.get('app', pod)}.{namespace}", "metadata": {"NAMESPACE": namespace, "LABELS": labels}},
        "admin": {"address": address("127.0.0.1", 15000)},
        "dynamic_resources": {
            "ads_config": {"api_type": "DELTA_GRPC", "transport_api_version": "V3", "set_node_on_first_message_only": True,
                           "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc", "retry_policy": {"retry_back_off": {
                               "base_interval": "0.2s", "max_interval": "2s"}}}}]},  # 30 s by default
            "cds_config": source, "lds_config": source},
        "static_resources": {"clusters": [control_plane(discovery), cluster("admin", "127.0.0.1", 15000)],
                             "listeners": [health_listener()]}}
    if mark is not None:
        whole["cluster_manager"] = {"upstream_bind_config": {
            "source_address": {"address": "0.0.0.0", "port_value": 0},
            "socket_options": [{"level": SOL_SOCKET, "name": SO_MARK, "int_value": mark, "state": "STATE_PREBIND"}]}}
    return whole


def argv(env, discovery, mark=None):
    return ["envoy", "--config-yaml", json.dumps(bootstrap(env, discovery, mark)), "--concurrency", "1", "--disable-hot-restart",
            "--log-level", "warning", "--file-flush-interval-msec", "200"]
