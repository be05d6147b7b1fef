"""The change notifications of the Graph fake: subscriptions, the handshake before one is made, and delivery."""

import datetime
import http.client
import json
import secrets
import urllib.parse

from web import Answer

MOST_MINUTES = 41760  # of users
TOKEN = "Validation: Testing client application reachability for subscription Request-Id: a+b %41 é"


def post(deliver_to, url, query, body, headers):
    """To the path of `url` at the server under test; its public name leads nowhere here."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(deliver_to).netloc, timeout=10)
    try:
        connection.request("POST", parts.path + ("?" + query if query else ""), body, headers)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type", ""), answer.read()
    finally:
        connection.close()


class Notifier:
    """A part of the fake; its methods run with the fake's lock held, but for what talks to the server under test."""

    def __init__(self):
        self.subscriptions = {}

    def answer(self, fake, request):
        parts = request.path.strip("/").split("/")
        if request.method == "POST" and len(parts) == 2:
            return self.create(fake, json.loads(request.body))
        known = len(parts) == 3 and parts[2] in self.subscriptions
        if not known:
            return Answer(404, fake.error("ResourceNotFound", "the object was not found"))
        if request.method == "DELETE":
            del self.subscriptions[parts[2]]
            return Answer(204, body=b"")
        if request.method == "PATCH":
            self.subscriptions[parts[2]]["expirationDateTime"] = self.expiry(fake, json.loads(request.body))
            return Answer(200, self.subscriptions[parts[2]])
        return Answer(405, fake.error("BadRequest", "method not allowed"))

    @staticmethod
    def expiry(fake, body):
        until = datetime.datetime.fromisoformat(body["expirationDateTime"].replace("Z", "+00:00"))
        now = datetime.datetime.now(datetime.timezone.utc)
        assert datetime.timedelta(0) < until - now <= datetime.timedelta(minutes=MOST_MINUTES), until
        life = fake.take("granted_life", "subscriptions")
        return body["expirationDateTime"] if life is None else (now + datetime.timedelta(seconds=life)).strftime("%Y-%m-%dT%H:%M:%S.%f0Z")

    def create(self, fake, body):
        deliver_to = fake.take("deliver_to", "subscriptions")
        urls = {body["notificationUrl"], body.get("lifecycleNotificationUrl")} - {None}
        if deliver_to is None or any(not url.startswith("https://") for url in urls) or len(body["clientState"]) > 128:
            return Answer(400, fake.error("InvalidRequest", "the notification URL cannot be reached by HTTPS"))
        until = self.expiry(fake, body)
        for url in urls:
            status, kind, text = post(deliver_to, url, "validationToken=" + urllib.parse.quote_plus(TOKEN), b"",
                                      {"Content-Type": "text/plain; charset=utf-8"})
            if status != 200 or not kind.startswith("text/plain") or text.decode() != TOKEN:
                return Answer(400, fake.error("ValidationError", "the handshake failed: %d %s %r" % (status, kind, text)))
        subscription = {"id": "7f105c7d-" + secrets.token_hex(8), "applicationId": "x", **body, "expirationDateTime": until}
        self.subscriptions[subscription["id"]] = subscription
        return Answer(201, {k: v for k, v in subscription.items() if k != "clientState"})

    def send(self, deliver_to, items):
        """One POST for each subscription; the status codes."""
        statuses = []
        for subscription in list(self.subscriptions.values()):
            value = [{"subscriptionId": subscription["id"], "subscriptionExpirationDateTime": subscription["expirationDateTime"],
                      "clientState": subscription["clientState"], "tenantId": "84bd8158", **item} for item in items]
            statuses.append(post(deliver_to, subscription["notificationUrl"], "", json.dumps({"value": value}).encode(),
                                 {"Content-Type": "application/json"})[0])
        return statuses
