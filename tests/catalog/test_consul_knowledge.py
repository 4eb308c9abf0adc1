"""Answers in any order, repeated, lost and malformed, against a plain model of what Consul knows."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.catalog.consul import read_service
from meshtrio.catalog.consul_knowledge import Checks, Knowledge, News
from meshtrio.catalog.service import Service


def instance(id_: str = "1", *, status: str = "passing", port: Any = 80, node: str = "n", **more: Any) -> Any:
    return {
        "Node": {"Node": node, "Datacenter": "dc1", "Address": "10.0.0.1"},
        "Service": {"ID": id_, "Port": port, **more},
        "Checks": [{"Status": status}],
    }


# What Consul can know: a name has instances as long as it is listed.
truths = st.dictionaries(
    st.sampled_from(["web", "db", "mail"]),
    st.lists(
        st.builds(
            instance,
            st.sampled_from(["1", "2"]),
            status=st.sampled_from(["passing", "critical"]),
            port=st.sampled_from([0, 80, 90]),
            node=st.sampled_from(["n", "m"]),
        ),
        min_size=1,
        max_size=3,
        unique_by=lambda one: (one["Node"]["Node"], one["Service"]["ID"]),
    ),
)
GARBAGE = [None, 7, "x", [None], [{"Node": 1}], {"x": 1}, [instance(port="x")]]
NAMES = ["web", "db", "mail"]
# From which of the truths an answer is, and what it is about ("": the list); or which garbage.
answers = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from(["", *NAMES]), st.none() | st.integers(0, len(GARBAGE) - 1))
)


def body_of(truth: dict[str, Any], name: str) -> Any:
    return truth.get(name, []) if name else {one: [] for one in truth}


def tell(knowledge: Knowledge, name: str, body: Any) -> News:
    return knowledge.answered(name, body) if name else knowledge.listed(body)


def apply(said: dict[str, Service], news: News) -> None:
    for key, service in news.changed.items():
        if service is None:
            said.pop(key, None)
        else:
            said[key] = service


@given(st.lists(truths, min_size=5, max_size=5), answers, st.permutations(["", *NAMES]))
def test_whatever_came_before_the_last_answers_make_it_true(
    history: list[dict[str, Any]], before: list[tuple[int, str, int | None]], order: list[str]
) -> None:
    knowledge, said = Knowledge(), dict[str, Service]()
    for which, name, garbage in before:
        body = body_of(history[which], name) if garbage is None else GARBAGE[garbage]
        try:
            apply(said, tell(knowledge, name, body))
        except ValueError:
            assert garbage is not None
    truth = history[-1]
    for name in order:
        apply(said, tell(knowledge, name, body_of(truth, name)))
    # Those that were not listed yet when they answered are asked once they are: so does the shell.
    for name in knowledge.names:
        apply(said, tell(knowledge, name, body_of(truth, name)))
    model = {f"default/{name}": read_service(name, body).service for name, body in truth.items()}
    assert said == {key: service for key, service in model.items() if service is not None}
    assert {key: one for key, one in knowledge.services.items() if one is not None} == said
    assert knowledge.complete


@given(truths, st.sampled_from(NAMES), st.sampled_from(GARBAGE[:3]))
def test_garbage_changes_nothing(truth: dict[str, Any], name: str, garbage: Any) -> None:
    knowledge = Knowledge()
    knowledge.listed(body_of(truth, ""))
    for one in truth:
        knowledge.answered(one, truth[one])
    known = knowledge.services
    with pytest.raises(ValueError, match="is no"):
        knowledge.listed(garbage)
    if name in truth:
        with pytest.raises(ValueError, match="is no"):
            knowledge.answered(name, garbage)
    assert knowledge.services == known


def knowing(**services: Any) -> Knowledge:
    knowledge = Knowledge()
    knowledge.listed({name: [] for name in services})
    for name, body in services.items():
        knowledge.answered(name, body)
    return knowledge


def known(knowledge: Knowledge, name: str) -> list[str]:
    service = knowledge.services[f"default/{name}"]
    return [] if service is None else [one.id for one in service.endpoints]


def test_an_answer_without_instances_empties_nothing_that_is_listed() -> None:
    knowledge = knowing(web=[instance()])
    assert knowledge.answered("web", []).changed == {}
    assert known(knowledge, "web") == ["n/1"]
    assert knowledge.listed({"db": []}).changed == {"default/web": None}
    assert knowledge.services == {}


def test_instances_that_no_longer_serve_are_explicit() -> None:
    knowledge = knowing(web=[instance()])
    assert knowledge.answered("web", [instance(Kind="connect-proxy")]).changed == {"default/web": None}


def test_who_is_not_listed_has_no_voice() -> None:
    knowledge = knowing(web=[instance()])
    assert knowledge.answered("db", [instance()]).changed == {}
    assert set(knowledge.services) == {"default/web"}


def test_a_skip_is_told_once_until_it_changes() -> None:
    knowledge = knowing(web=[instance()])
    bad = [instance(port="x")]
    assert len(knowledge.answered("web", bad).skips) == 1
    assert knowledge.answered("web", bad).skips == ()
    assert known(knowledge, "web") == ["n/1"]
    assert len(knowledge.answered("web", [instance(port="y")]).skips) == 1
    assert knowledge.answered("web", [instance()]).skips == ()
    assert len(knowledge.answered("web", bad).skips) == 1
    assert len(knowledge.listed({"web": [], "No": []}).skips) == 1
    assert knowledge.listed({"web": [], "No": []}).skips == ()


def test_it_is_complete_when_each_has_answered() -> None:
    knowledge = Knowledge()
    knowledge.listed({"web": [], "db": []})
    assert not knowledge.complete
    knowledge.answered("web", [])
    assert not knowledge.complete
    knowledge.answered("db", [instance()])
    assert knowledge.complete


def test_other_datacenters_are_wanted_while_ours_does_not_serve() -> None:
    knowledge = knowing(web=[instance(status="critical")], db=[instance()])
    assert knowledge.wanting == []
    knowledge.listed_elsewhere(frozenset(("web", "db", "far")))
    assert knowledge.wanting == ["far", "web"]
    knowledge.answered_elsewhere("web", [instance("9")])
    knowledge.answered_elsewhere("far", [instance("9")])
    knowledge.answered_elsewhere("db", [instance("9")])
    assert known(knowledge, "web") == ["n/1", "dc1/n/9"]
    assert known(knowledge, "far") == ["dc1/n/9"]
    assert known(knowledge, "db") == ["n/1"]
    news = knowledge.answered("web", [instance()])
    assert [one.id for one in news.changed["default/web"].endpoints] == ["n/1"]  # type: ignore[union-attr]
    assert knowledge.listed_elsewhere(frozenset(("web",))).changed == {"default/far": None}


def test_a_service_that_ours_no_longer_lists_may_live_elsewhere() -> None:
    knowledge = knowing(web=[instance(status="critical")])
    knowledge.listed_elsewhere(frozenset(("web",)))
    knowledge.answered_elsewhere("web", [instance("9")])
    knowledge.listed({})
    assert known(knowledge, "web") == ["dc1/n/9"]


def test_a_service_that_has_not_answered_yet_is_not_wanted_elsewhere() -> None:
    knowledge = Knowledge()
    knowledge.listed({"web": []})
    knowledge.listed_elsewhere(frozenset(("web",)))
    assert knowledge.wanting == []


def test_it_knows_who_is_on_a_node() -> None:
    knowledge = knowing(web=[instance(node="a")], db=[instance(node="b")], off=[instance(port=0, node="a")])
    assert knowledge.on_nodes({"a"}) == {"web"}
    assert knowledge.on_nodes(set()) == set()


def check(service: str = "", status: str = "passing", id_: str = "c", node: str = "n") -> Any:
    return {"Node": node, "CheckID": id_, "Status": status, "ServiceName": service, "ServiceID": service}


def test_checks_tell_whose_have_changed() -> None:
    checks = Checks()
    assert checks.changed([check("web"), check("db"), check()]) == ({"web", "db"}, {"n"})
    assert checks.changed([check("db"), check(), check("web")]) == (set(), set())
    assert checks.changed([check("db"), check(), check("web", "critical")]) == ({"web"}, set())
    assert checks.changed([check("db"), check("", "critical"), check("web", "critical")]) == (set(), {"n"})
    assert checks.changed([check("db"), check("web", "critical")]) == (set(), {"n"})
    assert checks.changed([check("db"), check("web", "critical"), check("web")]) == ({"web"}, set())
    assert checks.changed([]) == ({"db", "web"}, set())


@pytest.mark.parametrize("poison", [None, 7, {}, {"Node": 7}, {"Node": "n", "ServiceName": ["x"]}])
def test_poison_among_the_checks_is_passed_over(poison: Any) -> None:
    checks = Checks()
    checks.changed([check("web")])
    assert checks.changed([poison, check("web", "critical")]) == ({"web"}, set())


@pytest.mark.parametrize("body", [None, {}, "x", 7])
def test_checks_that_are_none_change_nothing(body: Any) -> None:
    checks = Checks()
    checks.changed([check("web")])
    with pytest.raises(ValueError, match="is no list"):
        checks.changed(body)
    assert checks.changed([check("web")]) == (set(), set())
