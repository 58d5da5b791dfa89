"""node.py alone, with pods that have no sidecar: what a kubelet does, and that nothing is left behind."""
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("OUTRIGGER_BUILD", ROOT / "build"))
sys.path.insert(0, str(ROOT / "deploy/demo"))
import machine  # noqa: E402
import node_client  # noqa: E402

WEB = ("import http.server as h, socketserver as s; s.ThreadingTCPServer.allow_reuse_address = True; "
       "s.ThreadingTCPServer(('', 8080), h.SimpleHTTPRequestHandler).serve_forever()")


def pod(name, containers, **spec):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
            "spec": {"containers": containers, "terminationGracePeriodSeconds": 5, **spec}}


def web(name="web", **container):
    return pod(name, [{"name": "app", "command": ["python3", "-c", WEB],
                       "ports": [{"name": "http", "containerPort": 8080}],
                       "readinessProbe": {"httpGet": {"path": "/etc/hostname", "port": "http"}, "periodSeconds": 1,
                                          "failureThreshold": 1}, **container}])


def sh(name, script, **fields):
    return {"name": name, "command": ["sh", "-c", script], **fields}


@pytest.fixture
def mesh():
    with node_client.running(BUILD) as running:
        running.start = lambda *documents: running.apply(text="\n---\n".join(json.dumps(d) for d in documents), inject=False)
        yield running


def wait_for(condition, timeout=10):
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)
    return value


def state(mesh, name):
    path = mesh.directory / "state" / f"default.{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def is_ready(mesh, name):
    seen = state(mesh, name)
    return seen and {"type": "Ready", "status": "True"} in seen["status"]["conditions"]


def test_pods_reach_each_other_by_ip_and_by_the_names_file(mesh):
    mesh.start(web(), pod("client", [sh("app", "sleep 1000")]))
    mesh.wait(timeout=20)
    ip = state(mesh, "web")["status"]["podIP"]
    assert mesh.sh("client", f"curl -s http://{ip}:8080/etc/hostname") != ""
    mesh.names(lines=[f"{ip} web web.default.svc.cluster.local"])
    assert mesh.sh("client", "curl -s -o /dev/null -w '%{http_code}' http://web.default.svc.cluster.local:8080/") == "200"


def test_the_state_tells_labels_address_and_readiness(mesh):
    mesh.start(web())
    mesh.wait(timeout=20)
    seen = state(mesh, "web")
    assert (seen["kind"], seen["metadata"]["namespace"], seen["metadata"]["labels"]) == ("Pod", "default", {"app": "web"})
    assert seen["status"]["podIP"].startswith("10.77.") and is_ready(mesh, "web")


def test_a_container_that_ends_is_started_again_and_unready_meanwhile(mesh):
    mesh.start(web())
    mesh.wait(timeout=20)
    mesh.kill(pod="web", container="app", hold=True)
    wait_for(lambda: not is_ready(mesh, "web"))
    mesh.release(pod="web", container="app")
    wait_for(lambda: is_ready(mesh, "web"))
    assert mesh.list()[0]["containers"][0]["restarts"] == 1


def test_readiness_follows_the_probe(mesh, tmp_path):
    flag = tmp_path / "ready"
    tmp_path.chmod(0o755)
    mesh.start(pod("p", [sh("app", "sleep 1000", readinessProbe={"exec": {"command": ["test", "-e", str(flag)]},
                                                                 "periodSeconds": 1, "failureThreshold": 1})]))
    wait_for(lambda: state(mesh, "p") and state(mesh, "p")["status"]["phase"] == "Running")
    assert not is_ready(mesh, "p")
    flag.write_text("")
    wait_for(lambda: is_ready(mesh, "p"))
    flag.unlink()
    wait_for(lambda: not is_ready(mesh, "p"))


def test_init_containers_run_in_order_then_the_sidecar_then_the_application(mesh, tmp_path):
    log = tmp_path / "log"
    probe = {"exec": {"command": ["test", "-e", str(tmp_path / "side-up")]}, "periodSeconds": 1, "failureThreshold": 60}
    mesh.start(pod("p", [sh("app", f"echo app >>{log}; trap 'echo app-end >>{log}; exit' TERM; sleep 1000 & wait")],
                   initContainers=[sh("one", f"sleep 0.2; echo one >>{log}"),
                                   sh("side", f"echo side >>{log}; sleep 0.3; touch {tmp_path}/side-up; "
                                      f"trap 'echo side-end >>{log}; exit' TERM; sleep 1000 & wait",
                                      restartPolicy="Always", startupProbe=probe),
                                   sh("two", f"echo two >>{log}")]))
    mesh.wait(timeout=20)
    mesh.delete(pod="p")
    assert log.read_text().split() == ["one", "side", "two", "app", "app-end", "side-end"]


def test_an_init_container_that_fails_is_told_with_its_last_words(mesh):
    mesh.start(pod("p", [sh("app", "sleep 1000")], initContainers=[sh("broken", "echo no such luck; exit 3")]))
    with pytest.raises(node_client.Fault, match="init container broken ended with 3: no such luck"):
        mesh.wait(timeout=20)


def test_a_pod_that_is_deleted_says_so_before_it_ends(mesh):
    mesh.start(pod("p", [sh("app", "exec sleep 1000", lifecycle={"preStop": {"sleep": {"seconds": 1}}})]))
    mesh.wait(timeout=20)
    deletion = subprocess.Popen([sys.executable, ROOT / "deploy/demo/node.py", "-r", mesh.directory, "delete", "pod=p"])
    seen = wait_for(lambda: (s := state(mesh, "p")) and "deletionTimestamp" in s["metadata"] and s)
    assert {"type": "Ready", "status": "False"} in seen["status"]["conditions"]
    assert mesh.list()[0]["containers"][0]["running"]
    assert deletion.wait(timeout=10) == 0
    assert state(mesh, "p") is None and mesh.list() == []


def test_a_changed_manifest_replaces_its_pods_and_a_smaller_one_removes_some(mesh):
    def deployment(replicas, command):
        return {"kind": "Deployment", "metadata": {"name": "d"},
                "spec": {"replicas": replicas, "template": {"metadata": {"labels": {"app": "d"}}, "spec": {
                    "terminationGracePeriodSeconds": 1, "containers": [sh("app", command)]}}}}
    assert mesh.start(deployment(3, "exec sleep 1000")) == ["default.d-1", "default.d-2", "default.d-3"]
    mesh.wait(timeout=20)
    assert mesh.start(deployment(2, "exec sleep 1000")) == []
    assert mesh.start(deployment(2, "exec sleep 1001")) == ["default.d-1", "default.d-2"]
    mesh.wait(timeout=20)
    assert sorted(p["pod"] for p in mesh.list()) == ["default.d-1", "default.d-2"]


def test_a_manifest_that_is_applied_again_changes_nothing(mesh):
    documents = web(), {"kind": "Deployment", "metadata": {"name": "d"}, "spec": {"template": {"spec": {
        "terminationGracePeriodSeconds": 1, "containers": [sh("app", "exec sleep 1000")]}}}}
    assert mesh.start(*documents) == ["default.web", "default.d-1"]
    mesh.wait(timeout=20)
    before = mesh.list()
    assert mesh.start(*documents) == []
    assert mesh.list() == before


def test_volumes_are_mounted_where_this_machine_has_no_such_directory(mesh):
    def container(name, script):
        return sh(name, script, volumeMounts=[{"name": "data", "mountPath": "/var/lib/no/such/place"}])
    mesh.start(pod("p", [container("app", "sleep 1000")], volumes=[{"name": "data", "emptyDir": {}}],
                   initContainers=[container("first", "echo hello >/var/lib/no/such/place/file")]))
    mesh.wait(timeout=20)
    assert mesh.sh("p", "cat /var/lib/no/such/place/file; ls /var/lib") == "hello\n" + "".join(
        f"{name}\n" for name in sorted([*os.listdir("/var/lib"), "no"]))
    assert not os.path.exists("/var/lib/no")


def test_a_name_that_nobody_has_is_told_at_once(mesh):
    mesh.start(pod("p", [sh("app", "sleep 1000")]))
    mesh.wait(timeout=20)
    start = time.monotonic()
    assert mesh.exec(pod="p", argv=["getent", "hosts", "nobody.example.com"])["code"] == 2
    assert time.monotonic() - start < 1


def test_what_is_not_built_is_refused_by_name(mesh):
    mesh.start(pod("p", [{"name": "app", "image": "nginx"}]))
    with pytest.raises(node_client.Fault, match="container app: images are not run here; give it a command"):
        mesh.wait(timeout=20)
    with pytest.raises(node_client.Fault, match="no pod q; there are default.p"):
        mesh.delete(pod="q")


def look_around():
    """What of this machine a node could disturb."""
    tools = {**os.environ, "PATH": machine.tool_path()}
    rules = subprocess.run(["iptables-save"], capture_output=True, text=True, env=tools).stdout
    links = subprocess.run(["ip", "-o", "addr"], capture_output=True, text=True, env=tools, check=True).stdout
    mounts = pathlib.Path("/proc/self/mountinfo").read_text()
    return [line for line in rules.splitlines() if not line.startswith(("#", ":"))], links, mounts


def test_this_machine_is_left_as_it_was():
    before = look_around()
    with node_client.running(BUILD) as mesh:
        mesh.apply(text=json.dumps(web()), inject=False)
        mesh.wait(timeout=20)
        assert look_around() == before
        directory = mesh.directory
    assert look_around() == before
    assert not directory.exists()


def test_when_it_is_killed_all_of_it_ends(tmp_path):
    run = tmp_path / "run"
    process = subprocess.Popen([sys.executable, ROOT / "deploy/demo/node.py", "run", "--run", run, "--build", BUILD])
    wait_for((run / "node.sock").exists)
    mesh = node_client.Node(run)
    mesh.apply(text=json.dumps(pod("p", [sh("app", "sleep 98765")])), inject=False)
    mesh.wait(timeout=20)

    def left():
        return subprocess.run(["pgrep", "-f", f"sleep 98765|{run}"], capture_output=True, text=True).stdout.split()
    assert left()
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for(lambda: not left())
