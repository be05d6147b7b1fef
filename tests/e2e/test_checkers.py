"""What real checkers make of our answers: they let a certificate in or refuse it, and change their mind at once when told."""

import contextlib
import shutil

import pytest
from checkers import (ACCEPTED, NO_ANSWER, REVOKED, UNKNOWN, Credential, FreeRadius, FreeRadiusWithUrl, Nginx, Ocsptool, OcsptoolWithNonce,
                      OpensslOcsp, StaplingNginx, Stunnel, free_port)
from harness import Revline, eventually

CHECKERS = [OpensslOcsp, Ocsptool, OcsptoolWithNonce, Nginx, Stunnel, FreeRadius, FreeRadiusWithUrl]


def address(port):
    """Settings of a server there, which its certificates name as their responder."""
    return {"REVLINE_HTTP_LISTEN": "127.0.0.1:%d" % port, "REVLINE_BASE_URL": "http://127.0.0.1:%d" % port}


@contextlib.contextmanager
def serving(template, folder, **settings):
    shutil.copytree(template, folder)
    folder.chmod(0o700)
    server = Revline(folder, settings).start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module", params=["ec-p256", "rsa2048"])
def site(request, templates, tmp_path_factory):
    """(server, forged): a server for all checkers, and a certificate that was signed with its CA's key without its knowledge."""
    template, parent = templates(request.param), tmp_path_factory.mktemp("site")
    settings = {"REVLINE_CA_KEY": request.param, **address(free_port())}
    with serving(template, parent / "stolen", **settings) as thief:
        forged = Credential(thief, parent, "forged")
    with serving(template, parent / "data", **settings) as server:
        assert server.ca == thief.ca
        yield server, forged
    shutil.rmtree(parent, ignore_errors=True)


@pytest.fixture
def start_checker(tmp_path):
    """start_checker(kind, server): a checker that trusts the server's CA; stopped at the end."""
    with contextlib.ExitStack() as stack:
        def start(kind, server):
            folder = tmp_path / kind.__name__
            folder.mkdir()
            checker = kind(server.ca_file(), server.url + "/ocsp", Credential(server, folder, "checker.example", "server"), folder)
            stack.callback(checker.stop)
            return checker
        yield start


def asked(server):
    """How many OCSP answers the server has given."""
    return sum(n for name, n in server.metrics().items() if name.startswith("revline_ocsp_responses_total"))


@pytest.mark.parametrize("kind", CHECKERS)
def test_the_next_check_after_a_change_knows_it(site, start_checker, kind, tmp_path):
    server, forged = site
    checker, before = start_checker(kind, server), asked(server)
    laptop, other = (Credential(server, tmp_path, name) for name in ("laptop", "other"))
    assert checker.check(laptop) == ACCEPTED
    server.control("revoke", serial=laptop.serial, reason="certificateHold")
    assert checker.check(laptop) == REVOKED
    server.control("unrevoke", serial=laptop.serial)
    assert checker.check(laptop) == ACCEPTED
    server.control("revoke", serial=laptop.serial, reason="superseded")
    assert checker.check(laptop) == REVOKED
    assert checker.check(other) == ACCEPTED
    assert checker.check(forged) == UNKNOWN
    assert asked(server) - before == 6, "each check asks once and decides by that answer"


def test_nobody_is_let_in_while_the_responder_is_down(make_server, start_checker, tmp_path):
    server = make_server(**address(free_port()))
    laptop = Credential(server, tmp_path, "laptop")
    checkers = [start_checker(kind, server) for kind in CHECKERS]
    verdicts = lambda: {type(checker).__name__: checker.check(laptop) for checker in checkers}
    server.stop()
    assert set(verdicts().values()) == {NO_ANSWER}
    server.start()
    assert set(verdicts().values()) == {ACCEPTED}


def test_a_device_that_the_directory_disables_is_kept_off_the_network(graph, synced, start_checker, tmp_path):
    server = synced(**address(free_port()))
    nac, device = start_checker(FreeRadius, server), graph.add("devices", "laptop")
    laptop = Credential(server, tmp_path, device["deviceId"], "static-aad")
    assert nac.check(laptop) == ACCEPTED
    for enabled, status, verdict in ((False, "hold", REVOKED), (True, "good", ACCEPTED)):
        graph.update("devices", device["id"], accountEnabled=enabled)
        eventually(lambda: server.status_of(laptop.serial) == status, "the directory's change is here")
        assert nac.check(laptop) == verdict


def test_nginx_staples_what_tls_clients_verify(make_server, start_checker):
    """nginx keeps what it staples until shortly before nextUpdate; started again after the revocation it has nothing to show."""
    server = make_server(**address(free_port()))
    nginx = start_checker(StaplingNginx, server)
    stapled = eventually(lambda: (lambda text: "no response sent" not in text and text)(nginx.s_client()), "nginx has asked")
    assert "OCSP Response Status: successful" in stapled and "Cert Status: good" in stapled
    assert nginx.curl("--cert-status").stdout == "welcome"
    trusted = nginx.gnutls_cli()
    assert "OCSP status request" in trusted and "The certificate is trusted." in trusted, trusted
    server.control("revoke", serial=nginx.identity.serial, reason="keyCompromise")
    nginx.stop()
    nginx.start()
    assert "no response sent" in nginx.s_client()
    eventually(lambda: 'certificate status "revoked" in the OCSP response' in nginx.log(), "nginx has asked")
    assert "no response sent" in nginx.s_client()
    assert "No OCSP response received" in nginx.curl("--cert-status").stdout
