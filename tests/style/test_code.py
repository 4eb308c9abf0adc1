"""Shell. Rules of STYLE about lines of code, found in the syntax tree; each has its bad example here."""

import ast
from collections.abc import Callable, Iterator

import pytest

from tests.support.tree import Module, modules

SUFFIXES = ("Manager", "Handler", "Helper", "Util", "Utils", "Base", "Impl", "Data", "Info")
TASK_TREES = ("meshtrio/agent.py", "meshtrio/worker.py")
WITH_DEADLINE = ("move_on_after", "move_on_at", "fail_after", "fail_at")

Fault = tuple[int, str]


def _called(node: ast.AST) -> str:
    match node:
        case ast.Call(func=ast.Attribute(attr=name)) | ast.Call(func=ast.Name(id=name)):
            return name
    return ""


def tasks_outlive_their_function(module: Module) -> Iterator[Fault]:
    """Rule 5: a nursery is opened by `async with`, and who opened it starts its tasks, no one else."""
    if module.path in TASK_TREES:
        return
    opened_well: set[int] = set()

    def look(node: ast.AST, nurseries: frozenset[str]) -> Iterator[Fault]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            nurseries = frozenset()
        if isinstance(node, ast.AsyncWith):
            for item in node.items:
                if _called(item.context_expr) == "open_nursery":
                    opened_well.add(id(item.context_expr))
                    if isinstance(item.optional_vars, ast.Name):
                        nurseries |= {item.optional_vars.id}
        if _called(node) == "open_nursery" and id(node) not in opened_well:
            yield node.lineno, "open_nursery() is not the subject of `async with`"  # type: ignore[attr-defined]
        if _called(node) == "start_soon":
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id=name))) if name in nurseries:
                    pass
                case _:
                    yield node.lineno, "start_soon in a nursery that this function did not open"  # type: ignore[attr-defined]
        for child in ast.iter_child_nodes(node):
            yield from look(child, nurseries)

    yield from look(module.tree, frozenset())


def shields_without_deadline(module: Module) -> Iterator[Fault]:
    """Rule 8: a shield that nothing ends keeps the process alive for ever."""
    bounded: set[int] = set()
    for node in ast.walk(module.tree):
        # `with CancelScope(shield=True), move_on_after(5)` is bounded too. Walking goes outside in.
        if isinstance(node, ast.With) and any(
            _called(one.context_expr) in WITH_DEADLINE for one in node.items
        ):
            bounded |= {id(one.context_expr) for one in node.items}
        words = {word.arg for word in node.keywords} if isinstance(node, ast.Call) else set()
        if (
            "shield" in words
            and "deadline" not in words
            and _called(node) not in WITH_DEADLINE
            and id(node) not in bounded
        ):
            yield node.lineno, "a shield without a deadline"  # type: ignore[attr-defined]
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Attribute) and target.attr == "shield" for target in node.targets
        ):
            yield node.lineno, "a shield that is switched on later: say it where its deadline is said"


def buffers_without_bound(module: Module) -> Iterator[Fault]:
    """Rule 13: every buffer says its bound."""
    for node in ast.walk(module.tree):
        match node:
            case ast.Call(func=func, args=args) if "open_memory_channel" in ast.unparse(func):
                if not args or "inf" in ast.unparse(args[0]):
                    yield node.lineno, "a channel without a bound"
        if _called(node) in ("Queue", "SimpleQueue"):
            yield node.lineno, "a queue: use a bounded memory channel"  # type: ignore[attr-defined]


def values_that_change(module: Module) -> Iterator[Fault]:
    """Rule 2: what a decision has learnt is a frozen value. A core class with state is no dataclass."""
    if module.kind != "Core":
        return
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.ClassDef):
            continue
        struct = [base for base in node.bases if ast.unparse(base) in ("msgspec.Struct", "Struct")]
        frozen = any(word.arg == "frozen" and ast.unparse(word.value) == "True" for word in node.keywords)
        if struct and not frozen:
            yield node.lineno, f"{node.name} is a Struct that is not frozen"
        for decorator in node.decorator_list:
            text = ast.unparse(decorator)
            if "dataclass" in text and "frozen=True" not in text:
                yield node.lineno, f"{node.name} is a dataclass that is not frozen"


def names_that_say_nothing(module: Module) -> Iterator[Fault]:
    """Rule 14: a class is named for what it is."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ClassDef) and node.name.endswith(SUFFIXES):
            yield node.lineno, f"the name {node.name}"


def log_fields_that_hide_others(module: Module) -> Iterator[Fault]:
    """A line of the log has its own time, level and event, which a field of the same name would replace."""
    for node in ast.walk(module.tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="log")), keywords=words):
                for word in words:
                    if word.arg in ("at", "level", "event", "trace"):
                        yield node.lineno, f"a field of the log is called {word.arg}"


RULES: list[Callable[[Module], Iterator[Fault]]] = [
    tasks_outlive_their_function,
    shields_without_deadline,
    buffers_without_bound,
    values_that_change,
    names_that_say_nothing,
    log_fields_that_hide_others,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_package_keeps(rule: Callable[[Module], Iterator[Fault]]) -> None:
    assert [f"{module.path}:{line} {why}" for module in modules() for line, why in rule(module)] == []


BAD = {
    "tasks_outlive_their_function": [
        "async def f(self):\n    self._nursery.start_soon(g)",
        "async def f(nursery):\n    nursery.start_soon(g)",
        "async def f():\n    n = trio.open_nursery()",
        "async def f():\n  async with trio.open_nursery() as n:\n    def later():\n      n.start_soon(g)",
    ],
    "shields_without_deadline": ["with trio.CancelScope(shield=True):\n    pass", "scope.shield = True"],
    "buffers_without_bound": ["a, b = trio.open_memory_channel[int](math.inf)", "q = queue.Queue()"],
    "values_that_change": ["class A(msgspec.Struct):\n    x: int", "@dataclass\nclass A:\n    x: int"],
    "names_that_say_nothing": ["class CertManager:\n    pass"],
    "log_fields_that_hide_others": ['log.warning("gone", at=path)', 'log.rarely("much", level=3)'],
}
GOOD = """
async def f():
    async with trio.open_nursery() as pumps:
        pumps.start_soon(g)
        with trio.move_on_after(1, shield=True), trio.CancelScope(shield=True, deadline=now):
            a, b = trio.open_memory_channel[int](64)
    with trio.CancelScope(shield=True), trio.move_on_after(5):
        await g()
    log.info("listens", port=port)

class Route(msgspec.Struct, frozen=True): ...
@dataclass(frozen=True, slots=True)
class Port: ...
"""


def _module(text: str) -> Module:
    text = '"""Core. An example."""\n' + text
    return Module("meshtrio/example.py", text)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_each_rule_finds_its_bad_examples_and_passes_the_good(
    rule: Callable[[Module], Iterator[Fault]],
) -> None:
    for text in BAD[rule.__name__]:
        assert list(rule(_module(text))), text
    assert list(rule(_module(GOOD))) == []
