"""A fleet under every source, a seeded history of what happens to it upstream, and what two databases must have in common
after it. Each thing changes at most once in a step, so what a server sees of a step does not depend on when it looks."""

import hashlib
import pathlib
import random

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from foreign_ca import ForeignCA
from harness import DER, graph_settings, jamf_settings

SETTINGS = {"REVLINE_SYNC_INTUNE_INTERVAL": "100ms", "REVLINE_SYNC_USER_RISK_INTERVAL": "100ms", "REVLINE_SYNC_CRL_INTERVAL": "100ms",
            "REVLINE_SYNC_ENDPOINT_LIST_INTERVAL": "100ms", "REVLINE_DEVICE_DIRECTORY": "AADAndIntuneAndEndpointlist",
            "REVLINE_COMPLIANCE_CHECK": "always", "REVLINE_USER_RISK_CHECK": "always", "REVLINE_SYNC_MASS_LIMIT": "5",
            "REVLINE_SYNC_JITTER": "50%", "REVLINE_LOG_LEVEL": "info"}
DEVICES, USERS, PHONES, JAMF, LISTED = 14, 8, 6, 5, 6
FOREIGN, FOREIGN_UNSEEN = 4, 1500  # more than one transaction takes
MASS = 8


class Scenario:
    def __init__(self, seed, graph, jamf, files, folder):
        self.rng = random.Random(seed)
        self.graph, self.jamf, self.files, self.folder = graph, jamf, files, pathlib.Path(folder)
        graph.switch("page_size", 3)
        jamf.MOST_AT_ONCE = 10  # of two servers
        jamf.switch("page_cap", 3)
        self.touched, self.crl_number, self.crl_entries = set(), 0, {}

    # ---- the fleet ----
    def settings(self):
        url = self.files.url + "/foreign.crl"
        return {**graph_settings(self.graph), **jamf_settings(self.jamf), **SETTINGS, "REVLINE_SYNC_CRL_URLS": url}

    def prepare(self, server):
        """Objects, certificates and another CA; the server has seen all of it, and is stopped."""
        graph, jamf = self.graph, self.jamf
        self.devices = [graph.add("devices", "pc%02d" % i) for i in range(DEVICES)]
        self.users = [graph.add("users", "user%d" % i) for i in range(USERS)]
        self.managed = [graph.add("managedDevices", "pc%02d" % i, azureADDeviceId=d["deviceId"]) for i, d in enumerate(self.devices)]
        self.phones = [graph.add("managedDevices", "phone%d" % i) for i in range(PHONES)]
        self.in_jamf = {name: [jamf.add(name, "%s-%d" % (name, i)) for i in range(JAMF)] for name in ("computers", "devices", "users")}
        self.at_risk = set()
        self.make_foreign_ca(server)
        server.start()
        server.sync_round()
        for item in self.devices:
            server.sign_for_device(item)
        for item in self.users:
            server.sign_for_user(item)
        for item in self.phones:
            server.sign(item["id"], "static-aad")
        for name, ou in (("computers", "computers"), ("devices", "devices")):
            for item in self.in_jamf[name]:
                server.sign(str(item["id"]), "jamf", ou=ou)
        for item in self.in_jamf["users"]:
            server.sign("1", "jamf", upn=item["name"], ou="users-on-computers")
        self.listed = [server.sign("listed%d.example" % i)[0] for i in range(LISTED)]
        server.sync_round()
        server.stop()

    def make_foreign_ca(self, server):
        ca = ForeignCA(self.folder / "foreign")
        names = ["foreign%d.example" % i for i in range(FOREIGN)]
        self.foreign = [ca.issue(name).serial_number for name in names]
        server.cli("import", ca.path("ca.pem"), *[ca.path(name + ".pem") for name in names])
        self.ca = x509.load_pem_x509_certificate(pathlib.Path(ca.path("ca.pem")).read_bytes())
        self.key = serialization.load_pem_private_key(pathlib.Path(ca.path("ca.key")).read_bytes(), None)
        self.crl_entries = {0x100000 + i: "superseded" for i in range(FOREIGN_UNSEEN)}
        self.publish()

    def publish(self):
        """The foreign CA's next list; its times follow from its number."""
        self.crl_number += 1
        now = self.ca.not_valid_before
        builder = (x509.CertificateRevocationListBuilder().issuer_name(self.ca.subject).last_update(now.replace(second=0, minute=self.crl_number % 60))
                   .next_update(now.replace(year=now.year + 5)).add_extension(x509.CRLNumber(self.crl_number), critical=False))
        for serial, reason in sorted(self.crl_entries.items()):
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now.replace(second=0, minute=0))
            entry = entry.add_extension(x509.CRLReason(x509.ReasonFlags(reason)), critical=False)
            builder = builder.add_revoked_certificate(entry.build())
        self.files.put("/foreign.crl", builder.sign(self.key, hashes.SHA256()).public_bytes(DER))

    # ---- the history ----
    def pick(self, items):
        """One that nothing final has happened to, and that belongs to nothing else that changes in this step."""
        free = [i for i, item in enumerate(items) if item is not None and (id(items), i) not in self.touched]
        chosen = self.rng.choice(free)
        self.touched.add((id(items), chosen))
        return chosen

    def step(self):
        """One change of every kind; all of them can be seen at once or one after the other."""
        rng, graph = self.rng, self.graph
        self.touched.clear()
        i = self.pick(self.devices)
        self.touched.add((id(self.managed), i))
        graph.update("devices", self.devices[i]["id"], accountEnabled=rng.random() < 0.5)
        i = self.pick(self.managed)
        self.touched.add((id(self.devices), i))
        graph.update("managedDevices", self.managed[i]["id"], complianceState=rng.choice(["compliant", "noncompliant", "error"]))
        i = self.pick(self.users)
        graph.update("users", self.users[i]["id"], accountEnabled=rng.random() < 0.5)
        self.change_risk()
        self.change_finally()
        self.change_lists()

    def change_risk(self):
        user = self.users[self.pick(self.users)]["id"]
        if user in self.at_risk:
            self.graph.delete("riskyUsers", user)
        else:
            self.graph.add("riskyUsers", user, id=user)
        self.at_risk ^= {user}

    def change_finally(self):
        """What is for good: each time one kind of it, as long as enough is left."""
        kind = self.rng.choice(["device", "phone", "wipe", "jamf", "jamf"])
        if kind == "device" and sum(d is not None for d in self.devices) > MASS + 3:
            i = self.pick(self.devices)
            self.touched.add((id(self.managed), i))
            self.graph.delete("devices", self.devices[i]["id"], self.rng.choice(["deleted", "changed"]))
            self.devices[i] = self.managed[i] = None
        elif kind in ("phone", "wipe") and sum(p is not None for p in self.phones) > 1:
            i = self.pick(self.phones)
            if kind == "phone":
                self.graph.delete("managedDevices", self.phones[i]["id"])
            else:
                self.graph.update("managedDevices", self.phones[i]["id"], managementState="wipeIssued")
            self.phones[i] = None
        else:
            name = self.rng.choice(sorted(self.in_jamf))
            if sum(item is not None for item in self.in_jamf[name]) > 1:
                i = self.pick(self.in_jamf[name])
                self.jamf.delete(name, self.in_jamf[name][i]["id"])
                self.in_jamf[name][i] = None

    def change_lists(self):
        serial = self.rng.choice(self.foreign)
        if self.crl_entries.get(serial) == "certificateHold":
            self.crl_entries.pop(serial)
        else:
            self.crl_entries.setdefault(serial, self.rng.choice(["certificateHold", "keyCompromise"]))
        self.crl_entries[0x200000 + self.crl_number] = "cessationOfOperation"
        self.publish()
        if len(self.listed) > 1:
            certificate = self.listed.pop()
            self.graph.add("certificateStates", "%x" % certificate.serial_number, certificateRevokeStatus="revoked",
                           certificateSerialNumber="%X" % certificate.serial_number,
                           certificateThumbprint=hashlib.sha1(certificate.public_bytes(DER)).hexdigest())

    def mass_deletion(self):
        """More at once than REVLINE_SYNC_MASS_LIMIT; nobody may watch meanwhile."""
        for item in [d for d in self.devices if d is not None][:MASS]:
            self.graph.delete("devices", item["id"])


def seen_all(server):
    """The server has made the rounds that show what is upstream now. Two: what Intune leaves out once is looked for again."""
    server.sync_round()
    server.sync_round()


def statuses(server):
    return {(c["issuer"], c["serial"]): (c["status"], c["reason"], tuple(c["why"])) for c in server.all_certificates()}


# ---- comparing ----
def comparable(exported):
    """An export without what differs between two servers that watched the same things at other times:

    - times of rounds: lastSeen, lastSuccess, lastFull, `at`, `since`; and revokedAt where a directory is the cause, since
      directories tell no date
    - numbers that count rounds or commits: generations; crlNumber of our
      own list; sequences of delta and audit; ids of held changes
    - over how many rounds a step was spread, and so how often the guard let a change pass
    - opaque links, and where in a round a source was when the server stopped

    What is left is by family: certificates, objects, bindings, revoked, held, who watches whom, each certificate's own
    history, and what people did.
    """
    changes = {line["id"]: (line["source"], line["state"], line["certificates"]) for line in exported if line["type"] == "change"}
    dated = {(line["issuer"], line["serial"]): set(line["why"]) <= {"manual", "foreignCrl"} for line in exported if line["type"] == "certificate"}
    out = {}
    for line in exported:
        line, kind = dict(line), line["type"]
        key = (line.get("issuer"), line.get("serial"))
        if kind in ("end", "meta") or (line.get("who"), line.get("what")) == ("sync:guard", "sync.released"):
            continue
        for name in ("lastSeen", "lastSuccess", "lastFull", "at", "since", "sequence", "link", "crlNumber", "full", "complete"):
            line.pop(name, None)
        if "revokedAt" in line and not (kind != "delta" and dated[key]):
            line["revokedAt"] = line["revokedAt"] is not None
        line.pop("generation", None)
        if line.get("who") == "sync:guard":
            line["subject"] = line["subject"].split()[1]
        if kind == "certificate" and line["held"]:
            line["held"] = {**line["held"], "change": changes[line["held"]["change"]]}
        elif kind == "held":
            line["change"] = changes[line["change"]]
        elif kind == "change":
            line["id"] = None
        if kind == "delta":
            kind = "delta of %s/%s" % key
        out.setdefault(kind, []).append(line)
    for kind, lines in out.items():
        if not kind.startswith("delta"):
            lines.sort(key=repr)
    return out
