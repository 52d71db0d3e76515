"""Measurements of servers and files while the machine is ours. (The others are minima of many, which it does not touch.)

A virtual machine stands still while its hypervisor serves others, up to 200 ms at a time where that is busy; what runs then is charged for it, and
latencies have it. Linux counts that as "steal" (man 5 proc_stat). A measurement with much of it is taken again.
"""

import contextlib
import io
import itertools
import sys

TOLERATED = 0.015  # of all CPUs' time
ATTEMPTS = 6


def read_times():
    """Returns: stolen and all CPU time since the start, in ticks."""
    with open("/proc/stat") as stat:
        times = [int(word) for word in stat.readline().split()[1:9]]
    return times[7], sum(times)


def undisturbed(run, *args, times=read_times):
    """Calls `run(*args)` until little was stolen meanwhile, a few times at most. Returns: what the least disturbed call did."""
    least = None
    for _ in range(ATTEMPTS):
        stolen_before, all_before = times()
        result = run(*args)
        stolen, total = times()
        share = (stolen - stolen_before) / max(1, total - all_before)
        if least is None or share < least[0]:
            least = share, result
        if share <= TOLERATED:
            return result
    print(f"compare: the hypervisor keeps {least[0]:.0%} of the machine to itself", file=sys.stderr)
    return least[1]


def self_test():
    def times_of(*shares):
        """Two readings around each run, of 1,000 ticks."""
        stolen = list(itertools.accumulate(shares, initial=0))
        readings = [(stolen[i + after], 1000 * (i + after)) for i in range(len(shares)) for after in (0, 1)]
        return iter(readings).__next__

    runs = itertools.count()
    assert undisturbed(runs.__next__, times=times_of(10)) == 0
    assert undisturbed(runs.__next__, times=times_of(200, 100, 5)) == 3
    with contextlib.redirect_stderr(io.StringIO()) as said:
        assert undisturbed(runs.__next__, times=times_of(200, 100, 50, 60, 70, 80)) == 6
    assert "5% of the machine" in said.getvalue()
