"""Shell. What a trial on this kernel found: run in a cgroup of its own, or kept from the last time.

A version number proves nothing, for faults are back-ported as fixes are. A trial holds as long as kernel,
C text and probes are the same. Does not know what a trial does.
"""

import functools
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
import trio

from meshtrio import program
from meshtrio.accelerate.hazards import Finding
from meshtrio.intercept import cgroup, kept, source
from meshtrio.intercept.cgroup import CgroupError

TEXT = "accelerate.c"
TRIAL_S = 60.0
"""A trial takes less than a second, and some seconds for each probe that waits in vain."""


class Untried(Exception):
    """No trial could be held; the message says why."""


async def proved(cache: Path | None) -> Sequence[Finding]:
    """Return the findings for this kernel, from the cache if they are there. Untried says why there are none.

    Changes nothing but the cache: cgroup, namespace and programs are gone afterwards, also when cancelled.
    """
    entry = cache / f"{_key()}.findings" if cache else None
    body = kept.read(entry) if entry else None
    if body is None:
        body = await _held(cache)
        if entry:
            kept.write(entry, body)
    return msgspec.json.decode(body, type=list[Finding])


async def _held(cache: Path | None) -> bytes:
    """Hold a trial, and return its findings as they came."""
    try:
        compiled = await source.compiled(cache, TEXT)
        group = cgroup.create(f"trial-{os.getpid()}")
    except (source.CompileError, CgroupError) as cause:
        raise Untried(str(cause)) from cause
    try:
        with trio.fail_after(TRIAL_S):
            done = await trio.run_process(
                program.command("meshtrio.accelerate.trial", str(group)),
                stdin=msgspec.msgpack.encode(compiled),
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
    except trio.TooSlowError as cause:
        raise Untried(f"the trial took more than {TRIAL_S:g} s") from cause
    finally:
        # The group is empty now, and is busy for some milliseconds more.
        with trio.move_on_after(2, shield=True):
            await trio.to_thread.run_sync(functools.partial(cgroup.remove, group))
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise Untried(lines[0] if lines else f"the trial ended with {done.returncode}")
    return done.stdout


def _key() -> str:
    """Name what the findings are about: this build of the kernel, the C text, and the probes."""
    root = source.text_root()
    digest = hashlib.sha256(os.uname().version.encode() + b"\0")
    for part in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(part.read_bytes() + b"\0")
    digest.update(source.cache_key(source.flatten(root / TEXT), root / "include" / "stub").encode())
    return digest.hexdigest()[:32]
