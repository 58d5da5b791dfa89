"""What the scenarios share: the two proxies that a control plane of ours drives."""
import pytest


@pytest.fixture(scope="module", params=["envoy", "outrigger"])
def either(request, build, envoy):
    """The binary of each of the two, one after the other."""
    return envoy if request.param == "envoy" else build / "sidecar" / "outrigger-sidecar"
