# SPDX-License-Identifier: BSD-3-Clause
"""How a comparison is shown and kept: tables on the terminal, JSON for the record."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.results import LIBRARY, SLOWDOWN_TARGET, Row, Scaling, Summary, scalings, summarise
from bench.workloads import Case


def header_text(header: Mapping[str, Any]) -> str:
    """Format what `peers.main` collected, one fact a line."""
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
        lines.append(f"FMA peak  {peak:.1f} GFLOP/s {header['dtype']}, {threads_text(threads)}")
    lines.append(f"copy      {header['copy_bandwidth']:.1f} GB/s read + written, 1 thread")
    return "\n".join(lines)


_NAME = 29
_LABEL = _NAME + 31
_CELL = 20


def table_head(case: Case, subjects: Sequence[str], header: Mapping[str, Any]) -> str:
    """Format the lines above the rows of one op, given any of its cases."""
    title = f"{case.op} {case.dtype}"
    if case.op.startswith("conv"):
        title += f", pyconv algorithm={header['algorithm']}"
    names = " " * (_LABEL + 8) + "".join(f"{name:>{_CELL}}" for name in subjects)
    units = "ms  GB/s %copy" if case.workload.is_memory_bound else "ms  GF/s %peak"
    columns = f"{'workload':<{_LABEL}} threads" + f"{units:>{_CELL}}" * len(subjects)
    own = f"{'min ms':>10}{'spread':>9}"
    return f"\n{title}\n{names}{LIBRARY:>{len(own)}}\n{columns}{own}   vs best peer"


def table_row(row: Row, subjects: Sequence[str]) -> str:
    """Format one workload: each subject's median, rate and share of the ceiling; then the ratio."""
    workload = row.case.workload
    text = f"{workload.name:<{_NAME}}{workload.shape:<{_LABEL - _NAME}}{row.threads:>8}"
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


def threads_text(count: int) -> str:
    """Format a number of threads."""
    return "1 thread" if count == 1 else f"{count} threads"


def summary_text(summaries: Sequence[Summary], scaling: Sequence[Scaling]) -> str:
    """Format the closing lines: one a class with its targets, one a number of threads above 1."""
    title = "ratio to the best peer"
    lines = [
        f"\n{title:<46}{'threads':>8}{'cases':>7}{'min':>9} target{'geomean':>10} target   slowest"
    ]
    for s in summaries:
        label = f"{s.op}, {s.family}, {s.dtype}"
        every, mean = (s.target.every_case, s.target.geometric_mean) if s.target else (None, None)
        lines.append(
            f"{label:<46}{s.threads:>8}{s.cases:>7}{_beside(s.minimum, every):>16}"
            f"{_beside(s.geometric_mean, mean):>17}   {s.slowest}"
        )
    for c in scaling:
        met = "<=" if c.maximum <= SLOWDOWN_TARGET else "> "
        label = f"time with {threads_text(c.threads)} over that with 1"
        lines.append(
            f"\n{label:<54}{c.cases:>7}   geomean {c.geometric_mean:.2f}, slowest"
            f" {c.maximum:.2f} {met} {SLOWDOWN_TARGET:.2f}: {c.slowest}"
        )
    return "\n".join(lines)


def _beside(value: float, target: float | None) -> str:
    if target is None:
        return f"{value:.2f}{'':>8}"
    return f"{value:.2f} {'>=' if value >= target else '< '}{target:>5.2f}"


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
        "scaling": [asdict(scaling) for scaling in scalings(rows)],
    }
    path.write_text(json.dumps(document, indent=2, default=str) + "\n")
