"""handshakes.py PORT COUNT full|resumed: connects COUNT times, one after another, by TLS 1.3 with the client certificate of the
working directory, asks for /health and closes. Prints how many were answered 200, and how many handshakes were of that kind."""
import socket
import ssl
import sys

port, count, resumed = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "resumed"
context = ssl.create_default_context(cafile="ca.pem")
context.load_cert_chain("client.pem")
context.check_hostname, context.minimum_version = False, ssl.TLSVersion.TLSv1_3


def connect(session):
    """The session to go on with, whether it answered, and whether it went on with this one."""
    plain = socket.create_connection(("127.0.0.1", port))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with context.wrap_socket(plain, session=session) as c:
        c.sendall(b"GET /health HTTP/1.1\r\nhost: bench\r\n\r\n")
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += c.recv(4096) or sys.exit(f"the proxy closed after {answer}")
        return c.session, answer.startswith(b"HTTP/1.1 200 "), c.session_reused


session = connect(None)[0] if resumed else None
answered = right = 0
for _ in range(count):
    last, is_answered, is_resumed = connect(session)
    answered += is_answered
    right += is_resumed == resumed
    if resumed:
        session = last
print(f"handshakes {answered} of the kind asked for {right}")
