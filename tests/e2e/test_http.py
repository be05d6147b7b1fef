"""HTTP/1.x at the level of octets, over raw sockets."""

import signal
import socket
import threading
import time

import pytest
from harness import BINARY, eventually, ocsp_request


class Wire:
    """A raw connection that reads whole answers."""

    def __init__(self, server):
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=30)
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.socket.close()

    def send(self, octets):
        self.socket.sendall(octets)
        return self

    def _more(self):
        try:
            octets = self.socket.recv(65536)
        except ConnectionResetError:
            octets = b""
        if not octets:
            raise EOFError(self.buffer)
        self.buffer += octets

    def head(self):
        """(status, headers) of the next answer."""
        while b"\r\n\r\n" not in self.buffer:
            self._more()
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        lines = head.decode().split("\r\n")
        return int(lines[0].split()[1]), {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines[1:])}

    def answer(self, bodyless=False):
        status, headers = self.head()
        n = 0 if bodyless or status < 200 else int(headers["content-length"])
        while len(self.buffer) < n:
            self._more()
        body, self.buffer = self.buffer[:n], self.buffer[n:]
        return status, headers, body

    def closed(self):
        """True when the server ends the connection and sends nothing more."""
        try:
            self._more()
        except EOFError:
            return self.buffer == b""
        return False


GET = b"GET /probe/live HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def request_octets(module_server):
    return ocsp_request(module_server.sign("wire.example")[0], module_server.ca)


def post(body, extra=b"", path=b"/ocsp"):
    return (b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/ocsp-request\r\nContent-Length: %d\r\n%s\r\n" % (path, len(body), extra)) + body


def test_keep_alive(module_server, request_octets):
    with Wire(module_server) as wire:
        for _ in range(3):
            assert wire.send(GET).answer()[0] == 200
            assert wire.send(post(request_octets)).answer()[0] == 200
        assert wire.send(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")).answer()[1]["connection"] == "close"
        assert wire.closed()


def test_pipelining_answers_in_order(module_server, request_octets):
    with Wire(module_server) as wire:
        wire.send((GET + post(request_octets) + b"GET /nothing-here-at-all?x HTTP/1.1\r\nHost: x\r\n\r\n" + GET.replace(b"/probe/live", b"/ca")) * 5)
        for _ in range(5):
            types = []
            for _ in range(4):
                status, headers, _ = wire.answer()
                types.append((status, headers["content-type"].split(";")[0]))
            assert types[0] == (200, "application/json") and types[1] == (200, "application/ocsp-response")
            assert types[3] == (200, "application/pkix-cert")


def test_a_request_in_single_octets(module_server, request_octets):
    with Wire(module_server) as wire:
        wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in post(request_octets):
            wire.send(bytes([octet]))
        assert wire.answer()[0] == 200


def test_http_1_0_closes_unless_asked(module_server):
    with Wire(module_server) as wire:
        assert wire.send(b"GET /probe/live HTTP/1.0\r\n\r\n").answer()[0] == 200
        assert wire.closed()
    with Wire(module_server) as wire:
        kept = b"GET /probe/live HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
        status, headers, _ = wire.send(kept).answer()
        assert status == 200 and headers["connection"].lower() == "keep-alive"
        assert wire.send(kept).answer()[0] == 200


def test_http_1_1_without_host_is_refused(module_server):
    with Wire(module_server) as wire:
        assert wire.send(b"GET /probe/live HTTP/1.1\r\n\r\n").answer()[0] == 400


def test_head_has_the_length_and_no_body(module_server):
    with Wire(module_server) as wire:
        get = wire.send(GET.replace(b"/probe/live", b"/ca")).answer()
        head = wire.send(GET.replace(b"GET", b"HEAD").replace(b"/probe/live", b"/ca")).answer(bodyless=True)
        assert head[0] == 200 and head[1]["content-length"] == str(len(get[2]))
        assert wire.send(GET).answer()[0] == 200  # nothing of a body is in the way


def test_expect_100_continue(module_server, request_octets):
    with Wire(module_server) as wire:
        wire.send(post(request_octets, b"Expect: 100-continue\r\n")[:-len(request_octets)])
        assert wire.answer()[0] == 100
        assert wire.send(request_octets).answer()[0] == 200


def test_expect_100_continue_is_refused_before_the_body(module_server):
    with Wire(module_server) as wire:
        wire.send(b"POST /ocsp HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\nExpect: 100-continue\r\n\r\n")
        assert wire.answer()[0] == 413


def test_chunked_body(module_server, request_octets):
    chunks = b"".join(b"%x;ext=1\r\n%s\r\n" % (len(request_octets[i:i + 9]), request_octets[i:i + 9]) for i in range(0, len(request_octets), 9))
    with Wire(module_server) as wire:
        wire.send(b"POST /ocsp HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\nTrailer: x\r\n\r\n" + GET)
        status, headers, _ = wire.answer()
        assert status == 200 and headers["content-type"] == "application/ocsp-response"
        assert wire.answer()[0] == 200


def test_404_and_405(module_server):
    for path in ("/probe/nothing", "/static/aad/nothing"):
        status, headers, body = module_server.http("POST", path)
        assert status in (404, 405) and body
    status, headers, body = module_server.http("DELETE", "/probe")
    assert status == 405 and {m.strip() for m in headers["Allow"].split(",")} == {"GET", "HEAD"}
    assert headers["Content-Type"].startswith("text/plain") and headers["X-Request-Id"]
    assert {m.strip() for m in module_server.http("PUT", "/ocsp")[1]["Allow"].split(",")} >= {"POST"}


@pytest.mark.parametrize("path, limit", [("/ocsp", 16 * 1024), ("/static?operation=PKIOperation", 256 * 1024)])
def test_413(module_server, path, limit):
    with Wire(module_server) as wire:
        wire.send(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (path.encode(), limit + 1))
        assert wire.answer()[0] == 413
    with Wire(module_server) as wire:  # a chunked body shows its size only as it comes
        wire.send(b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" % path.encode())
        try:
            for _ in range(limit // 1024 + 2):
                wire.send(b"400\r\n" + b"x" * 1024 + b"\r\n")
        except OSError:
            pass  # it has hung up, the answer is on its way
        assert wire.answer()[0] == 413


def test_the_limits_of_bodies_are_settings(make_server):
    server = make_server(REVLINE_OCSP_REQUEST_LIMIT="1KiB", REVLINE_SCEP_REQUEST_LIMIT="4KiB")
    for path, limit in ((b"/ocsp", 1024), (b"/static?operation=PKIOperation", 4096)):
        for n in (limit, limit + 1):
            with Wire(server) as wire:
                wire.send(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (path, n) + bytes(limit))
                assert (wire.answer()[0] == 413) == (n > limit)


@pytest.mark.parametrize("head", [b"X-Long: " + b"x" * 20000, b"\r\n".join(b"X-%d: %s" % (i, b"y" * 100) for i in range(200))], ids=["long", "many"])
def test_431(module_server, head):
    with Wire(module_server) as wire:
        wire.send(b"GET /probe/live HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n")
        assert wire.answer()[0] == 431


def test_a_long_target_is_refused(module_server):
    with Wire(module_server) as wire:
        wire.send(b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        assert wire.answer()[0] in (414, 431)


SMUGGLING = [
    b"POST /ocsp HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /ocsp HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    b"POST /ocsp HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /ocsp HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    b"POST /ocsp HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
    b"GET /probe/live HTTP/1.1\r\nHost: x\r\nBad Header: 1\r\n\r\n",
    b"GET /probe/live HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
    b"GET /probe/live HTTP/9.9\r\nHost: x\r\n\r\n",
    b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,
    b"POST /ocsp HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /ocsp HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
]


@pytest.mark.parametrize("octets", SMUGGLING, ids=range(len(SMUGGLING)))
def test_what_is_not_http_is_refused_and_ends_the_connection(module_server, octets):
    with Wire(module_server) as wire:
        status, _, _ = wire.send(octets + GET).answer()
        assert 400 <= status < 600 and status != 404
        wire.buffer = b""
        assert wire.closed()
    assert module_server.http("GET", "/probe/live")[0] == 200


# ---- limits in time and number ----
def test_slow_headers_are_cut(make_server):
    server = make_server(REVLINE_HTTP_HEADER_TIMEOUT="300ms")
    with Wire(server) as wire:
        wire.send(b"GET /probe/live HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        begun = time.monotonic()
        try:
            assert wire.answer()[0] == 408
        except EOFError:
            pass
        assert wire.closed() and time.monotonic() - begun < 20


def test_a_slow_body_is_cut(make_server):
    server = make_server(REVLINE_HTTP_BODY_TIMEOUT="300ms")
    with Wire(server) as wire:
        wire.send(b"POST /ocsp HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
        try:
            assert wire.answer()[0] == 408
        except EOFError:
            pass
        assert wire.closed()


def test_idle_connections_are_closed(make_server):
    server = make_server(REVLINE_HTTP_IDLE_TIMEOUT="300ms", REVLINE_HTTP_HEADER_TIMEOUT="300ms")
    with Wire(server) as never, Wire(server) as used:
        assert used.send(GET).answer()[0] == 200
        assert used.closed() and never.closed()


def test_connections_per_address(make_server):
    server = make_server(REVLINE_HTTP_MAX_CONNECTIONS_PER_ADDRESS="4")
    wires = [Wire(server) for _ in range(4)]
    assert all(w.send(GET).answer()[0] == 200 for w in wires)
    with Wire(server) as fifth:
        try:
            assert fifth.send(GET).answer()[0] in (429, 503)
        except (EOFError, BrokenPipeError):
            pass
    wires.pop().socket.close()

    def served_again():
        try:
            with Wire(server) as again:
                return again.send(GET).answer()[0] == 200
        except (EOFError, OSError):
            return False
    eventually(served_again, "a free place is given again")
    for w in wires:
        assert w.send(GET).answer()[0] == 200
        w.socket.close()


def test_connections_in_all(make_server):
    server = make_server(REVLINE_HTTP_MAX_CONNECTIONS="3")
    wires = [Wire(server) for _ in range(3)]
    assert all(w.send(GET).answer()[0] == 200 for w in wires)
    with Wire(server) as fourth:
        try:
            assert fourth.send(GET).answer()[0] == 503
        except (EOFError, BrokenPipeError):
            pass
    for w in wires:
        w.socket.close()


def test_connections_do_not_take_the_files_of_database_and_commands(make_server, tmp_path):
    few = tmp_path / "few-files"
    few.write_text('#!/bin/sh\nulimit -n 700\nexec "%s" "$@"\n' % BINARY)
    few.chmod(0o755)
    server = make_server(binary=str(few), REVLINE_HTTP_MAX_CONNECTIONS_PER_ADDRESS="0", REVLINE_HTTP_HEADER_TIMEOUT="10m")
    wires = [Wire(server) for _ in range(700)]
    certificate, _ = server.sign("asked.example")
    assert server.control("status")["parts"]["http"]["connections"] <= 700
    for w in wires:
        w.socket.close()
    eventually(lambda: server.control("status")["parts"]["http"]["connections"] == 0, "they are gone")
    assert server.ocsp(certificate) == "good"


def test_many_connections_at_once(module_server):
    wires = [Wire(module_server) for _ in range(300)]
    for w in wires:
        w.send(GET)
    assert all(w.answer()[0] == 200 for w in wires)
    for w in wires:
        w.socket.close()


# ---- stopping ----
def test_sigterm_finishes_what_is_running(make_server, request):
    """A request whose body is still on its way when SIGTERM comes is answered; the process then ends with 0."""
    server = make_server()
    body = ocsp_request(server.sign("stop.example")[0], server.ca)
    with Wire(server) as busy, Wire(server) as idle:
        assert idle.send(GET).answer()[0] == 200
        busy.send(post(body)[:-10])
        eventually(lambda: server.metrics(), "the server has read what was sent")
        server.process.send_signal(signal.SIGTERM)
        eventually(lambda: "serve.stopping" in server.log(), "it stops")
        assert idle.closed()
        status, headers, _ = busy.send(body[-10:]).answer()
        assert status == 200 and headers["connection"] == "close"
    server.stop(within=20)


def test_sigterm_with_a_hanging_client_ends_in_time(make_server):
    server = make_server(REVLINE_STOP_TIMEOUT="500ms")
    with Wire(server) as wire:
        wire.send(post(b"x" * 100)[:-50])
        eventually(lambda: server.metrics(), "the server has read what was sent")
        server.stop(within=15)


def test_sigint_stops_as_well(make_server):
    server = make_server()
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(30) == 0
    assert "serve.stopped" in server.log()
    server.process = None


def test_stop_under_load(make_server):
    server = make_server()
    stopped = threading.Event()

    def load():
        while not stopped.is_set():
            try:
                server.http("GET", "/probe/live")
            except OSError:
                pass
            except Exception:  # noqa: BLE001 - a half answer at the end
                pass
    threads = [threading.Thread(target=load) for _ in range(4)]
    for t in threads:
        t.start()
    try:
        eventually(lambda: server.metrics(), "it answers under load")
        server.stop(within=20)
    finally:
        stopped.set()
        for t in threads:
            t.join()
