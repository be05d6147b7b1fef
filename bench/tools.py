"""What the programs of the bench share: cores, the load generator, talking to a server, the command line."""
import argparse
import json
import os
import platform
import signal
import socket
import subprocess
import sys


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


def machine():
    model = platform.machine()
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
    return {"cpu": model, "cores": os.cpu_count(), "kernel": platform.release(),
            "server_core": SERVER_CORE, "load_core": LOAD_CORE}


# ---- the command line ----
def parser(mode, description, seconds):
    """The options that every mode has."""
    p = argparse.ArgumentParser(prog=f"bash bench/run{mode}", description=description,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    if mode:
        p.add_argument(mode.strip(), action="store_true", help=argparse.SUPPRESS)
    p.add_argument("--seconds", type=float, default=seconds, help=f"measured time of each figure ({seconds})")
    p.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    p.add_argument("--build", default="build/release", help="where the programs are (build/release)")
    p.add_argument("--nginx", help=argparse.SUPPRESS)
    return p


def parse(p):
    options = p.parse_args()
    options.revline = os.path.join(options.build, "revline")
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, lambda *_: sys.exit(1))  # the callers' stacks clean up
    return options


def say(text):
    print(f"bench: {text}", file=sys.stderr)


# ---- requests and answers ----
def records(path):
    with open(path, "rb") as file:
        while head := file.read(8):
            request, expect = int.from_bytes(head[:4], "big"), int.from_bytes(head[4:], "big")
            yield file.read(request), file.read(expect)


def read_responses(s, count):
    """Whole HTTP responses, as they came."""
    data = b""
    while count > 0:
        head, end, _ = data.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:]) if end else {}
        whole = len(head) + 4 + int(fields.get(b"content-length", 0))
        if end and len(data) >= whole:
            yield data[:whole]
            data, count = data[whole:], count - 1
        else:
            data += s.recv(16384) or sys.exit("bench: the connection ended inside a response")


def exchange(port, request):
    """Head and body of one HTTP response."""
    with socket.create_connection(("127.0.0.1", port), 10) as s:
        s.sendall(request)
        return next(read_responses(s, 1)).split(b"\r\n\r\n", 1)


def save_responses(port, requests, path):
    """The responses to all requests of the file, one behind the other."""
    with socket.create_connection(("127.0.0.1", port), 10) as s, open(path, "wb") as out:
        batch = []
        for request, _ in records(requests):
            batch.append(request)
            if len(batch) == 64:
                s.sendall(b"".join(batch))
                out.writelines(read_responses(s, len(batch)))
                batch = []
        s.sendall(b"".join(batch))
        out.writelines(read_responses(s, len(batch)))


def metric(port, name):
    """The sum of a metric's samples."""
    _, body = exchange(port, b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    lines = [line.split() for line in body.decode().splitlines() if line.startswith((name + " ", name + "{"))]
    return sum(float(line[-1]) for line in lines)


# ---- the load generator ----
def load_command(options, port, requests, *more, pin=tuple(PIN_LOAD)):
    return [*pin, os.path.join(options.build, "bench", "bench_load"), "--json", "--port", str(port), "--requests",
            requests, *more]


def figures_of(command, output, status):
    figures = json.loads(output or b"{}")
    if status != 0:
        raise SystemExit(f"bench: wrong answers: {' '.join(command)}: {figures}")
    if figures["server_cpu"] > 0:
        figures["rate_per_cpu"] = figures["rate"] / figures["server_cpu"]
    return figures


def load(options, port, requests, *more, **how):
    command = load_command(options, port, requests, *more, **how)
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    return figures_of(command, done.stdout, done.returncode)


def check_all(options, port, requests):
    """Asks for everything once, which fills the cache too; the figures of that."""
    return load(options, port, requests, "--once", "--connections", "8")
