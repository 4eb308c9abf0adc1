"""Labels have bounds, and equal values are kept once."""

from meshtrio.catalog.kubernetes_spec import LABELS, LABELS_BYTES, bounded_labels, shared


def test_labels_are_ordered_by_name() -> None:
    assert bounded_labels({"b": "1", "a": "2"}) == (("a", "2"), ("b", "1"))


def test_more_labels_than_the_bound_are_left_out_from_the_end() -> None:
    kept = bounded_labels({f"n{n:03}": "" for n in range(LABELS + 1)})
    assert len(kept) == LABELS
    assert kept[-1] == ("n031", "")


def test_a_label_that_is_too_long_leaves_room_for_others() -> None:
    assert bounded_labels({"a": "x" * (LABELS_BYTES - 1)}) == (("a", "x" * (LABELS_BYTES - 1)),)
    assert bounded_labels({"a": "x" * LABELS_BYTES, "b": "1"}) == (("b", "1"),)
    assert bounded_labels({"a": "é" * (LABELS_BYTES // 2), "b": "1"}) == (("b", "1"),)


def test_equal_values_are_kept_once() -> None:
    one, two = (bounded_labels({"app": "web", "n": text}) for text in ("1", "2"))
    assert bounded_labels({"n": "1", "app": "web"}) is one
    assert one[0] is two[0]
    assert shared("".join(("a", "b", "c"))) is shared("".join(("ab", "c")))
