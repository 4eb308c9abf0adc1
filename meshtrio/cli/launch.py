"""Shell. Become a command inside a workload: enter its cgroup, drop privileges, exec. Knows nothing else.

Run as a file by `python -I -S` (`argv` has it), so that it starts in 10 ms; it imports nothing of ours.
Whatever Python changed in the process is put back: signals that it ignores, and LC_CTYPE in the
environment. The arguments are CGROUP USER SOFT_LIMIT COMMAND...
"""

import errno
import os
import resource
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

FAILED, NOT_EXECUTABLE, NOT_FOUND = 1, 126, 127
"""As env(1) and sudo have them; complaint.py has the whole list, and cannot be imported here."""
_DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"


def argv(cgroup: str, user: str, soft_limit: int, command: Sequence[str]) -> list[str]:
    """Return what to start. An empty user is whoever starts it; a negative limit leaves the limit alone."""
    return [sys.executable, "-I", "-S", __file__, cgroup, user, str(soft_limit), *command]


def main() -> NoReturn:
    """Become the command. If that cannot be, say why on standard error and end with its code."""
    cgroup, user, soft_limit, *command = sys.argv[1:]
    environment = _environment()
    try:
        with open(f"{cgroup}/cgroup.procs", "wb", buffering=0) as members:
            members.write(b"0")
    except OSError as cause:
        _end(f"cannot enter the cgroup {cgroup}: {cause.strerror}", FAILED)
    if int(soft_limit) >= 0:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (int(soft_limit), resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        )
    if user:
        try:
            _drop_to(user)
        except (OSError, KeyError) as cause:
            _end(f"cannot become {user}: {cause}", FAILED)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    failed = _become(command, environment)
    code = NOT_FOUND if failed.errno == errno.ENOENT else NOT_EXECUTABLE
    _end(f"cannot run {command[0]!r}: {failed.strerror}", code)


def _become(command: list[str], environment: Mapping[bytes, bytes]) -> OSError:
    """Replace this process, as execvp(3) does; return only why it could not be."""
    name = command[0]
    if not name:
        return OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    worst = OSError(errno.ENOENT, "command not found")
    for file in [name] if "/" in name else [f"{folder or '.'}/{name}" for folder in _path(environment)]:
        try:
            os.execve(file, command, environment)
        except OSError as cause:
            if cause.errno == errno.ENOEXEC:
                try:
                    os.execve("/bin/sh", ["/bin/sh", file, *command[1:]], environment)
                except OSError as no_shell:
                    return no_shell
            if "/" in name:
                return cause
            if cause.errno not in (errno.ENOENT, errno.ENOTDIR):
                worst = cause
    return worst


def _path(environment: Mapping[bytes, bytes]) -> list[str]:
    return os.fsdecode(environment.get(b"PATH", os.fsencode(_DEFAULT_PATH))).split(":")


def _drop_to(user: str) -> None:
    """Take on the user's groups and ids, for good: root's capabilities go with them."""
    import pwd

    entry = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
    os.initgroups(entry.pw_name, entry.pw_gid)
    os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
    os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)


def _environment() -> dict[bytes, bytes]:
    with open("/proc/self/environ", "rb") as block:
        pairs = (entry.partition(b"=") for entry in block.read().split(b"\0") if b"=" in entry)
        return {name: value for name, _, value in pairs}


def _end(why: str, code: int) -> NoReturn:
    sys.stderr.write(f"meshtrio: {why}\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
