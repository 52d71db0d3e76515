"""What an idle connection costs: by how much a server's resident memory grows with each that it has served once.

Buffers of 4 KiB where a server has one for each connection. What the kernel keeps for a socket is the same for all, and not in it."""

import resource
import statistics
import sys

from compare_net import RunningServer, Server, run_net_load
from compare_report import Row

CONNECTIONS = min(10_000, resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 200)
REQUEST_BYTES = 64
TIMEOUT_SECONDS = 60


def servers_of(raw_epoll, go, echo_server, lending):
    """`go`, or the last two: None where it is not to be measured."""
    servers = [Server("raw_epoll", [raw_epoll], pinned=False)]
    if go:
        servers.append(Server("go", [go, "--buffer", "4096"], pinned=False))
    if echo_server:
        servers.append(Server("aramid", [echo_server], pinned=False))
        servers.append(Server("aramid_lending", [lending], pinned=False))
    return servers


def measure(net_load, servers, rounds):
    """Returns: who -> bytes for each connection, medians over the rounds."""
    taken = {server.who: [] for server in servers}
    for number in range(rounds):
        print(f"compare: round {number + 1} of {rounds}: idle connections", file=sys.stderr)
        for server in servers:
            taken[server.who].append(hold(net_load, server))
    return {who: statistics.median(bytes_each) for who, bytes_each in taken.items()}


def hold(net_load, server):
    words = f"--mode hold --connections {CONNECTIONS} --size {REQUEST_BYTES} --timeout {TIMEOUT_SECONDS}"
    what = f"with {CONNECTIONS} idle connections"
    with RunningServer(server, None) as running:
        result = run_net_load(net_load, running, words, what, 2 * TIMEOUT_SECONDS)
    return result["server_bytes_per_connection"]


def make_rows(results):
    figure = f"{CONNECTIONS:,} idle connections: memory of each"
    own = {who: value for who, value in results.items() if who != "aramid_lending"}
    rows = [Row(figure, "B", own, group="net")]
    if "aramid_lending" in results:
        lending = {**own, "aramid": results["aramid_lending"]}
        rows.append(Row(f"{figure}, buffers lent", "B", lending, group="net"))
    return rows


def self_test():
    own, lending = make_rows({"raw_epoll": 100.0, "go": 9000.0, "aramid": 8000.0, "aramid_lending": 5000.0})
    assert own.floor_names == lending.floor_names == ["raw_epoll"] and own.peer_names == lending.peer_names == ["go"]
    assert own.ratio_to(["go"]) == 8 / 9 and lending.ratio_to(["go"]) == 5 / 9
    assert len(make_rows({"raw_epoll": 100.0})) == 1
