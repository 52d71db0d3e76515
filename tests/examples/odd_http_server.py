"""A web server that does what one should not, for tests of clients.

Says 'listening on 127.0.0.1:PORT', and then a line 'GET TARGET' for each request that has come.
"""

import http.server
import os
import threading

arrived = threading.Condition()
here = peak = 0  # requests of /together that have no answer yet; the most there have ever been
rounds = 0


class Odd(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        os.write(1, f"GET {self.path}\n".encode())  # whole, whoever else does so
        name, _, rest = self.path[1:].partition("/")
        getattr(self, "get_" + name.partition("?")[0], self.get_none)(rest)

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def get_ok(self, _):
        self.answer(200, b"good\n", Content_Type="text/plain", Content_Length="5")

    def get_none(self, _):
        self.answer(404, b"no\n")

    def get_never(self, _):
        while self.connection.recv(1000):
            pass

    def get_hop(self, rest):  # /hop/3: three redirects, then /ok
        left = int(rest)
        self.answer(302, Location=f"{left - 1}" if left > 1 else "/ok")

    def get_loop(self, _):
        self.answer(301, Location="/loop")

    def get_https(self, _):
        self.answer(301, Location="https://127.0.0.1/")

    def get_garbage(self, _):
        self.wfile.write(b"220 this is mail\r\n")

    def get_nothing(self, _):
        pass

    def get_short(self, _):
        self.answer(200, b"half", Content_Length="8")

    def get_endless(self, _):
        self.answer(200)
        while True:
            self.wfile.write(b"0123456789" * 1000)

    def get_together(self, rest):  # /together/N/x: an answer when N are here at once
        global here, peak, rounds
        with arrived:
            here += 1
            peak = max(peak, here)
            mine = rounds
            if here == int(rest.partition("/")[0]):
                here, rounds = 0, rounds + 1
                arrived.notify_all()
            arrived.wait_for(lambda: rounds != mine)
        self.answer(200)

    def get_peak(self, _):
        self.answer(200, b"x" * peak, Content_Length=str(peak))

    def get_page(self, rest):  # links of all kinds
        pages = {
            "start.html": """<a href="a.html">a</a><A HREF='./sub/b.html'>b</A><a href=c.html>c</a><a href="#here">.</a>
                <a href="mailto:me@example.com"><a href="https://127.0.0.1/"><a href="http://localhost.invalid/"><a href="//[bad">
                <a href="start.html"><a href="?x=1&amp;y=2"><a href="a b.html"><a href="\x01&#10;"><a href="x"y" href=""",
            "a.html": '<a href="deep.html"><a href="start.html">',
            "sub/b.html": '<a href="../../page/a.html"><a href="../../../ok">',
            "deep.html": '<a href="deeper.html">',
            "plain": '<a href="never-asked.html">',
        }
        if rest.partition("?")[0] in pages:
            kind = "text/plain" if rest == "plain" else "text/html; charset=utf-8"
            self.answer(200, pages[rest.partition("?")[0]].encode(), Content_Type=kind)
        else:
            self.answer(404)


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128

    def handle_error(self, *_):  # clients that go away
        pass


server = Server(("127.0.0.1", 0), Odd)
print(f"listening on 127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
