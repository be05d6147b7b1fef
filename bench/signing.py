"""What is not in the cache: one signature for each answer, and what cached answers wait for while others are signed."""
import os
import re
import subprocess

import prepare
import tools

KEYS = [("EC P-256", "ec-p256", "ecdsap256"), ("RSA-2048", "rsa2048", "rsa2048")]  # ours, and openssl speed's name
SPEED = re.compile(r"^\s*(?:256 bits ecdsa \(nistp256\)|rsa 2048 bits)\s+[\d.]+s\s+[\d.]+s\s+([\d.]+)", re.MULTILINE)
CERTIFICATES = 20000
SMALL_CACHE = "64KiB"  # holds less than one in a hundred of the answers


def openssl_speed(algorithm):
    """Signatures for each second of CPU time, which is what the program counts, on the server's core."""
    output = subprocess.run([*tools.PIN_SERVER, "openssl", "speed", "-seconds", "1", algorithm], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout
    rate = float(SPEED.search(output).group(1))
    return {"rate": rate, "rate_per_cpu": rate}


def measure_keys(options, folder):
    """Rows for each type of key: openssl speed, answers with a nonce, answers that the cache has no room for."""
    data = os.path.join(folder, "signing")
    os.mkdir(data)
    prepare.prepare(options.revline, data, CERTIFICATES)
    runs = {}
    for label, key, algorithm in KEYS:
        tools.say(f"signing with {label}")
        revline = prepare.Revline(options.revline, data, tools.PIN_SERVER, REVLINE_OCSP_KEY=key,
                                  REVLINE_OCSP_CACHE_SIZE=SMALL_CACHE)
        try:
            for repetition in range(options.repetitions):
                runs.setdefault((label, "openssl speed"), []).append(openssl_speed(algorithm))
                for server, file in (("Revline, nonce", "nonce"), ("Revline, not cached", "post")):
                    figures = tools.load(options, revline.port, os.path.join(data, f"{file}.req"), "--pid",
                                         str(revline.pid), "--seconds", str(options.seconds), "--warmup", "0.3",
                                         "--seed", str(repetition + 1))
                    runs.setdefault((label, server), []).append(figures)
        finally:
            revline.stop()
    return runs


def measure_busy(options, data, revline):
    """Cached answers alone, and while a second load generator asks for more signatures than there can be."""
    label, runs = "POST, signing beside", {}

    def command(file, seconds, warmup):
        return tools.load_command(options, revline.port, os.path.join(data, f"{file}.req"), "--pid", str(revline.pid),
                                  "--seconds", str(seconds), "--warmup", str(warmup))

    def run(command_):
        done = subprocess.run(command_, stdout=subprocess.PIPE, check=False)
        return tools.figures_of(command_, done.stdout, done.returncode)

    for repetition in range(options.repetitions):
        tools.say(f"repetition {repetition + 1} of {options.repetitions}: {label}")
        cached = command("post", options.seconds, 0.5)
        runs.setdefault((label, "Revline, none beside"), []).append(run(cached))
        nonces = command("nonce", options.seconds + 0.4, 0.3)  # its window encloses the other's
        beside = subprocess.Popen(nonces, stdout=subprocess.PIPE)
        try:
            figures = run(cached)
            output, _ = beside.communicate()
        finally:
            beside.kill()
            beside.wait()
        others = tools.figures_of(nonces, output, beside.returncode)
        # Both asked one process: the CPU time is that of all its answers.
        for figure in (figures, others):
            del figure["rate_per_cpu"]
        runs.setdefault((label, "Revline, cached"), []).append(figures)
        runs.setdefault((label, "Revline, nonces beside"), []).append(others)
    return runs
