# SPDX-License-Identifier: BSD-3-Clause
"""A comparison as an SVG picture: every subject's rate, up to what the machine can do.

A line of the picture is a workload, so that names stay readable however many there are; ops stand
below each other, numbers of threads side by side.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.report import threads_text
from bench.results import LIBRARY, Row

# Okabe and Ito's palette, told apart by colour-blind readers too; pyconv has the strongest, and is
# drawn last, over the others.
COLOURS = {
    "course": "#e69f00",
    "ncnn": "#cc79a7",
    "numpy": "#999999",
    "onnxruntime": "#009e73",
    "torch": "#56b4e9",
    "torch channels_last": "#0072b2",
    LIBRARY: "#d55e00",
}
LINE = 0.19  # inches a workload
MARGIN = 0.75  # inches a panel for its title and its axis


def write_plot(path: Path, header: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """Draw one panel an op and number of threads: a line a workload, a dot a subject."""
    matplotlib: Any = importlib.import_module("matplotlib")
    figure_module: Any = importlib.import_module("matplotlib.figure")
    panels: dict[str, dict[int, list[Row]]] = {}
    for row in rows:
        panels.setdefault(row.case.op, {}).setdefault(row.threads, []).append(row)
    counts = list(dict.fromkeys(row.threads for row in rows))
    heights = [MARGIN + LINE * len(panels[op][counts[0]]) for op in panels]
    figure = figure_module.Figure(
        figsize=(3.0 + 4.5 * len(counts), 0.8 + sum(heights)), layout="constrained"
    )
    axes = figure.subplots(
        len(panels), len(counts), squeeze=False, sharey="row", height_ratios=heights
    )
    dots: dict[str, Any] = {}
    for line, by_threads in zip(axes, panels.values(), strict=True):
        for ax, threads in zip(line, counts, strict=True):
            dots |= _draw_panel(ax, by_threads[threads])
    names = [name for name in reversed(COLOURS) if name in dots]
    figure.legend(
        [dots[name] for name in names],
        names,
        loc="outside upper center",
        ncols=4,
        frameon=False,
        fontsize="small",
    )
    figure.supxlabel(f"{header['cpu']}, commit {str(header['commit'])[:12]}", fontsize="small")
    # Text stays text and ids stay the same, so that a plot of the same numbers is the same file.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": LIBRARY}):
        figure.savefig(path, format="svg", bbox_inches="tight", metadata={"Date": None})


def _draw_panel(ax: Any, panel: Sequence[Row]) -> dict[str, Any]:
    """Draw the dots and the ceiling; the dots by subject, for the legend."""
    dots = {}
    for name, colour in COLOURS.items():
        present = [(row.rate(name), y) for y, row in enumerate(panel) if name in row.timings]
        if present:
            size = 34 if name == LIBRARY else 18
            dots[name] = ax.scatter(*zip(*present, strict=True), size, colour, zorder=3)
    case, ceiling = panel[0].case, panel[0].ceiling
    ax.set_title(
        f"{case.op}, {case.dtype}, {threads_text(panel[0].threads)}", loc="left", fontsize="medium"
    )
    ax.axvline(ceiling, color="black", linewidth=1, linestyle="--")
    # Beside the line, where the workloads at the bottom are slowest.
    ax.annotate(
        "copy bandwidth" if case.workload.is_memory_bound else "FMA peak",
        (ceiling, 0),
        (2, 4),
        xycoords=ax.get_xaxis_transform(),
        textcoords="offset points",
        fontsize="x-small",
        rotation=90,
        va="bottom",
    )
    ax.set_xlim(0, 1.04 * max(ceiling, *(row.rate(name) for row in panel for name in row.timings)))
    ax.set_xlabel(case.unit, fontsize="small")
    ax.tick_params(labelsize="small")
    ax.set_yticks(range(len(panel)), [row.case.label for row in panel], fontsize="x-small")
    ax.set_ylim(len(panel) - 0.4, -0.6)  # the first workload on top
    ax.grid(color="#e5e5e5", linewidth=0.8)
    ax.spines[["top", "right"]].set_visible(False)
    return dots
