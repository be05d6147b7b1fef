"""The fakes by themselves, driven by a plain client: what the end-to-end tests rely on."""

import gzip
import http.client
import json
import pathlib
import re
import sys
import threading
import time
import urllib.parse
from email.utils import parsedate_to_datetime

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import jamf as fake_jamf
from graph import CLIENT_ID, CLIENT_SECRET, TENANT, Graph

SELECT = "$select=id,deviceId,accountEnabled"


class Client:
    def __init__(self, graph):
        self.graph = graph
        self.token = None

    def raw(self, method, url, body=None, headers=None):
        parts = urllib.parse.urlsplit(url)
        connection = http.client.HTTPConnection("127.0.0.1", self.graph.port, timeout=10)
        try:
            connection.request(method, parts.path + ("?" + parts.query if parts.query else ""), body, headers or {})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def login(self, **changes):
        form = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "grant_type": "client_credentials",
                "scope": "https://graph.microsoft.com/.default", **changes}
        status, _, body = self.raw("POST", "/%s/oauth2/v2.0/token" % TENANT, urllib.parse.urlencode(form),
                                   {"Content-Type": "application/x-www-form-urlencoded"})
        answer = json.loads(body)
        self.token = answer.get("access_token")
        return status, answer

    def get(self, url, **headers):
        return self.raw("GET", url, None, {"Authorization": "Bearer %s" % self.token, "client-request-id": "1", **headers})

    def page(self, url):
        status, _, body = self.get(url)
        assert status == 200, body
        return json.loads(body)

    def round(self, url="/v1.0/devices/delta?" + SELECT):
        """All entries of a round, its pages' sizes, and the deltaLink."""
        entries, sizes = [], []
        while True:
            page = self.page(url)
            entries += page["value"]
            sizes.append(len(page["value"]))
            assert ("@odata.nextLink" in page) != ("@odata.deltaLink" in page)
            if "@odata.deltaLink" in page:
                return entries, sizes, page["@odata.deltaLink"]
            url = page["@odata.nextLink"]


@pytest.fixture
def graph():
    fake = Graph().start()
    yield fake
    fake.stop()


@pytest.fixture
def client(graph):
    c = Client(graph)
    c.login()
    return c


def test_token_needs_the_right_secret_scope_and_tenant(graph):
    c = Client(graph)
    assert c.login()[0] == 200
    assert c.login(client_secret="wrong") [1]["error"] == "invalid_client"
    assert c.login(scope="https://vault.azure.net/.default")[1]["error"] == "invalid_scope"
    assert c.login(client_id="other")[1]["error"] == "unauthorized_client"


def test_a_call_without_a_token_is_refused_and_held_against_the_client(graph):
    status, _, _ = Client(graph).raw("GET", "/v1.0/devices/delta")
    assert status == 401 and any("no Authorization" in v for v in graph.violations())


def test_a_secret_in_a_url_is_a_violation_and_not_in_the_recording(graph, client):
    client.get("/v1.0/devices?access_token=" + client.token)
    assert any("secret is in the URL" in v for v in graph.violations())
    recorded = json.dumps([[r["headers"], r["form"]] for r in graph.requests()])
    assert client.token not in recorded and CLIENT_SECRET not in recorded


def test_delta_gives_everything_then_only_changes(graph, client):
    ids = graph.bulk("devices", 7)
    graph.switch("page_size", 3)
    entries, sizes, link = client.round()
    assert [e["id"] for e in entries] == ids and sizes == [3, 3, 1]
    assert client.round(link)[0] == []
    graph.update("devices", ids[2], accountEnabled=False)
    graph.delete("devices", ids[0])
    graph.delete("devices", ids[1], reason="changed")
    entries, _, link = client.round(link)
    assert entries[0] == {"id": ids[2], "deviceId": entries[0]["deviceId"], "accountEnabled": False}
    assert [e["@removed"]["reason"] for e in entries[1:]] == ["deleted", "changed"]
    graph.restore("devices", ids[1])
    assert [e["id"] for e in client.round(link)[0]] == [ids[1]]


def test_properties_come_only_with_select(graph, client):
    graph.add("users", "ada@contoso.example")
    assert "accountEnabled" not in client.round("/v1.0/users/delta")[0][0]
    assert client.round("/v1.0/users/delta?$select=id,accountEnabled")[0][0].keys() == {"id", "accountEnabled"}


def test_a_page_may_be_asked_for_again(graph, client):
    graph.bulk("devices", 5)
    graph.switch("page_size", 2)
    link = client.page("/v1.0/devices/delta?" + SELECT)["@odata.nextLink"]
    assert client.page(link)["value"] == client.page(link)["value"]


def test_plain_listing_has_no_delta_link(graph, client):
    graph.bulk("devices", 3)
    graph.switch("page_size", 2)
    page = client.page("/v1.0/devices")
    last = client.page(page["@odata.nextLink"])
    assert len(page["value"]) == 2 and "@odata.deltaLink" not in last and "@odata.nextLink" not in last


@pytest.mark.parametrize("switch, value, sizes", [
    ("empty_pages", True, [0, 2, 0, 1]),
    ("delta_link_alone", True, [2, 1, 0]),
    ("repeat_item", True, [2, 2]),
])
def test_page_shapes(graph, client, switch, value, sizes):
    ids = graph.bulk("devices", 3)
    graph.switch("page_size", 2)
    graph.switch(switch, value)
    entries, got, _ = client.round()
    assert got == sizes and {e["id"] for e in entries} == set(ids)


def test_link_forms(graph, client):
    graph.bulk("devices", 3)
    graph.switch("page_size", [1, 2])
    graph.switch("link_case")
    graph.switch("link_encoded")
    link = client.page("/v1.0/devices/delta?" + SELECT)["@odata.nextLink"]
    assert link.startswith("HTTP://") and "?%24skiptoken=" in link
    assert len(client.page(link)["value"]) == 2
    graph.switch("foreign_link", "http://example.invalid")
    assert client.page("/v1.0/devices/delta")["@odata.nextLink"].startswith("HTTP://EXAMPLE.INVALID/")


def test_a_loop_gives_the_same_link_each_time(graph, client):
    graph.bulk("devices", 3)
    graph.switch("page_size", 1)
    graph.switch("loop")
    link = client.page("/v1.0/devices/delta")["@odata.nextLink"]
    assert client.page(link)["@odata.nextLink"] == link


def test_distorted_deltas(graph, client):
    ids = graph.bulk("devices", 4)
    graph.delete("devices", ids[3])
    graph.switch("removed_first")
    entries, _, link = client.round()
    assert entries[0] == {"id": ids[3], "@removed": {"reason": "deleted"}}
    graph.update("devices", ids[0], accountEnabled=False)
    graph.update("devices", ids[0], accountEnabled=True)
    graph.switch("repeat_states")
    assert [e["accountEnabled"] for e in client.round(link)[0]] == [True, False, True]
    graph.clear()
    graph.switch("minimal")
    assert client.round(link)[0] == [{"id": ids[0], "accountEnabled": True}]
    graph.switch("replay", 3)
    assert [e["id"] for e in client.round(link)[0]] == [ids[2], ids[3], ids[0]]
    graph.clear()
    graph.add("devices", "nameless", deviceId=None)
    graph.switch("absent_as_null")
    assert client.round(link)[0][-1]["deviceId"] is None
    graph.switch("empty_list")
    assert client.round()[0] == []


def test_lag_shows_a_change_one_round_late(graph, client):
    graph.add("devices", "a")
    link = client.round()[2]
    graph.switch("lag", 1)
    graph.add("devices", "b")
    entries, _, link = client.round(link)
    assert entries == []
    assert len(client.round(link)[0]) == 1


def test_forget_leaves_no_trace(graph, client):
    gone, kept = graph.bulk("devices", 2)
    link = client.round()[2]
    graph.forget("devices", gone)
    assert client.round(link)[0] == [] and [e["id"] for e in client.round()[0]] == [kept]


@pytest.mark.parametrize("value, status, code", [
    ({"status": 410, "location": True}, 410, "resyncRequired"),
    ({"status": 400, "code": "syncStateNotFound"}, 400, "syncStateNotFound"),
])
def test_gone(graph, client, value, status, code):
    link = client.round()[2]
    graph.switch("gone", value, times=1)
    got, headers, body = client.get(link)
    assert got == status and json.loads(body)["error"]["code"] == code and ("Location" in headers) == ("location" in value)
    assert client.round(link)[0] == []


def test_failures_carry_retry_after_in_every_form(graph, client):
    for after in ("2", "0", "86400", "date+60", "date-60", None):
        graph.switch("fail", {"status": 429, "retry_after": after}, times=1)
        status, headers, _ = client.get("/v1.0/devices/delta")
        assert status == 429
        if after is None:
            assert "Retry-After" not in headers
        elif after.startswith("date"):
            assert parsedate_to_datetime(headers["Retry-After"]).timestamp() - time.time() == pytest.approx(float(after[4:]), abs=3)
        else:
            assert headers["Retry-After"] == after
        assert client.get("/v1.0/devices/delta")[0] == 200
    graph.switch("fail", {"status": 503, "html": True}, on="devices", after=1, times=1)
    assert [client.get("/v1.0/%s/delta" % c)[0] for c in ("users", "devices", "devices", "devices")] == [200, 200, 503, 200]


def test_tokens_end(graph, client):
    graph.switch("token_uses", 2)
    graph.switch("expires_in_string")
    assert client.login()[1]["expires_in"] == "3599"
    assert [client.get("/v1.0/devices/delta")[0] for _ in range(3)] == [200, 200, 401]
    graph.clear()
    client.login()
    graph.revoke_tokens()
    assert client.get("/v1.0/devices/delta")[0] == 401


def test_broken_transport(graph, client):
    graph.bulk("devices", 20)
    url = "/v1.0/devices/delta?" + SELECT
    whole = client.page(url)["value"]
    graph.switch("truncate", "short", times=1)
    with pytest.raises(json.JSONDecodeError):
        json.loads(client.get(url)[2])
    graph.switch("truncate", "wrong", times=1)
    with pytest.raises(http.client.IncompleteRead):
        client.get(url)
    graph.switch("reset", 100, times=1)
    with pytest.raises(OSError):
        client.get(url)
    graph.switch("chunked", 7, times=1)
    status, headers, body = client.get(url)
    assert headers["Transfer-Encoding"] == "chunked" and json.loads(body)["value"] == whole
    graph.switch("gzip", "asked", times=2)
    assert "Content-Encoding" not in client.get(url)[1]
    assert json.loads(gzip.decompress(client.get(url, **{"Accept-Encoding": "gzip"})[2]))["value"] == whole
    graph.switch("redirect", "http://example.invalid", times=1)
    assert client.get(url)[1]["Location"] == "http://example.invalid" + url
    graph.switch("date_skew", 600, times=1)
    assert parsedate_to_datetime(client.get(url)[1]["Date"]).timestamp() - time.time() == pytest.approx(600, abs=3)
    graph.switch("drip", 0.001, times=1)
    assert client.page(url)["value"] == whole


@pytest.mark.parametrize("kind", ["unknown_members", "null_members", "escapes", "surrogates", "lone_surrogate", "huge_numbers"])
def test_odd_json_still_says_the_same(graph, client, kind):
    new = graph.add("devices", "pc-1")
    graph.switch("json", kind)
    entry = client.page("/v1.0/devices/delta?" + SELECT)["value"][0]
    assert entry["id"] == new["id"] and entry["accountEnabled"] is True


@pytest.mark.parametrize("kind", ["bom", "empty_body", "html"])
def test_no_json(graph, client, kind):
    graph.switch("json", kind)
    status, _, body = client.get("/v1.0/devices/delta")
    assert status == 200
    with pytest.raises(ValueError):
        json.loads(body.decode())


def test_forms_of_names(graph, client):
    new = graph.add("users", "ada@contoso.example")
    graph.switch("id_form", "braces")
    graph.switch("upn_upper")
    entry = client.page("/v1.0/users/delta?$select=id,userPrincipalName")["value"][0]
    assert entry == {"id": "{%s}" % new["id"].upper(), "userPrincipalName": "ADA@CONTOSO.EXAMPLE"}


def test_hold_and_wait_need_no_sleep(graph, client):
    graph.switch("hold", on="devices.delta")
    done = []
    thread = threading.Thread(target=lambda: done.append(client.get("/v1.0/devices/delta")[0]))
    thread.start()
    assert graph.wait(1, on="devices", held=True, timeout=10) == 1 and done == []
    graph.clear("hold")
    thread.join(10)
    assert done == [200]
    assert graph.wait(2, on="devices", timeout=0.01) == 1


def test_control_over_http_tells_mistakes(graph):
    status, _, body = Client(graph).raw("POST", "/_control/switch", json.dumps({"name": "pagesize"}))
    assert status == 400 and "page_size" in json.loads(body)["error"]
    assert Client(graph).raw("POST", "/_control/nothing", "{}")[0] == 404


def test_lists_have_pages_and_no_delta_link(graph, client):
    graph.switch("page_size", 2)
    ids = [graph.add("managedDevices", "m%d" % i)["id"] for i in range(5)]
    url, seen = "/v1.0/deviceManagement/managedDevices?$select=id,managementState&$top=1000", []
    while url:
        page = client.page(url)
        seen += page["value"]
        assert "@odata.deltaLink" not in page
        url = page.get("@odata.nextLink")
    assert [m["id"] for m in seen] == ids and seen[0]["managementState"] == "managed"
    assert client.get("/v1.0/deviceManagement/managedDevices?$top=1001")[0] == 400
    graph.switch("no_management_state")
    assert client.get("/v1.0/deviceManagement/managedDevices?$select=id,managementState")[0] == 400
    assert client.get("/beta/deviceManagement/managedDevices?$select=id,managementState")[0] == 200


def test_risky_users_are_filtered_by_state(graph, client):
    for state in ("atRisk", "remediated", "confirmedCompromised"):
        graph.add("riskyUsers", state, riskState=state)
    page = client.page("/v1.0/identityProtection/riskyUsers?$filter=riskState%20eq%20%27atRisk%27%20or%20riskState%20eq%20%27confirmedCompromised%27")
    assert [u["riskState"] for u in page["value"]] == ["atRisk", "confirmedCompromised"]


# ---- limits, other protocols, other directories ----
def test_a_rate_is_enforced(graph, client):
    graph.switch("rate", {"most": 2, "seconds": 60}, on="users")
    assert [client.get("/v1.0/%s/delta" % c)[0] for c in ("users", "devices", "users", "users")] == [200, 200, 200, 429]
    assert 1 <= int(client.get("/v1.0/users/delta")[1]["Retry-After"]) <= 60
    graph.switch("rate", {"most": 0, "seconds": 60, "quiet": True})
    status, headers, _ = client.get("/v1.0/users/delta")
    assert status == 429 and "Retry-After" not in headers


def test_flaky_answers_come_by_their_seed(graph, client):
    graph.switch("flaky", {"seed": 3, "share": 0.5})
    statuses = [client.get("/v1.0/users/delta")[0] for _ in range(30)]
    assert 5 < statuses.count(200) < 25 and set(statuses) <= {200, 500, 502, 503, 504}


def test_retry_after_goes_by_the_fakes_own_clock(graph, client):
    graph.switch("date_skew", 600)
    graph.switch("fail", {"status": 503, "retry_after": "date+5"})
    _, headers, _ = client.get("/v1.0/users/delta")
    assert (parsedate_to_datetime(headers["Retry-After"]) - parsedate_to_datetime(headers["Date"])).total_seconds() == pytest.approx(5, abs=1)


def test_interim_answers_and_other_protocols(graph, client):
    graph.switch("interim", 100)
    assert client.get("/v1.0/users/delta")[0] == 200
    graph.clear()
    for kind in ("tls_alert", "http2"):
        graph.switch("nonsense", kind, times=1)
        with pytest.raises(http.client.BadStatusLine):
            client.get("/v1.0/users/delta")


def test_more_requests_at_once_than_allowed_are_a_violation(graph):
    graph.MOST_AT_ONCE = 2
    graph.switch("hold")
    threads = [threading.Thread(target=lambda: Client(graph).login()) for _ in range(3)]
    for n, thread in enumerate(threads):
        assert graph.violations() == []
        thread.start()
        graph.wait(n + 1, held=True)
    graph.clear()
    for thread in threads:
        thread.join()
    assert len(graph.violations()) == 1 and "more than 2" in graph.violations()[0]
    Client(graph).login()
    assert len(graph.violations()) == 1


def test_an_advanced_query_needs_its_header(graph, client):
    client.get("/v1.0/users?$count=true", ConsistencyLevel="eventual")
    assert graph.violations() == []
    client.get("/v1.0/users?$count=true")
    assert len(graph.violations()) == 1


def test_strangers_nulls_dates_and_words(graph, client):
    """In the lists only: what is really there stays."""
    phone = graph.add("managedDevices", "phone")
    url = "/v1.0/deviceManagement/managedDevices?$select=id,complianceState,enrolledDateTime"
    graph.switch("strangers", 2, times=1)
    listed = client.page(url)["value"]
    assert len(listed) == 2 and phone["id"] not in [item["id"] for item in listed]
    graph.clear()
    true = {"id": phone["id"], "complianceState": "compliant", "enrolledDateTime": phone["enrolledDateTime"]}
    for switch, value, expected in (("null_properties", True, {"complianceState": None, "enrolledDateTime": None}),
                                    ("dates", "0001-01-01T00:00:00Z", {"enrolledDateTime": "0001-01-01T00:00:00Z"}),
                                    ("new_words", True, {"complianceState": "unknownFutureValue"}), ("lag", 0, {})):
        graph.switch(switch, value)
        assert client.page(url)["value"] == [{**true, **expected}]
        graph.clear()


def test_an_object_vanishes_behind_the_first_page(graph, client):
    ids = graph.bulk("devices", 4)
    graph.switch("page_size", 2)
    graph.switch("vanish", {"collection": "devices", "id": ids[3]}, times=1)
    entries, _, link = client.round()
    assert [e["id"] for e in entries if "@removed" not in e] == ids[:3]
    assert [e["id"] for e in client.round(link)[0] if "@removed" in e] == [ids[3]]


def test_the_table_of_misbehaviours_is_true():
    """README.md names every switch, and only switches and tests that are there."""
    here = pathlib.Path(__file__).resolve().parent
    text = (here / "README.md").read_text()
    for name in {**Graph.SWITCHES, **fake_jamf.Jamf.SWITCHES}:
        assert "`%s`" % name in text, "the switch %s is not in the table" % name
    named = re.findall(r"`(test_\w+)\.py::(test_\w+)`", text)
    assert len(named) > 40
    for file, test in named:
        found = [p for folder in ("e2e", "crash", "fakes") for p in (here.parent / folder).glob(file + ".py")]
        assert found and "def %s(" % test in found[0].read_text(), "%s.py::%s" % (file, test)


# ---- Jamf Pro ----
# ---- Intune ----
LIST = "/beta/deviceManagement/deviceConfigurationsAllManagedDeviceCertificateStates"


class IntuneClient(Client):
    """With a token for each of the two audiences."""

    def __init__(self, graph):
        super().__init__(graph)
        self.login(scope="http://127.0.0.1:%d/intune-api//.default" % graph.port)
        self.api_token = self.token
        self.login()

    def address(self, application="appId=0000000a-0000-0000-c000-000000000000"):
        services = self.page("/v1.0/servicePrincipals/%s/endpoints" % application)["value"]
        return {s["providerName"].lower(): s["uri"] for s in services}["pkiconnectorfeservice"]

    def post(self, action, body, token=None):
        headers = {"Authorization": "Bearer " + (token or self.api_token), "client-request-id": "1", "api-version": "5019-05-05",
                   "UserAgent": "Revline", "Content-Type": "application/json"}
        status, _, answer = self.raw("POST", self.address() + "CertificateAuthorityRequests/" + action, json.dumps(body), headers)
        return json.loads(answer) if status == 200 else status

    def download(self, most=100):
        return [r["requestContext"] for r in
                self.post("downloadRevocationRequests", {"downloadParameters": {"maxRequests": most, "issuerName": None}})["value"]]

    def upload(self, *contexts, code="None"):
        done = code == "None"
        return self.post("uploadRevocationResults", {"results": [
            {"requestContext": c, "succeeded": done, "errorCode": code, "errorMessage": None if done else "why"} for c in contexts]})


def test_certificates_are_listed_in_beta_only(graph, client):
    graph.add("certificateStates", "one", certificateRevokeStatus="pending", certificateSerialNumber="4A")
    entry, = client.page(LIST)["value"]
    assert (entry["certificateRevokeStatus"], entry["certificateSerialNumber"]) == ("pending", "4A")
    assert client.get(LIST.replace("beta", "v1.0"))[0] == 404


def test_requests_come_until_they_have_a_result(graph):
    client = IntuneClient(graph)
    assert client.address() == client.address("appId='0000000a-0000-0000-c000-000000000000'")
    for name in ("a", "b", "c"):
        graph.request_revocation(name, "4A", caConfiguration="ca01")
    assert client.download(2) == ["a", "b"] and client.download() == ["a", "b", "c"]
    assert client.upload("a", "c") == {"value": True} and client.download() == ["b"]
    graph.switch("not_recorded")
    assert client.upload("b") == {"value": False} and client.download() == ["b"]
    graph.clear()
    graph.switch("redeliver")
    assert client.download() == ["a", "b", "c"]
    graph.clear()
    graph.switch("deliver_once")
    assert client.download() == [] and graph.violations() == []
    assert set(graph.revocation_results()) == {"a", "c"}


def test_results_that_are_none_are_violations(graph):
    client = IntuneClient(graph)
    graph.request_revocation("a", "4A")
    client.upload("a")
    client.upload("a", code="ConflictError")
    client.upload("nobody's")
    client.upload("a", code="NoSuchCode")
    assert len(graph.violations()) == 4, graph.violations()  # the last is both no result and another one


def test_intune_wants_a_token_of_its_own_and_moves(graph):
    client = IntuneClient(graph)
    before = client.address()
    graph.move_services()
    assert client.raw("POST", before + "CertificateAuthorityRequests/downloadRevocationRequests", "{}", {
        "Authorization": "Bearer " + client.api_token, "client-request-id": "1", "api-version": "5019-05-05", "UserAgent": "Revline",
        "Content-Type": "application/json"})[0] == 404
    assert client.download() == [] and graph.violations() == []
    assert client.post("downloadRevocationRequests", {}, token=client.token) == 401
    assert any("another service" in v for v in graph.violations())


def test_an_answer_that_is_held_has_had_its_effect(graph):
    client, done = IntuneClient(graph), []
    graph.request_revocation("a", "4A")
    graph.switch("hold_answer", on="intune.upload")
    thread = threading.Thread(target=lambda: done.append(client.upload("a")))
    thread.start()
    assert graph.wait(1, on="intune.upload", held=True, timeout=10) == 1
    assert list(graph.revocation_results()) == ["a"] and done == []
    graph.clear()
    thread.join(10)
    assert done == [{"value": True}]


@pytest.fixture
def jamf():
    fake = fake_jamf.Jamf().start()
    yield fake
    fake.stop()


def jamf_get(jamf, path, token):
    return Client(jamf).raw("GET", path, None, {"Authorization": "Bearer " + token, "Accept": "application/json"})


def jamf_login(jamf):
    form = {"grant_type": "client_credentials", "client_id": fake_jamf.CLIENT_ID, "client_secret": fake_jamf.CLIENT_SECRET}
    status, _, body = Client(jamf).raw("POST", "/api/oauth/token", urllib.parse.urlencode(form), {"Content-Type": "application/x-www-form-urlencoded"})
    assert status == 200
    return json.loads(body)["access_token"]


def test_jamf_pages_and_numbers(jamf):
    for i in range(5):
        jamf.add("computers", "mac-%d" % i)
    jamf.delete("computers", 2)
    token = jamf_login(jamf)
    pages = [json.loads(jamf_get(jamf, "/api/v1/computers-inventory?page=%d&page-size=3&sort=id:asc" % n, token)[2]) for n in range(3)]
    assert [[item["id"] for item in page["results"]] for page in pages] == [["1", "3", "4"], ["5"], []]
    assert {page["totalCount"] for page in pages} == {4} and jamf.violations() == []
    assert jamf_get(jamf, "/api/v1/computers-inventory/3", token)[0] == 200
    status, _, body = jamf_get(jamf, "/api/v1/computers-inventory/2", token)
    assert status == 404 and json.loads(body)["httpStatus"] == 404
    assert jamf.add("computers", "new")["id"] == 6, "no number is given twice"


def test_jamf_users_are_classic(jamf):
    jamf.add("users", "ada")
    token = jamf_login(jamf)
    assert json.loads(jamf_get(jamf, "/JSSResource/users", token)[2]) == {"users": [{"id": 1, "name": "ada"}]}
    status, headers, body = jamf_get(jamf, "/JSSResource/users/id/7", token)
    assert status == 404 and headers["Content-Type"] == "text/html" and b"Not Found" in body
    jamf.revoke_tokens()
    assert jamf_get(jamf, "/JSSResource/users", token)[0] == 401
    assert jamf_get(jamf, "/JSSResource/users", "never given")[0] == 401 and len(jamf.violations()) == 1
