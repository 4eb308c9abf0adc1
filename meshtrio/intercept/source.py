"""Shell. The BPF text: found, flattened, compiled in a child process, cached.

bcc rewrites map methods only in the main text, so the includes of our own files are put in place
here; system includes stay. `#line` keeps compiler messages true. The cache is keyed by the text,
the stub headers, the kernel release and the machine, so a restart needs no LLVM. Does not load.
"""

import contextlib
import hashlib
import os
import platform
import re
import sys
from pathlib import Path

import msgspec
import trio

from meshtrio import program
from meshtrio.intercept import kept
from meshtrio.intercept.object import CompiledObject

_INCLUDE = re.compile(r'^#include "([^"]+)"\s*$')


class CompileError(Exception):
    """The BPF text could not be compiled; the message has the compiler's words."""


def text_root() -> Path:
    """Return the folder of the C text: beside the package in a checkout, inside it when installed."""
    package = Path(__file__).resolve().parent.parent
    beside = package.parent / "bpf"
    return beside if (beside / "meshtrio.c").is_file() else package / "bpf"


def flatten(path: Path) -> str:
    """Return one text with our own includes in place, each once. CompileError names a missing file."""
    seen: set[Path] = set()

    def lines(file: Path) -> list[str]:
        if file in seen:
            return []
        seen.add(file)
        try:
            text = file.read_text()
        except OSError as cause:
            raise CompileError(f"the BPF text is incomplete: {cause}") from cause
        out = [f'#line 1 "{file.name}"']
        for number, line in enumerate(text.splitlines(), 1):
            include = _INCLUDE.match(line)
            if include:
                out += lines((file.parent / include[1]).resolve())
                out.append(f'#line {number + 1} "{file.name}"')
            elif line.strip() != "#pragma once":
                out.append(line)
        return out

    return "\n".join(lines(path.resolve())) + "\n"


def cache_key(text: str, stub: Path) -> str:
    """Return the name under which the compilation of this text on this kernel is kept."""
    digest = hashlib.sha256()
    for part in (text, os.uname().release, platform.machine(), sys.version.split()[0]):
        digest.update(part.encode() + b"\0")
    for header in sorted(stub.rglob("*.h")):
        digest.update(header.read_bytes() + b"\0")
    return digest.hexdigest()[:32]


async def compiled(cache: Path | None, name: str = "meshtrio.c") -> CompiledObject:
    """Return the compiled text, from the cache if it is there.

    A cache that cannot be read or written costs time, never correctness: a broken entry is compiled anew,
    and so is one that somebody else could have written.
    CompileError has the compiler's words and what to do.
    """
    root = text_root()
    stub = root / "include" / "stub"
    text = flatten(root / name)
    entry = cache / f"{cache_key(text, stub)}.object" if cache else None
    body = kept.read(entry) if entry else None
    if body is not None:
        with contextlib.suppress(msgspec.MsgspecError):
            return msgspec.msgpack.decode(body, type=CompiledObject)
    done = await trio.run_process(
        program.command("meshtrio.intercept.compiler", str(stub)),
        stdin=text.encode(),
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip() or f"exit status {done.returncode}"
        raise CompileError(f"bcc could not compile the BPF text: {said}")
    if entry:
        kept.write(entry, done.stdout)
    return msgspec.msgpack.decode(done.stdout, type=CompiledObject)
