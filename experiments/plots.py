"""How the project's figures look: one style, safe for colour-blind readers, readable at half a page's width.

Figures are SVG (the same bytes from the same numbers) and PNG. Colours are Okabe and Ito's; a series always
has its own marker too, so that nothing depends on colour alone.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from experiments.results import write_whole

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, RED, PINK, GREY = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#8A8A8A",
)  # fmt: skip

# One look a protocol, a method and a hash, in every figure: (colour, marker). The plaintext baseline is always black.
LOOKS = {
    "plaintext": (BLACK, "o"),
    "bfv": (ORANGE, "s"),
    "scan": (BLUE, "D"),
    "scan, no proofs": (SKY, "d"),
    "blind": (GREEN, "^"),
    "TenSEAL, one pair": (RED, "X"),
    "Paillier, one pair": (PINK, "v"),
    "numpy, in the clear": (GREY, "h"),
    "pdq": (BLUE, "D"),
    "phash": (ORANGE, "s"),
    "dhash": (GREEN, "^"),
    "ahash": (PINK, "v"),
    "whash": (SKY, "P"),
}
_SPARE = ((SKY, "P"), (YELLOW, "*"), (RED, "<"), (PINK, ">"))

STYLE: Any = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.labelsize": 10,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "figure.constrained_layout.use": True,
    "figure.dpi": 110,
    "figure.figsize": (6.4, 4.0),
    "font.size": 10,
    "grid.alpha": 0.3,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "savefig.dpi": 160,
    "svg.fonttype": "path",
    "svg.hashsalt": "hushmatch",
}


def look(name: str) -> tuple[str, str]:
    """(colour, marker) of a protocol or hash; one that the table does not know gets a spare by its name."""
    return LOOKS.get(name) or _SPARE[sum(name.encode()) % len(_SPARE)]


@contextmanager
def style() -> Iterator[None]:
    """The project's style for the figures made inside."""
    with mpl.rc_context(STYLE):
        yield


def new(rows: int = 1, columns: int = 1, size: tuple[float, float] | None = None, **options: Any) -> tuple[Figure, Any]:
    """A figure and its axes, outside pyplot's state, so that any number can be made without closing them."""
    figure = Figure(figsize=size) if size else Figure()
    return figure, figure.subplots(rows, columns, **options)


def as_bytes(figure: Figure, kind: str) -> bytes:
    """The figure as "svg" or "png", without a date."""
    out = io.BytesIO()
    with style():
        figure.savefig(out, format=kind, metadata={"Date": None} if kind == "svg" else {"Software": None})
    return out.getvalue()


def save(figures: Mapping[str, Figure], folder: Path) -> list[Path]:
    """Write every figure as SVG and PNG; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in figures.items():
        for kind in ("svg", "png"):
            path = folder / f"{name}.{kind}"
            write_whole(path, as_bytes(figure, kind))
            paths.append(path)
    return paths
