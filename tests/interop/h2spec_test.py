"""h2spec, strict: every case of RFC 9113 and 7541 for servers that it knows passes on the sidecar's listener, whatever it
speaks to its upstream, and on the bare codec."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from envoy_pair import H2, HCM, ROUTER, Proxy, Upstream, address, cluster, free_port

VERSION = "v2.2.1+incompatible"
CASES = 146


@pytest.fixture(scope="module")
def h2spec():
    where = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "outrigger" / "bin"
    tool = where / "h2spec"
    if not tool.exists():
        if not shutil.which("go"):
            pytest.skip("go is not installed, so h2spec cannot be built")
        subprocess.run(["go", "install", f"github.com/summerwind/h2spec/cmd/h2spec@{VERSION}"], check=True,
                       env=dict(os.environ, GOBIN=str(where)), timeout=300)
    return tool


@pytest.fixture
def echo_port(build):
    """test-h2-echo's; that it ends by itself, and well, is part of every test."""
    server = subprocess.Popen([build / "tests" / "support" / "test-h2-echo"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    yield int(server.stdout.readline())
    server.stdin.close()
    assert server.wait(timeout=10) == 0


def check(h2spec, port, path, skipped=0, failed=()):
    done = subprocess.run([h2spec, "-h", "127.0.0.1", "-p", str(port), "-P", path, "-o", "2", "-S"],
                          capture_output=True, text=True, timeout=120)
    counts = re.search(r"(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed", done.stdout)
    assert counts, done.stdout + done.stderr
    wrong = re.findall(r"× \d+: (.*)", done.stdout.partition("Failures:")[2])
    assert wrong == list(failed), done.stdout
    assert tuple(map(int, counts.groups())) == (CASES, CASES - skipped - len(failed), skipped, len(failed)), done.stdout


@pytest.mark.parametrize("path,skipped", [("/", 1), ("/big?100000", 0)], ids=["short answers", "long answers"])
def test_all_cases_pass_on_the_codec(h2spec, echo_port, path, skipped):
    check(h2spec, echo_port, path, skipped)  # one case wants a longer answer than /'s


@pytest.mark.parametrize("codec", ["HTTP2", "AUTO"])
@pytest.mark.parametrize("upstream", ["to HTTP/1", "to HTTP/2"])
def test_all_cases_pass_on_the_sidecar(h2spec, echo_port, build, tmp_path, codec, upstream):
    is_h2 = upstream == "to HTTP/2"
    options = {"typed_extension_protocol_options": H2} if is_h2 else {}
    port = echo_port if is_h2 else Upstream().port

    def config(ports, log):
        manager = {"@type": HCM, "stat_prefix": "h", "codec_type": codec, "http_filters": [ROUTER], "route_config": {
            "name": "t", "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [
                {"match": {"prefix": "/"}, "route": {"cluster": "up"}}]}]}}
        return {"node": {"id": "n", "cluster": "c"}, "static_resources": {
            "listeners": [{"name": "l", "address": address(ports["l"]), "filter_chains": [
                {"filters": [{"name": "hcm", "typed_config": manager}]}]}],
            "clusters": [cluster("up", port, **options)]}}
    sidecar = Proxy("outrigger", [str(build / "sidecar" / "outrigger-sidecar"), "-l", "error"], config,
                    {"l": free_port()}, tmp_path)
    try:
        # A listener for both takes a preface that is none for HTTP/1, and answers 400 before it closes.
        check(h2spec, sidecar.ports["l"], "/big?100000" if is_h2 else "/status/200",
              failed=["Sends invalid connection preface"] if codec == "AUTO" else [])
        assert sidecar.process.poll() is None
    finally:
        sidecar.stop()
