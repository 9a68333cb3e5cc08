"""Charts in the page: their points, and that they leave the rest of it alone."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from tome_zoo.cards import Reported
from tome_zoo.evaluation.confidence import Interval
from tome_zoo.reports.comparison import Comparison
from tome_zoo.reports.page.chart import tradeoff_charts
from tome_zoo.reports.page.svg import VARIABLES


@pytest.fixture
def compared(make_result):
    speeds = {"0": 100.0, "8": 180.0, "8:-1": 200.0}
    results = [
        make_result(r=r, gmacs=2 - i / 2, top1=90.0 - 2 * i, samples_per_second=speed, timm_samples_per_second=90.0)
        for i, (r, speed) in enumerate(speeds.items())
    ]
    reported = [Reported(r=0, top1=91.0, source="a paper"), Reported(r=8, top1=89.5, gmacs=1.4, source="x"), None]
    return [Comparison(result, figure) for result, figure in zip(results, reported, strict=True)]


def places(svg, name, count):
    """Centres of the points in SVG units."""
    found = []
    for index in range(count):
        use = re.search(rf'id="{name}-point-{index}".*?<use [^>]*x="([\d.]+)" y="([\d.]+)"', svg)
        found.append((float(use[1]), float(use[2])))
    return found


def test_points_lie_where_the_figures_say(compared):
    intervals = [Interval(88.0, 92.0), None, Interval(80.0, 90.0)]
    gmacs, speed = tradeoff_charts("g0", compared, intervals)
    for chart, values in ((gmacs, (2.0, 1.5, 1.0)), (speed, (100.0, 180.0, 200.0))):
        ElementTree.fromstring(chart.svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))
        points = places(chart.svg, chart.name, 3)
        across = [(points[i][0] - points[0][0]) / (points[2][0] - points[0][0]) for i in range(3)]
        assert across == pytest.approx([(v - values[0]) / (values[2] - values[0]) for v in values], abs=0.01)
        down = [(points[i][1] - points[0][1]) / (points[2][1] - points[0][1]) for i in range(3)]
        assert down == pytest.approx([0, 0.5, 1], abs=0.01)
    assert "timm, unmerged" in speed.svg
    assert "timm, unmerged" not in gmacs.svg


def test_charts_keep_their_names_and_styles_to_themselves(compared):
    charts = tradeoff_charts("g0", compared, [None] * 3) + tradeoff_charts("g1", compared, [None] * 3)
    text = "".join(chart.svg for chart in charts)
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    assert {reference for _, reference in re.findall(r'(href="#|url\(#)([^")]+)', text)} <= set(ids)
    assert "<style" not in text
    assert "font-family" not in text
    assert not set(VARIABLES) & set(re.findall(r"#[0-9a-f]{6}", text))
    assert charts == tradeoff_charts("g0", compared, [None] * 3) + tradeoff_charts("g1", compared, [None] * 3)
