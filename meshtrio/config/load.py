"""Core. From text, environment and flags to a Config, or to all that is wrong. Does not read files or
variables.

The file says least, MESHTRIO_SECTION__KEY stands above it, flags above both. The three are laid over each
other as plain trees first, and only what is left on top is looked at; each value remembers where it came
from.
"""

from collections.abc import Iterator, Mapping

import msgspec
import yaml

from meshtrio.config.fault import Fault, Faults, nearest, shown
from meshtrio.config.rules import breaches
from meshtrio.config.schema import Config
from meshtrio.config.shape import Shaping, is_struct, origin_of
from meshtrio.config.tree import Tree, read_tree

ENV_PREFIX = "MESHTRIO_"


class ConfigFaults(Faults):
    """All that is wrong with a configuration. What was running before should go on running."""

    subject = "config"


def load(text: str | None, environ: Mapping[str, str], flags: Mapping[str, object]) -> Config:
    """Read a configuration from the text of a file (None: there is none), variables, and flags.

    `environ` is the whole environment; what does not begin with MESHTRIO_ is not looked at. `flags` are
    values by path, as in {"timeouts.drain_s": 10}; one that is None was not given. Raises ConfigFaults with
    everything that is wrong; what a stronger layer covers is not looked at.
    """
    try:
        tree = Tree() if text is None else read_tree(text)
    except Faults as unreadable:
        raise ConfigFaults(unreadable.faults) from None
    if not isinstance(tree.value, dict | None):
        raise ConfigFaults(
            [Fault("", f"is {shown(tree.value)} (want a mapping of {', '.join(_sections())})")]
        )
    layers = _Layers(tree)
    for name, value in environ.items():
        layers.variable(name, value)
    for path, given in flags.items():
        if given is not None:
            layers.flag(path, given)
    shaping = Shaping(layers.origins, frozenset(layers.loose))
    config = shaping.struct(Config, layers.value)
    assert config is not None, "every setting has a default"
    faults = [*tree.faults, *layers.faults, *shaping.faults]
    broken = {fault.path for fault in faults}
    for breach in breaches(config):
        # A default that stands in for a faulty value must not be blamed for anything.
        if not any(_touches(path, broken) for path in breach.paths):
            origins = (origin_of(path, layers.origins) for path in breach.paths)
            faults.append(Fault(breach.paths[0], breach.says, next(filter(None, origins), "")))
    if faults:
        raise ConfigFaults(faults)
    return config


def dump(config: Config) -> str:
    """Write a configuration as YAML, with every setting. `load` reads it back as an equal one."""
    text: str = yaml.safe_dump(msgspec.to_builtins(config), sort_keys=False, default_flow_style=False)
    return text


def setting_paths() -> tuple[str, ...]:
    """List the paths of all settings, as flags and variables name them."""
    return tuple(_paths(Config, ""))


def _paths(kind: type[msgspec.Struct], above: str) -> Iterator[str]:
    for field in msgspec.structs.fields(kind):
        path = f"{above}{field.encode_name}"
        if is_struct(field.type):
            yield from _paths(field.type, f"{path}.")
        else:
            yield path


class _Layers:
    """One tree, laid together from several, and where each value came from."""

    def __init__(self, tree: Tree) -> None:
        self.value: dict[str, object] = dict(tree.value) if isinstance(tree.value, dict) else {}
        self.origins = {path: f"line {line}" for path, line in tree.lines.items()}
        self.loose: set[str] = set()
        self.faults: list[Fault] = []

    def variable(self, name: str, value: str) -> None:
        """Lay one variable over what is there."""
        if not name.startswith(ENV_PREFIX):
            return
        path = name.removeprefix(ENV_PREFIX).lower().replace("__", ".")
        if path in _PATHS:
            self._lay(path, value, name)
        elif path in _UNSAYABLE or any(known.startswith(f"{path}.") for known in _PATHS):
            wanted = "want it in the file" if path in _UNSAYABLE else f"want {name}__KEY"
            self.faults.append(Fault(name, f"is more than one value ({wanted})"))
        elif "." in path:
            self.faults.append(Fault(name, f"is not known ({_meant_variable(path)})"))
        else:
            # Without a section it may be a stranger: Kubernetes sets MESHTRIO_PORT and MESHTRIO_SERVICE_HOST
            # in every pod beside a Service called meshtrio. Only what is nearly ours is taken for a slip.
            near = nearest(path, [one for one in _PATHS if "." not in one], 0.8)
            if near:
                self.faults.append(Fault(name, f"is not known (did you mean {ENV_PREFIX}{near.upper()}?)"))

    def flag(self, path: str, value: object) -> None:
        """Lay one flag over what is there."""
        if path in _PATHS:
            self._lay(path, value, "flag")
        elif path in _UNSAYABLE:
            self.faults.append(Fault(path, "is more than one value (want it in the file)", "flag"))
        else:
            near = nearest(path, _PATHS)
            wanted = f"did you mean {near}?" if near else "want one that `meshtrio config show` lists"
            self.faults.append(Fault(path, f"is not known ({wanted})", "flag"))

    def _lay(self, path: str, value: object, origin: str) -> None:
        self.value = _laid(self.value, path.split("."), value)
        self.origins = {at: was for at, was in self.origins.items() if not at.startswith(f"{path}[")}
        self.origins[path] = origin
        self.loose.add(path)


def _sections() -> dict[str, bool]:
    """Give each top-level name, and whether it holds more names."""
    return {field.encode_name: is_struct(field.type) for field in msgspec.structs.fields(Config)}


_UNSAYABLE = ("workloads", "health_checks", "discovery.dns", "traffic.rules")
"""Lists of mappings, which no variable or flag can hold."""
_PATHS = tuple(path for path in setting_paths() if path not in _UNSAYABLE)


def _laid(tree: Mapping[str, object], path: list[str], value: object) -> dict[str, object]:
    """Put a value into a tree, and leave alone what is no mapping on the way: that is reported as such."""
    name, *rest = path
    if not rest:
        return {**tree, name: value}
    there = tree.get(name)
    if there is not None and not isinstance(there, dict):
        return dict(tree)
    return {**tree, name: _laid(there or {}, rest, value)}


def _meant_variable(path: str) -> str:
    near = nearest(path, _PATHS)
    if near:
        return f"did you mean {ENV_PREFIX}{near.upper().replace('.', '__')}?"
    sections = ", ".join(section for section, holds_more in _sections().items() if holds_more)
    return f"want {ENV_PREFIX}SECTION__KEY, of the sections {sections}"


def _touches(path: str, broken: set[str]) -> bool:
    """Say whether something at, above or below this path is broken."""
    return any(f"{path}.".startswith((f"{one}.", f"{one}[")) or one.startswith(f"{path}.") for one in broken)
