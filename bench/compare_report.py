"""The rows of the comparison: what was measured, what it is held to, and the Markdown tables."""

from dataclasses import dataclass, field

NAMES = {
    "aramid": "aramid",
    "aramid_default": "aramid, all CPUs",
    "aramid_epoll": "aramid, on epoll",
    "aramid_one": "aramid, one worker",
    "asio": "Asio",
    "boost_fiber": "Boost.Fiber",
    "clock": "clock read",
    "clock_read": "clock read",
    "go": "Go",
    "go_default": "Go, all CPUs",
    "raw_context": "raw switch",
    "raw_epoll": "raw epoll",
    "raw_epoll_per_core": "raw epoll, a loop per core",
    "raw_fio_pread": "fio, pread",
    "raw_fio_pread_default": "fio, pread, all CPUs",
    "raw_fio_uring": "fio, io_uring",
    "raw_fio_uring_default": "fio, io_uring, all CPUs",
    "raw_uring": "raw io_uring",
    "raw_uring_multishot": "io_uring, multishot",
    "std_mutex": "std::mutex",
    "std_semaphore": "std::counting_semaphore",
    "std_shared_mutex": "std::shared_mutex",
    "std_thread": "std::thread",
}

FLOOR_PREFIXES = ("raw", "std", "clock")


def display_name(who):
    return NAMES.get(who, who.replace("_", " "))


def is_floor(who):
    return who.startswith(FLOOR_PREFIXES)


def is_ours(who):
    return who.startswith("aramid")


@dataclass
class Target:
    """What a figure is to hold: at most `of_floor` × the floor, `of_peer` × a peer, or `at_most`.

    Where higher is better: at least `of_floor` × the floor."""

    text: str
    of_floor: float = None
    of_peer: tuple = None  # (who, factor)
    at_most: float = None
    ahead_of_peers: bool = False


@dataclass
class Row:
    figure: str
    unit: str  # "ns", "us", "/s" or "B"
    values: dict  # who -> figure; in the order of the table
    target: Target = None
    ours: str = "aramid"
    floors: list = None  # who; None: all that are floors by name
    higher_is_better: bool = False
    group: str = "micro"
    in_plot: bool = True
    instructions: dict = field(default_factory=dict)  # who -> of one operation
    floor_names: list = field(init=False)
    peer_names: list = field(init=False)

    def __post_init__(self):
        others = [who for who in self.values if who != self.ours]
        chosen = [who for who in others if is_floor(who)] if self.floors is None else self.floors
        self.floor_names = [who for who in chosen if who in self.values]
        self.peer_names = [
            who for who in others if who not in self.floor_names and not is_floor(who)
        ]

    def best(self, names):
        values = [self.values[who] for who in names]
        if not values:
            return None
        return max(values) if self.higher_is_better else min(values)

    def ratio_to(self, names):
        ours = self.values.get(self.ours)
        best = self.best(names)
        return ours / best if ours and best else None

    def held(self):
        """True, False, or None where there is nothing to tell it by."""
        ours = self.values.get(self.ours)
        if self.target is None or ours is None:
            return None
        checks = []
        if self.target.of_floor is not None:
            ratio = self.ratio_to(self.floor_names)
            if ratio is None:
                checks.append(None)
            elif self.higher_is_better:
                checks.append(round(ratio, 2) >= self.target.of_floor)
            else:
                checks.append(round(ratio, 2) <= self.target.of_floor)
        if self.target.of_peer is not None:
            who, factor = self.target.of_peer
            checks.append(None if who not in self.values else ours <= factor * self.values[who])
        if self.target.at_most is not None:
            checks.append(ours <= self.target.at_most)
        if self.target.ahead_of_peers and self.peer_names:
            checks.append(ours < self.best(self.peer_names))
        if False in checks:
            return False
        return None if None in checks or not checks else True


def three_digits(value):
    """Three significant digits, plainly written: 5.83, 58.3, 583, 58,300."""
    if value >= 100:
        digits = len(str(int(value)))
        return f"{round(value, 3 - digits):,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def with_unit(value, unit):
    if value is None:
        return "—"
    if unit == "B":
        return f"{value:,.0f} B" if value < 1024 else f"{value / 1024:.1f} KiB"
    if unit == "/s":
        return f"{round(value, -2):,.0f} /s"
    nanoseconds = value * 1000 if unit == "us" else value
    for limit, divisor, name in (
        (1e3, 1, "ns"),
        (1e6, 1e3, "µs"),
        (1e9, 1e6, "ms"),
        (float("inf"), 1e9, "s"),
    ):
        if nanoseconds < limit:
            return f"{three_digits(nanoseconds / divisor)} {name}"
    raise AssertionError("unreachable")


def several(row, names):
    return (
        " · ".join(f"{display_name(who)} {with_unit(row.values[who], row.unit)}" for who in names)
        or "—"
    )


def instructions_of(row):
    """Ours, and in brackets what floors and peers take."""
    counts = dict(row.instructions)
    ours = counts.pop(row.ours, None)
    others = " · ".join(f"{display_name(who)} {counts[who]:,.0f}" for who in sorted(counts))
    shown = ["" if ours is None else f"{ours:,.0f}", f"({others})" if others else ""]
    return " ".join(filter(None, shown))


def table(header, alignments, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "|".join(alignments) + "|"]
    lines += ["| " + " | ".join(cells) + " |" for cells in rows]
    return "\n".join(lines)


def summary_table(rows):
    def ratio(value):
        return "—" if value is None else f"{value:.2f} ×"

    cells = []
    for row in rows:
        held = {True: "yes", False: "**no**", None: ""}[row.held()]
        cells.append(
            [
                row.figure,
                several(row, row.floor_names),
                several(row, row.peer_names),
                with_unit(row.values.get(row.ours), row.unit),
                ratio(row.ratio_to(row.floor_names)),
                ratio(row.ratio_to(row.peer_names)),
                row.target.text if row.target else "",
                held,
            ]
        )
    header = ["figure", "floor", "peers", "aramid", "to floor", "to best peer", "to hold", "held"]
    alignments = ["---", "---", "---", "--:", "--:", "--:", "---", "---"]
    if any(row.instructions for row in rows):
        header.insert(6, "instructions")
        alignments.insert(6, "---")
        for row, line in zip(rows, cells):
            line.insert(6, instructions_of(row))
    return table(header, alignments, cells)


def echo_table(results):
    """`results`: (connections, who) -> measurements of compare_net."""
    cells = []
    for (connections, who), figures in results.items():
        cells.append(
            [
                str(connections),
                display_name(who),
                with_unit(figures["requests_per_second"], "/s"),
                with_unit(figures["p50"], "us"),
                with_unit(figures["p99"], "us"),
                with_unit(figures["p99_9"], "us"),
                with_unit(figures["cpu"], "us"),
            ]
        )
    return table(
        ["connections", "server", "requests/s", "p50", "p99", "p99.9", "server CPU a request"],
        ["--:", "---", "--:", "--:", "--:", "--:", "--:"],
        cells,
    )


def file_table(results, places):
    """`results`: (place, depth, who) -> measurements of compare_file; `places`: place -> label."""
    cells = []
    for (place, depth, who), figures in results.items():
        cells.append(
            [
                places[place],
                str(depth),
                display_name(who),
                with_unit(figures["rate"], "/s"),
                with_unit(figures["cpu"], "us"),
                with_unit(figures["p50"], "us"),
                with_unit(figures["p99"], "us"),
            ]
        )
    return table(
        ["file", "depth", "reader", "reads/s", "CPU a read", "p50", "p99"],
        ["---", "--:", "---", "--:", "--:", "--:", "--:"],
        cells,
    )


def self_test():
    assert [three_digits(value) for value in (0.5, 5.834, 58.34, 583.4)] == [
        "0.50",
        "5.83",
        "58.3",
        "583",
    ]
    assert three_digits(58321) == "58,300"
    assert with_unit(5.834, "ns") == "5.83 ns" and with_unit(1500, "ns") == "1.50 µs"
    assert with_unit(4.58, "us") == "4.58 µs" and with_unit(2420, "us") == "2.42 ms"
    assert with_unit(435e6, "ns") == "435 ms" and with_unit(215480, "/s") == "215,500 /s"
    assert with_unit(None, "ns") == "—"
    assert with_unit(96, "B") == "96 B" and with_unit(5530, "B") == "5.4 KiB"

    row = Row(
        "f",
        "ns",
        {"raw_a": 10.0, "raw_b": 8.0, "go": 30.0, "aramid": 12.0},
        Target("t", of_floor=1.5),
    )
    assert row.floor_names == ["raw_a", "raw_b"] and row.peer_names == ["go"]
    assert row.ratio_to(row.floor_names) == 1.5 and row.held() is True
    row.target = Target("t", of_floor=1.5, at_most=11)
    assert row.held() is False
    row.target = Target("t", of_peer=("absent", 0.2))
    assert row.held() is None
    assert Row("f", "ns", {"go": 3.0}, Target("t", at_most=5)).held() is None
    more = Row("f", "/s", {"raw_a": 100.0, "aramid": 90.0}, higher_is_better=True)
    assert more.ratio_to(more.floor_names) == 0.9
    more.target = Target("t", of_floor=0.9)
    assert more.held() is True
    more.target = Target("t", of_floor=1.01)
    assert more.held() is False
    lines = summary_table([row, Row("g", "ns", {"go": 3.0})]).splitlines()
    assert len(lines) == 4 and all(line.count("|") == 9 for line in lines)
    row.instructions = {"raw_context": 46.2, "boost_fiber": 1309.3, "aramid": 182.2}
    assert instructions_of(row) == "182 (Boost.Fiber 1,309 · raw switch 46)"
    lines = summary_table([row, Row("g", "ns", {"go": 3.0})]).splitlines()
    assert len(lines) == 4 and all(line.count("|") == 10 for line in lines)
