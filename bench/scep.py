"""How many certificates SCEP issues, what that costs beside the RSA operations, and what OCSP notices of it.

Called by `bash bench/run --scep`. For each kind of CA: enrolments one after another on eight connections, then OCSP
alone and beside enrolments. At last one CA enrolls many devices while its memory is watched. The server runs on one core,
the clients and the OCSP load generator on another.
"""
import contextlib
import json
import os
import re
import shutil
import statistics
import subprocess
import tempfile

import prepare
import tools

CHALLENGE = "bench-challenge-0001"
AHEAD_MAX = 2000
OCSP_CERTIFICATES = 10000
OCSP_CONNECTIONS, OCSP_PAUSE_MS = "4", "1"
# The CA's key; how often one enrolment uses which private key: decrypt the request, sign the certificate, sign the answer.
CAS = [("RSA-2048", "rsa2048", {"rsa2048": 3}), ("RSA-4096", "rsa4096", {"rsa4096": 3}),
       ("EC P-256, RSA-2048 RA", "ec-p256", {"rsa2048": 2, "ecdsap256": 1})]
SPEED = {"rsa2048": r"rsa 2048 bits", "rsa4096": r"rsa 4096 bits", "ecdsap256": r"256 bits ecdsa \(nistp256\)"}


def openssl_speed(algorithm):
    """Signatures for each second of CPU time on the server's core. RSA decrypts as it signs."""
    output = subprocess.run([*tools.PIN_SERVER, "openssl", "speed", "-seconds", "1", algorithm], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout
    line = r"^\s*" + SPEED[algorithm] + r"\s+[\d.]+s\s+[\d.]+s\s+([\d.]+)"
    return float(re.search(line, output, re.MULTILINE).group(1))


def private_operations_allow(uses):
    """Enrolments for each second of CPU time when nothing else costs anything."""
    return 1 / sum(times / openssl_speed(algorithm) for algorithm, times in uses.items())


class Server:
    """A CA with SCEP in a folder of its own."""

    def __init__(self, stack, options, folder, key):
        os.makedirs(folder, exist_ok=True)
        self.options, self.folder, self.enrolled = options, folder, 0
        self.revline = prepare.Revline(options.revline, folder, tools.PIN_SERVER, REVLINE_CA_KEY=key,
                                       REVLINE_STATIC_CHALLENGE=CHALLENGE)
        stack.callback(self.revline.stop)
        self.challenge, self.recipient = (os.path.join(folder, name) for name in ("challenge", "recipient.der"))
        with open(os.open(self.challenge, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as file:
            file.write(CHALLENGE)
        _, body = tools.exchange(self.revline.port, b"GET /static?operation=GetCACert HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        with open(self.recipient, "wb") as file:
            file.write(body if key.startswith("rsa") else self._first_certificate(body))

    @staticmethod
    def _first_certificate(degenerate):
        """The registration authority's, which comes first."""
        pem = subprocess.run(["openssl", "pkcs7", "-inform", "DER", "-print_certs"], input=degenerate,
                             stdout=subprocess.PIPE, check=True).stdout
        return subprocess.run(["openssl", "x509", "-outform", "DER"], input=pem, stdout=subprocess.PIPE, check=True).stdout

    def enroll_command(self, count, ahead):
        """Names go on where the last call ended: a name that was there before is a repetition and costs nothing. Up to
        `ahead` messages are made before the time that is measured, and their answers verified after it."""
        self.enrolled += 1
        return [*tools.PIN_LOAD, os.path.join(self.options.build, "bench", "bench_enroll"), "--port", str(self.revline.port),
                "--recipient", self.recipient, "--challenge-file", self.challenge, "--prefix", f"run{self.enrolled}",
                "--count", str(count), "--ahead", str(ahead), "--pid", str(self.revline.pid)]

    def enroll(self, count):
        done = subprocess.run(self.enroll_command(count, AHEAD_MAX), stdout=subprocess.PIPE, check=False)
        if done.returncode != 0:
            raise SystemExit("bench: an enrolment failed")
        figures = json.loads(done.stdout)
        figures["rate_per_cpu"] = figures["rate"] / figures["server_cpu"]
        return figures

    def rss_kib(self):
        with open(f"/proc/{self.revline.pid}/status", encoding="ascii") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))


# ---- enrolments against openssl speed ----
def measure_ca(options, folder, label, key, uses):
    with contextlib.ExitStack() as stack:
        server = Server(stack, options, os.path.join(folder, key), key)
        server.enroll(50)  # warm
        runs = []
        for repetition in range(options.repetitions):
            tools.say(f"repetition {repetition + 1} of {options.repetitions}: enrolments, {label}")
            allowed = private_operations_allow(uses)
            figures = server.enroll(options.count)
            runs.append({**figures, "allowed": allowed, "of_allowed": figures["rate_per_cpu"] / allowed})
    return {"ca": label, **{key: statistics.median(run[key] for run in runs) for key in runs[0]}}


# ---- OCSP beside ----
def measure_beside(options, folder):
    """The clients that enroll share the load generator's core, and must not be what its answers wait for: they have the
    lowest priority, and it pauses behind each answer, so that they get what it leaves."""
    data = os.path.join(folder, "beside")
    os.mkdir(data)
    tools.say(f"issuing {OCSP_CERTIFICATES:,} certificates for OCSP")
    prepare.prepare(options.revline, data, OCSP_CERTIFICATES)  # a CA with an EC key
    with contextlib.ExitStack() as stack:
        server = Server(stack, options, data, "ec-p256")
        requests = os.path.join(data, "post.req")
        tools.check_all(options, server.revline.port, requests)
        runs = []
        for repetition in range(options.repetitions):
            tools.say(f"repetition {repetition + 1} of {options.repetitions}: OCSP alone and beside enrolments")
            ask = lambda seed=repetition + 1: tools.load(
                options, server.revline.port, requests, "--connections", OCSP_CONNECTIONS, "--pause", OCSP_PAUSE_MS,
                "--seconds", str(options.seconds), "--warmup", "0.3", "--seed", str(seed))
            alone = ask()
            enrolling = subprocess.Popen(["nice", "-n", "19", *server.enroll_command(1000000, 0)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                before = tools.metric(server.revline.port, "revline_scep_requests_total")
                beside = ask()
                issued = tools.metric(server.revline.port, "revline_scep_requests_total") - before
            finally:
                enrolling.kill()
                enrolling.wait()
            runs.append((alone, beside, issued / (options.seconds + 0.3)))
    return {"alone": {key: statistics.median(run[0][key] for run in runs) for key in ("rate", "p50_us", "p99_us")},
            "beside": {key: statistics.median(run[1][key] for run in runs) for key in ("rate", "p50_us", "p99_us")},
            "p99_of_alone": statistics.median(run[1]["p99_us"] / run[0]["p99_us"] for run in runs),
            "enrolments_beside": statistics.median(run[2] for run in runs)}


# ---- memory ----
def measure_memory(options, folder):
    """Resident memory after each tenth of the enrolments."""
    with contextlib.ExitStack() as stack:
        server = Server(stack, options, os.path.join(folder, "memory"), "ec-p256")
        rss, rates = [], []
        for tenth in range(10):
            tools.say(f"{options.enrollments:,} enrolments: {tenth * 10} %")
            rates.append(server.enroll(max(options.enrollments // 10, 1))["rate"])
            rss.append(server.rss_kib())
    return {"enrolments": options.enrollments, "rss_kib": rss, "rates": rates}


# ---- report ----
def print_report(report):
    m = report["machine"]
    print(f"{m['cpu']}, {m['cores']} cores, Linux {m['kernel']}; server on core {m['server_core']}, clients on core "
          f"{m['load_core']};\n8 connections, {report['count']:,} enrolments; median of {report['repetitions']}\n")
    print(f"{'CA':<24}{'enrolments/s':>14}{'per CPU s':>11}{'keys allow':>12}{'of that':>9}{'p50 ms':>8}{'p99 ms':>8}{'CPU':>6}{'load':>6}")
    for row in report["enrolments"]:
        print(f"{row['ca']:<24}{row['rate']:>14,.0f}{row['rate_per_cpu']:>11,.0f}{row['allowed']:>12,.0f}{row['of_allowed']:>9.2f}"
              f"{row['p50_us'] / 1e3:>8.1f}{row['p99_us'] / 1e3:>8.1f}{row['server_cpu']:>6.0%}{row['load_cpu']:>6.0%}")
    beside = report["ocsp"]
    print(f"\n{'cached OCSP answers':<24}{'answers/s':>14}{'p50 us':>11}{'p99 us':>12}{'of 1st':>9}")
    print(f"{'alone':<24}{beside['alone']['rate']:>14,.0f}{beside['alone']['p50_us']:>11,.0f}{beside['alone']['p99_us']:>12,.0f}{1:>9.2f}")
    print(f"{'beside enrolments':<24}{beside['beside']['rate']:>14,.0f}{beside['beside']['p50_us']:>11,.0f}"
          f"{beside['beside']['p99_us']:>12,.0f}{beside['p99_of_alone']:>9.2f}   ({beside['enrolments_beside']:,.0f} enrolments/s)")
    memory = report["memory"]
    print(f"\n{memory['enrolments']:,} enrolments, RSS MiB after each tenth: "
          + " ".join(f"{kib / 1024:.0f}" for kib in memory["rss_kib"])
          + "\nenrolments/s in each tenth: " + " ".join(f"{rate:,.0f}" for rate in memory["rates"]))


def main():
    p = tools.parser(" --scep", __doc__, 3)
    p.add_argument("--enrollments", type=int, default=100000, help="in the watch on memory (100000)")
    p.add_argument("--count", type=int, default=2000, help="in each repetition for each kind of CA (2000)")
    p.add_argument("--repetitions", type=int, default=3, help="(3)")
    p.add_argument("--quick", action="store_true", help="few enrolments, one repetition: a look, no figures")
    options = tools.parse(p)
    if options.quick:
        options.enrollments, options.count, options.repetitions = 1000, 100, 1
    with contextlib.ExitStack() as stack:
        folder = tempfile.mkdtemp(prefix="revline-bench-")
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        report = {"machine": tools.machine(), "count": options.count, "repetitions": options.repetitions, "seconds": options.seconds,
                  "enrolments": [measure_ca(options, folder, *ca) for ca in CAS],
                  "ocsp": measure_beside(options, folder), "memory": measure_memory(options, folder)}
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        print_report(report)


if __name__ == "__main__":
    main()
