"""One SVG of the comparison: a block of horizontal bars for each figure, on a scale of its own.

The colours keep their contrast on a light and on a dark page: nothing hangs on the reader's theme.
"""

from xml.sax.saxutils import escape

from compare_report import display_name, is_floor, with_unit

TEXT, FAINT = "#737d8c", "#8b95a3"
COLOURS = {"aramid": "#0f9f8f", "floor": "#8d99ab", "peer": "#cf9a55"}
LIMIT_COLOUR = "#d1495b"
FONTS = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"

COLUMN_WIDTH = 500
COLUMN_GAP = 44
MARGIN = 24
NAME_WIDTH = 142
VALUE_WIDTH = 74
BAR_HEIGHT = 14
BAR_PITCH = 20
TITLE_HEIGHT = 24
BLOCK_GAP = 20
HEAD_HEIGHT = 84
FOOT_HEIGHT = 30
SCALE_AT_MOST = 8  # times our own bar; what is longer ends in a point


def kind_of(row, who):
    if who == row.ours:
        return "aramid"
    return "floor" if who in row.floor_names or is_floor(who) else "peer"


def limit_of(row):
    """Returns: the value that the row's target allows, or None."""
    target = row.target
    if target is None:
        return None
    limits = []
    if target.at_most is not None:
        limits.append(target.at_most)
    if target.of_peer is not None and target.of_peer[0] in row.values:
        limits.append(target.of_peer[1] * row.values[target.of_peer[0]])
    if target.of_floor is not None and row.floor_names:
        limits.append(target.of_floor * row.best(row.floor_names))
    return min(limits, default=None)


def bars_of(row):
    """Floors first, then ours, then the peers, each group from fast to slow."""
    rank = {"floor": 0, "aramid": 1, "peer": 2}
    sign = -1 if row.higher_is_better else 1
    return sorted(
        row.values.items(), key=lambda item: (rank[kind_of(row, item[0])], sign * item[1])
    )


def block_height(row):
    return TITLE_HEIGHT + BAR_PITCH * len(row.values) + BLOCK_GAP


def text(x, y, content, size=12, colour=TEXT, anchor="start", bold=False):
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" '
        f'text-anchor="{anchor}"{weight}>{escape(content)}</text>'
    )


def bar(x, y, length, kind, cut):
    if not cut:
        return (
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(length, 1.5):.1f}" height="{BAR_HEIGHT}" '
            f'rx="2" fill="{COLOURS[kind]}"/>'
        )
    point, half = 9, BAR_HEIGHT / 2
    return (
        f'<path d="M{x:.1f} {y:.1f} h{length - point:.1f} l{point} {half} l-{point} {half} '
        f'H{x:.1f} Z" fill="{COLOURS[kind]}"/>'
    )


def draw_block(row, left, top):
    parts = [text(left, top + 12, row.figure, size=13, bold=True)]
    if row.target:
        parts.append(
            text(
                left + COLUMN_WIDTH, top + 12, row.target.text, size=11, colour=FAINT, anchor="end"
            )
        )
    longest = max(row.values.values())
    limit = limit_of(row)
    if row.ours in row.values:
        longest = min(longest, SCALE_AT_MOST * row.values[row.ours])
    longest = max(longest, limit or 0)
    room = COLUMN_WIDTH - NAME_WIDTH - VALUE_WIDTH
    start = left + NAME_WIDTH
    first = top + TITLE_HEIGHT - 3
    for number, (who, value) in enumerate(bars_of(row)):
        y = first + number * BAR_PITCH
        ours = who == row.ours
        length = room * min(value / longest, 1)
        parts.append(text(start - 8, y + 11, display_name(who), anchor="end", bold=ours))
        parts.append(bar(start, y, length, kind_of(row, who), value > longest * 1.001))
        parts.append(
            text(left + COLUMN_WIDTH, y + 11, with_unit(value, row.unit), anchor="end", bold=ours)
        )
    if limit is not None:
        x = start + room * limit / longest
        parts.append(
            f'<path d="M{x:.1f} {first - 3} V{first + BAR_PITCH * len(row.values) - 3}" '
            f'stroke="{LIMIT_COLOUR}" stroke-width="1.5" stroke-dasharray="4 3" fill="none"/>'
        )
    return parts


def split_in_columns(rows):
    """Small figures, echo, files, from the left; figures of one kind are halved by height."""
    columns = [
        [row for row in rows if row.group == "micro"],
        [row for row in rows if row.group == "net"],
        [row for row in rows if row.group == "files"],
    ]
    columns = [column for column in columns if column]
    if len(columns) > 1:
        return columns
    (rows,) = columns
    half = sum(map(block_height, rows)) / 2
    left, used = [], 0
    while len(left) < len(rows) and used < half:
        left.append(rows[len(left)])
        used += block_height(left[-1])
    return [left, rows[len(left) :]]


def legend(x, y):
    parts = []
    for kind, label in (
        ("aramid", "aramid"),
        ("floor", "floor: the bare operation"),
        ("peer", "peer"),
    ):
        parts.append(
            f'<rect x="{x}" y="{y - 9}" width="11" height="11" rx="2" fill="{COLOURS[kind]}"/>'
        )
        parts.append(text(x + 16, y, label))
        x += 32 + round(6.6 * len(label))
    parts.append(
        f'<path d="M{x + 5} {y - 11} V{y + 4}" stroke="{LIMIT_COLOUR}" stroke-width="1.5" '
        'stroke-dasharray="4 3"/>'
    )
    parts.append(text(x + 14, y, "the most it may take"))
    return parts


def draw(rows, subtitle):
    """Returns: the SVG document."""
    rows = [row for row in rows if row.in_plot and row.values]
    columns = [column for column in split_in_columns(rows) if column]
    width = 2 * MARGIN + len(columns) * COLUMN_WIDTH + (len(columns) - 1) * COLUMN_GAP
    height = HEAD_HEIGHT + max(sum(map(block_height, column)) for column in columns) + FOOT_HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="{FONTS}" role="img" '
        'aria-label="aramid compared with its floors and peers">',
        text(MARGIN, 32, "aramid, its floors and its peers: shorter is better", size=17, bold=True),
        *legend(MARGIN, 57),
    ]
    for number, column in enumerate(columns):
        left = MARGIN + number * (COLUMN_WIDTH + COLUMN_GAP)
        top = HEAD_HEIGHT
        for row in column:
            parts += draw_block(row, left, top)
            top += block_height(row)
    parts.append(
        text(
            MARGIN,
            height - 14,
            subtitle + " · each block has its own scale; a point marks a bar cut short",
            size=11,
            colour=FAINT,
        )
    )
    return "\n".join([*parts, "</svg>", ""])


def self_test():
    from xml.dom import minidom

    from compare_report import Row, Target

    rows = [
        Row(
            "a < b & c",
            "ns",
            {"raw_x": 1.0, "aramid": 2.0, "go": 900.0},
            Target("≤ 3 ns", at_most=3),
        ),
        Row("no value of ours", "us", {"go": 3.0}, group="net"),
        Row("a read", "ns", {"raw_x": 3.0, "aramid": 2.0}, group="files"),
    ]
    svg = draw(rows, "machine")
    minidom.parseString(svg)
    assert [len(column) for column in split_in_columns(rows)] == [1, 1, 1]
    assert [len(column) for column in split_in_columns([rows[0]] * 2)] == [1, 1]
    assert "a &lt; b &amp; c" in svg and svg.count("<rect") == 3 + 5 and svg.count(" Z") == 1
    minidom.parseString(draw(rows[:1], "machine"))
