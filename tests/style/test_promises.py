"""Shell. What the texts promise: commands that exist, a lock that fits, no word about anyone's machine."""

import importlib
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.tree import TREE

MAKEFILE = (TREE / "Makefile").read_text()
TEXTS = sorted([*TREE.glob("*.md"), *(TREE / "deploy").rglob("*.md"), *(TREE / "vagrant").rglob("*.md")])
LOCKS = ("requirements.lock", "requirements-dev.lock")

CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
MAKE = re.compile(r"^[`$#\s]*make ([a-z][a-z-]*)", re.MULTILINE)
COMMAND = re.compile(r"^[`$#\s]*(?:sudo )?meshtrio ([a-z][a-z-]*)", re.MULTILINE)


def named(path: Path, what: re.Pattern[str]) -> set[str]:
    """Find words in the code of a text: whole blocks, and `what stands between` single quotes."""
    return set(what.findall("\n".join(CODE.findall(path.read_text()))))


def targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_every_make_target_that_a_text_names_exists(path: Path) -> None:
    assert named(path, MAKE) - targets() == set()


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_every_command_that_a_text_names_exists(path: Path) -> None:
    main = importlib.import_module("meshtrio.cli.main").main  # heavy, and only this test needs it
    assert named(path, COMMAND) - set(main.commands) == set()


def test_every_target_is_phony_and_told_by_help() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert phony is not None
    assert set(phony[1].split()) == targets()
    told = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE))
    assert told == targets()


def locked(name: str) -> dict[str, str]:
    pins = re.findall(r"^([a-z0-9.-]+)==(\S+) \\$", (TREE / name).read_text(), re.MULTILINE)
    return {canonicalize_name(package): version for package, version in pins}


def wanted(extra: str) -> list[Requirement]:
    project = tomllib.loads((TREE / "pyproject.toml").read_text())["project"]
    lines = project["dependencies"] + (project["optional-dependencies"]["dev"] if extra else [])
    return [Requirement(line) for line in lines]


@pytest.mark.parametrize(("name", "extra"), [(LOCKS[0], ""), (LOCKS[1], "dev")])
def test_the_lock_has_what_pyproject_wants(name: str, extra: str) -> None:
    pins = locked(name)
    for requirement in wanted(extra):
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement} is not in {name}: make lock"
        assert requirement.specifier.contains(pin, prereleases=True), f"{requirement} but {pin}: make lock"


def test_both_locks_agree() -> None:
    run, dev = (locked(name) for name in LOCKS)
    assert {name: dev.get(name) for name in run} == run


@pytest.mark.parametrize("name", LOCKS)
def test_the_lock_pins_every_file_and_names_no_index(name: str) -> None:
    text = (TREE / name).read_text()
    entries = re.split(r"^(?=[a-z])", text, flags=re.MULTILINE)[1:]
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []
    assert "://" not in text
    assert not re.search(r"^\s*--(?!hash)", text, re.MULTILINE)


def tracked() -> list[Path]:
    """Files that belong to the project. Outside a clone: everything but what make creates."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=TREE,
        capture_output=True,
        check=False,
    )
    if listed.returncode == 0:
        return [TREE / name.decode() for name in listed.stdout.split(b"\0") if name]
    made = re.compile(r"(^|/)(\.(?!ci|gitignore|dockerignore)|build/|__pycache__|[^/]*\.egg-info)")
    return [path for path in TREE.rglob("*") if not made.search(str(path.relative_to(TREE)))]


# A registry's host name, or a folder that only one machine has.
PRIVATE = re.compile(
    r"://[a-z.]*(debian|py" + r"pi|pythonhosted|npm" + r"js)[a-z.]*/|(^|[^a-z.\w])/(wo" + r"rk|farm)/"
)


def test_no_text_names_a_machine_or_a_registry() -> None:
    found = []
    for path in tracked():
        if not path.is_file() or path.stat().st_size > 1 << 20:
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if PRIVATE.search(line):
                found.append(f"{path.relative_to(TREE)}:{number} {line.strip()[:80]}")
    assert found == []


@pytest.mark.parametrize(
    "name", [".ci/run", "tools/setup.sh", "tools/lock.sh", "tools/kube.sh", "vagrant/kernel-matrix"]
)
def test_scripts_run_and_parse(name: str) -> None:
    path = TREE / name
    assert path.stat().st_mode & 0o111
    assert subprocess.run(["bash", "-n", str(path)], check=False).returncode == 0
