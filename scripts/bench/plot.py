#!/usr/bin/python3
"""Draws the plots a benchmark asks for: FILE.json of bench_result -> FILE-1.svg, FILE-2.svg, ... beside it.

    plot.py FILE.json...       plot.py --check   (only says whether it could draw)

The file has rows (equal flat objects) and plots, a list of objects:
    kind         "bars": horizontal, one group for each value of x; "lines": x is a number
    title, x, y  what it shows; columns. y may be a list: one bar or line for each
    group        column: one bar or line for each of its values, instead of a list in y
    facet        column: a panel for each of its values
    where        {column: value or list of values}: only such rows
    floor        column: a mark in the bar, e.g. the computed best time (bars only)
    logx, logy   true: logarithmic; of bars, the length is y
    xlabel, ylabel
A value that is null, or no number, is a gap and said to be one. The interpreter is Debian's, python3-matplotlib's.
"""
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


def values(rows, column):
    """The distinct values of a column, in the order of the rows."""
    return list(dict.fromkeys(row.get(column) for row in rows))


def number(value):
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) else None


def series(plot, rows):
    """[(label, rows, column of y)]"""
    if isinstance(plot["y"], list):
        if plot.get("group"):
            sys.exit("plot.py: a list in y and group exclude each other")
        return [(column, rows, column) for column in plot["y"]]
    if plot.get("group"):
        return [(str(name), [row for row in rows if row.get(plot["group"]) == name], plot["y"]) for name in values(rows, plot["group"])]
    return [(plot["y"], rows, plot["y"])]


def short(value):
    """A number as people read it beside a bar."""
    if value == 0 or 0.01 <= abs(value) < 10:
        return f"{value:.3g}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def logarithmic(axes, which):
    axes.set(**{f"{which}scale": "log"})
    axis = getattr(axes, f"{which}axis")
    axis.set_major_formatter(lambda value, _: f"{value:,.12g}")
    axis.set_minor_formatter(matplotlib.ticker.NullFormatter())


def draw_bars(axes, plot, rows):
    groups, lines = values(rows, plot["x"]), series(plot, rows)
    step = len(lines) + 0.8
    for index, (label, own, column) in enumerate(lines):
        for place, name in enumerate(groups):
            y = place * step + index
            row = next((row for row in own if row.get(plot["x"]) == name), None)
            value = None if row is None else number(row.get(column))
            if value is None:
                if row is not None:
                    axes.annotate("no number", (0, y), xycoords=axes.get_yaxis_transform(), xytext=(3, 0), textcoords="offset points",
                                  va="center", fontsize=7.5, color="#777777")
                continue
            axes.barh(y, value, height=0.86, color=COLOURS[index % 8], hatch="//" if index >= 8 else None, edgecolor="white", linewidth=0)
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
    handles = [matplotlib.patches.Patch(color=COLOURS[index % 8], label=label) for index, (label, _, _) in enumerate(lines)]
    if plot.get("floor"):
        handles.append(matplotlib.lines.Line2D([], [], color="black", linewidth=1.4, label=plot["floor"]))
    return handles if len(handles) > 1 else []


def draw_lines(axes, plot, rows):
    handles = []
    for index, (label, own, column) in enumerate(series(plot, rows)):
        points = sorted((row[plot["x"]], row[column]) for row in own
                        if number(row.get(plot["x"])) is not None and number(row.get(column)) is not None)
        handles += axes.plot([x for x, _ in points], [y for _, y in points], color=COLOURS[index % 8],
                             marker=MARKERS[index % len(MARKERS)] if len(points) <= 40 else None, linestyle="--" if index >= 8 else "-",
                             label=label if points else f"{label} (no number)")
    if plot.get("logx"):
        logarithmic(axes, "x")
    if plot.get("logy"):
        logarithmic(axes, "y")
    else:
        axes.set_ylim(bottom=0)
    axes.set_xlabel(plot.get("xlabel") or plot["x"])
    axes.set_ylabel(plot.get("ylabel") or (plot["y"] if isinstance(plot["y"], str) else ""))
    return handles if len(handles) > 1 else []


def panel_inches(plot, rows):
    if plot["kind"] == "lines":
        return 3.2
    return BAR_INCHES * len(values(rows, plot["x"])) * (len(series(plot, rows)) + 0.8) + 0.75


def draw(plot, rows, path):
    rows = [row for row in rows if all(row.get(column) in (value if isinstance(value, list) else [value])
                                       for column, value in plot.get("where", {}).items())]
    missing = {column for column in [plot["x"], *(plot["y"] if isinstance(plot["y"], list) else [plot["y"]]), plot.get("group"),
                                     plot.get("facet"), plot.get("floor")] if column} - {key for row in rows for key in row}
    if missing:
        sys.exit(f"plot.py: {path}: no column {', '.join(sorted(missing))}")
    facet = plot.get("facet")
    panels = [(str(name), [row for row in rows if row.get(facet) == name]) for name in values(rows, facet)] if facet else [("", rows)]
    heights = [panel_inches(plot, own) for _, own in panels]
    legend_columns = 3
    entries = len(series(plot, rows)) + bool(plot.get("floor"))
    legend_inches = 0.21 * math.ceil(entries / legend_columns) if entries > 1 else 0
    inches = sum(heights) + 0.4 + legend_inches
    figure, all_axes = pyplot.subplots(len(panels), 1, figsize=(WIDTH_INCHES, inches), squeeze=False, height_ratios=heights,
                                       layout="constrained")
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - (0.36 + legend_inches) / inches))
    handles = {}
    for axes, (name, own) in zip(all_axes[:, 0], panels):
        for handle in (draw_bars if plot["kind"] == "bars" else draw_lines)(axes, plot, own):
            handles.setdefault(handle.get_label(), handle)
        axes.set_title(name, loc="left")
    figure.text(0.5, 1 - 0.1 / inches, plot["title"], fontsize=11.5, fontweight="bold", ha="center", va="top")
    if handles:
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
