"""A control plane and one proxy, a stock Envoy or ours, in a network namespace of their own. Pods are addresses 127.0.x.y; calls to
the addresses of services are redirected to the proxy as the capture rules of a pod do it."""
import json
import os
import subprocess
import time

from support.netspace import AT_ONCE, Netspace

XDS, ADMIN, OUTBOUND = 15010, 15000, 15001
CLIENT_IP = "127.0.0.9"


def bootstrap(variant, pod="client", namespace="shop"):
    def api(port):
        return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {
        "node": {"id": f"sidecar~{CLIENT_IP}~{pod}.{namespace}~{namespace}.svc.cluster.local", "cluster": f"{pod}.{namespace}"},
        "admin": {"address": api(ADMIN)},
        "dynamic_resources": {
            "ads_config": {"api_type": variant, "transport_api_version": "V3",
                           "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}]},
            "cds_config": {"ads": {}, "resource_api_version": "V3"},
            "lds_config": {"ads": {}, "resource_api_version": "V3"}},
        "static_resources": {"clusters": [{
            "name": "xds", "type": "STATIC", "connect_timeout": "1s",
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}}}},
            "load_assignment": {"cluster_name": "xds", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": api(XDS)}}]}]}}]},
    }


def pod(name, ip, labels, namespace="default", ready=True):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "spec": {"containers": [{"name": "app", "ports": [{"name": "web", "containerPort": 8080}]}]},
            "status": {"podIP": ip, "conditions": [{"type": "Ready", "status": str(ready)}]}}


class Mesh:
    """with Mesh(...) as mesh: files in mesh.config and mesh.state, then mesh.start()."""
    workers = 1  # of the proxy

    def __init__(self, build, proxy, where, namespace="default", variant="DELTA_GRPC"):
        self.build, self.proxy, self.where, self.namespace, self.variant = build, proxy, where, namespace, variant
        self.config, self.state = where / "config", where / "state"
        self.config.mkdir()
        self.state.mkdir()
        self.net = Netspace()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.net.__exit__()

    def start(self):
        net, where = self.net, self.where
        net.run(["ip", "address", "add", "10.77.0.1/32", "dev", "lo"])
        net.run(["ip", "route", "add", "10.96.0.0/16", "dev", "lo", "src", "10.77.0.1"])
        net.run(["iptables", "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "-d", "10.96.0.0/16", "-j", "REDIRECT", "--to-ports", OUTBOUND])
        self.control = net.spawn([self.build / "control" / "outrigger-control", "--config", self.config, "--state", self.state,
                                  "--xds", f"127.0.0.1:{XDS}"], env=self.env(), stderr=open(where / "control.log", "w"))
        (where / "bootstrap.json").write_text(json.dumps(bootstrap(self.variant, "client", self.namespace)))
        options = ["--concurrency", str(self.workers), "-l", "warning"]
        if self.proxy.name == "envoy":
            options += ["--disable-hot-restart", "--file-flush-interval-msec", "50"]
        net.spawn([self.proxy, "-c", where / "bootstrap.json", *options], stderr=open(where / "proxy.log", "w"),
                  env={**os.environ, **AT_ONCE})
        net.watch(f"http://127.0.0.1:{ADMIN}/ready", "LIVE", 30)

    def env(self):
        return {**os.environ, "OUTRIGGER_RUN": str(self.where / "run")}

    def put_pod(self, name, ip, labels, **more):
        (self.state / f"{name}.json").write_text(json.dumps(pod(name, ip, labels, **more)))

    def outrigger(self, *argv):
        return subprocess.run([self.build / "control" / "outrigger", *argv], check=True, capture_output=True, text=True,
                              env=self.env()).stdout

    def admin(self, path):
        return self.net.get(f"http://127.0.0.1:{ADMIN}{path}")[2]

    def stats(self, pattern):
        lines = self.admin(f"/stats?filter={pattern}").splitlines()
        return {k: int(v) for k, v in (line.rsplit(": ", 1) for line in lines if ": " in line) if v.isdigit()}

    def until(self, condition, what, limit=10):
        end = time.monotonic() + limit
        while not condition():
            logs = "".join((self.where / f"{name}.log").read_text()[-3000:] for name in ("control", "proxy"))
            assert time.monotonic() < end, f"not within {limit} s: {what}\n{logs}"
            time.sleep(0.02)

    def proxies(self):
        return json.loads(self.outrigger("status", "-o", "json"))
