"""Steps 0 to 3, 8 and 9 of the demo: the mesh in good health. Each returns what it has measured, or fails."""
import json
import math

from mesh import FLEET, MESH, PHOTOS, RULES, WEBAPP, must, until


def plain(mesh):
    """the fleet without the mesh: every answer comes straight from an application"""
    node = mesh.node
    node.apply(path=str(FLEET), inject=False)
    write_names(node)
    node.wait(timeout=30)
    write_names(node)
    got = mesh.load(WEBAPP, 100, 2)
    must(got["codes"] == {"200": 200}, f"errors: {got['codes']}")
    names = {c["name"] for p in node.list() for c in p["containers"]}
    must(names == {"app"}, f"containers besides the applications: {names}")
    head = node.sh("visitor-1", f"curl -s -D - -o /dev/null {WEBAPP}")
    must("x-envoy-upstream-service-time" not in head, f"a proxy was in the way: {head}")
    return f"{got['codes']['200']} of 200, p99 {got['p99_ms']:.0f} ms, no sidecar"


def write_names(node):
    """Without a control plane names lead straight to pods."""
    state = [json.loads(p.read_text()) for p in (node.directory / "state").glob("*.json")]
    node.names(lines=[f"{p['status']['podIP']} {p['metadata']['labels']['app']}" for p in state])


def injected(mesh):
    """the same file injected: every pod has a sidecar, and every call goes through two"""
    node = mesh.node
    mesh.put(FLEET)
    mesh.put(MESH)
    mesh.start_control()
    node.apply(path=str(FLEET), inject=True)
    node.wait(timeout=60)
    pods = node.list()
    without = [p["pod"] for p in pods if "istio-proxy" not in {c["name"] for c in p["containers"]}]
    must(not without, f"without a sidecar: {', '.join(without)}")
    until(lambda: mesh.load(WEBAPP, 20, 1)["codes"] == {"200": 20}, 10, "the first calls")
    head = node.sh("visitor-1", f"curl -s -D - -o /dev/null {WEBAPP}").lower()
    must("x-envoy-upstream-service-time" in head, f"no proxy was in the way: {head}")
    return f"{len(pods)} pods, each with a sidecar"


def calm(mesh):
    """calm: 200 requests a second, no error, p99 below 100 ms"""
    rps = 60 if mesh.is_envoy else 200  # Envoy needs several times the processor, and two cores have no more
    mesh.apply("staff-round-robin")
    mesh.load(WEBAPP, rps, 2)  # connections are made once
    got = mesh.load(WEBAPP, rps, 10)
    must(got["codes"] == {"200": got["sent"]}, f"errors: {got['codes']}")
    must(got["p99_ms"] < 100, f"p99 {got['p99_ms']} ms")
    return f"{got['sent']} of {got['sent']} in 10 s, p50 {got['p50_ms']:.1f} ms, p99 {got['p99_ms']:.1f} ms"


def dark(mesh):
    """dark release: version 2 for those alone who send x-my-header: canary"""
    took = mesh.rule("photo-dark", lambda sent, v1, v2: v2 == sent, "x-my-header: canary")
    sent, _, v2 = mesh.shares(WEBAPP, 200, "x-my-header: canary")
    must(v2 == sent, f"with the header {v2} of {sent} on version 2")
    others, v1, other_v2 = mesh.shares(WEBAPP, 200)
    must(other_v2 == 0 and v1 == others, f"without the header {other_v2} of {others} on version 2")
    return f"{v2} of {sent} with the header, {other_v2} of {others} without; in force within {took:.2f} s"


def canary(mesh):
    """canary: 10 %, 50 %, 100 % of the requests get version 2"""
    shown = []
    mesh.apply("photo-versions")
    for percent in (10, 50, 100):
        mesh.apply_named(f"photo-canary-{percent}", "visitor-1")
        sent, _, v2 = mesh.shares(PHOTOS, 2000, rps=500)
        expected, share = sent * percent / 100, percent / 100
        sigma = math.sqrt(sent * share * (1 - share))
        off = {10: 3, 50: 3, 100: 0}[percent] * sigma
        must(abs(v2 - expected) <= off, f"{percent} %: {v2} of {sent} on version 2, expected {expected:.0f} +- {off:.0f}")
        shown.append(f"{percent} %: {v2} of {sent}")
    return ", ".join(shown)


def survival(mesh):
    """kill -9 of the control plane: traffic goes on, sidecars restart, changes come in on its return"""
    mesh.rule("photo-v1", lambda sent, v1, v2: v1 == sent)
    mesh.kill_control()
    got = mesh.load(WEBAPP, 100, 20)
    must(got["codes"] == {"200": got["sent"]}, f"without the control plane: {got['codes']}")
    restarted = "a sidecar's restart is skipped, Envoy keeps no last good configuration" if mesh.is_envoy else restart_one(mesh)
    mesh.put(RULES / "photo-canary-100.yaml", "applied/VirtualService.default.photo-service.yaml")
    must(mesh.ask(PHOTOS, 10)[2] == 0, "a change without the control plane")
    mesh.start_control()
    took = until(lambda: mesh.ask(PHOTOS, 10)[2] == 10, 5, "the change made meanwhile")
    return f"{got['sent']} of {got['sent']} in 20 s, {restarted}, the change in force {took:.1f} s after the return"


def restart_one(mesh):
    """A sidecar that starts while there is no control plane serves from what it had last."""
    mesh.node.kill(pod="api-gateway-1", container="istio-proxy")
    until(lambda: restarts(mesh.node, "api-gateway-1") == 1, 5, "the restart of a sidecar")
    mesh.node.wait(timeout=15)
    again = mesh.load(WEBAPP, 50, 2)
    must(again["codes"] == {"200": again["sent"]}, f"after a sidecar's restart without the control plane: {again['codes']}")
    return f"{again['sent']} of {again['sent']} after a sidecar's restart"


def restarts(node, pod):
    return sum(c["restarts"] for p in node.list() if p["pod"] == f"default.{pod}" for c in p["containers"])


def broken(mesh):
    """a bad file: refused with its places, nothing changes"""
    mesh.rule("photo-v1", lambda sent, v1, v2: v1 == sent)
    done = mesh.outrigger("apply", "-f", str(RULES / "broken.yaml"))
    must(done["code"] == 1, f"exit code {done['code']}: {done['out']}{done['err']}")
    said = done["out"] + done["err"]
    for place in ("broken.yaml:10:14", "broken.yaml:14:9", "broken.yaml:15:15"):
        must(place in said, f"{place} is not named: {said.strip()}")
    must(mesh.ask(PHOTOS, 20) == (20, 20, 0), "the routes have changed")
    return "exit code 1, three places named, routes as before"
