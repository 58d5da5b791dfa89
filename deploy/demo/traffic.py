"""Traffic that goes on while other things happen, seen second by second."""
import json
import time

from mesh import Failed


class Stream:
    """A steady stream of requests from the visitor's pod. Its seconds are what came back in each: an answer that came too late
    or not at all counts as an error in the second in which it was given up."""

    def __init__(self, mesh, name, url, rps, timeout_ms=2000):
        self.mesh, self.name = mesh, name
        self.path = mesh.node.directory / "log" / f"stream-{name}.json"
        self.pid = mesh.node.sh("visitor-1", f"outrigger-demo-load --url {url} --rps {rps} --seconds 0 --interval 1 "
                                             f"--timeout-ms {timeout_ms} >{self.path} 2>&1 & echo $!").strip()

    def stop(self):
        self.mesh.node.exec(argv=["sh", "-c", f"kill {self.pid}"])

    def seconds(self):
        """All that are over."""
        text = self.path.read_text()
        return [json.loads(line) for line in text[:text.rfind("\n") + 1].splitlines()]


def errors(seconds):
    """The share of requests that brought no 200."""
    answered = sum(n for s in seconds for n in s["codes"].values())
    return 1 - sum(s["codes"].get("200", 0) for s in seconds) / answered if answered else 1.0


def p99(seconds):
    """The worst second's."""
    return max(s["p99_ms"] for s in seconds)


def until_seconds(streams, count, condition, timeout, text):
    """Waits for `count` seconds on end, begun from now on, that in every stream fulfil condition(seconds): these, a list a stream."""
    begin = [len(s.seconds()) + 1 for s in streams]  # the one that runs now is not whole
    start = time.monotonic()
    while time.monotonic() - start < timeout:
        fresh = [s.seconds()[b:] for s, b in zip(streams, begin)]
        for at in range(min(map(len, fresh)) - count + 1):
            found = [seconds[at:at + count] for seconds in fresh]
            if all(map(condition, found)):
                return found
        time.sleep(0.05)
    raise Failed(f"{text}: not within {timeout} s; at last " + "; ".join(f"{s.name}: {s.seconds()[-2:]}" for s in streams))
