"""The index forgets what is taken out, and an object that changes keeps what did not."""

from hypothesis import given
from hypothesis import strategies as st

from meshtrio.catalog.kubernetes_index import Index, thrifty
from meshtrio.catalog.kubernetes_objects import Kind, Object
from meshtrio.catalog.kubernetes_spec import Backend, BackendsSpec
from tests.catalog.kubernetes_truth import backend, meta, pod, read, slice_

PODS = st.lists(st.sampled_from("abc"), max_size=4)


def named(name: str, of: str, pods: list[str], version: int = 1) -> Object:
    return read(
        Kind.SLICE,
        slice_(name, *(backend(f"10.0.0.{n}", one) for n, one in enumerate(pods)), of=of, version=version),
    )


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from(("web", "api", "")), PODS | st.none())))
def test_it_knows_what_a_search_would_find_and_forgets_the_rest(
    steps: list[tuple[str, str, list[str] | None]],
) -> None:
    index, held = Index(), dict[str, Object]()
    for name, of, pods in steps:
        before = held.pop(name, None)
        if pods is not None:
            held[name] = named(name, of, pods)
        if before is not None or pods is not None:
            services = {
                one.spec.service
                for one in (before, held.get(name))
                if one and isinstance(one.spec, BackendsSpec)
            }
            assert index.put(before, held.get(name)) == {f"shop/{one}" for one in services if one}
    for key in ("web", "api"):
        found = [held[name].spec for name in sorted(held) if f"of {key}" in told(held[name])]
        assert index.slices(f"shop/{key}") == found
    for one in "abc":
        naming = {
            f"shop/{key}"
            for key in ("web", "api")
            for other in held.values()
            if {f"of {key}", one} <= told(other)
        }
        assert index.naming("shop", one) == naming
    for name in list(held):
        index.put(held.pop(name), None)
    assert (index._slices, index._naming) == ({}, {})


def told(one: Object) -> set[str]:
    assert isinstance(one.spec, BackendsSpec)
    return {f"of {one.spec.service}", *(b.target for group in one.spec.groups for b in group.backends)}


def test_a_slice_with_a_thousand_names_of_one_pod_names_it_once() -> None:
    index = Index()
    one = named("x", "web", ["a"] * 250)
    index.put(None, one)
    assert index._naming == {"shop": {"a": ("shop/web",)}}
    assert index.naming_any("shop") == {"shop/web"}
    assert index.naming_any("other") == set()


def backends(one: Object) -> tuple[Backend, ...]:
    assert isinstance(one.spec, BackendsSpec)
    return one.spec.groups[0].backends


def test_a_slice_that_changes_keeps_the_backends_that_did_not() -> None:
    before = named("x", "web", ["a", "b"])
    after = thrifty(before, named("x", "web", ["a", "c"], version=2), {})
    assert after == named("x", "web", ["a", "c"], version=2)
    assert backends(after)[0] is backends(before)[0]
    again = thrifty(after, named("x", "web", ["a", "c"], version=3), {})
    assert again.version == "3"
    assert again.spec is after.spec
    assert (again.name is before.name, again.uid is before.uid) == (True, True)


def test_a_backend_shares_the_name_and_the_uid_of_its_pod() -> None:
    behind = read(Kind.POD, pod("a"))
    one = thrifty(None, named("x", "web", ["a", "b"]), {"a": behind})
    assert one == named("x", "web", ["a", "b"])
    assert backends(one)[0].target is behind.name
    assert backends(one)[0].pod_uid is behind.uid
    successor = read(Kind.POD, {"metadata": meta("a", uid="next")})
    assert thrifty(None, named("x", "web", ["a"]), {"a": successor}) == named("x", "web", ["a"])


def test_another_object_of_the_name_keeps_its_own_uid() -> None:
    before = read(Kind.POD, pod("a"))
    said = {"metadata": meta("a", version=9, uid="next"), "spec": pod("a")["spec"]}
    after = thrifty(before, read(Kind.POD, said), {})
    assert (after.uid, after.version) == ("next", "9")
