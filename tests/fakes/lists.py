"""Intune's further lists of certificates behind the Graph fake: those of single profiles, and the exported report."""

import io
import json
import secrets
import zipfile

from web import Answer

CONFIGURATIONS = "deviceManagement/deviceConfigurations"
JOBS = "deviceManagement/reports/exportJobs"
STATES = "managedDeviceCertificateStates"
WIRELESS = "windowsWifiEnterpriseEAPConfiguration"
BELOW_WIRELESS = "/identityCertificateForClientAuthentication/microsoft.graph.windows81SCEPCertificateProfile"
COLUMNS = ("CertificateStatus", "DeviceId", "DeviceName", "EnhancedKeyUsage", "IssuerName", "KeyUsage", "PolicyId", "SerialNumber",
           "SubjectName", "Thumbprint", "UPN", "UserId", "ValidFrom", "ValidTo")

SWITCHES = {
    "report_looks": "how often the export is looked at until it is completed (1)",
    "report_status": "what its status is in place of completed",
    "report_form": "'list' | 'value': the form of the report in place of {\"values\": …}",
    "report_numbers": "CertificateStatus is a number, and its name is in the column of names",
    "report_url": "where the report is, in place of its address",
    "report_zip": "'stored' | 'truncated' | 'wrong' | 'bomb' | 'csv' | 'encrypted' | 'text': the archive",
}


def route(parts):
    """`parts` of the path. None: it is not one of these."""
    path = "/".join(parts[1:])
    if parts[0] == "blob":
        return "report.blob"
    if parts[0] == "beta" and path == CONFIGURATIONS:
        return "deviceConfigurations.list"
    if parts[0] == "beta" and path.startswith(CONFIGURATIONS + "/") and parts[-1] == STATES:
        return "profileStates.list"
    if parts[0] in ("v1.0", "beta") and path.startswith(JOBS):
        return "report.make" if path == JOBS else "report.look"
    return None


def profile_of(fake, request):
    """The profile whose list this is; None where Graph has no such path."""
    parts = request.path.strip("/").split("/")
    profile = fake.collections["deviceConfigurations"].objects.get(parts[3])
    if profile is None:
        return None
    kind = profile["@odata.type"].split(".")[-1]
    if kind != WIRELESS and not kind.lower().endswith("certificateprofile"):
        return None
    below = "microsoft.graph." + kind + (BELOW_WIRELESS if kind == WIRELESS else "")
    return profile["id"] if "/".join(parts[4:-1]) == below else None


class Reports:
    """A part of the fake; its methods run with the fake's lock held."""

    def __init__(self):
        self.jobs = {}  # id -> {looks, select, sig}

    def answer(self, fake, request, route):
        return self.make(fake, request) if route == "report.make" else self.look(fake, request)

    def make(self, fake, request):
        body = json.loads(request.body)
        if request.method != "POST" or request.headers.get("content-type") != "application/json":
            fake.violation(request, "an export is asked for by POST in JSON")
        if body.get("reportName") != "AllDeviceCertificates" or not set(body.get("select", COLUMNS)) <= set(COLUMNS):
            return Answer(400, fake.error("BadRequest", "no such report, or column"))
        job = "AllDeviceCertificates_" + secrets.token_hex(8)
        self.jobs[job] = {"looks": 0, "select": body.get("select", COLUMNS), "names": "localizationType" in body, "sig": secrets.token_hex(8)}
        return Answer(201, self.told(fake, request, job, "notStarted"))

    def look(self, fake, request):
        job = request.path.split("('")[-1].rstrip("')")
        if job not in self.jobs:
            return Answer(404, fake.error("ResourceNotFound", "no such export"))
        self.jobs[job]["looks"] += 1
        done = self.jobs[job]["looks"] >= (fake.take("report_looks", "report.look") or 1)
        return Answer(200, self.told(fake, request, job, (fake.take("report_status", "report.look") or "completed") if done else "inProgress"))

    def told(self, fake, request, job, status):
        url = None
        if status.startswith("complete"):
            url = fake.take("report_url", "report.look") or "http://%s/blob/%s.zip?sv=2019&sig=%s" % (request.host, job, self.jobs[job]["sig"])
        return {"id": job, "reportName": "AllDeviceCertificates", "filter": None, "select": self.jobs[job]["select"], "format": "json",
                "snapshotId": None, "status": status, "requestDateTime": "2026-01-05T10:00:00Z", "expirationDateTime": "0001-01-01T00:00:00Z",
                "url": url}

    def blob(self, fake, request):
        """Like Azure's storage: who has the signature may read, and a token is a stranger's."""
        if "authorization" in request.headers:
            fake.violation(request, "Authorization was sent to the report's address")
        job = self.jobs.get(request.path[len("/blob/"):-len(".zip")])
        if job is None or request.query.get("sig") != job["sig"]:
            return Answer(403, body=b"<Error><Code>AuthenticationFailed</Code></Error>", headers={"Content-Type": "application/xml"})
        return Answer(200, body=self.archive(fake, self.report(fake, job)), headers={"Content-Type": "application/zip"})

    def report(self, fake, job):
        rows, form = [], fake.take("report_form", "report.blob")
        numbers = fake.take("report_numbers", "report.blob")
        for row in fake.collections["reportRows"].objects.values():
            shown = {c: row.get(c, "") for c in job["select"]}
            if job["names"] and "CertificateStatus" in shown:
                shown["CertificateStatus_loc"] = shown["CertificateStatus"]
                shown["CertificateStatus"] = "7" if numbers else shown["CertificateStatus"]
            rows.append(shown)
        return json.dumps(rows if form == "list" else {"value" if form == "value" else "values": rows}).encode()

    def archive(self, fake, text):
        kind = fake.take("report_zip", "report.blob")
        if kind == "text":
            return text
        if kind == "bomb":
            text = b"[" + b" " * (128 << 20) + b"]"
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED if kind == "stored" else zipfile.ZIP_DEFLATED) as z:
            z.writestr("AllDeviceCertificates.csv" if kind == "csv" else "AllDeviceCertificates_1.json", text)
        octets = bytearray(packed.getvalue())
        if kind == "truncated":
            del octets[len(octets) // 2:]
        elif kind == "wrong":
            octets[octets.index(b".json") + 8] ^= 0x55
        elif kind == "encrypted":
            octets[octets.index(b"PK\x01\x02") + 8] |= 1
        return bytes(octets)
