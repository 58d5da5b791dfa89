"""What an operator sees of breakers, hosts and refusals: rows, tables, events and each sidecar's own words."""
import datetime
import json
import os
import queue
import re
import socket
import subprocess
import threading
import time

import yaml

from sight import CLUSTER, mesh, until  # noqa: F401 (mesh is a fixture)

KEYS = ["proxy", "cluster", "host", "state", "until", "reason", "active", "limit", "overflow"]
KINDS = ["cx", "pending", "rq", "retry"]


def overflow(mesh, sidecar, backend, n=20):
    """One request is served (slowly), one waits, the rest is refused. The time at which that was."""
    backend.gate.clear()
    backend.came.clear()
    first = sidecar.flood(1)
    assert backend.came.wait(10)
    rest = sidecar.flood(n - 1)
    until(lambda: sidecar.access_log.exists() and sidecar.access_log.read_text().count("503 UO") == n - 2,
          lambda: sidecar.access_log.read_text() if sidecar.access_log.exists() else "no log")
    return lambda: first() + rest(), time.monotonic()


def test_overflow_is_seen_within_two_seconds(mesh):
    backend = mesh.backend("reviews-1", "127.1.0.1")
    web = mesh.sidecar()
    mesh.ready(web)
    row = mesh.row()
    assert list(row) == KEYS and all(list(row[k]) == KINDS for k in ("active", "limit", "overflow"))
    assert row["host"] == f"127.1.0.1:{mesh.port}" and (row["state"], row["until"], row["reason"]) == ("healthy", None, None)
    assert row["limit"] == {"cx": 1, "pending": 1, "rq": 4294967295, "retry": 1}
    join, since = overflow(mesh, web, backend)
    row = until(lambda: (r := mesh.row())["overflow"]["pending"] == 18 and r["active"]["rq"] == 1 and r, mesh.row, 2)
    assert row["active"] == {"cx": 1, "pending": 1, "rq": 1, "retry": 0} and row["overflow"]["cx"] > 0
    refused = until(lambda: mesh.events("refused"), "the event of the refusals", 2)
    began = until(lambda: [e for e in mesh.events("overflow-began") if e["reason"] == "max_pending_requests"], mesh.events, 2)
    assert time.monotonic() - since < 2.5
    assert began[0]["cluster"] == CLUSTER and began[0]["proxy"] == "web-1.shop" and began[0]["count"] >= 1
    assert {(e["status"], e["flags"], e["reason"], e["cluster"]) for e in refused} == {
        (503, "UO", "upstream_reset_before_response_started{overflow}", CLUSTER)}
    until(lambda: sum(e["count"] for e in mesh.events("refused")) == 18, mesh.events, 3)
    # Few events, not one a request; and the end is told when it is over.
    assert len(mesh.events("refused")) <= 4
    backend.gate.set()
    assert sorted(join()) == [200] * 2 + [503] * 18
    ended = until(lambda: [e for e in mesh.events("overflow-ended") if e["reason"] == "max_pending_requests"], mesh.events, 8)
    assert ended[0]["count"] == 18
    until(lambda: mesh.row()["active"] == {"cx": 1, "pending": 0, "rq": 0, "retry": 0}, mesh.row, 3)


def test_tables_are_for_people(mesh):
    backend = mesh.backend("reviews-1", "127.1.0.1")
    web = mesh.sidecar()
    mesh.ready(web)
    join, _ = overflow(mesh, web, backend)
    until(lambda: mesh.row()["overflow"]["pending"] == 18, mesh.row, 2)
    lines = mesh.outrigger("breakers").splitlines()
    heads = ["PROXY", "CLUSTER", "HOST", "STATE", "UNTIL", "WHY", "CX", "PENDING", "RQ", "RETRY", "OVERFLOW"]
    assert re.split(r" {2,}", lines[0]) == heads
    # Whoever is in trouble comes first.
    cells = re.split(r" {2,}", lines[1])
    assert cells[:10] == ["web-1.shop", CLUSTER, f"reviews-1 (127.1.0.1:{mesh.port})", "healthy", "-", "-", "1/1", "1/1", "1", "0/1"]
    assert "pending 18" in cells[10]
    assert mesh.rows("--proxy", "web-1.shop") == mesh.rows("--proxy", "web-1", "-n", "shop") != []
    assert mesh.rows("--proxy", "nobody.shop") == []
    until(lambda: "refused" in mesh.outrigger("events"), lambda: mesh.outrigger("events"), 3)
    text = mesh.outrigger("events")
    assert re.search(r"^\d\d:\d\d:\d\dZ  web-1\.shop +overflow-began  max_pending_requests of outbound\|80\|\|reviews\S+ is reached, \d+ refused so far$",
                     text, re.M), text
    assert re.search(r"web-1\.shop +refused +\d+ x 503 UO upstream_reset_before_response_started\{overflow\} for outbound", text)
    assert mesh.outrigger("events", "--proxy", "nobody.shop") == "nothing happened\n"
    for wrong in (["breakers", "x"], ["events", "x"]):
        mesh.outrigger(*wrong, code=2)
    backend.gate.set()
    join()


def test_watching_goes_on_over_a_restart_of_the_control_plane(mesh):
    backend = mesh.backend("reviews-1", "127.1.0.1")
    web = mesh.sidecar()
    mesh.ready(web)
    watcher = subprocess.Popen([mesh.build / "control" / "outrigger", "events", "-w", "-o", "json"], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True, env={**os.environ, "OUTRIGGER_RUN": str(mesh.run)})
    lines = queue.Queue()
    threading.Thread(target=lambda: [lines.put(json.loads(line)) for line in watcher.stdout], daemon=True).start()

    def wait_for(kind_wanted):
        while (event := lines.get(timeout=20))["kind"] != kind_wanted:
            pass
        return event
    try:
        first = wait_for("connected")
        mesh.stop_control(kill=True)
        mesh.start_control()
        again = wait_for("connected")
        assert again["proxy"] == "web-1.shop" and again["seq"] > first["seq"]
        mesh.ready(web)
        join, since = overflow(mesh, web, backend)
        wait_for("overflow-began")
        assert time.monotonic() - since < 2
        backend.gate.set()
        join()
    finally:
        watcher.terminate()
        watcher.wait()
    # What happens while there is no control plane is told afterwards.
    seen = mesh.events()[-1]["seq"]
    mesh.stop_control()
    join, _ = overflow(mesh, Restarted(web), backend, 20)
    backend.gate.set()
    join()
    mesh.start_control()
    refused = until(lambda: [e for e in mesh.events("refused") if e["seq"] > seen], mesh.events, 15)
    assert refused[0]["flags"] == "UO"


class Restarted:
    """A sidecar whose access log is read from here on."""

    def __init__(self, sidecar):
        self.sidecar, self.flood, self.access_log = sidecar, sidecar.flood, self
        self.skip = len(sidecar.access_log.read_text())

    def exists(self):
        return True

    def read_text(self):
        return self.sidecar.access_log.read_text()[self.skip:]


def test_a_restarted_sidecar_begins_anew(mesh):
    backend = mesh.backend("reviews-1", "127.1.0.1")
    web = mesh.sidecar()
    mesh.ready(web)
    join, _ = overflow(mesh, web, backend)
    until(lambda: mesh.row()["overflow"]["pending"] == 18, mesh.row, 2)
    web.stop(kill=True)
    backend.gate.set()
    join()
    until(lambda: mesh.rows() == [] and mesh.events("left"), mesh.rows, 5)
    web.start()
    mesh.ready(web)
    assert mesh.row()["overflow"] == {k: 0 for k in KINDS}
    assert [e["kind"] for e in mesh.events() if e["kind"] in ("connected", "left")] == ["connected", "left", "connected"]


def test_clusters_and_hosts_come_and_go(mesh):
    mesh.backend("reviews-1", "127.1.0.1")
    web = mesh.sidecar()
    mesh.ready(web)
    mesh.backend("reviews-2", "127.1.0.2")
    mesh.ready(web, hosts=2)
    (mesh.state / "reviews-1.json").unlink()
    mesh.ready(web, hosts=1)
    assert mesh.row()["host"] == f"127.1.0.2:{mesh.port}"
    mesh.limits(http1MaxPendingRequests=7)
    until(lambda: mesh.row()["limit"]["pending"] == 7, mesh.row, 5)
    (mesh.config / "service.json").unlink()
    (mesh.config / "rule.json").unlink()
    until(lambda: mesh.row() is None, mesh.rows, 5)


def test_the_administration_endpoint_is_reached_through_the_session(mesh):
    mesh.backend("reviews-1", "127.1.0.1")
    web = mesh.sidecar()  # without an admin address: there is no other way
    mesh.ready(web)
    web.get()
    stats = mesh.outrigger("proxy", "admin", "web-1.shop", "/stats?filter=^cluster.outbound.*upstream_rq_total$")
    assert re.fullmatch(r"cluster\.outbound\|80\|\|reviews.*upstream_rq_total: 1\n", stats)
    assert CLUSTER in mesh.outrigger("proxy", "admin", "web-1", "clusters", "-n", "shop")
    status, dump = mesh.api("/api/v1/proxies/web-1.shop/admin/config_dump?include_eds")
    assert status == 200 and len(json.loads(dump)["configs"]) >= 4
    assert "upstream_rq_total" in mesh.api("/api/v1/proxies/web-1.shop/admin/stats/prometheus")[1]
    bootstrap = json.loads(mesh.outrigger("proxy", "bootstrap", "web-1.shop", "-o", "json"))
    assert bootstrap["node"]["id"].startswith("sidecar~")
    assert yaml.safe_load(mesh.outrigger("proxy", "bootstrap", "web-1", "-n", "shop")) == bootstrap
    assert mesh.api("/api/v1/proxies/web-1.shop/admin/nowhere")[0] == 404
    assert mesh.api("/api/v1/proxies/web-1.shop/admin/quitquitquit")[0] == 405
    assert mesh.api("/api/v1/proxies/nobody.shop/admin/stats")[0] == 404
    assert mesh.api("/api/v1/proxies/nobody/admin/stats")[0] == 404
    assert web.process.poll() is None
    # Many questions at once: each is answered, or refused by name.
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(mesh.api("/api/v1/proxies/web-1.shop/admin/stats")[0])) for _ in range(30)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(answers) == 30 and set(answers) <= {200, 429, 503} and 200 in answers
    assert mesh.api("/api/v1/proxies/web-1.shop/admin/stats")[0] == 200


def test_events_can_be_waited_for(mesh):
    mesh.backend("reviews-1", "127.1.0.1")
    assert mesh.api("/api/v1/events?wait=x")[0] == 400 and mesh.api("/api/v1/events?wait=61")[0] == 400
    begun = time.monotonic()
    status, text = mesh.api("/api/v1/events?wait=1")
    assert (status, json.loads(text)) == (200, []) and 0.9 < time.monotonic() - begun < 3
    result = []
    waiter = threading.Thread(target=lambda: result.append(mesh.api("/api/v1/events?wait=20")))
    waiter.start()
    time.sleep(0.2)
    mesh.sidecar()
    waiter.join(10)
    events = json.loads(result[0][1])
    assert [e["kind"] for e in events] == ["connected"]
    assert json.loads(mesh.api(f"/api/v1/events?since={events[-1]['seq']}")[1]) == []
    assert json.loads(mesh.api("/api/v1/events?proxy=other.shop")[1]) == []
    # Who leaves while it waits costs nothing; who waits at the end is answered.
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(mesh.run / "control.sock"))
        s.sendall(b"GET /api/v1/events?wait=60&since=9000000000000000 HTTP/1.1\r\nhost: x\r\n\r\n")
        time.sleep(0.1)
    late = threading.Thread(target=lambda: result.append(mesh.api("/api/v1/events?wait=60&since=9000000000000000")))
    late.start()
    time.sleep(0.2)
    mesh.stop_control()
    late.join(10)
    assert result[1][0] in (0, 503)
    mesh.start_control()


def test_twenty_sidecars(mesh):
    mesh.backend("reviews-1", "127.1.0.1")
    mesh.backend("reviews-2", "127.1.0.2")
    sidecars = [mesh.sidecar(f"web-{i}", workers=2) for i in range(20)]
    for s in sidecars:
        mesh.ready(s, hosts=2)
    for b in mesh.backends.values():
        b.gate.clear()
    joins = [s.flood(8) for s in sidecars]

    def all_refuse():
        refusing = {r["proxy"] for r in mesh.rows() if r["cluster"] == CLUSTER and r["overflow"]["pending"] > 0}
        return len(refusing) == 20
    until(all_refuse, mesh.rows, 10)
    until(lambda: len({e["proxy"] for e in mesh.events("overflow-began")}) == 20, mesh.events, 5)
    for b in mesh.backends.values():
        b.gate.set()
    for join in joins:
        assert set(join()) == {200, 503}
    rows = mesh.rows()
    assert [(r["proxy"], r["cluster"]) for r in rows] == sorted((r["proxy"], r["cluster"]) for r in rows)


def fail_until_ejected(mesh, sidecar, ip):
    """Requests until the host is out."""
    def is_out():
        for _ in range(10):
            sidecar.get()
        return (row := mesh.row(host=ip))["state"] == "ejected" and row
    return until(is_out, mesh.rows, 10)


def test_an_ejection_and_the_return_are_seen(mesh):
    mesh.limits(connections=100, outlier={"consecutive5xxErrors": 3, "interval": "1s", "baseEjectionTime": "4s", "maxEjectionPercent": 50})
    bad = mesh.backend("reviews-1", "127.1.0.1")
    mesh.backend("reviews-2", "127.1.0.2")
    web = mesh.sidecar()
    mesh.ready(web, hosts=2)
    bad.status = 500
    row = fail_until_ejected(mesh, web, "127.1.0.1")
    assert row["reason"] == "CONSECUTIVE_5XX" and re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", row["until"])
    assert mesh.row(host="127.1.0.2")["state"] == "healthy"
    event = until(lambda: mesh.events("ejected"), "the event", 2)[0]
    assert (event["proxy"], event["cluster"], event["host"], event["pod"]) == (
        "web-1.shop", CLUSTER, f"127.1.0.1:{mesh.port}", "reviews-1")
    ends = [datetime.datetime.fromisoformat(x["until"].replace("Z", "+00:00")) for x in (event, row)]
    assert abs(ends[0] - ends[1]) <= datetime.timedelta(milliseconds=2)  # each is told by its own look at the clock
    assert event["reason"] == "CONSECUTIVE_5XX" and event["until"] > event["time"]
    first = re.split(r" {2,}", mesh.outrigger("breakers").splitlines()[1])
    assert first[2:4] == [f"reviews-1 (127.1.0.1:{mesh.port})", "ejected"] and first[5] == "CONSECUTIVE_5XX"
    assert re.fullmatch(r"\ds \(\d\d:\d\d:\d\dZ\)", first[4])
    assert re.search(r"ejected +reviews-1 \(127\.1\.0\.1:\d+\) of outbound\S+: CONSECUTIVE_5XX, until \d\d:\d\d:\d\dZ$",
                     mesh.outrigger("events"), re.M)
    endpoints = [re.split(r" {2,}", line)[:4] for line in mesh.outrigger("proxy", "endpoints", "web-1.shop").splitlines()]
    assert [f"127.1.0.1:{mesh.port}", "reviews-1", "HEALTHY", "FAILED"] in endpoints
    assert [f"127.1.0.2:{mesh.port}", "reviews-2", "HEALTHY", "OK"] in endpoints
    bad.status = 200
    until(lambda: mesh.row(host="127.1.0.1")["state"] == "healthy", mesh.rows, 10)
    back = until(lambda: mesh.events("returned"), "the return", 2)[0]
    assert back["host"] == event["host"] and back["pod"] == "reviews-1"
    # A control plane that comes later sees who is out.
    bad.status = 500
    fail_until_ejected(mesh, web, "127.1.0.1")
    mesh.stop_control()
    mesh.start_control()
    row = until(lambda: mesh.row(host="127.1.0.1"), mesh.rows, 15)
    assert (row["state"], row["reason"]) == ("ejected", "CONSECUTIVE_5XX") and row["until"]
