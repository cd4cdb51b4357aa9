# SPDX-License-Identifier: BSD-3-Clause
"""Figures of one look, and the PNG files they become.

Pictures are drawn by matplotlib's Agg renderer, without its global state, and returned as the bytes
of a PNG file, which `pyconv.io.atomic_write` puts in place whole.
"""

from __future__ import annotations

import io
from typing import Any

from pyconv.optional import need

INK, PALE = "#333333", "#e8e8e8"
BLUE, ORANGE, GREEN = "#3b6fb6", "#d9722e", "#2f8f5b"


def new_figure(width: float, height: float, title: str | None = None) -> Any:
    """Return an empty figure, sizes in inches."""
    figure = need("matplotlib.figure", "drawing a picture").Figure(
        figsize=(width, height), layout="constrained"
    )
    if title is not None:
        figure.suptitle(title, fontsize=13, fontweight="bold", color=INK)
    return figure


def png(figure: Any) -> bytes:
    """Return the figure as a PNG file, empty margins cut off."""
    buffer = io.BytesIO()
    figure.savefig(
        buffer, format="png", dpi=150, facecolor="white", bbox_inches="tight", pad_inches=0.1
    )
    return buffer.getvalue()
