"""Charts of the operations page."""

import re

from handlers.operations_page.charts import draw_area, draw_bars, gather


def test_area_fills_the_height_at_the_largest_number() -> None:
    chart = str(draw_area([0, 10, 5], 'a "label"', width=30, height=12))
    assert 'd="M0 12V12H10V2H20V7H30V12Z"' in chart
    assert 'aria-label="a &#34;label&#34;"' in chart


def test_bars_show_each_number_above_zero() -> None:
    chart = str(draw_bars([0, 1, 1000], "label", width=30, height=12))
    assert len(re.findall("M", chart)) == 2
    # A small number can be seen next to a large one.
    assert "V11h" in chart
    assert 'd=""' in str(draw_bars([0, 0], "label"))


def test_gather_keeps_the_peaks() -> None:
    assert gather([1, 9, 2, 3, 4], 2) == [9, 3, 4]
