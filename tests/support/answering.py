"""A server of HTTP/1.1 that answers what a test says, in the test's own process or in a program of its network namespace."""
import http.server
import threading


class Answering(http.server.ThreadingHTTPServer):
    """answer(request): the status and the text of the answer to a GET; request.path and request.headers as http.server has them."""
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, answer, ip="127.0.0.1", port=0):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Head and body are two writes; Nagle keeps the second until the first is acknowledged, which peers put off by 40 ms.
            disable_nagle_algorithm = True

            def do_GET(self):
                status, text = answer(self)
                body = text.encode()
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        super().__init__((ip, port), Handler)
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self):
        self.shutdown()
        self.server_close()
