"""Shell. What STYLE says of a module as a whole: what it begins with, how long it is, what it may need."""

import ast
import re
import sys

import pytest

from tests.support.tree import TREE, Module, imports_of, modules

LINES = 250
TEST_LINES = 400

# What a decision may not ask for: time, luck, the machine, other tasks. It gets them as arguments.
# fmt: off
NOT_IN_CORE = frozenset((
    "trio", "anyio", "asyncio", "threading", "multiprocessing", "concurrent", "subprocess", "signal",
    "select", "selectors", "socket", "ssl", "os", "io", "pathlib", "shutil", "tempfile", "fcntl", "mmap",
    "resource", "time", "random", "secrets", "logging", "ctypes", "bcc", "pyroute2", "click", "rich",
    "yaml", "prometheus_client",
))
# fmt: on
# Reading YAML text that was handed in decides nothing and touches nothing.
MAY_STILL: dict[str, frozenset[str]] = {
    "meshtrio/config/": frozenset({"yaml"}),
    "meshtrio/catalog/": frozenset({"yaml"}),
}

# What the resident processes may not hold: memory. Who needs one starts a short-lived child for it.
NOT_RESIDENT = frozenset({"bcc", "pyroute2", "rich", "click", "hypothesis", "asyncio", "structlog"})

# A test file that would say nothing that another does not: each with its reason.
NO_TEST_FILE: dict[str, str] = {}

MODULES = modules()
ids = [module.path for module in MODULES]
each_module = pytest.mark.parametrize("module", MODULES, ids=ids)


@each_module
def test_it_says_whether_it_is_core_or_shell(module: Module) -> None:
    if module.path == "meshtrio/__init__.py":
        return  # the project's own description
    docstring = ast.get_docstring(module.tree) or ""
    assert docstring.startswith(("Core.", "Shell.")), f"{module.path} begins with {docstring[:40]!r}"


@pytest.mark.parametrize("module", MODULES + modules("tests"), ids=lambda module: module.path)
def test_it_is_short(module: Module) -> None:
    lines = len(module.text.splitlines())
    bound = LINES if module.path.startswith("meshtrio/") else TEST_LINES
    assert lines < bound, f"{module.path} has {lines} lines: it is two nouns"


def faults_of_core(module: Module) -> list[str]:
    may = {name for folder, names in MAY_STILL.items() if module.path.startswith(folder) for name in names}
    kinds = {other.name: other.kind for other in MODULES if not other.path.endswith("__init__.py")}
    return [
        f"{module.path}:{line} imports {name}"
        for line, name in module.imports()
        if (name.split(".")[0] in NOT_IN_CORE - may) or kinds.get(name) == "Shell"
    ]


@each_module
def test_core_asks_for_nothing(module: Module) -> None:
    if module.kind == "Core":
        assert faults_of_core(module) == []


@each_module
def test_imports_are_absolute(module: Module) -> None:
    assert [f"{module.path}:{line}" for line, name in module.imports() if name == "."] == []


def resident() -> set[str]:
    """Follow what agent and worker import at their top level; a function's own import is its own affair."""
    by_name = {module.name: module for module in MODULES}
    todo: list[str] = [name for name in ("meshtrio.agent", "meshtrio.worker_process") if name in by_name]
    seen: set[str] = set()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in by_name:
            todo += [wanted for _, wanted in imports_of(by_name[name].tree.body)]
            todo.append(name.rpartition(".")[0])  # the package's __init__ runs too
    return seen


def test_the_resident_processes_are_lean() -> None:
    found = {name.split(".")[0] for name in resident()} & NOT_RESIDENT
    assert found == set()


@each_module
def test_it_has_a_test_of_its_own(module: Module) -> None:
    if module.path.endswith(("__init__.py", "__main__.py")) or module.path in NO_TEST_FILE:
        return
    folder, _, name = module.path.removeprefix("meshtrio/").rpartition("/")
    want = TREE / "tests" / folder / f"test_{name}"
    assert want.exists(), f"{module.path} wants {want.relative_to(TREE)}, or a reason in NO_TEST_FILE"


def test_every_exception_is_still_needed() -> None:
    paths = {module.path for module in MODULES}
    assert [path for path in NO_TEST_FILE if path not in paths] == []
    assert [folder for folder in MAY_STILL if not any(path.startswith(folder) for path in paths)] == []


MARKS = re.compile(
    "|".join(("TO" + "DO", "FIX" + "ME", "X" * 3, "NotImplemented" + "Error", "pragma: no " + "cover"))
)


def test_nothing_is_marked_as_unfinished() -> None:
    files = [
        path
        for folder in ("meshtrio", "bpf", "tests", "tools", "deploy", "vagrant")
        for path in (TREE / folder).rglob("*")
        if path.is_file() and path.suffix in ("", ".py", ".c", ".h", ".sh", ".yaml", ".service")
    ]
    found = [
        f"{path.relative_to(TREE)}:{number} {line.strip()}"
        for path in files
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if MARKS.search(line)
    ]
    assert found == []


def test_the_standard_library_names_are_right() -> None:
    """A misspelt name in NOT_IN_CORE would forbid nothing."""
    third_party = {"trio", "anyio", "bcc", "pyroute2", "click", "rich", "yaml"}
    assert NOT_IN_CORE - third_party - {"prometheus_client"} <= sys.stdlib_module_names
