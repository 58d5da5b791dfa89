"""outrigger inject and uninject against PyYAML: whatever style a manifest is written in, what comes out says what it should, and
leads back to the same bytes."""
import json
import os
import pathlib
import subprocess

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUTRIGGER = pathlib.Path(os.environ.get("OUTRIGGER_BUILD", ROOT / "build")) / "control/outrigger"


def run(*arguments, text, code=0):
    done = subprocess.run([OUTRIGGER, *arguments], input=text.encode(), capture_output=True, timeout=20)
    assert done.returncode == code, done.stderr.decode()
    return done.stdout.decode()


# Of strings only those that YAML 1.1 (PyYAML) and 1.2 (ours) read alike.
words = st.text(st.sampled_from("abcxyzé日 -.:/#'\"{}[],&*!|>%@`\\\t\n"), min_size=1, max_size=12)
names = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)
values = st.recursive(st.none() | st.booleans() | st.integers(-2**62, 2**62) | words, lambda inner: st.lists(inner, max_size=3) |
                      st.dictionaries(names, inner, max_size=3), max_leaves=6)
string_maps = st.none() | st.dictionaries(names.map(lambda n: f"example.com/{n}"), words, max_size=3)


@st.composite
def pods(draw):
    metadata = {"name": draw(names)}
    for key in ("labels", "annotations"):
        if (value := draw(st.none() | st.just("null") | string_maps)) is not None:
            metadata[key] = None if value == "null" else value
    containers = draw(st.lists(st.fixed_dictionaries({"name": names.map(lambda n: "c" + n)}, optional={"image": words, "x": values}),
                               min_size=1, max_size=2))
    spec = {**draw(st.dictionaries(names.map(lambda n: "x" + n), values, max_size=2)), "containers": containers}
    if draw(st.booleans()):
        spec["initContainers"] = [{"name": "first", "x": draw(values)}]
    return {"metadata": metadata, "spec": spec}


@st.composite
def documents(draw):
    pod = draw(pods())
    kind = draw(st.sampled_from(["Pod", "Deployment", "CronJob", "Service", "List"]))
    head = {"apiVersion": "v1", "kind": kind}
    if kind == "Pod":
        return {**head, **pod}
    if kind == "List":
        return {**head, "items": [{"apiVersion": "v1", "kind": "Pod", **pod}, {"apiVersion": "v1", "kind": "Service", "x": draw(values)}]}
    if kind == "Service":
        return {**head, "metadata": {"name": "s"}, "spec": draw(values)}
    template = {"template": pod}
    spec = template if kind == "Deployment" else {"jobTemplate": {"spec": template}}
    return {**head, "metadata": {"name": "d"}, "spec": spec}


@st.composite
def manifests(draw):
    texts = []
    for document in draw(st.lists(documents(), min_size=1, max_size=3)):
        if draw(st.integers(0, 5)) == 0:
            texts.append(json.dumps(document, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 2]))) + "\n")
            continue
        texts.append(yaml.safe_dump(document, allow_unicode=True, default_flow_style=draw(st.sampled_from([False, False, None, True])),
                                    indent=draw(st.sampled_from([2, 3, 8])), width=draw(st.sampled_from([20, 1000])),
                                    sort_keys=draw(st.booleans())))
    text = "---\n".join(texts)
    if draw(st.booleans()):
        text = "# a comment\n" + text + "# another\n"
    return text.removesuffix("\n") if draw(st.booleans()) else text


def flat(docs):
    return [item for d in docs if d is not None for item in (d["items"] if d["kind"] == "List" else [d])]


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(manifests())
def test_every_style_is_injected_and_leads_back(text):
    plain = flat(yaml.safe_load_all(text))
    injected = run("inject", text=text)
    said = flat(yaml.safe_load_all(injected))
    assert said == json.loads(run("inject", "-o", "json", text=text))["items"]
    assert run("uninject", text=injected) == text
    assert plain == json.loads(run("uninject", "-o", "json", text=injected))["items"]
    assert run("inject", text=injected) == injected
    for before, after in zip(plain, said, strict=True):
        assert (before != after) == (before["kind"] != "Service")


def test_what_was_there_is_still_there():
    text = (ROOT / "deploy/demo/fleet.yaml").read_text()
    injected = run("inject", text=text)
    assert [line for line in text.splitlines() if line not in injected] == []
    for before, after in zip(yaml.safe_load_all(text), yaml.safe_load_all(injected), strict=True):
        if before["kind"] != "Deployment":
            assert before == after
            continue
        a, b = before["spec"]["template"], after["spec"]["template"]
        assert a["metadata"]["labels"].items() <= b["metadata"]["labels"].items()
        assert a["metadata"]["annotations"].items() <= b["metadata"]["annotations"].items()
        assert a["spec"]["containers"] == b["spec"]["containers"]
        assert [c["name"] for c in b["spec"]["initContainers"]] == ["istio-init", "istio-proxy"]


@pytest.mark.parametrize("verb", ["inject", "uninject"])
def test_a_text_that_is_no_yaml_is_refused_at_its_place(verb):
    done = subprocess.run([OUTRIGGER, verb, "-o", "json"], input=b"kind: Pod\nmetadata: {name: p\n", capture_output=True, timeout=10)
    assert done.returncode == 1 and done.stdout == b""
    assert done.stderr.startswith(b"<stdin>:3:1: error OG0101")


def test_wrong_usage_is_told_apart():
    assert "usage: outrigger inject" in subprocess.run([OUTRIGGER, "inject", "--no-such"], capture_output=True, text=True).stderr
    run("inject", "a", "b", text="", code=2)
    run("inject", "/no/such/file", text="", code=1)
