"""Charts of the queue over time as SVG, which the style sheet colours."""

from collections.abc import Sequence

from markupsafe import Markup

WIDTH, HEIGHT = 720, 120
"""Units of the drawing, which is stretched to its frame. Lines keep their width."""

_SVG = Markup(
    '<svg class="{kind}" viewBox="0 0 {width} {height}" preserveAspectRatio="none" role="img" aria-label="{label}">'
    '<path d="{path}"/></svg>'
)


def draw_area(numbers: Sequence[int], label: str, *, width: int = WIDTH, height: int = HEIGHT) -> Markup:
    """Return a stepped area of the numbers, which fills the height at the largest one."""
    step, scale = width / max(1, len(numbers)), _scale(numbers, height)
    points = [f"M0 {height}"]
    for place, number in enumerate(numbers):
        points.append(f"V{_write(height - number * scale)}H{_write((place + 1) * step)}")
    return _SVG.format(kind="area", width=width, height=height, label=label, path=f"{''.join(points)}V{height}Z")


def draw_bars(numbers: Sequence[int], label: str, *, width: int = WIDTH, height: int = HEIGHT) -> Markup:
    """Return a bar for each number above zero."""
    step, scale = width / max(1, len(numbers)), _scale(numbers, height)
    bars = [
        f"M{_write(place * step + step * _GAP)} {height}V{_write(height - max(1, number * scale))}"
        f"h{_write(step * (1 - 2 * _GAP))}V{height}Z"
        for place, number in enumerate(numbers)
        if number
    ]
    return _SVG.format(kind="bars", width=width, height=height, label=label, path="".join(bars))


_GAP = 0.12
"""The space at each side of a bar, as a part of its step."""


def gather(numbers: Sequence[int], size: int) -> list[int]:
    """Return the largest number of each group of this size, for a small chart."""
    return [max(numbers[start : start + size]) for start in range(0, len(numbers), size)]


def _scale(numbers: Sequence[int], height: int) -> float:
    return (height - 2) / max(1, *numbers) if numbers else 0.0


def _write(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
