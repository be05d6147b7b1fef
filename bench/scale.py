"""Shows that the number of certificates costs nothing: Revline with a thousand, a million and ten million of them.

Called by `bash bench/run --scale`. Making the data takes about ten minutes; it stays in the folder for the next time.
One server for each number runs at the same time, on one core, and they are asked in turn; the load generator has
another core. Before the start, the system is asked to forget what it holds of the database's files.
"""
import contextlib
import json
import os
import statistics
import time

import prepare
import tools

SIZES = [1000, 1000000, 10000000]
FEW = 1000  # as many as the smallest has: the rows differ in what is stored, not in what is asked for


class Instance:
    """The data of one size and the server on it."""

    def __init__(self, options, size):
        self.options, self.size = options, size
        self.folder = os.path.join(options.data, str(size))
        self.few = os.path.join(self.folder, "few.req")
        self.runs = {"uncached": [], "cached_few": [], "cached_all": []}
        self.row = {"certificates": size}
        self.revline = None

    def prepare(self):
        complete = os.path.join(self.folder, "complete")
        if not os.path.exists(complete):
            if os.path.exists(self.folder):
                raise SystemExit(f"bench: {self.folder} is of an interrupted run: remove it")
            os.makedirs(self.folder)
            tools.say(f"issuing {self.size:,} certificates into {self.folder}")
            prepare.prepare(self.options.revline, self.folder, self.size)
            with open(complete, "w", encoding="ascii"):
                pass
        with open(self.few, "wb") as out:
            for (request, expect), _ in zip(tools.records(self.requests("post")), range(FEW)):
                out.write(len(request).to_bytes(4, "big") + len(expect).to_bytes(4, "big") + request + expect)

    def requests(self, file):
        return os.path.join(self.folder, f"{file}.req")

    def forget_files(self):
        data = os.path.join(self.folder, "data")
        os.sync()  # only what is on disk can be forgotten
        for place, _, names in os.walk(data):
            for name in names:
                with open(os.path.join(place, name), "rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def start(self, stack):
        """Seconds from the start of the program to its first answer, which takes a look-up and a signature."""
        request, _ = next(tools.records(self.requests("nonce")))
        self.forget_files()
        began = time.monotonic()
        self.revline = prepare.Revline(self.options.revline, self.folder, tools.PIN_SERVER)
        stack.callback(lambda: self.revline.stop())
        tools.exchange(self.revline.port, request)
        return time.monotonic() - began

    def measure(self, repetition):
        files = {"uncached": self.requests("nonce"), "cached_few": self.few, "cached_all": self.requests("post")}
        for key, file in files.items():
            tools.say(f"repetition {repetition + 1}: {self.size:,} certificates, {key.replace('_', ', ')}")
            if key != "uncached" or repetition == 0:
                tools.check_all(self.options, self.revline.port, file)
            self.runs[key].append(tools.load(self.options, self.revline.port, file, "--pid", str(self.revline.pid),
                                             "--seconds", str(self.options.seconds), "--warmup", "0.3", "--seed",
                                             str(repetition + 1)))

    def wait_saved(self):
        """Answers are saved for the next start some thousands a second; until the number stands still."""
        saved, before = -1, -2
        while saved != before:
            time.sleep(2.5)
            before, saved = saved, tools.metric(self.revline.port, "revline_ocsp_answers_saved_total")

    def restart(self, stack):
        self.wait_saved()
        self.revline.stop()
        self.row["warm_start_seconds"] = self.start(stack)
        signed = tools.metric(self.revline.port, "revline_ocsp_signatures_total")
        figures = tools.check_all(self.options, self.revline.port, self.requests("post"))
        self.row["warm_requests"], self.row["warm_seconds"] = figures["answers"], figures["seconds"]
        self.row["warm_loaded"] = tools.metric(self.revline.port, "revline_ocsp_answers_loaded_total")
        self.row["warm_signatures"] = tools.metric(self.revline.port, "revline_ocsp_signatures_total") - signed


def summarize(instances):
    first = instances[0]
    for i in instances:
        for key, runs in i.runs.items():
            i.row[key] = statistics.median(f["rate"] for f in runs)
            i.row[f"{key}_of_first"] = statistics.median(f["rate"] / g["rate"] for f, g in zip(runs, first.runs[key]))
        i.row["rss_kib"] = max(f["server_rss_kib"] for runs in i.runs.values() for f in runs)
    return [i.row for i in instances]


def print_table(report):
    m = report["machine"]
    print(f"{m['cpu']}, {m['cores']} cores, Linux {m['kernel']}; servers on core {m['server_core']}, load generator on "
          f"core {m['load_core']};\n64 connections, POST; median of {report['repetitions']} x {report['seconds']} s\n")
    print(f"{'':>12}{'start':>9}{'nonce':>10}{'of 1st':>8}{f'{FEW:,} cached':>14}{'of 1st':>8}{'all cached':>12}"
          f"{'RSS MiB':>9}   warm restart\n{'certificates':>12}{'s':>9}{'/s':>10}{'':>8}{'/s':>14}{'':>8}{'/s':>12}"
          f"{'':>9}{'start s':>10}{'loaded':>9}{'requests':>10}{'in s':>7}{'signed':>9}")
    for r in report["rows"]:
        print(f"{r['certificates']:>12,}{r['start_seconds']:>9.2f}{r['uncached']:>10,.0f}"
              f"{r['uncached_of_first']:>8.2f}{r['cached_few']:>14,.0f}{r['cached_few_of_first']:>8.2f}"
              f"{r['cached_all']:>12,.0f}{r['rss_kib'] / 1024:>9.0f}{r['warm_start_seconds']:>10.2f}"
              f"{r['warm_loaded']:>9,.0f}{r['warm_requests']:>10,}{r['warm_seconds']:>7.1f}{r['warm_signatures']:>9,.0f}")


def main():
    p = tools.parser(" --scale", __doc__, 2)
    p.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of certificates, the smallest first")
    p.add_argument("--repetitions", type=int, default=3, help="(3)")
    p.add_argument("--data", help="the folder of the data (scale, beside the programs of the bench)")
    options = tools.parse(p)
    options.data = options.data or os.path.join(options.build, "bench", "scale")
    instances = [Instance(options, size) for size in options.sizes]
    for i in instances:
        i.prepare()
    with contextlib.ExitStack() as stack:
        for i in instances:
            i.row["start_seconds"] = i.start(stack)
        for repetition in range(options.repetitions):
            for i in instances if repetition % 2 == 0 else reversed(instances):
                i.measure(repetition)
        for i in instances:
            i.restart(stack)
    report = {"machine": tools.machine(), "seconds": options.seconds, "repetitions": options.repetitions,
              "rows": summarize(instances)}
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        print_table(report)


if __name__ == "__main__":
    main()
