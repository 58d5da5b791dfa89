"""One proxy of a chain: a listener, a connection manager and a cluster, for tests that send through several of them."""
import time

from envoy_pair import H2, HCM, ROUTER, Proxy, address, cluster
from support.ports import free_port


def hop(name, command, to, where, h2=False, route=None, manager=None, upstream=None):
    """Starts one that sends everything to the port `to`, by HTTP/2 where h2 says so. route, manager, upstream: fields of the
    route's action, of the connection manager and of the cluster. Its ports are "in" and "admin"."""
    fields = dict({"typed_extension_protocol_options": H2} if h2 else {}, **(upstream or {}))
    action = dict({"cluster": "next", "timeout": "0s"}, **(route or {}))

    def configuration(ports, _log):
        routes = {"name": "t", "virtual_hosts": [
            {"name": "v", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": action}]}]}
        hcm = dict({"@type": HCM, "stat_prefix": name, "http_filters": [ROUTER], "route_config": routes}, **(manager or {}))
        return {"node": {"id": name, "cluster": "c"}, "admin": {"address": address(ports["admin"])}, "static_resources": {
            "listeners": [{"name": "in", "address": address(ports["in"]), "filter_chains": [
                {"filters": [{"name": "hcm", "typed_config": hcm}]}]}],
            "clusters": [cluster("next", to, **fields)]}}

    return Proxy(name, [str(c) for c in command], configuration, {"in": free_port(), "admin": free_port()}, where)


def settles(what, wanted, seconds=5):
    """Whether what() becomes what is wanted in time; gives what it was at last."""
    deadline = time.time() + seconds
    while (found := what()) != wanted and time.time() < deadline:
        time.sleep(0.02)
    return found
