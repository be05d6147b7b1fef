"""Makes the data of a benchmark in a folder: a Revline database with certificates, and files of OCSP requests for
100,000 of them. bench_generate (generate.c) does it; here is what runs it, and Revline on the data.

    DIR/data        Revline's data folder, EC P-256 CA
    DIR/post.req    the requests by POST       DIR/get.req   the same by GET
    DIR/nonce.req   by POST, each with a nonce of its own, which no cache can answer
    DIR/ca.pem, DIR/index.txt                 for `openssl ocsp`

A requests file is a row of records: u32 length of the request, u32 length of what its answer's first SingleResponse
begins with (both big-endian), the raw HTTP request, those octets (CertID and certStatus in DER).
"""
import argparse
import json
import os
import signal
import subprocess
import time


class Revline:
    """A running `revline serve` on the data folder, with one worker."""

    def __init__(self, binary, folder, command=(), **settings):
        self.data = os.path.join(folder, "data")
        env = {k: v for k, v in os.environ.items() if not k.startswith(("REVLINE_", "AppConfig__", "AZURE_"))}
        env |= {"REVLINE_DATA_DIR": self.data, "REVLINE_HTTP_LISTEN": "127.0.0.1:0", "REVLINE_WORKERS": "1",
                "REVLINE_CA_KEY": "ec-p256", "REVLINE_LOG_FORMAT": "json", **settings}
        self.log = os.path.join(folder, "revline.log")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([*command, binary, "serve"], env=env, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log)
        self.pid = self.process.pid
        try:
            ready = self._wait_ready()
            self.port, self.tls_port = int(ready["http_port"]), int(ready["https_port"])
        except BaseException:
            self.stop()
            raise

    def _wait_ready(self):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.process.poll() is None:
            with open(self.log, encoding="utf-8", errors="replace") as log:
                for line in log:
                    if '"serve.ready"' in line and line.endswith("\n"):
                        return json.loads(line)
            time.sleep(0.005)
        with open(self.log, encoding="utf-8", errors="replace") as log:
            raise SystemExit("revline does not start:\n" + log.read())

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def prepare(binary, folder, count, command=(), more=()):
    generate = os.path.join(os.path.dirname(binary), "bench", "bench_generate")
    subprocess.run([*command, generate, "--data", os.path.join(folder, "data"), "--out", folder, "--certificates",
                    str(count), *more], check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Makes a Revline database and requests files for the load generator.")
    parser.add_argument("--revline", default="build/release/revline", help="the program (build/release/revline)")
    parser.add_argument("--certificates", type=int, default=1000, help="how many (1000)")
    parser.add_argument("folder", help="an existing folder")
    options = parser.parse_args()
    prepare(options.revline, options.folder, options.certificates)
