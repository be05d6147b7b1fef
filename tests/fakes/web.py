"""The HTTP side of every fake: threads, a recording, control by the tests, and broken transport.

A fake derives from `Fake` and implements `answer(request) -> Answer`. Its public methods that are listed in
`CONTROLS` can be called as `POST /_control/NAME` with a JSON object of arguments; the answer is JSON.
"""

import gzip
import hashlib
import json
import random
import socket
import struct
import threading
import time
import urllib.parse
from email.utils import formatdate
from http.client import responses as REASONS
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Request:
    def __init__(self, handler, body):
        self.method, self.target, self.body = handler.command, handler.path, body
        parts = urllib.parse.urlsplit(handler.path)
        self.path = urllib.parse.unquote(parts.path)
        self.query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
        self.headers = {name.lower(): value for name, value in handler.headers.items()}
        self.host = self.headers.get("host", "127.0.0.1")


class Answer:
    def __init__(self, status=200, value=None, body=None, headers=None):
        self.status, self.headers = status, dict(headers or {})
        self.body = json.dumps(value).encode() if body is None else body
        self.headers.setdefault("Content-Type", "application/json")


class Switch:
    """A misbehaviour: its value, the route it applies to, after how many requests it begins, and for how many."""

    def __init__(self, value, on=None, after=0, times=None):
        self.value, self.on, self.after, self.times = value, on, after, times
        self.used = self.applied = 0

    def take(self, route):
        if self.on is not None and self.on not in route:
            return None
        self.used += 1
        if self.used <= self.after or (self.times is not None and self.used > self.after + self.times):
            return None
        self.applied += 1
        return self.value


TRANSPORT_SWITCHES = {
    "hold": "requests wait until the switch is cleared or set anew",
    "hold_answer": "the same, but what was asked for has had its effect by then",
    "fail": "{status, retry_after, code, html}: answered instead; retry_after may be 'date+5' for an HTTP date",
    "redirect": "URL prefix that a 307 points to",
    "reset": "the connection is reset after so many octets of the body",
    "truncate": "'short': half the body with its own Content-Length; 'wrong': half the body, whole Content-Length",
    "chunked": "chunked coding with chunks of so many octets",
    "gzip": "'asked': when Accept-Encoding names it; 'always': also when not",
    "drip": "seconds between the 20 pieces a body is sent in",
    "close": "the connection ends after the answer without having said so",
    "date_skew": "seconds that the Date header is off, and a Retry-After date with it",
    "rate": "{most, seconds, quiet}: more requests in that time are answered 429, with Retry-After unless quiet",
    "flaky": "{seed, share}: that share of the answers is 500, 502, 503 or 504",
    "interim": "status of an interim answer that goes before: 100 or 103",
    "nonsense": "'tls_alert' | 'http2': what another protocol would say is sent in place of the answer",
}


NONSENSE = {"tls_alert": bytes.fromhex("15030300020228"), "http2": bytes.fromhex("000006040000000000000300000064")}


def redacted(text):
    """A secret in the recording: recognisable, not readable."""
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()[:16]


class Fake:
    SWITCHES = TRANSPORT_SWITCHES
    MOST_AT_ONCE = None  # requests that a well-behaved client has under way
    CONTROLS = ("reset", "switch", "clear", "applied", "requests", "wait", "violations")

    def __init__(self, port=0):
        self.lock = threading.RLock()
        self.under_way = 0
        self.changed = threading.Condition(self.lock)
        self._clear_all()
        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler, bind_and_activate=False)
        self.server.request_queue_size = 256
        self.server.daemon_threads = True
        self.server.fake = self
        self.server.server_bind()
        self.server.server_activate()
        self.port = self.server.server_address[1]
        self.url = "http://127.0.0.1:%d" % self.port

    def _clear_all(self):
        self.switches, self.recording, self.broken_rules = {}, [], []
        self.let_in, self.dice = [], None  # times of requests, of the rate switch; the flaky switch's random numbers

    def start(self):
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    # ---- what a fake implements ----
    def route(self, request):
        """A short name of what is asked for, matched by a switch's `on`."""
        return request.path

    def answer(self, request, route):
        raise NotImplementedError

    def secrets(self):
        """Texts that must never be in a URL."""
        return ()

    # ---- controls ----
    def reset(self):
        """Everything as after the start; whatever waits is let go."""
        with self.changed:
            self._clear_all()
            self.changed.notify_all()

    def switch(self, name, value=True, on=None, after=0, times=None):
        if name not in self.SWITCHES:
            raise ValueError("no switch %r; there are: %s" % (name, " ".join(sorted(self.SWITCHES))))
        with self.changed:
            self.switches[name] = Switch(value, on, after, times)
            self.changed.notify_all()

    def clear(self, name=None):
        """Switches off one misbehaviour, or all."""
        with self.changed:
            if name is None:
                self.switches.clear()
            else:
                self.switches.pop(name, None)
            self.changed.notify_all()

    def applied(self, name):
        """How often a switch that is on took effect: a test that never met its misbehaviour proves nothing."""
        with self.lock:
            return self.switches[name].applied

    def requests(self, since=0, on=""):
        with self.lock:
            return [r for r in self.recording[since:] if on in r["route"]]

    def wait(self, count=1, since=0, on="", timeout=30, held=False):
        """Returns when `count` requests (held ones only, if so wished) came after the first `since`; how many did."""
        end = time.monotonic() + timeout
        with self.changed:
            while True:
                n = sum(1 for r in self.recording[since:] if on in r["route"] and (r["held"] or not held))
                left = end - time.monotonic()
                if n >= count or left <= 0:
                    return n
                self.changed.wait(left)

    def violations(self):
        with self.lock:
            return list(self.broken_rules)

    # ---- for the fakes ----
    def take(self, name, route):
        with self.lock:
            switch = self.switches.get(name)
            return None if switch is None else switch.take(route)

    def violation(self, request, text):
        with self.lock:
            self.broken_rules.append("%s %s: %s" % (request.method, request.path, text))

    def _record(self, request, route):
        headers = dict(request.headers)
        if "authorization" in headers:
            headers["authorization"] = redacted(headers["authorization"])
        form = dict(urllib.parse.parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True))
        for name in ("client_secret", "client_assertion"):
            if name in form:
                form[name] = redacted(form[name])
        entry = {"method": request.method, "path": request.path, "query": request.query, "headers": headers,
                 "form": form, "route": route, "status": None, "held": False}
        with self.changed:
            self.recording.append(entry)
            self.changed.notify_all()
        for secret in self.secrets():
            if secret in urllib.parse.unquote(request.target):
                self.violation(request, "a secret is in the URL")
        return entry

    def _hold(self, route, entry, name="hold"):
        with self.changed:
            switch = self.switches.get(name)
            if self.take(name, route) is None:
                return
            entry["held"] = True
            self.changed.notify_all()
            while self.switches.get(name) is switch:
                self.changed.wait(60)

    def serve(self, request):
        route = self.route(request)
        entry = self._record(request, route)
        self._hold(route, entry)
        fail, redirect = self.take("fail", route), self.take("redirect", route)
        fail = fail or self.throttled(route) or self.unlucky(route)
        if fail is not None:
            answer = self.failure(fail, route)
        elif redirect is not None:
            answer = Answer(307, body=b"", headers={"Location": redirect + request.target})
        else:
            answer = self.answer(request, route)
        entry["status"] = answer.status
        self._hold(route, entry, "hold_answer")
        return answer, route

    def begin(self, request):
        with self.lock:
            self.under_way += 1
            if self.MOST_AT_ONCE and self.under_way > self.MOST_AT_ONCE:
                self.violation(request, "more than %d requests at once" % self.MOST_AT_ONCE)

    def end(self):
        with self.lock:
            self.under_way -= 1

    def throttled(self, route):
        limit, now = self.take("rate", route), time.monotonic()
        if limit is None:
            return None
        with self.lock:
            self.let_in = [at for at in self.let_in if at > now - limit["seconds"]]
            if len(self.let_in) < limit["most"]:
                self.let_in.append(now)
                return None
            wait = max(1, int(self.let_in[0] + limit["seconds"] - now + 0.999))
        return {"status": 429, "code": "TooManyRequests", **({} if limit.get("quiet") else {"retry_after": wait})}

    def unlucky(self, route):
        flaky = self.take("flaky", route)
        if flaky is None:
            return None
        with self.lock:
            self.dice = self.dice or random.Random(flaky["seed"])
            return {"status": self.dice.choice([500, 502, 503, 504])} if self.dice.random() < flaky["share"] else None

    def failure(self, fail, route):
        headers = {}
        after = fail.get("retry_after")
        if after is not None:
            after = str(after)
            if after.startswith("date"):
                skew = self.switches["date_skew"].value if "date_skew" in self.switches else 0
                after = formatdate(time.time() + skew + float(after[4:]), usegmt=True)
            headers["Retry-After"] = after
        if fail.get("html"):
            headers["Content-Type"] = "text/html"
            return Answer(fail["status"], body=b"<html><body><h1>Service Unavailable</h1></body></html>", headers=headers)
        return Answer(fail["status"], self.error(fail.get("code", "UnknownError"), "as the test wishes"), headers=headers)

    @staticmethod
    def error(code, message):
        return {"error": {"code": code, "message": message, "innerError": {"request-id": "93b6f17e-0000-4000-8000-000000000001"}}}

    def control(self, name, body):
        if name not in self.CONTROLS:
            return Answer(404, {"error": "no control %r" % name})
        try:
            return Answer(200, {"result": getattr(self, name)(**json.loads(body or b"{}"))})
        except (TypeError, ValueError, KeyError) as error:
            return Answer(400, {"error": "%s: %s" % (type(error).__name__, error)})


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 120

    def log_message(self, *args):
        pass

    def handle(self):
        try:
            super().handle()
        except ConnectionError:
            pass  # the client was killed

    def do_GET(self):
        fake = self.server.fake
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.startswith("/_control/"):
            return self._send(fake.control(self.path[len("/_control/"):], body), "_control")
        request = Request(self, body)
        fake.begin(request)
        try:
            answer, route = fake.serve(request)
            return self._send(answer, route)
        finally:
            fake.end()

    do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_GET

    def _send(self, answer, route):
        fake = self.server.fake
        take = (lambda name: None) if route == "_control" else (lambda name: fake.take(name, route))
        body, headers = answer.body, answer.headers
        packed = take("gzip")
        if packed == "always" or (packed and "gzip" in self.headers.get("Accept-Encoding", "")):
            body, headers["Content-Encoding"] = gzip.compress(body), "gzip"
        headers["Date"] = formatdate(time.time() + (take("date_skew") or 0), usegmt=True)
        chunk, truncate, reset, drip = take("chunked"), take("truncate"), take("reset"), take("drip")
        if chunk:
            headers["Transfer-Encoding"] = "chunked"
            body = b"".join(b"%x\r\n%s\r\n" % (len(body[i:i + chunk]), body[i:i + chunk]) for i in range(0, len(body), chunk))
            body += b"0\r\n\r\n"
        else:
            headers["Content-Length"] = str(len(body) // 2 if truncate == "short" else len(body))
        head = "HTTP/1.1 %d %s\r\n" % (answer.status, REASONS.get(answer.status, "Status"))
        head = (head + "".join("%s: %s\r\n" % h for h in headers.items()) + "\r\n").encode()
        if truncate:
            body = body[:len(body) // 2]
        interim, nonsense = take("interim"), take("nonsense")
        if interim:
            head = b"HTTP/1.1 %d %s\r\nX-Interim: 1\r\n\r\n" % (interim, REASONS[interim].encode()) + head
        if nonsense:
            head, body, self.close_connection = NONSENSE[nonsense], b"", True
        try:
            self._transmit(head, body, reset, drip)
        except OSError:
            self.close_connection = True  # the client went away
        if truncate == "wrong" or reset is not None or take("close"):
            self.close_connection = True

    def _transmit(self, head, body, reset, drip):
        if reset is not None:
            self.connection.sendall(head + body[:reset])
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        elif drip:
            self.connection.sendall(head)
            piece = max(1, len(body) // 20)
            for i in range(0, len(body), piece):
                time.sleep(drip)
                self.connection.sendall(body[i:i + piece])
        else:
            self.connection.sendall(head + body)

    def finish(self):
        try:
            super().finish()
        except OSError:
            pass
