"""One loop against two. The load generator needs as much of the machine as the server, so both may use every core, and
what two loops can give then is computed from what one loop and the generator spent on an answer."""
import os
import statistics

import prepare
import tools

WORKLOADS = [("POST, all cores", 1), ("POST, 16 pipelined, all cores", 16)]
LOOPS = (1, 2)


def name(loops):
    return f"Revline, {loops} loop{'s' if loops > 1 else ''}"


def measure_loops(options, data):
    """The rows. Every start is a warm one and every answer is asked for once before the measuring."""
    runs, post = {}, os.path.join(data, "post.req")
    for repetition in range(options.repetitions):
        for loops in LOOPS if repetition % 2 == 0 else reversed(LOOPS):
            tools.say(f"repetition {repetition + 1} of {options.repetitions}: {name(loops)}")
            revline = prepare.Revline(options.revline, data, REVLINE_WORKERS=str(loops))
            try:
                tools.check_all(options, revline.port, post)
                for label, pipeline in WORKLOADS:
                    figures = tools.load(options, revline.port, post, "--pid", str(revline.pid), "--threads", "2",
                                         "--pipeline", str(pipeline), "--seconds", str(options.seconds), "--warmup",
                                         "0.3", "--seed", str(repetition + 1), pin=())
                    runs.setdefault((label, name(loops)), []).append(figures)
            finally:
                revline.stop()
    return {(label, name(loops)): runs[label, name(loops)] for label, _ in WORKLOADS for loops in LOOPS}


def allowed(runs):
    """{workload: how many times one loop's answers the cores allow}: all their time, spent as one loop and the
    generator spent it on each answer."""
    cores = len(os.sched_getaffinity(0))
    return {label: statistics.median(cores / (f["server_cpu"] + f["load_cpu"]) for f in runs[label, name(1)])
            for label, _ in WORKLOADS}
