"""Shell. What STYLE says of a module as a whole: what it begins with, how long it is, what it may need."""

import ast
import re
import sys
from pathlib import Path

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


def test_each_says_whether_it_is_core_or_shell() -> None:
    begins = {module.path: (ast.get_docstring(module.tree) or "")[:40] for module in MODULES}
    del begins["meshtrio/__init__.py"]  # the project's own description
    wrong = {path: words for path, words in begins.items() if not words.startswith(("Core.", "Shell."))}
    assert wrong == {}


def test_each_is_short() -> None:
    """A longer one is two nouns."""
    lines = {module.path: len(module.text.splitlines()) for module in MODULES + modules("tests")}
    bound = {path: LINES if path.startswith("meshtrio/") else TEST_LINES for path in lines}
    assert {path: count for path, count in lines.items() if count >= bound[path]} == {}


def faults_of_core(module: Module) -> list[str]:
    may = {name for folder, names in MAY_STILL.items() if module.path.startswith(folder) for name in names}
    kinds = {other.name: other.kind for other in MODULES if not other.path.endswith("__init__.py")}
    return [
        f"{module.path}:{line} imports {name}"
        for line, name in module.imports()
        if (name.split(".")[0] in NOT_IN_CORE - may) or kinds.get(name) == "Shell"
    ]


def test_core_asks_for_nothing() -> None:
    assert [fault for module in MODULES if module.kind == "Core" for fault in faults_of_core(module)] == []


def test_imports_are_absolute() -> None:
    assert [f"{one.path}:{line}" for one in MODULES for line, name in one.imports() if name == "."] == []


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


def test_each_has_a_test_of_its_own() -> None:
    """Or a reason in NO_TEST_FILE."""
    wanted = {}
    for module in MODULES:
        folder, _, name = module.path.removeprefix("meshtrio/").rpartition("/")
        if name not in ("__init__.py", "__main__.py") and module.path not in NO_TEST_FILE:
            wanted[module.path] = Path("tests", folder, f"test_{name}")
    assert {path: str(want) for path, want in wanted.items() if not (TREE / want).exists()} == {}


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
