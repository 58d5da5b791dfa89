"""A network namespace of a test's own, with processes in it and requests from inside. Works with and without root."""
import json
import os
import pathlib
import signal
import subprocess
import sys


# Sidecars that a test is done with need not tell anybody that they will go.
AT_ONCE = {"TERMINATION_DRAIN_DURATION_SECONDS": "0"}


def end(children, seconds=5):
    """The last that was started ends first; who does not is killed."""
    for child in reversed(children):
        if child.poll() is None:
            child.terminate()
    for child in reversed(children):
        try:
            child.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


class Netspace:
    """with Netspace() as net: net.spawn([...]); net.get("http://10.0.0.1/")"""

    def __init__(self):
        self.children = []
        # The agent is this file, run inside: it sets lo up, then answers a line of JSON for each.
        self.agent = subprocess.Popen(["unshare", "--user", "--map-root-user", "--net", sys.executable, __file__],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ask(verb="up")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        end(self.children)
        self.agent.stdin.close()
        self.agent.wait(timeout=10)

    def ask(self, **request):
        self.agent.stdin.write(json.dumps(request) + "\n")
        self.agent.stdin.flush()
        line = self.agent.stdout.readline()
        assert line, "the agent in the namespace ended"
        answer = json.loads(line)
        if "fault" in answer:
            raise RuntimeError(answer["fault"])
        return answer["result"]

    def enter(self, argv):
        return ["nsenter", "--preserve-credentials", "--user", "--net", "--target", str(self.agent.pid), *map(str, argv)]

    def spawn(self, argv, **options):
        child = subprocess.Popen(self.enter(argv), **options)
        self.children.append(child)
        return child

    def serve(self, program, *argv):
        """Runs a Python text in which Answering is known, and keeps what it serves."""
        text = f"import signal, sys, time\nfrom support.answering import Answering\n{program}\nsignal.pause()\n"
        tests = pathlib.Path(__file__).resolve().parents[1]
        return self.spawn([sys.executable, "-c", text, *argv], env={**os.environ, "PYTHONPATH": str(tests)})

    def run(self, argv, **options):
        return subprocess.run(self.enter(argv), check=True, capture_output=True, text=True, **options).stdout

    def get(self, url, method="GET", timeout=5, **headers):
        """(status, headers, body) of one request on a connection of its own; status 0: no answer."""
        answer = self.ask(verb="get", url=url, method=method, timeout=timeout, headers=headers)
        return answer["status"], answer["headers"], answer["body"]

    def watch(self, url, text, limit, **headers):
        """Asks again and again until the body holds text; seconds on the clock CLOCK_MONOTONIC when it did."""
        return self.ask(verb="watch", url=url, text=text, limit=limit, headers=headers)


def get(url, method, timeout, headers):
    import http.client
    import urllib.parse
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=timeout)
    try:
        path = (parts.path or "/") + ("?" + parts.query if parts.query else "")
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        body = response.read().decode("utf-8", "replace")
        return {"status": response.status, "headers": {k.lower(): v for k, v in response.getheaders()}, "body": body}
    except (OSError, http.client.HTTPException) as fault:
        return {"status": 0, "headers": {}, "body": str(fault)}
    finally:
        connection.close()


def watch(url, text, limit, headers):
    import time
    end = time.monotonic() + limit
    while time.monotonic() < end:
        if text in get(url, "GET", 1, headers)["body"]:
            return time.monotonic()
    raise RuntimeError(f"{url}: no answer with {text!r} in {limit} s")


def main():
    for line in sys.stdin:
        request = json.loads(line)
        verb = request.pop("verb")
        try:
            if verb == "up":
                subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
                result = os.getpid()
            else:
                result = {"get": get, "watch": watch}[verb](**request)
            answer = {"result": result}
        except Exception as fault:  # noqa: BLE001: told to whoever asked
            answer = {"fault": f"{type(fault).__name__}: {fault}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    main()
