"""Runs the floor, Revline and the peers against the load generator and prints one table. Called by bench/run.

Every server runs on one core and the load generator on another. The servers take turns within a repetition and the
order changes from one repetition to the next, so what else the machine does meets them alike; a ratio is always that
of figures from the same repetition. A figure is the median over the repetitions.
"""
import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import prepare

# What is asked: name, requests file, pipelined requests, servers (the floor first: the others are compared with it).
WORKLOADS = [
    ("POST", "post", 1, ["floor", "nginx", "revline"]),
    ("GET", "get", 1, ["floor", "nginx", "revline"]),
    ("POST, 16 pipelined", "post", 16, ["floor", "nginx", "revline"]),
    ("GET, 16 pipelined", "get", 16, ["floor", "nginx", "revline"]),
    ("POST with nonce", "nonce", 1, ["revline"]),
    ("POST, new connections", "post", 1, ["openssl"]),
]
LABELS = {"floor": "floor", "nginx": "nginx, bytes from memory", "revline": "Revline", "openssl": "openssl ocsp"}
CONNECTIONS = {"openssl": 4}  # it answers one connection at a time


def cores():
    """Where the server and where the load generator runs."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        print("bench: only one core: the server and the load generator share it, so the figures say little",
              file=sys.stderr)
    return usable[0], usable[-1]


SERVER_CORE, LOAD_CORE = cores()
PIN_SERVER = ["taskset", "-c", str(SERVER_CORE)]
PIN_LOAD = ["taskset", "-c", str(LOAD_CORE)]


def records(path):
    with open(path, "rb") as file:
        while head := file.read(8):
            request, expect = int.from_bytes(head[:4], "big"), int.from_bytes(head[4:], "big")
            yield file.read(request), file.read(expect)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def listens(port):
    """Asks the kernel: a connection made to see would send `openssl ocsp` into an endless loop when it closes."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(FileNotFoundError), open(table, encoding="ascii") as file:
            rows = [line.split() for line in file][1:]
            if any(row[1].endswith(f":{port:04X}") and row[3] == "0A" for row in rows):
                return True
    return False


def wait_port(port, process):
    deadline = time.monotonic() + 10
    while not listens(port):
        if time.monotonic() > deadline or process.poll() is not None:
            raise SystemExit(f"bench: this does not listen: {' '.join(process.args)}")
        time.sleep(0.02)


def exchange(port, request):
    """One HTTP response, whole, as it came: head and body."""
    with socket.create_connection(("127.0.0.1", port), 10) as s:
        s.sendall(request)
        data = b""
        while b"\r\n\r\n" not in data:
            data += s.recv(65536) or sys.exit("bench: the connection ended inside a response head")
        head, body = data.split(b"\r\n\r\n", 1)
        fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:])
        while len(body) < int(fields[b"content-length"]):
            body += s.recv(65536) or sys.exit("bench: the connection ended inside a response body")
    return head, body


class Process:
    """A server on its core. Without a port it prints the one it listens on."""

    def __init__(self, stack, command, log, port=None):
        with open(log, "ab") as out:
            self.process = subprocess.Popen([*PIN_SERVER, *command], stdin=subprocess.DEVNULL,
                                            stdout=out if port else subprocess.PIPE, stderr=out)
        stack.callback(self.stop)
        self.pid, self.port = self.process.pid, port or int(self.process.stdout.readline())
        wait_port(self.port, self.process)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


# ---- servers ----
def start_floor(stack, build, folder, name, response):
    path = os.path.join(folder, f"{name}.response")
    with open(path, "wb") as file:
        file.write(response)
    return Process(stack, [os.path.join(build, "bench", "bench_floor"), path], os.path.join(folder, "floor.log"))


def nginx_text(data):
    """Any octets as a quoted word of nginx's configuration language."""
    return b'"' + data.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def start_nginx(stack, binary, folder, heads):
    """One process that answers every request with the same body from memory. `heads`: name, head and body of the
    response to repeat; header fields that nginx does not write by itself are added. Returns the servers by name."""
    place = os.path.join(folder, "nginx")
    os.mkdir(place)
    ports, http = {}, b""
    for name, (head, body) in heads.items():
        ports[name] = free_port()
        added = b""
        for line in head.split(b"\r\n")[1:]:
            field, value = line.split(b":", 1)
            if field.lower() not in (b"server", b"date", b"content-type", b"content-length", b"connection"):
                added += b"add_header %s %s;" % (field, nginx_text(value.strip()))
        # The value of a geo variable is the one place where the configuration takes octets without expanding '$'.
        http += b"geo $%s { default %s; }\n" % (name.encode(), nginx_text(body))
        http += (b"server { listen 127.0.0.1:%d; %s location / { return 200 $%s; } }\n" %
                 (ports[name], added, name.encode()))
    paths = b"".join(b"%s_temp_path %s/%s;\n" % (kind, place.encode(), kind)
                     for kind in (b"client_body", b"proxy", b"fastcgi", b"uwsgi", b"scgi"))
    with open(os.path.join(place, "nginx.conf"), "wb") as file:
        file.write(b"daemon off; master_process off; pid %s/pid; error_log %s/error.log;\n" % ((place.encode(),) * 2) +
                   b"events { worker_connections 1024; }\n"
                   b"http { access_log off; keepalive_requests 1000000000; default_type application/ocsp-response;\n" +
                   paths + http + b"}\n")
    first, *others = ports
    servers = {first: Process(stack, [binary, "-p", place, "-e", f"{place}/error.log", "-c", f"{place}/nginx.conf"],
                              os.path.join(place, "log"), ports[first])}
    for name in others:
        servers[name] = argparse.Namespace(pid=servers[first].pid, port=ports[name])
    return servers


def start_openssl(stack, data, folder):
    port = free_port()
    return Process(stack, ["openssl", "ocsp", "-index", f"{data}/index.txt", "-CA", f"{data}/ca.pem", "-rsigner",
                           f"{data}/ca.pem", "-rkey", f"{data}/data/ca-1.key", "-ndays", "1", "-port", str(port)],
                   os.path.join(folder, "openssl.log"), port)


def start_servers(stack, options, data, folder):
    """All servers by workload file and name; idle ones cost nothing."""
    revline = prepare.Revline(options.revline, data, PIN_SERVER)
    stack.callback(revline.stop)
    heads = {}
    for file in ("post", "get"):
        certificates = check_all(options, revline.port, os.path.join(data, f"{file}.req"))  # and fills the cache
        heads[file] = exchange(revline.port, next(records(os.path.join(data, f"{file}.req")))[0])
    servers = {(file, "revline"): revline for file in ("post", "get", "nonce")}
    for file, (head, body) in heads.items():
        servers[file, "floor"] = start_floor(stack, options.build, folder, file, head + b"\r\n\r\n" + body)
    if options.nginx:
        for file, server in start_nginx(stack, options.nginx, folder, heads).items():
            servers[file, "nginx"] = server
    servers["post", "openssl"] = start_openssl(stack, data, folder)
    return servers, {"certificates": certificates, "body": len(heads["post"][1])}


# ---- measuring ----
def load(options, port, requests, *more):
    command = [*PIN_LOAD, os.path.join(options.build, "bench", "bench_load"), "--json", "--port", str(port),
               "--requests", requests]
    done = subprocess.run([*command, *more], stdout=subprocess.PIPE, check=False)
    figures = json.loads(done.stdout or b"{}")
    if done.returncode != 0:
        raise SystemExit(f"bench: wrong answers from port {port}: {figures}")
    return figures


def check_all(options, port, requests):
    return load(options, port, requests, "--once", "--connections", "8")["answers"]


def measure_once(options, data, server, name, file, pipeline, seed):
    more = ["--answer-of", "0"] if name in ("floor", "nginx") else []
    return load(options, server.port, os.path.join(data, f"{file}.req"), "--pid", str(server.pid), "--pipeline",
                str(pipeline), "--connections", str(CONNECTIONS.get(name, 64)), "--seconds", str(options.seconds),
                "--warmup", "0.3", "--seed", str(seed), *more)


def measure_all(options, data, servers):
    """{(workload, server): [figures of each repetition]}"""
    runs = {}
    for repetition in range(options.repetitions):
        for label, file, pipeline, names in WORKLOADS:
            if len(names) == 1 and repetition > 0:  # compared with nothing: once is enough
                continue
            present = [name for name in names if (file, name) in servers]
            for name in present if repetition % 2 == 0 else reversed(present):
                print(f"bench: repetition {repetition + 1} of {options.repetitions}: {LABELS[name]}, {label}",
                      file=sys.stderr)
                figures = measure_once(options, data, servers[file, name], name, file, pipeline, repetition + 1)
                figures["rate_per_cpu"] = figures["rate"] / max(figures["server_cpu"], 0.01)
                runs.setdefault((label, name), []).append(figures)
    return runs


MEDIANS = ("rate", "rate_per_cpu", "p50_us", "p90_us", "p99_us", "p999_us", "max_us", "server_cpu", "load_cpu",
           "server_rss_kib")


def summarize(runs):
    rows = []
    for (label, name), figures in runs.items():
        row = {"workload": label, "server": name}
        for key in MEDIANS:
            row[key] = statistics.median(f[key] for f in figures)
        floor = runs.get((label, "floor"))
        for key in ("rate", "rate_per_cpu", "p99_us") if floor else ():
            row[f"{key}_of_floor"] = statistics.median(f[key] / g[key] for f, g in zip(figures, floor))
        rows.append(row)
    return rows


# ---- report ----
def machine():
    model = platform.machine()
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
    return {"cpu": model, "cores": os.cpu_count(), "kernel": platform.release(),
            "server_core": SERVER_CORE, "load_core": LOAD_CORE}


# Heading, width, and how the row's figure is written.
COLUMNS = [
    ("answers/s", 10, lambda row: f"{row['rate']:,.0f}"),
    ("of floor", 10, lambda row: ratio(row, "rate")),
    ("per CPU s", 11, lambda row: f"{row['rate_per_cpu']:,.0f}"),
    ("of floor", 10, lambda row: ratio(row, "rate_per_cpu")),
    ("p50 us", 9, lambda row: f"{row['p50_us']:,.0f}"),
    ("p99 us", 9, lambda row: f"{row['p99_us']:,.0f}"),
    ("of floor", 10, lambda row: ratio(row, "p99_us")),
    ("RSS MiB", 9, lambda row: f"{row['server_rss_kib'] / 1024:.1f}"),
    ("CPU", 6, lambda row: f"{row['server_cpu']:.0%}"),
    ("load", 6, lambda row: f"{row['load_cpu']:.0%}"),
]


def ratio(row, key):
    return f"{row[key + '_of_floor']:.2f}" if key + "_of_floor" in row else "-"


def print_table(report):
    m = report["machine"]
    print(f"{m['cpu']}, {m['cores']} cores, Linux {m['kernel']}; server on core {m['server_core']}, load generator on "
          f"core {m['load_core']};\n{report['certificates']} certificates, 64 connections, answers of {report['body']} "
          f"octets; median of {report['repetitions']} x {report['seconds']} s\n")
    print(f"{'workload':<23}{'server':<25}" + "".join(f"{heading:>{width}}" for heading, width, _ in COLUMNS))
    for row in report["rows"]:
        print(f"{row['workload']:<23}{LABELS[row['server']]:<25}" +
              "".join(f"{text(row):>{width}}" for _, width, text in COLUMNS))


def main():
    parser = argparse.ArgumentParser(prog="bash bench/run", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--certificates", type=int, default=1000, help="drawn from at random (1000)")
    parser.add_argument("--seconds", type=float, default=2, help="measured time of each figure (2)")
    parser.add_argument("--repetitions", type=int, default=3, help="(3)")
    parser.add_argument("--data", help="a folder that bench/prepare.py made, instead of making one")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    parser.add_argument("--build", default="build/release", help="where the programs are (build/release)")
    parser.add_argument("--nginx", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.revline = os.path.join(options.build, "revline")
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, lambda *_: sys.exit(1))  # the stack below cleans up
    with contextlib.ExitStack() as stack:
        folder = tempfile.mkdtemp(prefix="revline-bench-")
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        data = options.data or folder
        if not options.data:
            print(f"bench: issuing {options.certificates} certificates", file=sys.stderr)
            prepare.prepare(options.revline, data, options.certificates)
        servers, facts = start_servers(stack, options, data, folder)
        rows = summarize(measure_all(options, data, servers))
    report = {"machine": machine(), **facts, "seconds": options.seconds, "repetitions": options.repetitions,
              "rows": rows}
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        print_table(report)


if __name__ == "__main__":
    main()
