"""Runs the floor, Revline and the peers against the load generator and prints one table. Called by bench/run.

Every server runs on one core and the load generator on another. The servers take turns within a repetition and the
order changes from one repetition to the next, so what else the machine does meets them alike; a ratio is always that
of figures from the same repetition. A figure is the median over the repetitions.

What else can be measured: --cost, --scale, --scep, --sync, each with a --help of its own.
"""
import argparse
import contextlib
import json
import os
import shutil
import statistics
import tempfile

import loops
import prepare
import servers
import signing
import tools

# What is asked: name, requests file, pipelined requests, servers (the others are compared with the first).
CACHED = ["floor", "floor, varied", "nginx", "Revline"]
WORKLOADS = [
    ("POST", "post", 1, CACHED),
    ("GET", "get", 1, CACHED),
    ("POST, 16 pipelined", "post", 16, CACHED),
    ("GET, 16 pipelined", "get", 16, CACHED),
    ("POST over TLS", "post", 1, ["Revline", "Revline, TLS"]),
    ("POST over TLS, 16 pipelined", "post", 16, ["Revline", "Revline, TLS"]),
    ("POST, new connections", "post", 1, ["openssl ocsp"]),
]
CONNECTIONS = {"openssl ocsp": 4}  # it answers one connection at a time
ONE_ANSWER = ("floor", "nginx")   # whatever is asked


def start_servers(stack, options, data, folder):
    """All servers by workload file and name; idle ones cost nothing."""
    revline = prepare.Revline(options.revline, data, tools.PIN_SERVER, REVLINE_HTTPS_LISTEN="127.0.0.1:0")
    stack.callback(revline.stop)
    started = {(file, "Revline"): revline for file in ("post", "get")}
    started["post", "Revline, TLS"] = argparse.Namespace(pid=revline.pid, port=revline.tls_port)
    heads = {}
    for file in ("post", "get"):
        requests, one, all_ = (os.path.join(place, name) for place, name in
                               ((data, f"{file}.req"), (folder, f"{file}.response"), (folder, f"{file}.responses")))
        certificates = tools.check_all(options, revline.port, requests)["answers"]  # and fills the cache
        head, body = heads[file] = tools.exchange(revline.port, next(tools.records(requests))[0])
        with open(one, "wb") as out:
            out.write(head + b"\r\n\r\n" + body)
        tools.save_responses(revline.port, requests, all_)
        started[file, "floor"] = servers.start_floor(stack, options.build, folder, one)
        started[file, "floor, varied"] = servers.start_floor(stack, options.build, folder, all_, requests)
    if options.nginx:
        for file, server in servers.start_nginx(stack, options.nginx, folder, heads).items():
            started[file, "nginx"] = server
    started["post", "openssl ocsp"] = servers.start_openssl(stack, data, folder)
    return started, {"certificates": certificates, "body": len(heads["post"][1])}


def measure_once(options, data, server, name, file, pipeline, seed):
    more = ["--answer-of", "0"] if name in ONE_ANSWER else ["--tls"] if name == "Revline, TLS" else []
    return tools.load(options, server.port, os.path.join(data, f"{file}.req"), "--pid", str(server.pid), "--pipeline",
                      str(pipeline), "--connections", str(CONNECTIONS.get(name, 64)), "--seconds",
                      str(options.seconds), "--warmup", "0.3", "--seed", str(seed), *more)


def measure_peers(options, data, started):
    """{(workload, server): [figures of each repetition]}, as the other measurements have it."""
    runs = {(label, name): [] for label, file, _, names in WORKLOADS for name in names if (file, name) in started}
    for repetition in range(options.repetitions):
        for label, file, pipeline, names in WORKLOADS:
            if len(names) == 1 and repetition > 0:  # compared with nothing: once is enough
                continue
            present = [name for name in names if (label, name) in runs]
            for name in present if repetition % 2 == 0 else reversed(present):
                tools.say(f"repetition {repetition + 1} of {options.repetitions}: {name}, {label}")
                runs[label, name].append(
                    measure_once(options, data, started[file, name], name, file, pipeline, repetition + 1))
    return runs


MEDIANS = ("rate", "rate_per_cpu", "p50_us", "p90_us", "p99_us", "p999_us", "max_us", "server_cpu", "load_cpu",
           "server_rss_kib")


def summarize(runs):
    """A row for each workload and server; the workload's first server is what the others are compared with."""
    rows, firsts = [], {}
    for (label, name), figures in runs.items():
        first = firsts.setdefault(label, figures)
        row = {"workload": label, "server": name}
        for key in MEDIANS:
            if key in figures[0]:
                row[key] = statistics.median(f[key] for f in figures)
        for key in ("rate", "rate_per_cpu", "p99_us"):
            if key in row and key in first[0]:
                row[f"{key}_of_first"] = statistics.median(f[key] / g[key] for f, g in zip(figures, first))
        rows.append(row)
    return rows


# ---- report ----
# Heading, width, and how the row's figure is written.
COLUMNS = [
    ("answers/s", 10, "rate", "{:,.0f}"),
    ("of 1st", 8, "rate_of_first", "{:.2f}"),
    ("per CPU s", 11, "rate_per_cpu", "{:,.0f}"),
    ("of 1st", 8, "rate_per_cpu_of_first", "{:.2f}"),
    ("p50 us", 9, "p50_us", "{:,.0f}"),
    ("p99 us", 9, "p99_us", "{:,.0f}"),
    ("of 1st", 8, "p99_us_of_first", "{:.2f}"),
    ("RSS MiB", 9, "server_rss_kib", "{:,.0f}"),
    ("CPU", 6, "server_cpu", "{:.0%}"),
    ("load", 6, "load_cpu", "{:.0%}"),
]


def cell(row, key, form):
    if key not in row:
        return "-"
    return form.format(row[key] / 1024 if key.endswith("_kib") else row[key])


def print_table(report):
    m = report["machine"]
    print(f"{m['cpu']}, {m['cores']} cores, Linux {m['kernel']}; server on core {m['server_core']}, load generator on "
          f"core {m['load_core']};\n{report['certificates']:,} certificates, 64 connections, answers of "
          f"{report['body']} octets; median of {report['repetitions']} x {report['seconds']} s\n")
    print(f"{'workload':<31}{'server':<23}" + "".join(f"{heading:>{width}}" for heading, width, _, _ in COLUMNS))
    for row in report["rows"]:
        print(f"{row['workload']:<31}{row['server']:<23}" +
              "".join(f"{cell(row, key, form):>{width}}" for _, width, key, form in COLUMNS))
    print()
    for label, times in report["loops_allowed"].items():
        print(f"{label}: if an answer costs what it costs with one loop, these cores allow {times:.2f} of 1st")


def main():
    p = tools.parser("", __doc__, 1)
    p.add_argument("--certificates", type=int, default=100000, help="drawn from at random (100000)")
    p.add_argument("--quick", action="store_true", help="1000 certificates, one repetition: a look, no figures")
    p.add_argument("--repetitions", type=int, default=3, help="(3)")
    p.add_argument("--data", help="a folder that bench/prepare.py made, instead of making one")
    options = tools.parse(p)
    if options.quick:
        options.certificates, options.repetitions = 1000, 1
    with contextlib.ExitStack() as stack:
        folder = tempfile.mkdtemp(prefix="revline-bench-")
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        data = options.data or folder
        if not options.data:
            tools.say(f"issuing {options.certificates:,} certificates and signing an answer for each")
            prepare.prepare(options.revline, data, options.certificates)
        with contextlib.ExitStack() as running:
            started, facts = start_servers(running, options, data, folder)
            runs = measure_peers(options, data, started)
            runs |= signing.measure_busy(options, data, started["post", "Revline"])
        runs |= signing.measure_keys(options, folder)
        of_loops = loops.measure_loops(options, data)
    report = {"machine": tools.machine(), **facts, "seconds": options.seconds, "repetitions": options.repetitions,
              "rows": summarize(runs | of_loops), "loops_allowed": loops.allowed(of_loops)}
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        print_table(report)


if __name__ == "__main__":
    main()
