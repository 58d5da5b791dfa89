"""Rules in the shapes of Istio's own tasks (golden/rules, each with the services of golden/mesh.yaml) are analysed without a word,
and what is compiled from them is taken whole by a stock Envoy and by our sidecar."""
import json
import pathlib
import subprocess

import pytest
import yaml

from support.mesh import CLIENT_IP, Mesh

GOLDEN = pathlib.Path(__file__).parent / "golden"
RULES = sorted((GOLDEN / "rules").glob("*.yaml"))


def mark(name):
    """An object whose virtual host tells that what was sent with it is in force."""
    return {"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": {"name": "mark", "namespace": "default"},
            "spec": {"hosts": [f"{name}.mark.example"], "resolution": "STATIC", "endpoints": [{"address": "127.0.3.1"}],
                     "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}]}}


def put_pods(mesh):
    """A pod for each Deployment, and the client's own."""
    mesh.put_pod("client", CLIENT_IP, {"app": "curl", "istio-locality": "region1.zone1"})
    for i, document in enumerate(yaml.safe_load_all((GOLDEN / "mesh.yaml").read_text())):
        if document["kind"] == "Deployment":
            meta = document["metadata"]
            mesh.put_pod(f"{meta['name']}-0", f"127.0.1.{i}", document["spec"]["template"]["metadata"]["labels"],
                         namespace=meta["namespace"])


@pytest.fixture(scope="module")
def mesh(either, build, tmp_path_factory):
    with Mesh(build, either, tmp_path_factory.mktemp("golden")) as mesh:
        (mesh.config / "mesh.yaml").write_text((GOLDEN / "mesh.yaml").read_text())
        put_pods(mesh)
        mesh.start()
        yield mesh


def test_there_are_many():
    assert len(RULES) >= 20


@pytest.mark.parametrize("rules", RULES, ids=lambda path: path.stem)
def test_nothing_is_said_of_it(build, rules):
    done = subprocess.run([build / "control" / "outrigger", "analyze", "-f", GOLDEN / "mesh.yaml", "-f", rules, "-o", "json"],
                          capture_output=True, text=True)
    assert (json.loads(done.stdout), done.returncode) == ([], 0)


def state(mesh):
    """What the control plane was told by the proxy: "SYNCED", or why not, by type."""
    [proxy] = mesh.proxies()
    return {name: t.get("reason") or t["state"] for name, t in proxy["types"].items()}


def refusals(mesh):
    return sum(mesh.stats("update_rejected").values())


@pytest.mark.parametrize("rules", RULES, ids=lambda path: path.stem)
def test_it_is_taken(mesh, rules):
    before = refusals(mesh)
    with open(mesh.config / "rules.yaml", "w") as f:
        f.write(rules.read_text() + "\n---\n" + json.dumps(mark(rules.stem)))

    def is_decided():
        if refusals(mesh) > before:
            return True
        return f"{rules.stem}.mark.example:80" in mesh.admin("/config_dump") and set(state(mesh).values()) == {"SYNCED"}
    mesh.until(is_decided, f"{rules.stem} is in force")
    assert refusals(mesh) == before, state(mesh)
