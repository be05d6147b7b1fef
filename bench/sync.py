"""How fast a directory becomes revocations: the first sync of a million devices with a certificate each, a delta that
deletes many of them, and how long a single change takes from the notification to the OCSP answer.

Called by `bash bench/run --sync`. The directory is bench_upstream, which serves pages from memory. Everything runs on
all cores; a load generator asks for cached OCSP answers meanwhile, about a thousand a second. The data is made in the
first run and stays (--data); the server works on a copy.
"""
import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import time

import prepare
import tools

ASKED = 10000  # certificates that OCSP is asked about; the deletions are of others
CONNECTIONS, PAUSE_MS = "4", "4"


class Upstream:
    """The directory. There is no token, and so no sync, until it is opened."""

    def __init__(self, options):
        self.process = subprocess.Popen([os.path.join(options.build, "bench", "bench_upstream"), "--devices", str(options.devices),
                                         "--page", str(options.page)], stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())

    def ask(self, method, what):
        head, body = tools.exchange(self.port, f"{method} /control/{what} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
        if not head.startswith(b"HTTP/1.1 200 "):
            raise SystemExit(f"bench: the directory refuses {what}")
        return json.loads(body)

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Server:
    """Revline on a copy of the data, which polls once a day: the rest it is told."""

    def __init__(self, options, stack, folder):
        self.options, self.folder = options, folder
        self.upstream = Upstream(options)
        stack.callback(self.upstream.stop)
        url = f"http://127.0.0.1:{self.upstream.port}"
        self.revline = prepare.Revline(
            options.revline, folder, AZURE_TENANT_ID="84bd8158-6d4d-4958-8b9f-9d6445542f95", AZURE_CLIENT_ID="bench",
            AZURE_CLIENT_SECRET="bench", AZURE_AUTHORITY_HOST=url, REVLINE_GRAPH_URL=url, REVLINE_SYNC_MASS_LIMIT="0",
            REVLINE_SYNC_ENTRA_INTERVAL="1d", REVLINE_BASE_URL="https://pki.example", REVLINE_WORKERS="1")
        stack.callback(self.revline.stop)
        self.log = open(self.revline.log, encoding="utf-8")
        stack.callback(self.log.close)

    def notify(self):
        """What Graph sends when something has changed."""
        state = self.upstream.ask("GET", "subscription")["clientState"]
        body = json.dumps({"value": [{"clientState": state, "changeType": "updated", "resource": "devices/x"}]})
        head, _ = tools.exchange(self.revline.port, ("POST /hooks/graph HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
                                                     f"Content-Length: {len(body)}\r\n\r\n{body}").encode())
        if not head.startswith(b"HTTP/1.1 202 "):
            raise SystemExit("bench: the notification is refused")

    def round_ended(self, source="entra-device"):
        """The source's round that the log tells of next; None: it has not ended."""
        for line in self.log:
            if '"sync.round"' in line and f'"{source}"' in line:
                return json.loads(line)
            if '"sync.failed"' in line:
                raise SystemExit("bench: sync fails: " + line)
        return None

    def check_revoked(self, count):
        """The last one is counted a moment after OCSP tells of it."""
        deadline = time.monotonic() + 10
        while (revoked := int(tools.metric(self.revline.port, "revline_sync_changes_total"))) != count:
            if time.monotonic() > deadline:
                raise SystemExit(f"bench: {revoked} certificates are revoked instead of {count}")
            time.sleep(0.05)

    def cpu_seconds(self):
        with open(f"/proc/{self.revline.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_rss_kib(self):
        with open(f"/proc/{self.revline.pid}/status", encoding="ascii") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))

    def time_round(self, begin, objects):
        """A round of so many objects, and what OCSP notices of it: windows of the load generator until it is over."""
        windows, ended, cpu = [], None, self.cpu_seconds()
        began = time.time()
        begin()
        while ended is None:
            windows.append(tools.load(self.options, self.revline.port, os.path.join(self.folder, "post.req"), "--connections", CONNECTIONS,
                                      "--pause", PAUSE_MS, "--seconds", str(self.options.seconds), "--warmup", "0", pin=()))
            ended = self.round_ended()
        if ended["objects"] != objects:
            raise SystemExit(f"bench: {ended['objects']} objects instead of {objects}")
        stamp = ended["ts"].removesuffix("Z")
        seconds = time.mktime(time.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone + float(stamp[19:]) - began
        p99 = [w["p99_us"] for w in windows]
        return {"objects": objects, "changed": ended["changed"], "seconds": seconds, "rate": objects / seconds,
                "cpu_seconds": self.cpu_seconds() - cpu, "rss_kib": self.peak_rss_kib(), "windows": len(windows),
                "answers": sum(w["answers"] for w in windows), "p99_us": statistics.median(p99), "worst_p99_us": max(p99)}


def warm_up(server, folder):
    """Every answer is in the cache, and p99 of an idle server. At its first start it weighs all certificates by its rules."""
    while server.round_ended("reweigh") is None:
        time.sleep(0.1)
    tools.check_all(server.options, server.revline.port, os.path.join(folder, "post.req"))
    return tools.load(server.options, server.revline.port, os.path.join(folder, "post.req"), "--connections", CONNECTIONS, "--pause",
                      PAUSE_MS, "--seconds", str(server.options.seconds), "--warmup", "0", pin=())["p99_us"]


def measure_changes(server, folder):
    """Milliseconds from a change and its notification to the first answer that says so, one change after another."""
    latencies = []
    with socket.create_connection(("127.0.0.1", server.revline.port), 10) as s:
        for number, (request, expect) in zip(range(server.options.changes), tools.records(os.path.join(folder, "post.req"))):
            revoked = expect[:-2] + b"\xa1"  # behind the CertID: certStatus [1] RevokedInfo instead of [0] NULL
            began = time.monotonic()
            server.upstream.ask("POST", f"remove?first={number}&count=1")
            server.notify()
            answer = b""
            while revoked not in answer:
                if time.monotonic() > began + 30:
                    raise SystemExit(f"bench: certificate {number} is not revoked")
                s.sendall(request)
                answer = next(tools.read_responses(s, 1))
            latencies.append((time.monotonic() - began) * 1e3)
    latencies.sort()
    return {"changes": len(latencies), "p50_ms": statistics.median(latencies), "p99_ms": latencies[-1 - len(latencies) // 100],
            "max_ms": latencies[-1]}


def make_data(options):
    folder = os.path.join(options.data, str(options.devices))
    complete = os.path.join(folder, "complete")
    if not os.path.exists(complete):
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        tools.say(f"issuing {options.devices:,} certificates into {folder}")
        prepare.prepare(options.revline, folder, options.devices, more=("--bound", "--requests", str(ASKED)))
        with open(complete, "w", encoding="ascii"):
            pass
    return folder


def measure(options):
    made = make_data(options)
    with contextlib.ExitStack() as stack:
        folder = tempfile.mkdtemp(prefix="run-", dir=options.data)
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        shutil.copytree(made, folder, dirs_exist_ok=True)
        server = Server(options, stack, folder)
        report = {"idle_p99_us": warm_up(server, folder)}
        tools.say(f"first sync of {options.devices:,} devices")
        report["first"] = server.time_round(lambda: server.upstream.ask("POST", "open"), options.devices)
        tools.say(f"a delta of {options.deletions:,} deletions")
        first = options.devices - options.deletions
        server.upstream.ask("POST", f"remove?first={first}&count={options.deletions}")
        report["deletions"] = server.time_round(server.notify, options.deletions)
        tools.say(f"{options.changes:,} changes, one after another")
        report["latency"] = measure_changes(server, folder)
        server.check_revoked(options.deletions + options.changes)
    return report


def print_report(report):
    m, latency = report["machine"], report["latency"]
    print(f"{m['cpu']}, {m['cores']} cores, Linux {m['kernel']}; all programs on all cores;\n{report['devices']:,} devices with a certificate "
          f"each, pages of {report['page']:,}\n")
    print(f"{'':<12}{'objects':>11}{'changed':>9}{'seconds':>9}{'objects/s':>11}{'CPU us each':>13}{'RSS MiB':>9}   cached OCSP answers\n"
          f"{'':<12}{'':>11}{'':>9}{'':>9}{'':>11}{'':>13}{'peak':>9}{'answers/s':>12}{'p99 us':>9}{'worst window':>14}")
    for name, key in (("first sync", "first"), ("deletions", "deletions")):
        row = report[key]
        print(f"{name:<12}{row['objects']:>11,}{row['changed']:>9,}{row['seconds']:>9.2f}{row['rate']:>11,.0f}"
              f"{row['cpu_seconds'] / row['objects'] * 1e6:>13.1f}{row['rss_kib'] / 1024:>9.0f}"
              f"{row['answers'] / row['windows'] / report['seconds']:>12,.0f}{row['p99_us']:>9,.0f}{row['worst_p99_us']:>14,.0f}")
    print(f"\ncached OCSP answers before: p99 {report['idle_p99_us']:,.0f} us\nfrom a change to the OCSP answer, {latency['changes']} changes: "
          f"p50 {latency['p50_ms']:.1f} ms, p99 {latency['p99_ms']:.1f} ms, longest {latency['max_ms']:.1f} ms")


def main():
    p = tools.parser(" --sync", __doc__, 1)
    p.add_argument("--devices", type=int, default=1000000, help="and certificates (1000000)")
    p.add_argument("--deletions", type=int, help="of devices in one delta (a tenth of them)")
    p.add_argument("--changes", type=int, default=200, help="of single devices, each notified (200)")
    p.add_argument("--page", type=int, default=999, help="objects of a page (999, what Revline asks for)")
    p.add_argument("--data", help="the folder of the data (sync, beside the programs of the bench)")
    p.add_argument("--quick", action="store_true", help="20,000 devices: a look, no figures")
    options = tools.parse(p)
    options.data = options.data or os.path.join(options.build, "bench", "sync")
    if options.quick:
        options.devices, options.changes = 20000, 20
    if options.deletions is None:
        options.deletions = options.devices // 10
    if not 0 < options.deletions <= options.devices - ASKED or not 0 < options.changes <= ASKED:
        p.error(f"--deletions leaves {ASKED} devices, --changes is at most as many")
    report = {"machine": tools.machine(), "devices": options.devices, "page": options.page, "seconds": options.seconds, **measure(options)}
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        print_report(report)


if __name__ == "__main__":
    main()
