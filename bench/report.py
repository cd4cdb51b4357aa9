# SPDX-License-Identifier: BSD-3-Clause
"""How a comparison is shown: a table on the terminal, JSON for the record, an SVG plot."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.timing import Timing
from bench.workloads import Case

LIBRARY = "pyconv"

# Okabe and Ito's palette, told apart by colour-blind readers too; pyconv has the strongest.
COLOURS = {
    LIBRARY: "#d55e00",
    "numpy": "#999999",
    "torch": "#56b4e9",
    "torch channels_last": "#0072b2",
    "onnxruntime": "#009e73",
    "ncnn": "#cc79a7",
    "course": "#e69f00",
}


@dataclass(frozen=True)
class Row:
    """One case on one number of threads, every subject beside the others."""

    case: Case
    threads: int
    ceiling: float  # GFLOP/s or GB/s that the machine can do, as `case.unit` says
    timings: Mapping[str, Timing]  # only of subjects with the right answer
    wrong: Mapping[str, str]  # subject -> what is wrong with its answer

    def rate(self, subject: str) -> float:
        """GFLOP/s or GB/s at the median."""
        return self.case.work / self.timings[subject].median / 1e9

    @property
    def best_peer(self) -> str | None:
        peers = [name for name in self.timings if name != LIBRARY]
        return min(peers, key=lambda name: self.timings[name].median, default=None)

    @property
    def ratio(self) -> float | None:
        """How many times as fast as the best peer pyconv is."""
        best = self.best_peer
        if best is None or LIBRARY not in self.timings:
            return None
        return self.timings[best].median / self.timings[LIBRARY].median

    @property
    def family(self) -> tuple[str, str, str, int]:
        return (self.case.op, self.case.family, self.case.dtype, self.threads)


@dataclass(frozen=True)
class Summary:
    """The ratio to the best peer over one class of cases."""

    op: str
    family: str
    dtype: str
    threads: int
    cases: int
    minimum: float
    slowest: str  # the workload of the minimum
    geometric_mean: float


def summarise(rows: Sequence[Row]) -> list[Summary]:
    """Minimum and geometric mean of the ratio, a class of cases at a time."""
    classes: dict[tuple[str, str, str, int], dict[str, float]] = {}
    for row in rows:
        if row.ratio is not None:
            classes.setdefault(row.family, {})[row.case.workload.name] = row.ratio
    return [
        Summary(
            *family,
            cases=len(ratios),
            minimum=min(ratios.values()),
            slowest=min(ratios, key=lambda name: ratios[name]),
            geometric_mean=float(np.exp(np.mean(np.log(list(ratios.values()))))),
        )
        for family, ratios in classes.items()
    ]


def header_text(header: Mapping[str, Any]) -> str:
    """Format what `peers.header` collected, one fact a line."""
    build = header["build"]
    dirty = ", with uncommitted changes" if header["dirty"] else ""
    lines = [
        f"cpu       {header['cpu']}, {header['cpus']} available, ISA {header['isa']}",
        f"system    {header['system']}, Python {header['python']}",
        f"build     {build.get('compiler', 'unknown compiler')}, {build.get('flags', '')}",
        f"commit    {header['commit']}{dirty}",
        "peers     " + ", ".join(f"{k} {v}" for k, v in header["versions"].items()),
    ]
    lines += [f"missing   {name}: {why}" for name, why in header["missing"].items()]
    lines += [f"unset     {name}" for name in header["unset"]]
    for threads, peak in header["fma_peak"].items():
        lines.append(f"FMA peak  {peak:.1f} GFLOP/s {header['dtype']}, {_threads(threads)}")
    lines.append(f"copy      {header['copy_bandwidth']:.1f} GB/s read + written, 1 thread")
    return "\n".join(lines)


_LABEL = 54
_CELL = 20


def table_head(op: str, subjects: Sequence[str], header: Mapping[str, Any], threads: int) -> str:
    """Format the lines above the rows of one op."""
    title = f"{op} {header['dtype']}, {_threads(threads)}"
    if op.startswith("conv2d"):
        title += f", pyconv algorithm={header['algorithm']}"
    names = " " * _LABEL + "".join(f"{name:>{_CELL}}" for name in subjects)
    units = "ms  GB/s %copy" if op.endswith("pool2d") else "ms  GF/s %peak"
    columns = f"{'workload':<{_LABEL}}" + f"{units:>{_CELL}}" * len(subjects)
    own = f"{'min ms':>10}{'spread':>9}"
    return f"\n{title}\n{names}{LIBRARY:>{len(own)}}\n{columns}{own}   vs best peer"


def table_row(row: Row, subjects: Sequence[str]) -> str:
    """Format one workload: each subject's median, rate and share of the ceiling; then the ratio."""
    workload = row.case.workload
    text = f"{workload.name:<25}{workload.shape:<{_LABEL - 25}}"
    for name in subjects:
        if name in row.timings:
            rate = row.rate(name)
            share = f"{100 * rate / row.ceiling:.0f}%"
            cell = f"{row.timings[name].median * 1e3:.4g} {rate:5.1f} {share:>4}"
        else:
            cell = "WRONG" if name in row.wrong else "-"
        text += f"{cell:>{_CELL}}"
    own = row.timings.get(LIBRARY)
    if own is not None:
        text += f"{own.minimum * 1e3:>10.4g}{100 * own.spread:>8.1f}%"
    return text if row.ratio is None else f"{text}   {row.ratio:.2f}x {row.best_peer}"


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def summary_text(summaries: Sequence[Summary]) -> str:
    """Format the closing lines, one a class."""
    lines = [f"\n{'ratio to the best peer':<46}{'threads':>8}{'cases':>7}{'min':>7}{'geomean':>9}"]
    for s in summaries:
        label = f"{s.op}, {s.family} {s.dtype}"
        lines.append(
            f"{label:<46}{s.threads:>8}{s.cases:>7}{s.minimum:>7.2f}{s.geometric_mean:>9.2f}"
            f"   slowest {s.slowest}"
        )
    return "\n".join(lines)


def write_json(path: Path, header: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """Save everything that was measured; times are in seconds."""
    document = {
        "header": header,
        "rows": [
            {
                "op": row.case.op,
                "family": row.case.family,
                "dtype": row.case.dtype,
                "workload": asdict(row.case.workload),
                "shape": row.case.workload.shape,
                "threads": row.threads,
                "flops": row.case.workload.flops,
                "unit": row.case.unit,
                "ceiling": row.ceiling,
                "subjects": {
                    name: {**asdict(timing), "rate": row.rate(name)}
                    for name, timing in row.timings.items()
                },
                "wrong": row.wrong,
                "best_peer": row.best_peer,
                "ratio": row.ratio,
            }
            for row in rows
        ],
        "summary": [asdict(summary) for summary in summarise(rows)],
    }
    path.write_text(json.dumps(document, indent=2, default=str) + "\n")


def write_plot(path: Path, header: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """Draw one panel an op and thread count: a bar a subject, topped by the ceiling."""
    matplotlib: Any = importlib.import_module("matplotlib")
    figure_module: Any = importlib.import_module("matplotlib.figure")
    panels: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        panels.setdefault((row.case.op, row.threads), []).append(row)
    widest = max(len(panel) for panel in panels.values())
    figure = figure_module.Figure(
        figsize=(max(6.0, 1.0 + 0.75 * widest), 3.8 * len(panels)), layout="constrained"
    )
    axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    for ax, ((op, threads), panel) in zip(axes, panels.items(), strict=True):
        _draw_panel(ax, panel)
        ax.set_title(f"{op}, {header['dtype']}, {_threads(threads)}", loc="left")
    figure.supxlabel(f"{header['cpu']}, commit {str(header['commit'])[:12]}", fontsize="small")
    # Text stays text and ids stay the same, so that a plot of the same numbers is the same file.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": LIBRARY}):
        figure.savefig(path, format="svg", metadata={"Date": None})


def _draw_panel(ax: Any, panel: Sequence[Row]) -> None:
    subjects = [name for name in COLOURS if any(name in row.timings for row in panel)]
    width = 0.8 / max(1, len(subjects))
    for i, name in enumerate(subjects):
        present = [(x, row.rate(name)) for x, row in enumerate(panel) if name in row.timings]
        offset = (i - (len(subjects) - 1) / 2) * width
        ax.bar(
            [x + offset for x, _ in present],
            [rate for _, rate in present],
            width,
            color=COLOURS[name],
            label=name,
        )
    case, ceiling = panel[0].case, panel[0].ceiling
    label = "copy bandwidth" if case.is_memory_bound else "FMA peak"
    ax.axhline(ceiling, color="black", linewidth=1, linestyle="--", label=label)
    labels = [f"{row.case.workload.name}\n{row.case.workload.shape}" for row in panel]
    ax.set_xticks(range(len(panel)), labels, rotation=40, ha="right", fontsize="x-small")
    ax.set_xlim(-0.6, max(len(panel), 6) - 0.4)
    ax.set_ylabel(case.unit)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(fontsize="x-small", ncols=4, frameon=False, loc="lower left", bbox_to_anchor=(0.3, 1))
