"""The server's reading of OCSP requests against libcrypto's and python-cryptography's, on thousands of generated ones.

Requests are made by a seeded generator after RFC 6960 §4.1, half of them then bent, and asked of the server. libcrypto
reads the same octets in this process. What both read must be answered with the status that each certificate has, by an
answer that libcrypto verifies; where the two differ, one of the reasons in `why_refused` or `plain` must be there:

The server refuses what libcrypto reads: BER that is not DER, another version, no or too many CertIDs, hash values of a
wrong length or with parameters, serial numbers above 20 octets (RFC 5280 §4.1.2.2), nonces outside RFC 9654, unknown
critical extensions, extensions that come twice or are too many, known extensions whose value is not of their type.
The server takes what libcrypto refuses: it does not look inside a requestor's name, a request's signature and
certificates, or the parameters of a hash that it does not know.

DIFFERENTIAL_REQUESTS says how many (3000).
"""

import collections
import ctypes
import ctypes.util
import hashlib
import http.client
import os
import random
import sys

from cryptography.hazmat.primitives import serialization
from cryptography.x509 import ocsp
from harness import DER, HERE, eventually

sys.path.insert(0, str(HERE.parent / "conformance/ocsp"))

import make_vectors as v  # noqa: E402

REQUESTS = int(os.environ.get("DIFFERENTIAL_REQUESTS", "3000"))
SEED, MAX_IDS, MAX_EXTENSIONS = 20260107, 16, 32
HASHES = {"1.3.14.3.2.26": "sha1", "2.16.840.1.101.3.4.2.4": "sha224", "2.16.840.1.101.3.4.2.1": "sha256",
          "2.16.840.1.101.3.4.2.2": "sha384", "2.16.840.1.101.3.4.2.3": "sha512"}
OID = {name: "1.3.6.1.5.5.7.48.1.%d" % arc for name, arc in (("nonce", 2), ("response", 4), ("locator", 7), ("pref-algs", 8))}
GOOD, REVOKED, UNKNOWN = 0, 1, 2  # V_OCSP_CERTSTATUS_*
OCSP_NOCHECKS = 0x100
BENT_VALUE = "value of a known extension"  # which may still be one of its type: libcrypto does not look


# ---- libcrypto ----
class Libcrypto:
    """The few functions that read requests and answers."""
    POINTERS = """d2i_OCSP_REQUEST d2i_OCSP_RESPONSE d2i_X509 OCSP_request_onereq_get0 OCSP_onereq_get0_id OCSP_REQUEST_get_ext
        OCSP_ONEREQ_get_ext X509_EXTENSION_get_object X509_EXTENSION_get_data ASN1_STRING_get0_data OCSP_response_get1_basic
        OCSP_resp_get0 OCSP_SINGLERESP_get0_id X509_STORE_new"""

    def __init__(self):
        self.lib = ctypes.CDLL(ctypes.util.find_library("crypto"))
        for name in self.POINTERS.split():
            getattr(self.lib, name).restype = ctypes.c_void_p

    def __getattr__(self, name):
        function = getattr(self.lib, name)
        return lambda *a: function(*[ctypes.c_void_p(x) if isinstance(x, int) and x > 0xffff else x for x in a])

    def read(self, kind, octets):
        """The object, or None; octets behind it are an error."""
        at = ctypes.c_char_p(octets)
        start = ctypes.cast(at, ctypes.c_void_p).value
        made = getattr(self.lib, "d2i_" + kind)(None, ctypes.byref(at), ctypes.c_long(len(octets)))
        self.lib.ERR_clear_error()
        return made if made and ctypes.cast(at, ctypes.c_void_p).value == start + len(octets) else None

    def write(self, kind, thing):
        function = getattr(self.lib, "i2d_" + kind)
        out = ctypes.create_string_buffer(function(ctypes.c_void_p(thing), None))
        function(ctypes.c_void_p(thing), ctypes.byref(ctypes.c_void_p(ctypes.addressof(out))))
        return out.raw

    def string(self, thing):
        return ctypes.string_at(self.ASN1_STRING_get0_data(thing), self.ASN1_STRING_length(thing))

    def oid(self, thing):
        text = ctypes.create_string_buffer(256)
        self.OBJ_obj2txt(text, 256, thing, 1)
        return text.value.decode()


C = Libcrypto()
CertId = collections.namedtuple("CertId", "der hash name_hash key_hash serial serial_octets")
Request = collections.namedtuple("Request", "ids extensions single_extensions encoded")


def libcrypto_extensions(count, get, owner):
    out = []
    for i in range(count(owner)):
        x = get(owner, i)
        out.append((C.oid(C.X509_EXTENSION_get_object(x)), bool(C.X509_EXTENSION_get_critical(x)),
                    C.string(C.X509_EXTENSION_get_data(x))))
    return out


def libcrypto_cert_id(made):
    name, algorithm, key, serial = (ctypes.c_void_p() for _ in range(4))
    C.OCSP_id_get0_info(*map(ctypes.byref, (name, algorithm, key, serial)), made)
    octets = C.string(serial.value)
    negative = C.ASN1_STRING_type(serial.value) & 0x100
    number = -int.from_bytes(octets, "big") if negative else int.from_bytes(octets, "big")
    return CertId(C.write("OCSP_CERTID", made), C.oid(algorithm.value), C.string(name.value), C.string(key.value), number, octets)


def libcrypto_request(octets):
    """What libcrypto reads, or None."""
    made = C.read("OCSP_REQUEST", octets)
    if not made:
        return None
    each = [C.OCSP_request_onereq_get0(made, i) for i in range(C.OCSP_request_onereq_count(made))]
    request = Request([libcrypto_cert_id(C.OCSP_onereq_get0_id(one)) for one in each],
                      libcrypto_extensions(C.OCSP_REQUEST_get_ext_count, C.OCSP_REQUEST_get_ext, made),
                      [libcrypto_extensions(C.OCSP_ONEREQ_get_ext_count, C.OCSP_ONEREQ_get_ext, one) for one in each],
                      C.write("OCSP_REQUEST", made))
    C.OCSP_REQUEST_free(made)
    return request


# ---- DER as a tree: [tag, contents or children] ----
def parse(octets):
    """Elements one after the other; ValueError when they are none. Contents that are none stay octets."""
    out, at = [], 0
    while at < len(octets):
        tag, first, at = octets[at], octets[at + 1] if at + 1 < len(octets) else 0x80, at + 2
        if first >= 0x80:
            n = first & 0x7f
            if not 1 <= n <= 3:
                raise ValueError("length")
            first, at = int.from_bytes(octets[at:at + n], "big"), at + n
        if at + first > len(octets):
            raise ValueError("beyond the end")
        contents, at = octets[at:at + first], at + first
        out.append([tag, children_of(contents) if tag & 0x20 else contents])
    return out


def children_of(contents):
    try:
        return parse(contents)
    except ValueError:
        return contents


def dump(nodes):
    return b"".join(v.tlv(tag, dump(value) if isinstance(value, list) else value) for tag, value in nodes)


def every_node(nodes):
    for i, (_, value) in enumerate(nodes):
        yield nodes, i
        if isinstance(value, list):
            yield from every_node(value)


def plain(octets, parameters=True):
    """The request in DER without what the server does not look into, and without defaults that are written out; None when
    it is not of that shape. `parameters`: those of unknown hashes stay."""
    try:
        tree = parse(octets)
        (_, (tbs, *_)), = tree
        fields = tbs[1]
        if dump(tree) != octets:
            return None
        if fields[0][0] == 0xa0 and fields[0][1] == [[0x02, b"\0"]]:
            fields.pop(0)
        if fields[0][0] == 0xa1:
            fields.pop(0)
        for single in fields[0][1]:
            algorithm = single[1][0][1][0][1]
            if not parameters and dump([algorithm[0]]) not in {v.oid(name) for name in HASHES.values()}:
                del algorithm[1:]
        for parent, i in every_node(fields):
            if parent[i][0] == 0x01 and parent[i][1] not in (b"\0", b"\xff"):
                return None
            if parent[i] == [0x01, b"\0"] and parent[i - 1][0] == 0x06:
                parent[i] = [0x01, None]
        return dump(without_none([[0x30, [[0x30, fields]]]]))
    except (ValueError, IndexError, TypeError):
        return None


def without_none(nodes):
    return [[tag, without_none(value) if isinstance(value, list) else value] for tag, value in nodes if value is not None]


# ---- what the server may make of what libcrypto read ----
def nonce_of(request):
    """The nonce's octets, None when there is none, False when it is not RFC 9654's."""
    values = [value for oid, _, value in request.extensions if oid == OID["nonce"]]
    if not values:
        return None
    try:
        (tag, nonce), = parse(values[0])
    except (ValueError, IndexError):
        return False
    return nonce if tag == 0x04 and 1 <= len(nonce) <= 128 and values[0] == v.octets(nonce) else False


def why_refused(octets, request, valid_values):
    """The first reason to call it malformed though libcrypto reads it, or None."""
    if plain(octets) is None or (request.encoded != octets and plain(octets) != plain(request.encoded)):
        return "not DER"
    version = parse(octets)[0][1][0][1][0]
    if version[0] == 0xa0 and version[1] != [[0x02, b"\0"]]:
        return "version"
    if not 1 <= len(request.ids) <= MAX_IDS:
        return "number of CertIDs"
    for cert_id in request.ids:
        algorithm = parse(cert_id.der)[0][1][0][1]
        if cert_id.hash in HASHES:
            size = hashlib.new(HASHES[cert_id.hash]).digest_size
            if len(cert_id.name_hash) != size or len(cert_id.key_hash) != size:
                return "length of a hash"
            if algorithm[1:] not in ([], [[0x05, b""]]):
                return "parameters of a hash"
        if len(cert_id.serial_octets) > 20 or cert_id.serial < -(1 << 159):
            return "length of a serial number"
    for known, extensions in [({"nonce", "response", "pref-algs"}, request.extensions)] + [
            ({"locator"}, single) for single in request.single_extensions]:
        oids, names = [oid for oid, _, _ in extensions], {OID[name] for name in known}
        if len(set(oids)) != len(oids) or len(oids) > MAX_EXTENSIONS:
            return "extensions twice or too many"
        for oid, critical, value in extensions:
            if critical and oid not in names:
                return "unknown critical extension"
            if oid in names and oid != OID["nonce"] and value not in valid_values:
                return BENT_VALUE
    return "nonce" if nonce_of(request) is False else None


# ---- generated requests ----
class Generator:
    def __init__(self, seed, ca, serials):
        self.random, self.serials = random.Random(seed), list(serials)
        self.ca_der = ca.public_bytes(DER)
        self.name = ca.subject.public_bytes()
        bits = ca.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
        self.hashed = {h: (hashlib.new(h, self.name).digest(), hashlib.new(h, bits).digest()) for h in HASHES.values()}
        access = v.seq(v.seq(v.oid("basic"), v.tlv(0x86, b"http://example.org")))
        self.valid = {
            "response": [v.seq(v.oid("basic")), v.seq(v.oid("unknown")), v.seq()],
            "pref-algs": [v.seq(v.preferred()), v.seq(v.preferred(curve=v.seq(v.oid("ec-key"), v.oid("p256"))), v.preferred())],
            "locator": [v.seq(self.name), v.seq(self.name, access)],
        }
        self.valid_values = {value for values in self.valid.values() for value in values}

    def chance(self, percent):
        return self.random.random() * 100 < percent

    def integer(self):
        kind = self.random.randrange(10)
        if kind < 7:
            number = self.random.choice(self.serials)
        elif kind < 9:
            number = self.random.getrandbits(self.random.choice((7, 8, 64, 127, 159, 160)))
        else:
            number = -self.random.getrandbits(self.random.choice((1, 8, 127)))
        n = 1
        while not -(1 << 8 * n - 1) <= number < 1 << 8 * n - 1:
            n += 1
        return v.tlv(0x02, number.to_bytes(n, "big", signed=True))

    def cert_id(self):
        if self.chance(3):
            return v.cert_id("md5", self.random.choice((b"", v.NULL)), b"n" * 16, b"k" * 16, self.integer())
        algorithm = self.random.choice(list(self.hashed))
        name, key = self.hashed[algorithm]
        if self.chance(8):
            key = self.random.randbytes(len(key))
        return v.cert_id(algorithm, self.random.choice((b"", v.NULL)), name, key, self.integer())

    def extension(self, name, value):
        return v.ext(name, value, self.random.choice((b"", b"", b"", v.TRUE, v.FALSE)))

    def single(self):
        items = []
        if self.chance(8):
            items.append(self.extension("locator", self.random.choice(self.valid["locator"])))
        if self.chance(4):
            items.append(v.ext("unknown", b"any", self.random.choice((b"", v.FALSE))))
        if self.chance(4):
            items.append(v.ext("nonce", b"of no meaning here"))
        return v.seq(self.cert_id(), v.single_exts(*items) if items or self.chance(3) else b"")

    def extensions(self):
        items = []
        if self.chance(40):
            nonce = self.random.randbytes(self.random.choice((1, 8, 16, 32, 32, 128)))
            items.append(self.extension("nonce", v.octets(nonce)))
        for name in ("response", "pref-algs"):
            if self.chance(10):
                items.append(self.extension(name, self.random.choice(self.valid[name])))
        if self.chance(8):
            items.append(v.ext("unknown", self.random.randbytes(5), self.random.choice((b"", v.FALSE))))
        self.random.shuffle(items)
        return v.exts(*items) if items or self.chance(5) else b""

    def well_formed(self):
        count = self.random.choice((1, 1, 1, 1, 1, 1, 1, 2, 3, MAX_IDS))
        version = v.tlv(0xa0, b"\x02\x01\x00") if self.chance(5) else b""
        requestor = v.tlv(0xa1, self.random.choice(list(v.GENERAL_NAMES.values()))) if self.chance(15) else b""
        signature = b""
        if self.chance(8):
            certs = v.tlv(0xa0, v.seq(self.ca_der)) if self.chance(50) else b""
            signature = v.signature(b"\0" + self.random.randbytes(64), certs)
        return v.request(version, requestor, v.seq(*[self.single() for _ in range(count)]), self.extensions(), signature=signature)

    # ---- bending ----
    def bent(self):
        octets = self.well_formed()
        for _ in range(self.random.choice((1, 1, 1, 2))):
            bend = self.random.choice((self.bend_octet, self.bend_length, self.bend_tree, self.bend_tree, self.bend_tree))
            octets = octets and bend(octets)
        return octets

    def bend_octet(self, octets):
        at, octet = self.random.randrange(len(octets)), self.random.randbytes(1)
        return self.random.choice((octets[:at] + octet + octets[at + 1:], octets[:at] + octets[at + 1:], octets[:at] + octet + octets[at:],
                                   octets[:at] + bytes([octets[at] ^ 1 << self.random.randrange(8)]) + octets[at + 1:],
                                   octets[:max(at, 1)], octets + octet))

    def bend_length(self, octets):
        """The outermost length in one octet more, or indefinite: BER."""
        if len(octets) < 4 or octets[1] >= 0x83:
            return octets
        head = 2 + (octets[1] & 0x7f if octets[1] >= 0x80 else 0)
        if self.chance(50):
            return octets[:1] + b"\x80" + octets[head:] + b"\0\0"
        n = len(octets) - head
        return octets[:1] + b"\x83" + n.to_bytes(3, "big") + octets[head:]

    def bend_tree(self, octets):
        """One element left out, doubled, moved, emptied, filled with something else, or given another tag."""
        try:
            tree = parse(octets)
        except (ValueError, IndexError):
            return octets
        parent, i = self.random.choice(list(every_node(tree)))
        kind = self.random.randrange(7)
        if kind == 0:
            del parent[i]
        elif kind == 1:
            parent.insert(i, parent[i])
        elif kind == 2:
            self.random.shuffle(parent)
        elif kind == 3:
            parent[i][0] = self.random.choice((0x01, 0x02, 0x04, 0x05, 0x06, 0x30, 0x31, 0x80, 0x81, 0xa0, 0xa1, 0xa2, 0xa3))
        elif kind == 4:
            parent[i][1] = self.random.randbytes(self.random.choice((0, 1, 2, 21, 129)))
        elif kind == 5:
            other, j = self.random.choice(list(every_node(tree)))
            parent[i] = [*other[j]]
        else:
            parent.insert(i, [0x05, b""])
        try:
            return dump(tree)
        except RecursionError:  # an element put into itself
            return octets


# ---- the server's answers ----
class Asker:
    def __init__(self, server, statuses):
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        self.statuses = statuses
        self.trust = C.X509_STORE_new()
        C.X509_STORE_add_cert(self.trust, C.read("X509", server.ca.public_bytes(DER)))

    def ask(self, octets):
        self.connection.request("POST", "/ocsp", octets, {"Content-Type": "application/ocsp-request"})
        reply = self.connection.getresponse()
        body = reply.read()
        assert reply.status == 200, reply.status
        return body

    def check(self, octets, request, body, hashed):
        """The answer to a request that both read: what it says of each CertID, in the order asked."""
        is_ours = [i.hash in HASHES and (i.name_hash, i.key_hash) == hashed[HASHES[i.hash]] for i in request.ids]
        if not any(is_ours):
            assert body == b"\x30\x03\x0a\x01\x06", "not unauthorized"
            return "unauthorized"
        response = C.read("OCSP_RESPONSE", body)
        basic = response and C.OCSP_response_get1_basic(response)
        assert basic, body.hex()
        assert C.OCSP_basic_verify(basic, None, self.trust, OCSP_NOCHECKS) == 1
        assert C.OCSP_resp_count(basic) == len(request.ids)
        for i, (cert_id, ours) in enumerate(zip(request.ids, is_ours)):
            single = C.OCSP_resp_get0(basic, i)
            assert C.write("OCSP_CERTID", C.OCSP_SINGLERESP_get0_id(single)) == cert_id.der
            status = C.OCSP_single_get0_status(single, None, None, None, None)
            assert status == (self.statuses.get(cert_id.serial, UNKNOWN) if ours else UNKNOWN), (cert_id, status)
        made = C.read("OCSP_REQUEST", octets)
        assert C.OCSP_check_nonce(made, basic) == (1 if nonce_of(request) is not None else 2)  # equal, or in neither
        C.OCSP_REQUEST_free(made)
        C.OCSP_BASICRESP_free(basic)
        C.OCSP_RESPONSE_free(response)
        return "answered"


def check_with_cryptography(octets, request, body):
    """python-cryptography reads requests and answers about one certificate: the same serial number, status and nonce."""
    try:
        theirs = ocsp.load_der_ocsp_request(octets)
        number, nonces = theirs.serial_number, [e.value.nonce for e in theirs.extensions if e.oid.dotted_string == OID["nonce"]]
    except (ValueError, TypeError, NotImplementedError):
        return False  # stricter about what it does not know; libcrypto has read it
    answer = ocsp.load_der_ocsp_response(body)
    assert number == answer.serial_number == request.ids[0].serial
    assert nonces in ([], [nonce_of(request)])
    return True


def certificates(server):
    """{serial number: status} of one certificate for each way to be."""
    made = {word: server.sign(word + ".example") for word in ("good", "hold", "revoked", "other")}
    expired, _ = server.sign("expired.example", validity="1s")
    server.control("revoke", serial=made["hold"][1], reason="certificateHold")
    server.control("revoke", serial=made["revoked"][1], reason="keyCompromise")
    eventually(lambda: server.ocsp(expired) == "unknown", "the certificate has expired")
    status = lambda word: REVOKED if word in ("hold", "revoked") else GOOD
    return {**{c.serial_number: status(word) for word, (c, _) in made.items()}, expired.serial_number: UNKNOWN,
            server.ca.serial_number: GOOD}


def test_generated_requests_are_read_as_libcrypto_reads_them(server):
    statuses = certificates(server)
    generator, asker, counts = Generator(SEED, server.ca, statuses), Asker(server, statuses), collections.Counter()
    for n in range(REQUESTS):
        well_formed = n % 2 == 0
        octets = generator.well_formed() if well_formed else generator.bent()
        body, request = asker.ask(octets), libcrypto_request(octets)
        what = "request %d: %s -> %s" % (n, octets.hex(), body[:5].hex())
        malformed = body == b"\x30\x03\x0a\x01\x01"
        if malformed:
            reason = "neither reads it" if request is None else why_refused(octets, request, generator.valid_values)
            assert reason and not well_formed, what
            counts["refused: " + reason] += 1
            continue
        if request is None:
            assert not well_formed, what
            counts["not looked into"] += 1
            octets, bare = plain(octets), plain(octets, parameters=False)
            request = octets and libcrypto_request(octets)
            if request is None:  # the answer repeats the CertID, so libcrypto does not read it either
                assert bare and libcrypto_request(bare), what
                continue
        else:
            assert why_refused(octets, request, generator.valid_values) in (None, BENT_VALUE), what
        assert request, what
        try:
            counts[asker.check(octets, request, body, generator.hashed)] += 1
            if len(request.ids) == 1 and len(body) > 5:
                counts["by cryptography, too"] += check_with_cryptography(octets, request, body)
        except AssertionError as error:
            raise AssertionError(what) from error
    print(dict(counts))
    assert counts["answered"] > REQUESTS / 2 - REQUESTS / 10 and counts["by cryptography, too"] > REQUESTS / 8
    assert len([c for c in counts if c.startswith("refused: ")]) > 8
