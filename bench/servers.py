"""The servers that Revline is compared with: the floor, nginx and OpenSSL's responder."""
import argparse
import contextlib
import os
import signal
import socket
import subprocess
import time

from tools import PIN_SERVER


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


def start_floor(stack, build, folder, *files):
    return Process(stack, [os.path.join(build, "bench", "bench_floor"), *files], os.path.join(folder, "floor.log"))


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
