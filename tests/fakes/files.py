"""A web server of files, as a CA publishes its revocation lists: validators, conditional requests, and the ways in which such
servers fail."""

import hashlib
from email.utils import formatdate

from web import Answer, Fake


class Files(Fake):
    def __init__(self, port=0):
        self.files = {}
        super().__init__(port)

    def put(self, path, body, content_type="application/pkix-crl", modified=1767607091):
        with self.lock:
            self.files[path] = (body, content_type, modified)
        return self.url + path

    def answer(self, request, route):
        with self.lock:
            found = self.files.get(request.path)
        if found is None:
            return Answer(404, body=b"<html><body>Not Found</body></html>", headers={"Content-Type": "text/html"})
        body, content_type, modified = found
        headers = {"Content-Type": content_type, "ETag": '"%s"' % hashlib.sha256(body).hexdigest()[:16],
                   "Last-Modified": formatdate(modified, usegmt=True)}
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Answer(304, body=b"", headers=headers)
        return Answer(200, body=body, headers=headers)
