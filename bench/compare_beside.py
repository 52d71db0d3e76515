"""CPU a request of echo servers in pairs: ours and another run at the same time on one CPU, each under a load of its own on another CPU.

What a virtual machine costs changes by a third from one second to the next, and two servers that are measured one after the other differ by as much.
Two that share a CPU suffer every change alike, in slices of a few milliseconds, so their ratio shows a difference of a hundredth. They share its cache too:
with many connections both are a little dearer than alone, who keeps more for a connection more so. What the hypervisor
takes for others it takes from both, so nothing is measured again because of that (compare_steal.py).
"""

import json
import statistics
import subprocess
import sys

from compare_net import CONNECTIONS, Failure, RunningServer, Server, choose_cpus, echo_load, load_command
from compare_report import Row, Target, display_name

OURS = ("aramid", "aramid_epoll")
AT_MOST_OF_FLOOR = 1.03


def pairs_of(servers):
    """`servers`: those of compare_net. Returns: (ours, the other) for all that are compared."""
    named = {server.who: server for server in servers}
    against = {"aramid": ("raw_epoll", "raw_uring", "asio", "go"), "aramid_epoll": ("raw_epoll",)}
    return [(named[who], named[other]) for who in OURS for other in against[who] if who in named and other in named]


def run_pair(net_load, pair, connections, seconds, cpus):
    """Returns: the CPU a request of both."""
    server_cpu, load_cpu = cpus
    words = echo_load(connections, seconds, load_cpu)
    loads = []
    with RunningServer(pair[0], server_cpu) as ours, RunningServer(pair[1], server_cpu) as other:
        try:
            for running in (ours, other):
                command = load_command(net_load, running, words)
                pipe = subprocess.PIPE
                loads.append(subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True))
            return tuple(cost_of(load, server.who, connections, seconds) for load, server in zip(loads, pair))
        finally:
            for load in loads:
                load.kill()
                load.wait()


def cost_of(load, who, connections, seconds):
    said, complaint = load.communicate(timeout=seconds + 60)
    if load.returncode != 0:
        raise Failure(f"{who} beside another, with {connections} connections: {complaint.strip()}")
    return json.loads(said)["server_cpu_us_per_request"]


def measure(net_load, servers, rounds, seconds):
    """Returns: (connections, ours, the other) -> the CPU a request of both, in the round whose ratio is the median."""
    cpus = choose_cpus()
    pairs = pairs_of(servers)
    taken = {(connections, ours.who, other.who): [] for connections in CONNECTIONS for ours, other in pairs}
    for number in range(rounds if pairs else 0):
        print(f"compare: round {number + 1} of {rounds}: echo servers in pairs", file=sys.stderr)
        for connections in CONNECTIONS:
            for pair in pairs:
                costs = run_pair(net_load, pair, connections, seconds, cpus)
                taken[connections, pair[0].who, pair[1].who].append(costs)
    return {key: median_pair(costs) for key, costs in taken.items() if costs}


def median_pair(costs):
    """Returns: the pair whose ratio is the median, of an even number the lower one of the middle."""
    middle = statistics.median_low(ours / other for ours, other in costs)
    return next(pair for pair in costs if pair[0] / pair[1] == middle)


def make_rows(results):
    rows = []
    for (connections, ours, other), (our_cost, cost) in results.items():
        target = None
        if ours == "aramid":
            floor = Target(f"≤ {AT_MOST_OF_FLOOR} × floor", of_floor=AT_MOST_OF_FLOOR)
            target = floor if other.startswith("raw") else Target("ahead", ahead_of_peers=True)
        on = ", on epoll" if ours == "aramid_epoll" else ""
        figure = f"echo, {connections} connections: CPU a request{on}, beside {display_name(other)}"
        rows.append(Row(figure, "us", {other: cost, "aramid": our_cost}, target, group="net", in_plot=False))
    return rows


def self_test():
    servers = [Server(who, []) for who in ("raw_epoll", "raw_uring", "go", "aramid", "aramid_default", "aramid_epoll")]
    assert [(a.who, b.who) for a, b in pairs_of(servers)] == [
        ("aramid", "raw_epoll"),
        ("aramid", "raw_uring"),
        ("aramid", "go"),
        ("aramid_epoll", "raw_epoll"),
    ]
    assert pairs_of(servers[:3]) == []
    assert median_pair([(9.0, 3.0), (2.0, 2.0), (4.0, 2.0)]) == (4.0, 2.0)
    assert median_pair([(9.0, 3.0), (4.0, 2.0)]) == (4.0, 2.0)
    rows = make_rows({
        (64, "aramid", "raw_uring"): (5.0, 4.9),
        (64, "aramid", "go"): (5.0, 4.9),
        (64, "aramid_epoll", "raw_epoll"): (5.5, 5.0),
    })
    assert [row.held() for row in rows] == [True, False, None]
    assert rows[2].figure == "echo, 64 connections: CPU a request, on epoll, beside raw epoll"
