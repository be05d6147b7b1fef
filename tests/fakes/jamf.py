"""A fake of Jamf Pro: both logins, computers and mobile devices by the Jamf Pro API, users by the Classic API.

Run:      python3 tests/fakes/jamf.py --port 0           prints "listening on http://127.0.0.1:PORT"
Control:  POST /_control/NAME with a JSON object, such as
          /_control/add     {"collection": "computers", "name": "mac-1"}
          /_control/delete  {"collection": "computers", "id": 1}
Switches: python3 tests/fakes/jamf.py --switches

Objects are numbered from 1 in each collection, and no number is given twice. Every switch is off at the start.
"""

import argparse
import base64
import json
import pathlib
import secrets
import sys
import time
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from web import TRANSPORT_SWITCHES, Answer, Fake, redacted

CLIENT_ID = "22222222-2222-4222-8222-222222222222"
CLIENT_SECRET = "j4mf+s3cr3t&with=signs%/~"  # has everything that form encoding must not lose
USER, PASSWORD = "revline", "p4ss:wörd&more"
DEFAULT_PAGE, LARGEST_PAGE = 100, 2000

JAMF_SWITCHES = {
    # listings
    "page_cap": "no page is larger than this, whatever is asked for",
    "leave_out": "numbers that the listings leave out",
    "empty_list": "listings have nothing",
    "same_page": "every page is the first",
    "total_off": "totalCount is off by so many",
    "shift": "{collection, id}: is deleted after the first page was sent",
    # by number
    "not_found": "404 to every question for a number",
    "bad_record": "{number: status}: answered when that number is asked for",
    # versions
    "versions": "those in which computers-inventory is there",
    # tokens
    "token_life": "seconds a token is valid",
    "token_uses": "calls that a token is good for",
    "expires_in_string": "expires_in is a string",
    "cluster": "a token is good at the machine that gave it, and a cookie says which one is asked; without it each time another",
    # JSON
    "json": "unknown_members | null_members | escapes | bom | deep | empty_body | html | not_object | no_list | no_count | "
            "wrong_types | id_form",
    "padding": "octets of an unknown member in each page",
}
NOT_FOUND = b"<html><head><title>Status page</title></head><body><p>Not Found</p><p>The server has not found anything</p></body></html>"


class Jamf(Fake):
    SWITCHES = {**TRANSPORT_SWITCHES, **JAMF_SWITCHES}
    MOST_AT_ONCE = 5  # what Jamf asks clients to keep to
    CONTROLS = Fake.CONTROLS + ("add", "update", "delete", "objects", "revoke_tokens")

    def _clear_all(self):
        super()._clear_all()
        self.collections = {"computers": {}, "devices": {}, "users": {}}
        self.last = {"computers": 0, "devices": 0, "users": 0}
        self.tokens = {}  # token -> {expires, uses, machine}
        self.machines = 0

    def secrets(self):
        with self.lock:
            return (CLIENT_SECRET, PASSWORD, *self.tokens)

    # ---- controls ----
    def add(self, collection, name):
        with self.lock:
            self.last[collection] += 1
            new = {"id": self.last[collection], "name": name}
            self.collections[collection][new["id"]] = new
            return dict(new)

    def update(self, collection, id, **properties):
        with self.lock:
            self.collections[collection][id].update(properties)

    def delete(self, collection, id):
        with self.lock:
            del self.collections[collection][id]

    def objects(self, collection):
        with self.lock:
            return list(self.collections[collection].values())

    def revoke_tokens(self):
        """Every token handed out so far is refused from now on."""
        with self.lock:
            self.tokens = {token: dict(t, uses=0) for token, t in self.tokens.items()}

    # ---- routing ----
    def route(self, request):
        """token.client, token.user, computers.list, computers.one, and the same for devices and users"""
        parts = request.path.strip("/").split("/")
        if parts in (["api", "oauth", "token"], ["api", "v1", "oauth", "token"]):
            return "token.client"
        if parts == ["api", "v1", "auth", "token"]:
            return "token.user"
        if parts[0] == "api" and len(parts) in (3, 4) and (parts[2], parts[1]) in (
                ("computers-inventory", "v1"), ("computers-inventory", "v2"), ("computers-inventory", "v3"),
                ("computers-inventory", "v4"), ("mobile-devices", "v2")):
            name = "computers" if parts[2] == "computers-inventory" else "devices"
            return name + (".list" if len(parts) == 3 else ".one")
        if parts == ["JSSResource", "users"]:
            return "users.list"
        if parts[:3] == ["JSSResource", "users", "id"] and len(parts) == 4:
            return "users.one"
        return "unknown"

    def answer(self, request, route):
        request.machine = None
        if self.take("cluster", route):
            asked = dict(part.strip().partition("=")[::2] for part in request.headers.get("cookie", "").split(";"))
            with self.lock:
                self.machines += 1
                request.machine = asked.get("APBALANCEID") or "machine-%d" % self.machines
        answer = self.answer_to(request, route)
        if request.machine:
            answer.headers["Set-Cookie"] = "APBALANCEID=%s; path=/; HttpOnly" % request.machine
        return answer

    def answer_to(self, request, route):
        if route == "token.client":
            return self.client_login(request)
        if route == "token.user":
            return self.user_login(request)
        refused = self.authorize(request)
        if refused:
            return refused
        if request.method != "GET" or route == "unknown":
            self.violation(request, "no such path")
            return self.missing(request)
        if "json" not in request.headers.get("accept", ""):
            self.violation(request, "no Accept: application/json")  # the Classic API would speak XML
        versions = self.take("versions", route) if "computers-inventory" in request.path else None
        if versions is not None and request.path.split("/")[2] not in versions:
            return self.missing(request)
        name, kind = route.split(".")
        with self.lock:
            return self.one(request, route, name) if kind == "one" else self.listing(request, route, name)

    def missing(self, request):
        """404 as the two APIs say it."""
        if request.path.startswith("/api/"):
            return Answer(404, {"httpStatus": 404, "errors": [{"code": "INVALID_ID", "description": "not found", "id": "0", "field": None}]})
        return Answer(404, body=NOT_FOUND, headers={"Content-Type": "text/html"})

    # ---- tokens ----
    def client_login(self, request):
        form = dict(urllib.parse.parse_qsl(request.body.decode(), keep_blank_values=True))
        if request.method != "POST" or request.query or "authorization" in request.headers:
            self.violation(request, "a login is a POST with a form, and nothing else")
        if form.get("grant_type") != "client_credentials" or form.get("client_id") != CLIENT_ID or form.get("client_secret") != CLIENT_SECRET:
            return Answer(401, {"error": "invalid_client"})
        token, life = self.new_token("token.client", request.machine)
        return Answer(200, {"access_token": token, "scope": "api-role:2", "token_type": "Bearer",
                            "expires_in": str(life) if self.take("expires_in_string", "token.client") else life})

    def user_login(self, request):
        if request.method != "POST" or request.query or request.body:
            self.violation(request, "a login is a POST without a body")
        expected = "Basic " + base64.b64encode(("%s:%s" % (USER, PASSWORD)).encode()).decode()
        if request.headers.get("authorization") != expected:
            return Answer(401, {"httpStatus": 401, "errors": [{"code": "INVALID_CREDENTIALS", "description": "Unauthorized", "id": "0", "field": None}]})
        token, life = self.new_token("token.user", request.machine)
        expires = time.time() + life + (self.switches["date_skew"].value if "date_skew" in self.switches else 0)
        return Answer(200, {"token": token, "expires": time.strftime("%Y-%m-%dT%H:%M:%S.345Z", time.gmtime(expires))})

    def new_token(self, route, machine):
        life = self.take("token_life", route) or 599
        token = "eyJhbGciOiJIUzI1NiJ9." + secrets.token_urlsafe(48)
        with self.lock:
            self.tokens[token] = {"expires": time.monotonic() + life, "uses": self.take("token_uses", route), "machine": machine}
        return token, life

    def authorize(self, request):
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind != "Bearer" or not token:
            self.violation(request, "no Authorization: Bearer")
        with self.lock:
            known = self.tokens.get(token)
            if known is None:
                self.violation(request, "a token that was never given: " + redacted(token))
            good = known and known["expires"] > time.monotonic() and known["uses"] != 0 and known["machine"] == request.machine
            if good and known["uses"] is not None:
                known["uses"] -= 1
        if good:
            return None
        if request.path.startswith("/api/"):
            return Answer(401, {"httpStatus": 401, "errors": [{"code": "INVALID_TOKEN", "description": "Unauthorized", "id": "0", "field": None}]})
        return Answer(401, body=b"<html><body><p>Unauthorized</p></body></html>", headers={"Content-Type": "text/html"})

    # ---- objects ----
    def one(self, request, route, name):
        found = self.collections[name].get(int(request.path.rsplit("/", 1)[1]))
        bad = (self.take("bad_record", route) or {}).get(request.path.split("/")[-1])
        if bad:
            return Answer(bad, {"httpStatus": bad, "errors": [{"code": "INTERNAL", "description": "the record cannot be read", "id": "0", "field": None}]})
        if found is None or self.take("not_found", route):
            return self.missing(request)
        return Answer(200, {"user": dict(found, links={})} if name == "users" else self.item(name, found))

    def item(self, name, found):
        if name == "computers":
            return {"id": str(found["id"]), "udid": "EBBFF74D-0000-4000-8000-%012X" % found["id"], "general": None, "hardware": None,
                    "userAndLocation": {"username": "ada", "realname": "Ada", "email": "ada@contoso.example"}}
        if name == "devices":
            return {"id": str(found["id"]), "name": found["name"], "udid": "B3D6E19F-0000-4000-8000-%012X" % found["id"], "type": "ios"}
        return {"id": found["id"], "name": found["name"]}

    def listing(self, request, route, name):
        """Sorted by number, which is how clients are to ask for it: any other order makes pages shift all the time."""
        items = [self.item(name, found) for found in sorted(self.collections[name].values(), key=lambda o: o["id"])]
        left_out = self.take("leave_out", route) or []
        items = [item for item in items if int(item["id"]) not in left_out]
        if self.take("empty_list", route):
            items = []
        if name == "users":
            page = {"users": items}
        else:
            if request.query.get("sort") != "id:asc":
                self.violation(request, "the listing is not sorted by number")
            size = min(int(request.query.get("page-size", DEFAULT_PAGE)), LARGEST_PAGE, self.take("page_cap", route) or LARGEST_PAGE)
            number = 0 if self.take("same_page", route) else int(request.query.get("page", 0))
            page = {"totalCount": len(items) + (self.take("total_off", route) or 0), "results": items[number * size:(number + 1) * size]}
        shift = self.take("shift", route)
        if shift:
            self.collections[shift["collection"]].pop(shift["id"], None)
        answer = Answer(200, page)
        self.distort(answer, route, page)
        return answer

    # ---- distortions ----
    def distort(self, answer, route, page):
        padding, kind = self.take("padding", route), self.take("json", route)
        if padding:
            page["padding"] = "x" * padding
            answer.body = json.dumps(page).encode()
        if kind:
            getattr(self, "json_" + kind)(answer, page, "results" if "results" in page else "users")

    def json_unknown_members(self, answer, page, items):
        page["new"] = {"nested": [1, {"id": "2"}]}
        for item in page[items]:
            item.update({"newMember": [True, None], "totalCount": 7})
        answer.body = json.dumps(page).encode()

    def json_null_members(self, answer, page, items):
        for item in page[items]:
            item.update({key: None for key in item if key not in ("id", "name")})
        answer.body = json.dumps(page).encode()

    def json_escapes(self, answer, page, items):
        answer.body = json.dumps(page).replace('"id"', '"\\u0069\\u0064"').encode()

    def json_bom(self, answer, page, items):
        answer.body = b"\xef\xbb\xbf" + answer.body

    def json_id_form(self, answer, page, items):
        """A number where text was, and text where a number was."""
        for item in page[items]:
            item["id"] = int(item["id"]) if isinstance(item["id"], str) else str(item["id"])
        answer.body = json.dumps(page).encode()

    def json_deep(self, answer, page, items):
        answer.body = b'{"deep": ' + b"[" * 100000 + b"]" * 100000 + b", " + answer.body[1:]

    def json_empty_body(self, answer, page, items):
        answer.body = b""

    def json_html(self, answer, page, items):
        answer.body, answer.headers["Content-Type"] = b"<!doctype html><html><body>Jamf Pro is starting up</body></html>", "text/html"

    def json_not_object(self, answer, page, items):
        answer.body = json.dumps(page[items]).encode()

    def json_no_list(self, answer, page, items):
        del page[items]
        answer.body = json.dumps(page).encode()

    def json_no_count(self, answer, page, items):
        answer.body = json.dumps({items: page[items]} if items == "results" else {}).encode()

    def json_wrong_types(self, answer, page, items):
        answer.body = json.dumps({**page, items: page[items] + [7, None, {"id": "-1"}]}).encode()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--port", type=int, default=8091, help="0 takes a free one")
    parser.add_argument("--switches", action="store_true", help="list the misbehaviour switches")
    args = parser.parse_args()
    if args.switches:
        for name, text in sorted(Jamf.SWITCHES.items()):
            print("%-18s %s" % (name, text))
        return
    jamf = Jamf(args.port)
    print("listening on %s" % jamf.url, flush=True)
    print("client %s, secret %s; user %s, password %s" % (CLIENT_ID, CLIENT_SECRET, USER, PASSWORD), flush=True)
    try:
        jamf.server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
