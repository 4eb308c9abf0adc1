"""Retries, remarks and wishes as `status` and metrics have them."""

import pytest

from meshtrio import balance_sums as module
from meshtrio.balance.told import Balanced
from meshtrio.balance_sums import gauges, summary
from meshtrio.messages import Tally
from meshtrio.observe import sums as sums_module
from meshtrio.observe.sums import Sums

WRONG = {"shop/web": ("a is x", "b is y"), "shop/zed": ("c is z",)}


def heard(*news: Balanced) -> Sums:
    sums = Sums()
    for one in news:
        sums.add(Tally([], [], balanced=[one]))
    return sums


def test_the_summary_adds_up_and_names_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    sums = heard(
        Balanced("a:http", 2, 1, {"no_key": 3}), Balanced("a:http", 1), Balanced("b:http", 4, 0, {"x": 1})
    )
    assert summary(sums, WRONG) == {
        "retries": {"allowed": 7, "denied": 1},
        "remarks": {"a:http": {"no_key": 3}, "b:http": {"x": 1}},
        "remarks_omitted": 0,
        "unheeded": {"shop/web": ["a is x", "b is y"], "shop/zed": ["c is z"]},
        "unheeded_omitted": 0,
    }
    monkeypatch.setattr(module, "SHOWN", 1)
    told = summary(sums, WRONG)
    assert (told["remarks"], told["remarks_omitted"]) == ({"a:http": {"no_key": 3}}, 1)
    assert (told["unheeded"], told["unheeded_omitted"]) == ({"shop/web": ["a is x", "b is y"]}, 1)


def test_numbers_by_service_and_no_more_than_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sums_module, "BALANCED", 1)
    monkeypatch.setattr(module, "SERIES", 1)
    others = Balanced("b:", 1, hedges=1), Balanced("c:", 1)
    sums = heard(Balanced("a:http", 2, 1, {"no_key": 3}), *others)
    found = {(one.name, *one.labels.values()): one.value for one in gauges(sums, WRONG)}
    assert found == {
        ("meshtrio_retries_total", "a:http", "allowed"): 2,
        ("meshtrio_retries_total", "a:http", "denied"): 1,
        ("meshtrio_retries_total", "other", "allowed"): 2,
        ("meshtrio_retries_total", "other", "denied"): 0,
        ("meshtrio_hedges_total", "other"): 1,
        ("meshtrio_hedges_won_total", "other"): 0,
        ("meshtrio_balance_remarks_total", "a:http", "no_key"): 3,
        ("meshtrio_unheeded_wishes", "shop/web"): 2,
        ("meshtrio_unheeded_wishes", "other"): 1,
    }
