"""Markup: elements of pages and of drawings (SVG); attributes are escaped, children are markup already."""

import math
from collections.abc import Iterable, Sequence
from html import escape

Point = tuple[float, float]


def element(name: str, *children: str, **attributes: object) -> str:
    """Return one element; `class_` stands for class, and underscores in names for hyphens."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_text(value))}"' for key, value in attributes.items()
    )
    return f"<{name}{written}>{''.join(children)}</{name}>" if children else f"<{name}{written}/>"


def words(name: str, content: str, **attributes: object) -> str:
    """Return an element around plain text."""
    return element(name, escape(content), **attributes)


def division(class_: str, *children: str, **attributes: object) -> str:
    """Return a division of the page."""
    return element("div", *(children or ("",)), class_=class_, **attributes)


def polyline(points: Iterable[Point], **attributes: object) -> str:
    """Return an open line through points."""
    joined = " ".join(f"{_text(x)},{_text(y)}" for x, y in points)
    return element("polyline", points=joined, **attributes)


def label_at(x: float, y: float, content: str, **attributes: object) -> str:
    """Return a label in a drawing."""
    return words("text", content, x=x, y=y, **attributes)


def drawing(children: Sequence[str], *, width: float, height: float, label: str, class_: str) -> str:
    """Return a whole drawing that scales with its column; `label` is read to those who do not see it."""
    return element(
        "svg",
        *children,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {_text(width)} {_text(height)}",
        role="img",
        aria_label=label,
        class_=class_,
    )


def round_step(span: float, *, num_steps: int) -> float:
    """Return the least of 1, 2, 5 times a power of ten that cuts a positive span into at most `num_steps`."""
    raw = span / num_steps
    power = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= raw * (1 - 1e-9))


def _text(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
