"""TCP servers that know no protocol, for tunnels and relays."""
import socket
import struct
import threading
import time


class RawUpstream:
    """Each port does one thing, by name; `seen` has what each connection brought and how it ended, in the order of the ends."""

    def __init__(self):
        self.seen = []

    def listen(self, name):
        listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        threading.Thread(target=self.accept, args=(listener, getattr(self, name)), daemon=True).start()
        return listener.getsockname()[1]

    def accept(self, listener, talk):
        while True:
            c, _ = listener.accept()
            threading.Thread(target=self.serve, args=(c, talk), daemon=True).start()

    def serve(self, c, talk):
        got = []
        try:
            talk(c, got)
            end = "FIN"
        except ConnectionError:
            end = "RST"
        c.close()
        self.seen.append({"got": b"".join(got).decode("latin-1"), "end": end})

    def wait(self, before, seconds=1.0):
        """What connections that ended since there were `before` of them have seen."""
        deadline = time.time() + seconds
        while len(self.seen) <= before and time.time() < deadline:
            time.sleep(0.02)
        return self.seen[before:]

    def upper(self, c, got):
        """Gives everything back in upper case; says goodbye when the peer's half has ended."""
        while (data := c.recv(65536)):
            got.append(data)
            c.sendall(data.upper())
        c.sendall(b"<bye>")

    def first(self, c, got):
        c.sendall(b"hello ")
        self.upper(c, got)

    def leave(self, c, got):
        """Ends its half at once and hears the peer out."""
        c.sendall(b"leaving")
        c.shutdown(socket.SHUT_WR)
        while (data := c.recv(65536)):
            got.append(data)

    def reset(self, c, got):
        """Breaks off at the first byte."""
        got.append(c.recv(65536))
        c.sendall(b"broken")
        time.sleep(0.05)
        c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def late(self, c, got):
        """Answers what came 0.5 s later."""
        while (data := c.recv(65536)):
            got.append(data)
            time.sleep(0.5)
            c.sendall(data.upper())

    def connect(self, c, got):
        """A proxy that takes CONNECT, and gives back what follows in upper case."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += c.recv(1)
        got.append(head.split(b"\r\n")[0] + b"|")
        refuses = b"refuse" in head.split(b"\r\n")[0]
        if refuses:
            c.sendall(b"HTTP/1.1 403 No\r\ncontent-length: 7\r\n\r\nrefused")
        else:
            c.sendall(b"HTTP/1.1 200 OK\r\nx-up: connected\r\n\r\n")
        while (data := c.recv(65536)):
            got.append(data)
            if not refuses:
                c.sendall(data.upper())
