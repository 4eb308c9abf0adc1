"""Core. Bars as SVG: well formed, to scale, and nothing in them that breaks it."""

import xml.etree.ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from meshtrio.benchmark.plot import BAR_MOST, COLOURS, Bar, Panel, svg

SVG = "{http://www.w3.org/2000/svg}"
values = st.floats(0, 1e12)
text = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cn", "Cc"]), max_size=20)


def bars_of(drawn: str) -> list[ET.Element]:
    return [one for one in ET.fromstring(drawn).iter(f"{SVG}rect") if one.get("x")]


def test_bars_are_as_long_as_their_values_on_the_scale_of_their_panel() -> None:
    panels = [
        Panel("one", (Bar("a", 10, 5, 20, "10 us"), Bar("b", 20, 20, 20, "20 us"))),
        Panel("two", (Bar("b", 3, 3, 3, "3"),)),
    ]
    drawn = bars_of(svg("what", panels, "words " * 60))
    assert [float(one.get("width", "")) for one in drawn] == [BAR_MOST / 2, BAR_MOST, BAR_MOST]
    assert [one.get("fill") for one in drawn] == [COLOURS[0], COLOURS[1], COLOURS[1]]
    root = ET.fromstring(svg("what", panels, "words " * 60))
    below = [float(one.get("y", "0")) for one in root.iter() if one.get("y")]
    assert max(below) < float(root.get("height", "0"))


@given(st.lists(st.tuples(text, values, text), max_size=12), text)
def test_it_is_always_well_formed(given: list[tuple[str, float, str]], title: str) -> None:
    bars = tuple(Bar(label, value, value / 2, value * 2, said) for label, value, said in given)
    drawn = bars_of(svg(title, [Panel(title, bars)], title))
    assert len(drawn) == len(bars)
    assert all(0 <= float(one.get("width", "")) <= BAR_MOST for one in drawn)


def test_signs_of_markup_are_only_text() -> None:
    root = ET.fromstring(svg("<&>", [Panel('"', (Bar("</svg>", 1, 1, 1, "<1"),))]))
    assert [one.text for one in root.iter(f"{SVG}text")] == ["<&>", '"', "</svg>", "<1"]
