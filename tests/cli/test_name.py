"""Names of workloads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.cli.name import name_for, wrong_name


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("/usr/bin/Python3.11", "python3-11-7"),
        ("curl", "curl-7"),
        ("./a b.sh", "a-b-sh-7"),
        ("--", "command-7"),
        ("", "command-7"),
    ],
)
def test_a_name_for_a_command(command: str, name: str) -> None:
    assert name_for(command, 7) == name


@given(st.text(), st.integers(1, 4_194_304))
def test_every_derived_name_is_a_good_one(command: str, number: int) -> None:
    assert wrong_name(name_for(command, number)) == ""


@pytest.mark.parametrize("name", ["", "..", "a/b", "A", "-a", "a-", "a" * 64, "a\n"])
def test_names_that_would_be_trouble_as_folders_are_refused(name: str) -> None:
    assert "is no workload name" in wrong_name(name)
