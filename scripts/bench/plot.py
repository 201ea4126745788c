#!/usr/bin/python3
"""Draws the plots a benchmark asks for: FILE.json of bench_result -> FILE-1.svg, FILE-2.svg, ... beside it.

    plot.py FILE.json...       plot.py --check   (only says whether it could draw)

The file has rows (equal flat objects) and plots, a list of objects:
    kind         "bars": horizontal, one group for each value of x; "lines": x is a number
    title, x, y  what it shows; columns. y may be a list: one bar or line for each
    group        column: one bar or line for each of its values, instead of a list in y
    facet        column: a panel for each of its values
                 x of bars, group and facet may be lists of columns: their values together
    where        {column: value or list of values}: only such rows; without: none of them
    floor        column: a mark in the bar, e.g. the computed best time (bars only)
    logx, logy   true: logarithmic; of bars, the length is y. What is not above zero is a gap then
    xlabel, ylabel
Each bar and point is one row; rows without x are left out. A value that is null, or no number, is a gap and said to be one. The
interpreter is Debian's, for which python3-matplotlib is.
"""
import collections
import json
import math
import os
import sys

try:
    import matplotlib
except ImportError:
    sys.exit("plot.py: python3-matplotlib is not installed (run scripts/setup.sh)")
matplotlib.use("svg")
from matplotlib import pyplot  # noqa: E402  the backend must be chosen before

# Text stays text; widths are of DejaVu Sans, the widest of the usual fonts, so that another one fits, too. The salt keeps ids, and
# so the files, equal from run to run.
matplotlib.rcParams.update({
    "svg.fonttype": "none", "svg.hashsalt": "plot.py", "font.family": "DejaVu Sans", "font.size": 9.5, "axes.titlesize": 10.5,
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "axes.grid": True, "grid.color": "#e4e4e4",
    "figure.facecolor": "white", "legend.frameon": False, "lines.linewidth": 1.8, "lines.markersize": 5})
# Okabe and Ito's colours, which the colour-blind tell apart; with hatches and markers beyond the eighth.
COLOURS = ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#888888", "#222222"]
MARKERS = "osD^vPX*"
WIDTH_INCHES = 8.6
BAR_INCHES = 0.19


def key(row, column):
    """The row's value; of several columns those that it has, as one text."""
    if isinstance(column, list):
        return ", ".join(str(row[name]) for name in column if row.get(name) not in (None, "", "-")) or None
    return row.get(column)


def values(rows, column):
    """The distinct values of a column, in the order of the rows."""
    return list(dict.fromkeys(key(row, column) for row in rows))


def listed(columns):
    return columns if isinstance(columns, list) else [columns] if columns else []


def number(value):
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) else None


def series(plot, rows, everywhere):
    """[(number, label, rows, column of y)] of a panel; the number stands for the same label in every panel."""
    if isinstance(plot["y"], list):
        if plot.get("group"):
            sys.exit("plot.py: a list in y and group exclude each other")
        return [(number, column, rows, column) for number, column in enumerate(plot["y"])]
    if not plot.get("group"):
        return [(0, plot["y"], rows, plot["y"])]
    here = values(rows, plot["group"])
    return [(number, str(name), [row for row in rows if key(row, plot["group"]) == name], plot["y"])
            for number, name in enumerate(values(everywhere, plot["group"])) if name in here]


def short(value):
    """A number as people read it beside a bar."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def logarithmic(axes, which):
    axes.set(**{f"{which}scale": "log"})
    axis = getattr(axes, f"{which}axis")
    axes.autoscale_view()
    low, high = axis.get_view_interval()
    # Where little is shown there may be no power of ten in it; where much is, more labels would overlap.
    axis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5) if high < low * 800 else (1,)))
    axis.set_major_formatter(lambda value, _: f"{value:,.12g}")
    axis.set_minor_formatter(matplotlib.ticker.NullFormatter())


def look(line):
    return {"facecolor": COLOURS[line % 8], "hatch": "///" if line >= 8 else None, "edgecolor": "white", "linewidth": 0}


def draw_bars(axes, plot, rows, lines):
    groups = values(rows, plot["x"])
    step = len(lines) + 0.8
    for index, (line, _, own, column) in enumerate(lines):
        for place, name in enumerate(groups):
            y = place * step + index
            row = next((row for row in own if key(row, plot["x"]) == name), None)
            value = None if row is None else number(row.get(column))
            if value is None:
                if row is not None:
                    axes.annotate("no number", (0, y), xycoords=axes.get_yaxis_transform(), xytext=(3, 0), textcoords="offset points",
                                  va="center", fontsize=7.5, color="#777777")
                continue
            axes.barh(y, value, height=0.86, **look(line))
            axes.annotate(short(value), (value, y), xytext=(3, 0), textcoords="offset points", va="center", fontsize=7.5, color="#333333")
            floor = number(row.get(plot.get("floor")))
            if floor is not None:
                axes.plot([floor, floor], [y - 0.43, y + 0.43], color="black", linewidth=1.4, solid_capstyle="butt")
    axes.set_yticks([place * step + (len(lines) - 1) / 2 for place in range(len(groups))], [str(name) for name in groups])
    axes.set_ylim(len(groups) * step - 0.8 + 0.1, -0.9)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    if plot.get("logy"):
        logarithmic(axes, "x")
    else:
        axes.set_xlim(left=0)
    axes.margins(x=0.09)
    axes.set_xlabel(plot.get("ylabel") or (plot["y"] if isinstance(plot["y"], str) else ""))
    handles = [matplotlib.patches.Patch(label=label, **look(line)) for line, label, _, _ in lines]
    if plot.get("floor"):
        handles.append(matplotlib.lines.Line2D([], [], color="black", linewidth=1.4, label=plot["floor"]))
    return handles


def draw_lines(axes, plot, _, lines):
    handles = []
    for index, label, own, column in lines:
        points = sorted((row[plot["x"]], row[column]) for row in own
                        if number(row.get(plot["x"])) is not None and number(row.get(column)) is not None
                        and not (plot.get("logy") and row[column] <= 0))
        handles += axes.plot([x for x, _ in points], [y for _, y in points], color=COLOURS[index % 8],
                             marker=MARKERS[index % len(MARKERS)] if len(points) <= 40 else None, linestyle="--" if index >= 8 else "-",
                             label=label if points else f"{label} (no number)")
    if plot.get("logx"):
        logarithmic(axes, "x")
    if plot.get("logy"):
        logarithmic(axes, "y")
    elif axes.dataLim.y0 >= 0:
        axes.set_ylim(bottom=0)
    axes.set_xlabel(plot.get("xlabel") or plot["x"])
    axes.set_ylabel(plot.get("ylabel") or (plot["y"] if isinstance(plot["y"], str) else ""))
    return handles


def panel_inches(plot, rows, lines):
    if plot["kind"] == "lines":
        return 3.2
    return BAR_INCHES * len(values(rows, plot["x"])) * (len(lines) + 0.8) + 0.75


def draw(plot, rows, path):
    for part, wanted in (("where", True), ("without", False)):
        for column, chosen in plot.get(part, {}).items():
            rows = [row for row in rows if (row.get(column) in (chosen if isinstance(chosen, list) else [chosen])) == wanted]
    used = [column for part in ("x", "y", "group", "facet", "floor") for column in listed(plot.get(part))]
    missing = set(used) - {column for row in rows for column in row}
    if missing:
        sys.exit(f"plot.py: {path}: no column {', '.join(sorted(missing))}")
    facet = plot.get("facet")
    rows = [row for row in rows if key(row, plot["x"]) is not None]
    keys = [plot["x"], *(plot[part] for part in ("group", "facet") if plot.get(part))]
    counts = collections.Counter(tuple(str(key(row, column)) for column in keys) for row in rows)
    twice = [" / ".join(place) for place, count in counts.items() if count > 1]
    if twice:
        sys.exit(f"plot.py: {path}: more than one row for {twice[0]}: it takes a facet, a group or a where")
    panels = [(str(name), [row for row in rows if key(row, facet) == name]) for name in values(rows, facet)] if facet else [("", rows)]
    panels = [(name, own, series(plot, own, rows)) for name, own in panels]
    heights = [panel_inches(plot, own, lines) for _, own, lines in panels]
    legend_columns = 3
    entries = len(series(plot, rows, rows)) + bool(plot.get("floor"))
    legend_inches = 0.21 * math.ceil(entries / legend_columns) if entries > 1 else 0
    inches = sum(heights) + 0.4 + legend_inches
    figure, all_axes = pyplot.subplots(len(panels), 1, figsize=(WIDTH_INCHES, inches), squeeze=False, height_ratios=heights,
                                       layout="constrained")
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - (0.36 + legend_inches) / inches))
    handles = {}
    for axes, (name, own, lines) in zip(all_axes[:, 0], panels):
        for handle in (draw_bars if plot["kind"] == "bars" else draw_lines)(axes, plot, own, lines):
            handles.setdefault(handle.get_label(), handle)
        axes.set_title(name, loc="left")
    figure.text(0.5, 1 - 0.1 / inches, plot["title"], fontsize=11.5, fontweight="bold", ha="center", va="top")
    if entries > 1:
        figure.legend(handles=list(handles.values()), loc="upper center", bbox_to_anchor=(0.5, 1 - 0.3 / inches), ncols=legend_columns)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def main(arguments):
    if arguments == ["--check"]:
        return
    if not arguments or arguments[0].startswith("-"):
        sys.exit(__doc__)
    for file in arguments:
        with open(file) as opened:
            result = json.load(opened)
        for index, plot in enumerate(result.get("plots", []), 1):
            draw(plot, result["rows"], f"{os.path.splitext(file)[0]}-{index}.svg")


if __name__ == "__main__":
    main(sys.argv[1:])
