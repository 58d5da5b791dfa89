"""h2spec, strict: every case of RFC 9113 and 7541 for servers that it knows passes on the codec."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

VERSION = "v2.2.1+incompatible"


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
def port(build):
    """test-h2-echo's; that it ends by itself, and well, is part of every test."""
    server = subprocess.Popen([build / "tests" / "support" / "test-h2-echo"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    yield int(server.stdout.readline())
    server.stdin.close()
    assert server.wait(timeout=10) == 0


@pytest.mark.parametrize("path", ["/", "/big?100000"])
def test_all_cases_pass(h2spec, port, path):
    done = subprocess.run([h2spec, "-h", "127.0.0.1", "-p", str(port), "-P", path, "-o", "2", "-S"],
                          capture_output=True, text=True, timeout=120)
    counts = re.search(r"(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed", done.stdout)
    assert counts, done.stdout + done.stderr
    total, passed, skipped, failed = map(int, counts.groups())
    assert (total, failed) == (146, 0), done.stdout
    assert skipped <= 1, done.stdout  # one case wants a longer answer than /'s
