"""The README's tour: its commands are run as they stand, and print what it says they print."""

import os
import re
import shlex
import subprocess

import pytest
from harness import BINARY, ROOT, Revline, eventually

SECTIONS = ("A certificate and its status", "By SCEP", "A subordinate CA", "With a directory")


def tour():
    """[(command, the lines it prints)] of the sections, in order."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = []
    for title in SECTIONS:
        section = re.search(r"^### %s$(.*?)^##" % re.escape(title), text, re.M | re.S).group(1)
        for line in re.findall(r"^    (.*)$", section, re.M):
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def without_chance(lines):
    """Serial numbers, times and fingerprints differ from run to run; the order of the two outputs and white space, too."""
    text = "\n".join(lines)
    text = re.sub(r"[0-9A-F]{2}(:[0-9A-F]{2}){31}", "FINGERPRINT", text)
    text = re.sub(r"\b[0-9A-F]{32}\b", "SERIAL", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ|[A-Z][a-z]{2} +\d+ \d\d:\d\d:\d\d \d{4} GMT", "TIME", text)
    return sorted(" ".join(line.split()) for line in text.splitlines() if line.strip())


class Reader:
    """Somebody who types the tour: a folder that looks like the source's, one shell's environment, one server."""

    def __init__(self, folder, graph):
        self.folder, self.graph, self.exported = folder, graph, {}
        (folder / "build/release").mkdir(parents=True)
        (folder / "build/release/revline").symlink_to(BINARY)
        (folder / "tests").symlink_to(ROOT / "tests")
        (folder / "data").mkdir(mode=0o700)
        challenge = folder / "data/static-challenge"
        challenge.touch(0o600)
        challenge.write_text("0123456789abcdef0123456789abcdef\n")
        self.server = None
        self.serve()

    def serve(self):
        if self.server:
            self.server.stop()
        self.server = Revline(self.folder / "data", {"REVLINE_STATIC_CHALLENGE": None, "REVLINE_STATIC_AAD_CHALLENGE": None,
                                                     "REVLINE_CA_KEY": "rsa2048", **self.exported}).start()

    def here(self, text):
        return text.replace("localhost:8080", "127.0.0.1:%d" % self.server.port).replace("localhost:8090", "127.0.0.1:%d" % self.graph.port)

    def type(self, command):
        env = {name: value for name, value in os.environ.items() if not name.startswith(("REVLINE_", "AZURE_"))}
        done = subprocess.run(["bash", "-c", self.here(command)], cwd=self.folder, stdin=subprocess.DEVNULL, text=True, timeout=120,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env)
        return without_chance(done.stdout.splitlines())


@pytest.fixture
def reader(tmp_path, graph):
    person = Reader(tmp_path, graph)
    yield person
    person.server.stop()


def test_the_tour_works_as_printed(reader):
    steps, waiting = tour(), False
    assert len(steps) > 20
    for command, printed in steps:
        if command.startswith("export "):
            reader.exported.update(word.split("=", 1) for word in shlex.split(reader.here(command))[1:])
        elif command == "bash core/run":
            reader.serve()
        elif command.startswith("sleep "):
            waiting = True  # for the directory's next round: here by asking again until the answer is there
        elif not command.endswith(" &"):  # the fake is a fixture
            expected = without_chance(reader.here("\n".join(printed)).splitlines())
            if waiting:
                eventually(lambda c=command, e=expected: reader.type(c) == e, "%s prints %s" % (command, expected))
            else:
                assert reader.type(command) == expected, command
            waiting = False


def test_the_banner_is_as_printed(reader):
    lines = lambda text: re.findall(r"^ +(\S.*?) {2,}http://[^/\s]+(/\S+)$", text, re.M)
    reader.server.stop()
    reader.server.start("--banner")
    shown = lambda: lines(reader.server.log())
    section = re.search(r"^## Five minutes$(.*?)^###", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S).group(1)
    assert eventually(lambda: len(shown()) > 5 and shown(), "the banner is there") == lines(section)
