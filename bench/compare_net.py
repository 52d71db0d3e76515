"""Runs the echo servers by turns under net_load, each pinned to one CPU and the load to another."""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from compare_report import Row, Target
from compare_steal import undisturbed

CONNECTIONS = (8, 64, 512)
START_SECONDS = 10
STOP_SECONDS = 10


@dataclass
class Server:
    who: str
    command: list
    pinned: bool = True  # to one CPU; else all CPUs are its own, the load's included


class Failure(Exception):
    pass


def choose_cpus():
    """Returns: the CPU of the server and the CPU of the load.

    They are different cores if they can be, else hardware threads of one core, else the same."""
    server, *others = sorted(os.sched_getaffinity(0))
    apart = [cpu for cpu in others if cpu not in siblings_of(server)]
    return server, (apart or others or [server])[0]


def siblings_of(cpu):
    path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    try:
        spans = [span.split("-") for span in path.read_text().strip().split(",")]
    except OSError:
        return set()
    return {number for span in spans for number in range(int(span[0]), int(span[-1]) + 1)}


class RunningServer:
    """A server on a port of the kernel's choice; the end of the with block sends it SIGTERM."""

    def __init__(self, server, cpu):
        self.server = server
        self.log = tempfile.TemporaryFile()  # not a pipe, which would stop a talkative server
        pin = (lambda: os.sched_setaffinity(0, {cpu})) if server.pinned else None
        self.process = subprocess.Popen(
            [*map(str, server.command), "--port", "0"],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            preexec_fn=pin,
        )
        self.port = None

    def __enter__(self):
        try:
            self.port = self.wait_for_port()
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        return self

    def __exit__(self, *unused):
        self.process.terminate()
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise self.failure(f"still running {STOP_SECONDS} s after SIGTERM") from None
        if code != 0:
            raise self.failure(f"exit code {code} after SIGTERM")
        self.log.close()

    def output(self):
        return os.pread(self.log.fileno(), 4096, 0).decode(errors="replace")

    def failure(self, what):
        return Failure(f"{self.server.who}: {what}; it said: {self.output().strip() or 'nothing'}")

    def wait_for_port(self):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            found = re.search(r"listening on \S*:(\d+)\s", self.output())
            if found:
                return int(found.group(1))
            if self.process.poll() is not None:
                break
            time.sleep(0.005)
        raise self.failure("does not say where it listens")


def run_net_load(net_load, running, words, what, timeout, **more):
    """Runs the load with `words`; `what` is what a failure says it was. Returns: its report."""
    command = load_command(net_load, running, words)
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, **more)
    if done.returncode != 0:
        raise Failure(f"{running.server.who} {what}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def load_command(net_load, running, words):
    words = f"--port {running.port} --server-pid {running.process.pid} --json --quiet {words}"
    return [net_load, *words.split()]


def echo_load(connections, seconds, cpu):
    return f"--connections {connections} --seconds {seconds} --warmup 0.2 --pin {cpu}"


def run_load(net_load, running, connections, seconds, cpu):
    words = echo_load(connections, seconds, cpu)
    what = f"with {connections} connections"
    result = run_net_load(net_load, running, words, what, seconds + 60)
    return {
        "requests_per_second": result["requests_per_second"],
        "p50": result["latency_us"]["p50"],
        "p99": result["latency_us"]["p99"],
        "p99_9": result["latency_us"]["p99_9"],
        "cpu": result["server_cpu_us_per_request"],
    }


def measure(net_load, servers, rounds, seconds):
    """Returns: (connections, who) -> medians over the rounds."""
    server_cpu, load_cpu = choose_cpus()

    def run(server, connections):
        with RunningServer(server, server_cpu) as running:
            return run_load(net_load, running, connections, seconds, load_cpu)

    taken = {(connections, server.who): [] for connections in CONNECTIONS for server in servers}
    for number in range(rounds):
        print(f"compare: round {number + 1} of {rounds}: echo servers", file=sys.stderr)
        for connections in CONNECTIONS:
            for server in servers:
                taken[connections, server.who].append(undisturbed(run, server, connections))
    return medians_of(taken)


def medians_of(taken):
    """`taken`: key -> runs, each a figure by name. Returns: key -> the median of each figure."""
    return {
        key: {name: statistics.median(run[name] for run in runs) for name in runs[0]}
        for key, runs in taken.items()
    }


# What a row shows: its label, the name of the measurement, its unit.
CPU = ("CPU a request", "cpu", "us")
CPU_OF_ALL = ("CPU a request, all CPUs", "cpu", "us")
CPU_ON_EPOLL = ("CPU a request, on epoll", "cpu", "us")
P99 = ("p99", "p99", "us")
RATE = ("requests/s", "requests_per_second", "/s")


def make_rows(results):
    """The rows of the summary; the floor is the better of raw epoll and raw io_uring."""
    floors = ["raw_epoll", "raw_uring"]
    one_worker = {who: who for who in (*floors, "asio", "go", "aramid")}
    on_epoll = {"raw_epoll": "raw_epoll", "aramid_epoll": "aramid"}
    all_cpus = {"aramid": "aramid_one", "go_default": "go_default", "aramid_default": "aramid"}

    def rows(what, shown, target=None, **more):
        """A row for each number of connections; `shown`: who was measured -> who in the row."""
        label, name, unit = what
        for connections in CONNECTIONS:
            measured = {who: results.get((connections, who)) for who in shown}
            values = {shown[who]: run[name] for who, run in measured.items() if run}
            held_to = target.get(connections) if isinstance(target, dict) else target
            figure = f"echo, {connections} connections: {label}"
            yield Row(figure, unit, values, held_to, group="net", **more)

    to_one = Target("≤ 1.15 × one worker", of_floor=1.15)
    to_epoll = {64: Target("no worse than raw epoll", of_floor=1.0)}
    return [
        *rows(CPU, one_worker, floors=floors),  # held to them in pairs: compare_beside.py
        *rows(CPU_OF_ALL, all_cpus, to_one, floors=["aramid_one"]),
        *rows(CPU_ON_EPOLL, on_epoll, floors=["raw_epoll"]),
        *rows(P99, one_worker, to_epoll, floors=["raw_epoll"]),
        *rows(RATE, one_worker, floors=floors, higher_is_better=True, in_plot=False),
    ]


def self_test():
    taken = {"a": [{"x": 1.0, "y": 9.0}, {"x": 7.0, "y": 8.0}, {"x": 3.0, "y": 1.0}]}
    assert medians_of(taken) == {"a": {"x": 3.0, "y": 8.0}}
    run = {"requests_per_second": 2e5, "p50": 250.0, "p99": 400.0, "p99_9": 900.0, "cpu": 5.0}
    results = {}
    for connections in CONNECTIONS:
        results[connections, "raw_epoll"] = run
        results[connections, "raw_uring"] = {**run, "cpu": 4.8}
        results[connections, "asio"] = {**run, "cpu": 5.4}
        results[connections, "aramid"] = {**run, "cpu": 4.9, "p99": 410.0}
        results[connections, "aramid_default"] = {**run, "cpu": 6.0}
        results[connections, "aramid_epoll"] = {**run, "cpu": 5.1}
    rows = {row.figure: row for row in make_rows(results)}
    cpu = rows["echo, 64 connections: CPU a request"]
    assert (
        cpu.held() is None
        and cpu.floor_names == ["raw_epoll", "raw_uring"]
        and cpu.peer_names == ["asio"]
    )
    assert rows["echo, 8 connections: CPU a request, all CPUs"].held() is False
    on_epoll = rows["echo, 64 connections: CPU a request, on epoll"]
    assert on_epoll.held() is None and on_epoll.floor_names == ["raw_epoll"]
    assert rows["echo, 64 connections: p99"].held() is False
    assert rows["echo, 8 connections: p99"].held() is None
    assert rows["echo, 8 connections: requests/s"].ratio_to(["raw_epoll"]) == 1.0
