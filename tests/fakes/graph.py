"""A fake of Microsoft Entra ID's token endpoint and of Microsoft Graph: the directory, Intune's managed devices and
certificates, Identity Protection's risky users; and of Intune's requests to revoke (intune.py), in one server.

Run:      python3 tests/fakes/graph.py --port 0          prints "listening on http://127.0.0.1:PORT"
Control:  POST /_control/NAME with a JSON object, such as
          /_control/add     {"collection": "devices", "name": "pc-1"}
          /_control/switch  {"name": "page_size", "value": 2}
Switches: python3 tests/fakes/graph.py --switches

The delta queries follow Graph's documented behaviour: opaque tokens, several pages, replay, @removed with a
reason. Every switch is off at the start.
"""

import argparse
import json
import pathlib
import random
import re
import secrets
import sys
import time
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import intune
import lists
from directory import Collection, stable_id
from logins import (APP_SERVICE_PATH, APP_SERVICE_SECRET, ASSERTION_TYPE, IMDS_PATH, LOGIN_SWITCHES, USER_ASSIGNED,
                    check_assertion, openid_answer, openid_route)
from notify import Notifier
from web import TRANSPORT_SWITCHES, Answer, Fake, redacted

TENANT = "aaaabbbb-0000-4000-8000-ccccddddeeee"
CLIENT_ID = "11111111-1111-4111-8111-111111111111"
CLIENT_SECRET = "s3cr3t+value&with=signs%/~"  # has everything that form encoding must not lose
DEFAULT_PAGE = 100

PROPERTIES = {
    "users": ("id", "userPrincipalName", "accountEnabled", "displayName", "mail", "onPremisesSecurityIdentifier"),
    "devices": ("id", "deviceId", "accountEnabled", "displayName", "operatingSystem", "isCompliant", "isManaged",
                "onPremisesSecurityIdentifier"),
    "managedDevices": ("id", "azureADDeviceId", "userId", "userPrincipalName", "deviceName", "serialNumber", "complianceState",
                       "managementState", "enrolledDateTime", "lastSyncDateTime", "operatingSystem"),
    "certificateStates": ("id", "certificateRevokeStatus", "certificateRevokeStatusLastChangeDateTime", "managedDeviceDisplayName",
                          "certificateIssuerName", "certificateThumbprint", "certificateSerialNumber", "certificateSubjectName"),
    "deviceConfigurations": ("id", "displayName"),
    "profileStates": ("id", "certificateRevokeStatus", "certificateIssuanceState", "certificateIssuer", "certificateThumbprint",
                      "certificateSerialNumber", "certificateProfileDisplayName", "deviceDisplayName"),
    "reportRows": lists.COLUMNS,
    "riskyUsers": ("id", "riskLevel", "riskState", "riskDetail", "riskLastUpdatedDateTime", "isDeleted", "userPrincipalName"),
}
WITHOUT_SELECT = {**PROPERTIES, "users": ("id", "userPrincipalName", "displayName", "mail"),
                  "devices": PROPERTIES["devices"][:-1]}
# Lists without a delta query: path behind the version, the largest $top
LISTS = {"deviceManagement/managedDevices": ("managedDevices", 1000),
         "deviceManagement/deviceConfigurationsAllManagedDeviceCertificateStates": ("certificateStates", 1000), "identityProtection/riskyUsers": ("riskyUsers", 500)}
NOT_REGISTERED = "00000000-0000-0000-0000-000000000000"

GRAPH_SWITCHES = {
    # pages
    "page_size": "items on a page: a number, or a list used in turn",
    "empty_pages": "an empty page with a nextLink goes before each page",
    "repeat_item": "each page begins with the last item of the one before",
    "delta_link_alone": "the last page carries the deltaLink and no item",
    "link_case": "scheme and host of links in capitals",
    "link_encoded": "%24skiptoken in place of $skiptoken",
    "loop": "nextLink points to its own page",
    "foreign_link": "scheme://host:port that nextLinks point to",
    # delta
    "shuffle": "seed: a round's entries come in random order",
    "repeat_states": "an object's entry comes after all its earlier states",
    "replay": "a delta round begins that many log lines too early",
    "removed_first": "a full round lists objects deleted earlier as @removed",
    "minimal": "delta rounds carry only changed properties",
    "absent_as_null": "properties never set are null instead of absent",
    "gone": "{status, code, location}: a delta token or skip token is no longer known",
    "lag": "changes show up that many rounds late",
    "empty_list": "a full round lists nothing",
    "leave_out": "ids that a full round does not list though they are there",
    "strangers": "a full round lists that many objects nobody knows in place of those that are there",
    "vanish": "{collection, id}: is deleted after the first page was sent",
    "no_device_sid": "devices have no onPremisesSecurityIdentifier: it answers 400, or with 501 as its value that, to who asks for it",
    "no_management_state": "v1.0 does not know managementState: it answers 400 to who asks for it",
    # change notifications
    "deliver_to": "scheme://host:port of the server under test: subscriptions can be made, notifications go there",
    "granted_life": "seconds that a subscription lives, whatever was asked for",
    # tokens
    "secret": "the client secret that is accepted instead: it was changed",
    "token_life": "seconds a token is valid",
    "token_uses": "calls that a token is good for",
    "expires_in_string": "expires_in is a string",
    # JSON
    "json": "unknown_members | null_members | escapes | surrogates | lone_surrogate | bom | huge_numbers | deep | "
            "duplicate_keys | empty_body | html | not_object | no_value | no_links | both_links | wrong_types",
    "null_properties": "all that was asked for is null, but for the id",
    "dates": "what every date says",
    "new_words": "states are words of another year",
    "padding": "octets of an unknown member in each page",
    # identity
    "id_form": "'upper' or 'braces': form of GUIDs",
    "upn_upper": "user names in capitals",
}


def escaped(value):
    """JSON in which every character of every string is a \\u escape."""
    if isinstance(value, str):
        units = value.encode("utf-16-be")
        return '"%s"' % "".join("\\u%04x" % int.from_bytes(units[i:i + 2], "big") for i in range(0, len(units), 2))
    if isinstance(value, list):
        return "[%s]" % ",".join(map(escaped, value))
    if isinstance(value, dict):
        return "{%s}" % ",".join("%s:%s" % (escaped(k), escaped(v)) for k, v in value.items())
    return json.dumps(value)


class Round:
    """One pass over a collection: which objects, from and until where in its log."""

    def __init__(self, collection, ids, start, until, select):
        self.collection, self.ids, self.start, self.until, self.select = collection, ids, start, until, select


class Graph(Fake):
    SWITCHES = {**TRANSPORT_SWITCHES, **GRAPH_SWITCHES, **intune.SWITCHES, **lists.SWITCHES, **LOGIN_SWITCHES}
    CONTROLS = Fake.CONTROLS + ("add", "bulk", "update", "delete", "restore", "forget", "objects", "log_position", "revoke_tokens", "notify",
                                "subscriptions", "unsubscribe", "request_revocation", "revocation_results", "revocations_delivered", "move_services", "scep_actions")

    def _clear_all(self):
        super()._clear_all()
        self.collections = {name: Collection() for name in PROPERTIES}
        self.tokens = {}  # token -> {audience, expires, uses}
        self.assertions = set()  # jti values seen
        self.positions = {}  # opaque token -> (Round, offset, step) or (collection name, log position, select)
        self.pages_sent = 0
        self.notifier = Notifier()
        self.intune = intune.Intune()
        self.reports = lists.Reports()

    def secrets(self):
        with self.lock:
            return (CLIENT_SECRET, APP_SERVICE_SECRET, *self.tokens)

    # ---- controls ----
    def add(self, collection, name=None, **properties):
        """A new object with a GUID derived from its name; returns it with all its properties."""
        name = name or secrets.token_hex(6)
        new = {"id": stable_id(collection + "/" + name)}
        if collection == "managedDevices":
            new.update(deviceName=name, azureADDeviceId=NOT_REGISTERED, complianceState="compliant", managementState="managed",
                       enrolledDateTime="2026-01-01T08:00:00Z")
        elif collection == "certificateStates":
            new.update(certificateRevokeStatus="none", certificateIssuerName="CN=Revline Root CA", managedDeviceDisplayName=name)
        elif collection == "deviceConfigurations":
            new.update({"@odata.type": "#microsoft.graph.iosScepCertificateProfile", "displayName": name})
        elif collection == "profileStates":  # of a `profile`
            new.update(certificateRevokeStatus="none", certificateIssuanceState="issued", certificateIssuer="CN=Revline Root CA")
        elif collection == "reportRows":
            new.update(CertificateStatus="Active", IssuerName="CN=Revline Root CA", DeviceName=name)
        elif collection == "riskyUsers":
            new.update(riskLevel="high", riskState="atRisk", riskDetail="none", isDeleted=False)
        else:
            new.update(accountEnabled=True, displayName=name)
        if collection == "users":
            new["userPrincipalName"] = name if "@" in name else name + "@contoso.example"
        elif collection == "devices":
            new["deviceId"] = stable_id("deviceId/" + name)
        new.update(properties)
        with self.lock:
            self.collections[collection].add(new)
        return new

    def bulk(self, collection, n, prefix="bulk"):
        return [self.add(collection, "%s-%d" % (prefix, i))["id"] for i in range(n)]

    def update(self, collection, id, **properties):
        with self.lock:
            self.collections[collection].update(id, properties)

    def delete(self, collection, id, reason="deleted"):
        with self.lock:
            self.collections[collection].delete(id, reason)

    def restore(self, collection, id):
        with self.lock:
            self.collections[collection].restore(id)

    def forget(self, collection, id):
        with self.lock:
            self.collections[collection].forget(id)

    def objects(self, collection):
        with self.lock:
            return list(self.collections[collection].objects.values())

    def log_position(self, collection):
        with self.lock:
            return self.collections[collection].now()

    def revoke_tokens(self):
        """Every token handed out so far is refused from now on."""
        with self.lock:
            self.tokens = {token: dict(t, uses=0) for token, t in self.tokens.items()}

    def notify(self, deliver_to, items):
        """Delivers these items to all subscribers, in one request each; returns their status codes."""
        return self.notifier.send(deliver_to, items)

    def subscriptions(self):
        with self.lock:
            return list(self.notifier.subscriptions.values())

    def unsubscribe(self):
        """Graph has lost all subscriptions."""
        with self.lock:
            self.notifier.subscriptions.clear()

    # ---- Intune's requests to revoke ----
    def request_revocation(self, context, serial, **more):
        with self.lock:
            self.intune.requests[context] = {"requestContext": context, "serialNumber": serial, **more}

    def revocation_results(self):
        """Context -> the results that were recorded for it, as often as they were."""
        with self.lock:
            return dict(self.intune.results)

    def revocations_delivered(self):
        with self.lock:
            return list(self.intune.delivered)

    def scep_actions(self):
        """What the SCEP validation service was asked and told: [action, what, code]."""
        with self.lock:
            return list(self.intune.scep)

    def move_services(self):
        with self.lock:
            self.intune.place += 1

    # ---- routing ----
    def route(self, request):
        """token, users.list, users.delta.first, users.delta.next, users.delta.link, the same for devices; managedDevices.list, managedDevices.one,
        certificateStates.list, riskyUsers.list; subscriptions; intune.services, intune.download, intune.upload; deviceConfigurations.list,
        profileStates.list; report.make, report.look, report.blob; openid.configuration, openid.keys"""
        parts = request.path.strip("/").split("/")
        if parts[-3:] == ["oauth2", "v2.0", "token"]:
            return "token"
        if parts[0] == TENANT and openid_route(parts):
            return openid_route(parts)
        of_intune = intune.route(parts, request.path) or lists.route(parts)
        if of_intune:
            return of_intune
        if request.path in (APP_SERVICE_PATH, IMDS_PATH):
            return "identity"
        if parts[0] in ("v1.0", "beta") and "/".join(parts[1:]) in LISTS and (parts[0] == "beta" or "Certificate" not in parts[-1]):
            return LISTS["/".join(parts[1:])][0] + ".list"
        if len(parts) == 4 and parts[0] in ("v1.0", "beta") and "/".join(parts[1:3]) == "deviceManagement/managedDevices":
            return "managedDevices.one"
        if parts[:2] == ["v1.0", "subscriptions"]:
            return "subscriptions"
        if len(parts) >= 2 and parts[0] == "v1.0" and parts[1] in ("users", "devices"):
            if parts[2:] == ["delta"]:
                kind = "next" if "$skiptoken" in request.query else "link" if "$deltatoken" in request.query else "first"
                return "%s.delta.%s" % (parts[1], kind)
            if parts[2:] == []:
                return parts[1] + ".list"
        return "unknown"

    def answer(self, request, route):
        if route == "token":
            return self.token(request)
        if route == "identity":
            return self.managed_identity(request)
        if route.startswith("openid."):
            if request.method != "GET" or "authorization" in request.headers or request.query:
                self.violation(request, "what the tenant publishes is asked for by a plain GET")
            return Answer(200, openid_answer(route, "http://%s/%s" % (request.host, TENANT), self.take("signing_keys", route), self.take("openid", route)))
        if route == "unknown":
            self.violation(request, "no such path")
            return Answer(404, self.error("ResourceNotFound", "no such path"))
        if route == "report.blob":
            with self.lock:
                return self.reports.blob(self, request)
        refused = self.authorize(request, "intune" if request.path.startswith("/intune/") else "graph")
        if refused:
            return refused
        if route.startswith("intune."):
            with self.lock:
                answer = self.intune.answer(self, request, route)
            if answer.status == 200 and route == "intune.download":
                self.distort(answer, route)
            return answer
        if route.startswith("report."):
            with self.lock:
                return self.reports.answer(self, request, route)
        if route == "subscriptions":
            return self.notifier.answer(self, request)
        with self.lock:
            answer = self.page(request, route)
        if answer.status == 200 and not route.endswith(".one"):
            self.distort(answer, route)
        answer.headers["request-id"] = "93b6f17e-0000-4000-8000-000000000001"
        return answer

    # ---- tokens ----
    def token(self, request):
        form = dict(urllib.parse.parse_qsl(request.body.decode(), keep_blank_values=True))
        if request.method != "POST" or request.query:
            self.violation(request, "a token request is a POST without a query")
        if request.headers.get("content-type", "").split(";")[0] != "application/x-www-form-urlencoded":
            self.violation(request, "a token request is form-encoded")
        if "authorization" in request.headers:
            self.violation(request, "Authorization was sent to the token endpoint")
        if request.path.strip("/").split("/")[0] != TENANT:
            return self.token_error(400, "invalid_request", 90002)
        if form.get("grant_type") != "client_credentials" or form.get("client_id") != CLIENT_ID:
            return self.token_error(400, "unauthorized_client", 700016)
        refused = self.check_login(request, form)
        if refused:
            return refused
        scope = urllib.parse.urlsplit(form.get("scope", "").replace("//.default", "/.default"))
        audience = self.audience(request, scope._replace(path=scope.path[:-len("/.default")])) if scope.path.endswith("/.default") else None
        if audience is None:
            return self.token_error(400, "invalid_scope", 70011)
        token, life = self.new_token(audience)
        expires_in = str(life) if self.take("expires_in_string", "token") else life
        return Answer(200, {"token_type": "Bearer", "expires_in": expires_in, "ext_expires_in": expires_in, "access_token": token})

    @staticmethod
    def audience(request, resource):
        """Whose API a split URL is."""
        if resource.netloc.lower() not in ("graph.microsoft.com", request.host.lower()):
            return None
        return {"": "graph", intune.API: "intune"}.get(resource.path.rstrip("/"))

    def new_token(self, audience):
        life = self.take("token_life", "token") or 3599
        token = "eyJ0eXAiOiJKV1QifQ." + secrets.token_urlsafe(48)
        with self.lock:
            self.tokens[token] = {"audience": audience, "expires": time.monotonic() + life, "uses": self.take("token_uses", "token")}
        return token, life

    def check_login(self, request, form):
        """A secret, or an assertion by the switches; None when it is right."""
        certificate, federated = self.take("client_certificate", "token"), self.take("federated_token", "token")
        assertion = form.get("client_assertion")
        if assertion is None:
            right = self.take("secret", "token") or CLIENT_SECRET
            return None if form.get("client_secret") == right else self.token_error(401, "invalid_client", 7000215)
        if form.get("client_assertion_type") != ASSERTION_TYPE or "client_secret" in form:
            self.violation(request, "an assertion comes with its type and without a secret")
        if federated is not None:
            return None if assertion == federated else self.token_error(401, "invalid_client", 700213)
        audience = "http://%s%s" % (request.host, request.path)
        why = "no certificate" if certificate is None else check_assertion(assertion, certificate, audience, CLIENT_ID, self.assertions)
        return self.token_error(401, "invalid_client", 700027) if why else None

    def managed_identity(self, request):
        """A managed identity's endpoint: numbers are strings, and App Service tells only the end."""
        imds = request.path == IMDS_PATH
        error = self.take("identity_error", "identity")
        if request.method != "GET" or request.body or "authorization" in request.headers:
            self.violation(request, "a managed identity is asked by GET")
        if request.query.get("api-version") != ("2018-02-01" if imds else "2019-08-01"):
            self.violation(request, "api-version")
        if error is not None:
            headers = {"Retry-After": str(error["retry_after"])} if "retry_after" in error else {}
            return Answer(error["status"], {"error": error.get("error", "error"), "error_description": "no"}, headers=headers)
        if imds and request.headers.get("metadata") != "true":
            return Answer(400, {"error": "bad_request_102", "error_description": "Required metadata header not specified"})
        if not imds and request.headers.get("x-identity-header") != APP_SERVICE_SECRET:
            return Answer(401, {"error": "unauthorized", "error_description": "no"})
        if request.query.get("client_id") not in (None, USER_ASSIGNED):
            return Answer(400, {"error": "invalid_request", "error_description": "Identity not found"})
        audience = self.audience(request, urllib.parse.urlsplit(request.query.get("resource", "")))
        if audience is None:
            return Answer(400, {"error": "invalid_resource", "error_description": "AADSTS50001"})
        token, life = self.new_token(audience)
        answer = {"access_token": token, "expires_on": str(int(time.time()) + life), "resource": request.query["resource"],
                  "token_type": "Bearer"}
        return Answer(200, {**answer, "refresh_token": "", "expires_in": str(life), "not_before": "1"} if imds else answer)

    def token_error(self, status, code, number):
        return Answer(status, {"error": code, "error_description": "AADSTS%d: refused.\r\nTrace ID: 255d1aef" % number,
                               "error_codes": [number], "trace_id": "255d1aef-0000-4000-8000-000000000001"})

    def authorize(self, request, audience):
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind != "Bearer" or not token:
            self.violation(request, "no Authorization: Bearer")
            return Answer(401, self.error("InvalidAuthenticationToken", "Access token is empty."))
        if "client-request-id" not in request.headers:
            self.violation(request, "no client-request-id")
        if {"$count", "$search"} & set(request.query) and request.headers.get("consistencylevel") != "eventual":
            self.violation(request, "an advanced query without ConsistencyLevel")
        with self.lock:
            known = self.tokens.get(token)
            if known is None:
                self.violation(request, "a token that was never given: " + redacted(token))
            if known and known["audience"] != audience:
                self.violation(request, "a token for another service")
                known = None
            good = known and known["expires"] > time.monotonic() and known["uses"] != 0
            if good and known["uses"] is not None:
                known["uses"] -= 1
        if not good:
            return Answer(401, self.error("InvalidAuthenticationToken", "Lifetime validation failed, the token is expired."),
                          headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
        return None

    # ---- pages ----
    def page(self, request, route):
        name, kind = route.split(".")[0], route.split(".", 1)[1]
        if request.method != "GET":
            return Answer(405, self.error("BadRequest", "method not allowed"))
        if kind == "one":
            return self.one(request, route, name)
        if "$top" in request.query and kind != "list":
            return Answer(400, self.error("Request_UnsupportedQuery", "$top is not supported on delta"))
        if kind == "list" and "$skiptoken" in request.query:
            gone = self.take("gone", route)
            return self.send_position(request, route, request.query["$skiptoken"]) if gone is None else self.gone(request, name, gone)
        if kind in ("delta.first", "list"):
            select = [p for p in request.query.get("$select", "").split(",") if p] or list(WITHOUT_SELECT[name])
            if not set(select) <= set(PROPERTIES[name]):
                return Answer(400, self.error("BadRequest", "Could not find a property named %s" % (set(select) - set(PROPERTIES[name]))))
            if name == "devices" and "onPremisesSecurityIdentifier" in select and (refusal := self.take("no_device_sid", route)):
                if refusal == 501:
                    return Answer(501, self.error("NotImplemented", "onPremisesSecurityIdentifier cannot be selected here"))
                return Answer(400, self.error("BadRequest", "Could not find a property named onPremisesSecurityIdentifier"))
            if "managementState" in select and request.path.startswith("/v1.0/") and self.take("no_management_state", route):
                return Answer(400, self.error("BadRequest", "Could not find a property named 'managementState'."))
            if any(name == n and int(request.query.get("$top", 0)) > most for n, most in LISTS.values()):
                return Answer(400, self.error("BadRequest", "The limit for the top query is exceeded."))
            round_ = self.full_round(name, route, select)
            round_.ids = self.filtered(round_, request.query.get("$filter"))
            if name == "profileStates":
                profile = lists.profile_of(self, request)
                if profile is None:
                    return Answer(404, self.error("ResourceNotFound", "Resource not found for the segment"))
                of_it = self.collections[name].objects
                round_.ids = [i for i in round_.ids if of_it[i].get("profile") == profile]
            return self.send(request, route, round_, 0, 0)
        gone = self.take("gone", route)
        if gone is not None:
            return self.gone(request, name, gone)
        if kind == "delta.next":
            return self.send_position(request, route, request.query["$skiptoken"])
        return self.delta_link(request, route, name)

    def one(self, request, route, name):
        select = [p for p in request.query.get("$select", "").split(",") if p] or list(WITHOUT_SELECT[name])
        found = self.collections[name].objects.get(request.path.rsplit("/", 1)[1])
        if "managementState" in select and request.path.startswith("/v1.0/") and self.take("no_management_state", route):
            return Answer(400, self.error("BadRequest", "Could not find a property named 'managementState'."))
        if found is None:
            return Answer(404, self.error("ResourceNotFound", "The resource could not be found."))
        return Answer(200, {p: found[p] for p in select if p in found})

    def filtered(self, round_, text):
        """`name eq 'value'`, several joined by `or`; the value in any case, quotation marks in it doubled."""
        if text is None:
            return round_.ids
        wanted = re.findall(r"(\w+) eq '((?:[^']|'')*)'", text)
        assert " or ".join("%s eq '%s'" % pair for pair in wanted) == text, text
        wanted = [(name, value.replace("''", "'").lower()) for name, value in wanted]
        objects = self.collections[round_.collection].objects
        return [i for i in round_.ids if any((objects[i].get(name) or "").lower() == value for name, value in wanted)]

    def gone(self, request, name, gone):
        headers = {}
        if gone.get("location"):
            headers["Location"] = "http://%s/v1.0/%s/delta?$deltatoken=" % (request.host, name)
        return Answer(gone["status"], self.error(gone.get("code", "resyncRequired"), "Resync required."), headers=headers)

    def delta_link(self, request, route, name):
        token = request.query["$deltatoken"]
        if token == "latest":
            select = [p for p in request.query.get("$select", "").split(",") if p] or list(WITHOUT_SELECT[name])
            now = self.collections[name].now()
            return self.send(request, route, Round(name, [], now, now, select), 0, 0)
        if token == "":  # where a 410's Location points: a full round
            return self.send(request, route, self.full_round(name, route, list(WITHOUT_SELECT[name])), 0, 0)
        if token not in self.positions:
            return Answer(400, self.error("syncStateNotFound", "The sync state generation is not found."))
        _, start, select = self.positions[token]
        return self.send(request, route, self.delta_round(name, route, start, select), 0, 0)

    def full_round(self, name, route, select):
        collection = self.collections[name]
        ids, until = collection.full()
        collection.round_starts.append(until)
        if self.take("empty_list", route):
            ids = []
        elif self.take("removed_first", route):
            ids = list(collection.deleted) + ids
        for i in range(self.take("strangers", route) or 0):
            ids = ids if i else []
            ids.append(stable_id("stranger %d" % i))
            collection.strangers.setdefault(ids[-1], {"id": ids[-1], "accountEnabled": True, "deviceId": stable_id("deviceId of stranger %d" % i),
                                                      "userPrincipalName": "stranger%d@contoso.example" % i, "complianceState": "compliant",
                                                      "managementState": "managed", "azureADDeviceId": NOT_REGISTERED})
        left_out = self.take("leave_out", route) or []
        ids = [i for i in ids if i not in left_out]
        return Round(name, self.ordered(ids, route), None, until, select)

    def delta_round(self, name, route, start, select):
        collection = self.collections[name]
        collection.round_starts.append(collection.now())
        lag = self.take("lag", route) or 0
        until = collection.now()
        if lag:
            starts = collection.round_starts
            until = max(start, starts[-1 - lag] if len(starts) > lag else start)
        first = max(0, start - (self.take("replay", route) or 0))
        return Round(name, self.ordered(collection.since(first, until), route), first, until, select)

    def ordered(self, ids, route):
        seed = self.take("shuffle", route)
        if seed is not None:
            random.Random(seed).shuffle(ids)
        return ids

    def send_position(self, request, route, token):
        position = self.positions.get(token)
        if position is None:
            return Answer(400, self.error("BadRequest", "Skip token is not valid."))
        round_, offset, step = position
        return self.send(request, route, round_, offset, step)

    def send(self, request, route, round_, offset, step):
        """The page of a round that begins at `offset`; `step` counts pages, the empty ones included."""
        size = self.take("page_size", route) or DEFAULT_PAGE
        if isinstance(size, list):
            size = size[step % len(size)]
        if self.take("empty_pages", route) and step % 2 == 0:
            size = 0
        chosen = list(round_.ids[offset:offset + size])
        if self.take("repeat_item", route) and offset > 0:
            chosen.insert(0, round_.ids[offset - 1])
        end = offset + size
        last = end >= len(round_.ids) and size > 0
        if last and chosen and self.take("delta_link_alone", route):
            last = False
        value = [e for object_id in chosen for e in self.entries(round_, object_id, route)]
        body = {"@odata.context": "http://%s/v1.0/$metadata#%s" % (request.host, round_.collection)}
        base, mark = self.link_base(request, route)
        path = base + request.path + "?" + mark
        vanish = None if last else self.take("vanish", route)
        if vanish:
            self.collections[vanish["collection"]].delete(vanish["id"], "deleted")
        if not last:
            at = (round_, offset, step) if self.take("loop", route) else (round_, end, step + 1)
            body["@odata.nextLink"] = path + "skiptoken=" + self.remember(at, looping=at[1] == offset and size > 0)
        elif not route.endswith("list"):
            body["@odata.deltaLink"] = path + "deltatoken=" + self.remember((round_.collection, round_.until, round_.select))
        body["value"] = value
        return Answer(200, body)

    def link_base(self, request, route):
        base = self.take("foreign_link", route) or "http://" + request.host
        if self.take("link_case", route):
            base = base.upper()
        return base, "%24" if self.take("link_encoded", route) else "$"

    def remember(self, position, looping=False):
        if looping:  # the very same link each time, as a confused server gives
            for token, known in self.positions.items():
                if known == position:
                    return token
        token = secrets.token_urlsafe(24)
        self.positions[token] = position
        return token

    def entries(self, round_, object_id, route):
        collection = self.collections[round_.collection]
        entry = collection.current(object_id)
        if entry is None:
            return []
        if "@removed" not in entry:
            shown = {p: entry[p] for p in (*round_.select, "@odata.type") if p in entry}
            if self.take("minimal", route) and round_.start is not None:
                changed = collection.changed_properties(object_id, round_.start) | {"id"}
                shown = {p: v for p, v in shown.items() if p in changed}
            if self.take("absent_as_null", route):
                shown = {p: shown.get(p) for p in round_.select}
            shown = self.replaced(shown, route)
            entry = dict(shown, id=entry["id"])
        earlier = []
        if self.take("repeat_states", route):
            for old in collection.history(object_id, round_.until)[:-1]:
                earlier.append(old if "@removed" in old else {p: old[p] for p in ["id", *round_.select] if p in old})
        return [self.identity(e, route) for e in earlier + [entry]]

    def replaced(self, shown, route):
        if self.take("null_properties", route):
            return dict.fromkeys(shown)
        date, words = self.take("dates", route), self.take("new_words", route)
        if date:
            shown = {p: date if p.endswith("DateTime") else v for p, v in shown.items()}
        if words:
            shown = {p: "unknownFutureValue" if p.endswith("State") else v for p, v in shown.items()}
        return shown

    def identity(self, entry, route):
        form, upper = self.take("id_form", route), self.take("upn_upper", route)
        entry = dict(entry)
        for name in ("id", "deviceId", "azureADDeviceId"):
            if form and entry.get(name):
                entry[name] = "{%s}" % entry[name].upper() if form == "braces" else entry[name].upper()
        if upper and entry.get("userPrincipalName"):
            entry["userPrincipalName"] = entry["userPrincipalName"].upper()
        return entry

    # ---- JSON ----
    def distort(self, answer, route):
        padding, kind = self.take("padding", route), self.take("json", route)
        page = json.loads(answer.body)
        if padding:
            page = {"padding": "x" * padding, **page}
            answer.body = json.dumps(page).encode()
        if kind is not None:
            getattr(self, "json_" + kind)(answer, page)

    def json_unknown_members(self, answer, page):
        page["@odata.somethingNew"] = {"value": [{"id": "no object", "accountEnabled": False}], "@removed": {"reason": "deleted"}}
        for entry in page["value"]:
            entry.setdefault("@odata.type", "#microsoft.graph.novelty")
            entry.update({"extension_1": [1, {"id": None}], "removed": True})
        page["value"] = [dict(reversed(list(e.items()))) for e in page["value"]]
        answer.body = json.dumps(dict(reversed(list(page.items())))).encode()

    def json_null_members(self, answer, page):
        for entry in page["value"]:
            entry.update({"displayName": None, "mail": None})
        answer.body = json.dumps(dict(page, **{"@odata.count": None})).encode()

    def json_escapes(self, answer, page):
        answer.body = escaped(page).encode()

    def json_surrogates(self, answer, page):
        for entry in page["value"]:
            entry["displayName"] = "laptop \U0001f4bb of Zo\u00eb"
        answer.body = json.dumps(page).encode()

    def json_lone_surrogate(self, answer, page):
        for entry in page["value"]:
            entry["displayName"] = "LONE"
        answer.body = json.dumps(page).replace("LONE", "half \\ud83d only").encode()

    def json_bom(self, answer, page):
        answer.body = b"\xef\xbb\xbf" + answer.body

    def json_huge_numbers(self, answer, page):
        answer.body = b'{"count": 123456789012345678901234567890, "share": 1e400, ' + answer.body[1:]

    def json_deep(self, answer, page):
        answer.body = b'{"deep": ' + b"[" * 100000 + b"]" * 100000 + b", " + answer.body[1:]

    def json_duplicate_keys(self, answer, page):
        answer.body = b'{"value": [], "value": [{"id": "x"}], ' + answer.body[1:]

    def json_empty_body(self, answer, page):
        answer.body = b""

    def json_html(self, answer, page):
        answer.body, answer.headers["Content-Type"] = b"<!doctype html><html><body>Sign in</body></html>", "text/html"

    def json_not_object(self, answer, page):
        answer.body = json.dumps(page["value"]).encode()

    def json_no_value(self, answer, page):
        del page["value"]
        answer.body = json.dumps(page).encode()

    def json_no_links(self, answer, page):
        answer.body = json.dumps({"value": page["value"]}).encode()

    def json_both_links(self, answer, page):
        link = page.get("@odata.nextLink") or page.get("@odata.deltaLink")
        page.update({"@odata.nextLink": link, "@odata.deltaLink": link})
        answer.body = json.dumps(page).encode()

    def json_wrong_types(self, answer, page):
        for entry in page["value"]:
            entry.update({"accountEnabled": "false", "userPrincipalName": 7, "deviceId": ["x"], "complianceState": True,
                          "certificateSerialNumber": 7})
        answer.body = json.dumps(dict(page, value=page["value"] + [7, None, "text", {"id": 12}])).encode()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--port", type=int, default=8090, help="0 takes a free one")
    parser.add_argument("--switches", action="store_true", help="list the misbehaviour switches")
    args = parser.parse_args()
    if args.switches:
        for name, text in sorted(Graph.SWITCHES.items()):
            print("%-18s %s" % (name, text))
        return
    graph = Graph(args.port)
    print("listening on %s" % graph.url, flush=True)
    print("tenant %s, client %s, secret %s" % (TENANT, CLIENT_ID, CLIENT_SECRET), flush=True)
    try:
        graph.server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
