"""Shell. The tree as the style tests see it: every module of it. Does not import any."""

import ast
import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

TREE = Path(__file__).parents[2]


@dataclass(frozen=True)
class Module:
    """One file: its path from the top of the tree, and its text."""

    path: str
    text: str

    @functools.cached_property
    def tree(self) -> ast.Module:
        """Its syntax tree."""
        return ast.parse(self.text, self.path)

    @functools.cached_property
    def kind(self) -> str:
        """`Core`, `Shell`, or whatever else its docstring begins with."""
        return (ast.get_docstring(self.tree) or "").split(".")[0]

    @property
    def name(self) -> str:
        """Its name for `import`."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    def imports(self) -> Iterator[tuple[int, str]]:
        """Every module that it imports anywhere, with the line."""
        return imports_of(ast.walk(self.tree))


def imports_of(nodes: Iterable[ast.AST]) -> Iterator[tuple[int, str]]:
    """Every module that these statements import: `from a import b` gives a and a.b."""
    for node in nodes:
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=0) if module:
                yield node.lineno, module
                yield from ((node.lineno, f"{module}.{alias.name}") for alias in names)
            case ast.ImportFrom():
                yield node.lineno, "."


@functools.cache
def modules(folder: str = "meshtrio") -> tuple[Module, ...]:
    """Read every module under a folder, in the order of their paths."""
    return tuple(
        Module(str(path.relative_to(TREE)), path.read_text())
        for path in sorted((TREE / folder).rglob("*.py"))
    )
