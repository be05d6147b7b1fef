"""Intune's own services behind the Graph fake: where they are, and requests to a CA to revoke certificates."""

import json

from web import Answer

APPLICATION = "0000000a-0000-0000-c000-000000000000"
API = "/intune-api"  # path of the API that tokens are asked for; its services are elsewhere
CODES = {"None": 0, "NonRetryableServiceException": 4000, "DataSerializationError": 4001, "ParameterDataInvalidError": 4002,
         "CryptographyError": 4003, "CertificateNotFoundError": 4004, "ConflictError": 4005, "NotSupportedError": 4006,
         "PayloadTooLargeError": 4007, "RetryableServiceException": 4100, "ServiceUnavailableException": 4101,
         "ServiceTooBusyException": 4102, "AuthenticationException": 4103}
VERSION = "5019-05-05"
MOST = 500

SCEP_VERSION = "2018-02-20"
SCEP_REQUIRED = {"validateRequest": ("transactionId", "certificateRequest", "callerInfo"),
                 "successNotification": ("transactionId", "certificateRequest", "certificateThumbprint", "certificateSerialNumber",
                                         "certificateExpirationDateUtc", "issuingCertificateAuthority", "callerInfo"),
                 "failureNotification": ("transactionId", "certificateRequest", "hResult", "errorDescription", "callerInfo")}

SWITCHES = {
    "scep_code": "code that the SCEP actions answer instead of Success; with `on` one of them: intune.scep.validateRequest, …",
    "scep_answer": "{status, body}: what they answer instead, whatever it is",
    "services": "entries that Graph's list of Intune's services has instead",
    "redeliver": "requests are delivered though their results are recorded",
    "deliver_once": "a request is delivered by one download only",
    "not_recorded": "an upload is answered by {\"value\": false}, and nothing of it is recorded",
}


def route(parts, path):
    """`parts` of the path behind the version. None: it is not one of these."""
    if path.endswith("/endpoints") and "servicePrincipals" in path:
        return "intune.services"
    if parts[:1] == ["intune"]:
        if parts[-2:-1] == ["ScepActions"]:
            return "intune.scep." + parts[-1]
        return {"downloadRevocationRequests": "intune.download", "uploadRevocationResults": "intune.upload"}.get(parts[-1], "intune.unknown")
    return None


class Intune:
    """A part of the fake; its methods run with the fake's lock held."""

    def __init__(self):
        self.place = 1  # where the services are: they move
        self.requests = {}  # context -> request
        self.delivered = []  # contexts, as often as they were
        self.results = {}  # context -> results, as often as they were recorded
        self.scep = []  # (action, what was said), in order

    def address(self, request, name):
        return "http://%s/intune/%d/RACerts/%s" % (request.host, self.place, name)

    def answer(self, fake, request, route):
        if route == "intune.services":
            return self.services(fake, request)
        scep = route.startswith("intune.scep.")
        for name, value in (("api-version", SCEP_VERSION if scep else VERSION), ("content-type", "application/json")):
            if request.headers.get(name) != value:
                fake.violation(request, "%s is %r" % (name, request.headers.get(name)))
        if "Revline" not in request.headers.get("useragent", ""):
            fake.violation(request, "no UserAgent")
        if request.method != "POST" or route == "intune.unknown":
            fake.violation(request, "no such action")
            return Answer(404, fake.error("NotFound", "no such action"))
        if request.path.split("/")[2] != str(self.place):
            return Answer(404, body=b"", headers={"Content-Type": "text/html"})
        body = json.loads(request.body)
        if scep:
            return self.scep_action(fake, request, route, body)
        return self.download(fake, body) if route == "intune.download" else self.upload(fake, request, body)

    def scep_action(self, fake, request, route, body):
        action = route.split(".")[-1]
        inner = body["request" if action == "validateRequest" else "notification"]
        if action not in SCEP_REQUIRED or any(inner.get(name) in (None, "") for name in SCEP_REQUIRED[action]):
            fake.violation(request, "%s lacks something: %r" % (action, inner))
        if len(inner.get("errorDescription", "")) > 255:
            fake.violation(request, "errorDescription is too long")
        answer = fake.take("scep_answer", route)
        if answer is not None:
            return Answer(answer["status"], body=answer.get("body", "").encode(), headers={"Content-Type": "application/json"})
        code = fake.take("scep_code", route) or "Success"
        self.scep.append((action, inner, code))
        return Answer(200, {"code": code, "errorDescription": "" if code == "Success" else "no"})

    def services(self, fake, request):
        if APPLICATION not in request.path:
            return Answer(404, fake.error("Request_ResourceNotFound", "no such application"))
        entries = fake.take("services", "intune.services")
        if entries is None:
            names = {"FooService": "FooService", "PKIConnectorFEService": "StatelessPkiConnectorService/",
                     "ScepRequestValidationFEService": "StatelessScepRequestValidationService"}
            entries = [{"id": "aaaa", "capability": name, "providerName": name, "providerId": None, "uri": self.address(request, place)}
                       for name, place in names.items()]
        return Answer(200, {"value": entries})

    def download(self, fake, body):
        wanted = body["downloadParameters"]
        assert set(wanted) == {"maxRequests", "issuerName"} and 1 <= wanted["maxRequests"] <= MOST, wanted
        redeliver, once = fake.take("redeliver", "intune.download"), fake.take("deliver_once", "intune.download")
        value = [r for context, r in self.requests.items() if (redeliver or context not in self.results)
                 and not (once and context in self.delivered)
                 and wanted["issuerName"] in (None, r.get("issuerName"))][:wanted["maxRequests"]]
        self.delivered += [r["requestContext"] for r in value if r.get("requestContext")]
        return Answer(200, {"@odata.context": "https://manage.microsoft.com/$metadata#Collection(caRevocationRequest)", "value": value})

    def upload(self, fake, request, body):
        if fake.take("not_recorded", "intune.upload"):
            return Answer(200, {"value": False})
        for result in body["results"]:
            code, context = result["errorCode"], result["requestContext"]
            final = code in CODES and (result["succeeded"] is True) == (code == "None") == (not result["errorMessage"])
            if not final or context not in self.requests:
                fake.violation(request, "no result: %r" % result)
            earlier = self.results.setdefault(context, [])
            if earlier and earlier[0] != result:
                fake.violation(request, "another result than before: %r" % result)
            earlier.append(result)
        return Answer(200, {"value": True})
