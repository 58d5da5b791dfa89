"""Hosts that say their numbers, for tests of which host a request goes to (balance_test.py, balance_eds_test.py)."""
import socket
import threading

from envoy_pair import read_body, read_head, serve_all

HOSTS = 12


class Backends:
    """Hosts 0 to HOSTS - 1, each of which says its number; /hold waits until it is let go."""

    def __init__(self):
        self.listeners = [socket.create_server(("127.0.0.1", 0), backlog=64) for _ in range(HOSTS)]
        # Envoy sorts some tables by address: numbers follow addresses, so that a case reads well.
        self.listeners.sort(key=lambda s: str(s.getsockname()[1]))
        self.ports = [s.getsockname()[1] for s in self.listeners]
        self.go = threading.Event()
        self.held = 0
        self.asked = []  # hosts, in order
        for number, listener in enumerate(self.listeners):
            serve_all(listener, self.serve, number)

    def serve(self, c, number):
        f = c.makefile("rb")
        try:
            while (head := read_head(f)):
                read_body(f, dict(head[1]))
                self.asked.append(number)
                path = head[0].split(" ")[1]
                if "/hold" in path:
                    self.held += 1
                    self.go.wait(10)
                code = "503 No" if f"/fail{number}." in path or "/allfail" in path else "200 OK"
                c.sendall(f"HTTP/1.1 {code}\r\ncontent-length: 0\r\nx-host: {number}\r\n\r\n".encode())
        except OSError:
            pass
        finally:
            f.close()
            c.close()
