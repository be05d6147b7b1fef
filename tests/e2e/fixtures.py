"""pytest fixtures of tests/e2e and tests/crash; each conftest.py imports them."""

import contextlib
import pathlib
import shutil

import pytest
from harness import Remote, Revline, fake_jamf, graph_settings, initialised_folder


@pytest.fixture(scope="session")
def templates(tmp_path_factory):
    """Data folders by key type, made on first need."""
    made, parent = {}, tmp_path_factory.mktemp("templates")
    with contextlib.ExitStack() as stack:
        def get(key_type):
            if key_type not in made:
                made[key_type] = stack.enter_context(initialised_folder(parent, key_type))
            return made[key_type]
        yield get


@pytest.fixture
def make_server(templates, tmp_path):
    """make_server(NAME="value", …) gives a server that is not started yet; each has a data folder with a CA. All are
    stopped and checked for sanitizer reports at the end."""
    servers = []

    def make(start=True, key_type="ec-p256", fresh=False, binary=None, **settings):
        folder = tmp_path / ("data%d" % len(servers))
        if not fresh:
            shutil.copytree(templates(key_type), folder, ignore=shutil.ignore_patterns("control.sock"))
            folder.chmod(0o700)
        server = Revline(folder, {"REVLINE_CA_KEY": key_type, **settings}, binary)
        servers.append(server)
        return server.start() if start else server

    yield make
    failures = []
    for server in servers:
        try:
            server.stop()
        except AssertionError as error:
            failures.append(error)
    shutil.rmtree(tmp_path, ignore_errors=True)
    if failures:
        raise failures[0]


@pytest.fixture
def server(make_server):
    """A server without upstream."""
    return make_server()


@pytest.fixture(scope="session")
def graph_process():
    fake = Remote()
    yield fake
    fake.stop()


@pytest.fixture
def graph(graph_process):
    """The Graph fake, empty and well-behaved; at the end it must have nothing to complain about."""
    graph_process.reset()
    yield graph_process
    complaints = graph_process.violations()
    graph_process.reset()
    assert complaints == []


@pytest.fixture
def synced(graph, make_server):
    """synced(NAME="value", …): a server that watches the Graph fake."""
    return lambda start=True, **settings: make_server(start=start, **graph_settings(graph, **settings))


@pytest.fixture
def jamf():
    """The Jamf Pro fake, likewise, in this process."""
    fake = fake_jamf.Jamf().start()
    yield fake
    complaints = fake.violations()
    fake.reset()  # lets go whatever it holds
    fake.stop()
    assert complaints == []


@pytest.fixture(scope="module")
def module_server(templates, tmp_path_factory):
    """One server for the tests of a module that leave it as it was."""
    parent = tmp_path_factory.mktemp("module")
    folder = pathlib.Path(parent) / "data"
    shutil.copytree(templates("ec-p256"), folder)
    folder.chmod(0o700)
    server = Revline(folder, {"REVLINE_CA_KEY": "ec-p256"}).start()
    yield server
    server.stop()
    shutil.rmtree(parent, ignore_errors=True)


@pytest.fixture(scope="module")
def watching(templates, tmp_path_factory):
    """watching(NAME="value", …): a server and the Graph fake that it watches, for the tests of a module; `before(graph)` is
    called before the server starts. At the end the fake must have nothing to complain about."""
    with contextlib.ExitStack() as stack:
        def start(before=None, **settings):
            parent = tmp_path_factory.mktemp("watching")
            stack.callback(shutil.rmtree, parent, ignore_errors=True)
            shutil.copytree(templates("ec-p256"), parent / "data")
            (parent / "data").chmod(0o700)
            graph = Remote()
            stack.callback(graph.stop)
            if before:
                before(graph)
            server = Revline(parent / "data", graph_settings(graph, **settings)).start()

            def stop():
                server.stop()
                assert graph.violations() == []

            stack.callback(stop)
            return server, graph

        yield start
