"""Colours and shapes that mean the same in every chart, and that colour-blind people can tell apart."""

from __future__ import annotations

INK = "#64748B"
"""Lines and marks that stand for no method; reads on white and on black."""
FAINT = "#94A3B8"
"""What is there for orientation only."""
NORMAL, ANOMALY = "#0072B2", "#D55E00"
"""Good parts and anomalies."""
SCALE = "Cividis_r"
"""Low to high, from pale to dark; reads the same with every kind of colour vision, and in grey."""
GOOD_SCALE = ((0.0, "#E1E8EE"), (1.0, "#9CC3DC"))
"""Of tables: the more of a good thing, the bluer."""
BAD_SCALE = ((0.0, "#E1E8EE"), (1.0, "#E8965A"))
"""Of tables: the more of a bad thing, the redder."""

# Okabe and Ito's palette, which was made for colour-blind readers; each method has a shape of its own besides.
_METHODS = {
    "padim": ("#E69F00", "square"),
    "patchcore": ("#009E73", "diamond"),
    "dfr": ("#0072B2", "circle"),
    "realnet": ("#CC79A7", "triangle-up"),
    "destseg": ("#D55E00", "cross"),
    "anoseg": ("#56B4E9", "x"),
    "average": ("#882255", "hexagon"),
}
_STRANGER = (FAINT, "star")


def method_colour(method: str) -> str:
    """The colour of a method."""
    return _METHODS.get(method, _STRANGER)[0]


def method_symbol(method: str) -> str:
    """The shape of a method's marks, as plotly calls it."""
    return _METHODS.get(method, _STRANGER)[1]
