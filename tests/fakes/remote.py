"""Starts the Graph fake as a process of its own and controls it over HTTP: `Remote(...).add("devices", name="pc-1")`."""

import http.client
import inspect
import json
import pathlib
import subprocess
import sys
import urllib.parse

from graph import Graph

HERE = pathlib.Path(__file__).resolve().parent


class Remote:
    def __init__(self):
        self._process = subprocess.Popen([sys.executable, str(HERE / "graph.py"), "--port", "0"], stdout=subprocess.PIPE, text=True)
        self.url = self._process.stdout.readline().split()[-1]
        self.port = urllib.parse.urlsplit(self.url).port

    def __getattr__(self, name):
        positional = list(inspect.signature(getattr(Graph, name)).parameters)[1:]
        return lambda *args, **kwargs: self._post(name, {**dict(zip(positional, args)), **kwargs})

    def _post(self, name, arguments):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request("POST", "/_control/" + name, json.dumps(arguments))
            response = connection.getresponse()
            answer = json.loads(response.read())
        finally:
            connection.close()
        if response.status != 200:
            raise AssertionError("fake: %s(%s): %s" % (name, arguments, answer["error"]))
        return answer["result"]

    def stop(self):
        self._process.terminate()
        self._process.wait(10)
        self._process.stdout.close()
