"""Shows what a cached OCSP answer costs besides time: allocations and system calls of the server for each answer.

Called by `bash bench/run --cost`. Allocations are counted inside the server (allocations.c, preloaded), system calls by
`strace -c` on all of its threads. Each way of asking is a run of its own, after every answer has entered the cache.
The figures include the beginning and end of the run's 64 connections, and what other threads of the server do meanwhile.
"""
import json
import os
import re
import signal
import subprocess
import tempfile
import time

import prepare
import tools

RUNS = [("POST", "post", 1), ("GET", "get", 1), ("POST, 16 pipelined", "post", 16), ("GET, 16 pipelined", "get", 16)]
CALL = re.compile(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)(?:\s+\d+)?\s+(\w+)$", re.MULTILINE)


def load(options, port, file, pipeline):
    """Answers of a run, all of them, from the first to the last."""
    return tools.load(options, port, os.path.join(options.data, f"{file}.req"), "--pipeline", str(pipeline),
                        "--connections", "64", "--seconds", str(options.seconds), "--warmup", "0")["answers"]


def allocations(options, folder):
    """[allocations for each answer] of the runs."""
    counter = os.path.join(folder, "allocations")
    preload = os.path.abspath(os.path.join(options.build, "bench", "bench_allocations.so"))
    revline = prepare.Revline(options.revline, options.data, tools.PIN_SERVER, LD_PRELOAD=preload,
                              BENCH_ALLOCATIONS=counter)

    def count():
        with open(counter, "rb") as file:
            return int.from_bytes(file.read(8), "little")

    figures = []
    try:
        for _, file, pipeline in RUNS:
            tools.check_all(options, revline.port, os.path.join(options.data, f"{file}.req"))
            load(options, revline.port, file, pipeline)  # connections and exchanges have their memory now
            before = count()
            answers = load(options, revline.port, file, pipeline)
            figures.append((count() - before) / answers)
    finally:
        revline.stop()
    return figures


def tracer_of(status):
    with open(status, encoding="utf-8") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("TracerPid:"))


def wait_traced(pid, tracer):
    """Until every thread is; False when strace gave up."""
    while tracer.poll() is None:
        if all(tracer_of(f"/proc/{pid}/task/{task}/status") for task in os.listdir(f"/proc/{pid}/task")):
            return True
        time.sleep(0.02)
    return False


def system_calls(options, folder):
    """[{system call: times for each answer}] of the runs, or [] where strace may not trace."""
    revline = prepare.Revline(options.revline, options.data, tools.PIN_SERVER)
    figures = []
    try:
        for _, file, pipeline in RUNS:
            tools.check_all(options, revline.port, os.path.join(options.data, f"{file}.req"))
            report = os.path.join(folder, f"strace-{file}-{pipeline}")
            tracer = subprocess.Popen(["strace", "-f", "-c", "-o", report, "-p", str(revline.pid)],
                                      stderr=subprocess.DEVNULL)
            if not wait_traced(revline.pid, tracer):
                return []
            time.sleep(0.5)
            answers = load(options, revline.port, file, pipeline)
            tracer.send_signal(signal.SIGINT)
            if tracer.wait(20) not in (0, -signal.SIGINT, 130):
                return []
            with open(report, encoding="utf-8") as text:
                figures.append({name: int(calls) / answers for calls, name in CALL.findall(text.read())
                                if name != "total"})
    finally:
        revline.stop()
    return figures


def main():
    p = tools.parser(" --cost", __doc__, 2)
    p.add_argument("--certificates", type=int, default=1000, help="drawn from at random (1000)")
    options = tools.parse(p)
    with tempfile.TemporaryDirectory(prefix="revline-cost-") as folder:
        options.data = folder
        prepare.prepare(options.revline, folder, options.certificates)
        rows = [{"workload": label, "allocations": n} for (label, _, _), n in zip(RUNS, allocations(options, folder))]
        for row, calls in zip(rows, system_calls(options, folder)):
            row["system_calls"] = calls
    if options.json:
        print(json.dumps({"rows": rows}, indent=2))
        return
    print(f"{'workload':<23}{'allocations':>12}  system calls for each answer (below 0.001 left out)")
    for row in rows:
        calls = sorted(row.get("system_calls", {}).items(), key=lambda item: -item[1])
        print(f"{row['workload']:<23}{row['allocations']:>12.6f}  " +
              (", ".join(f"{name} {n:.3f}" for name, n in calls if n >= 0.001) or "not measured"))


if __name__ == "__main__":
    main()
