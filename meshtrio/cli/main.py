"""Shell. The command `meshtrio`: its subcommands, and the border where every failure becomes a sentence.

Subcommands import what they need when they run: `meshtrio agent` lives long and shall not carry the demo.
"""

import errno
import itertools
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click

from meshtrio import __version__
from meshtrio.cli.complaint import Code, Complaint, complaint_of, error_lines, leaves
from meshtrio.cli.subcommands import Subcommands

HELP = """A service-mesh data plane: eBPF catches the connections of unmodified programs, and a trio
program decides where they go.

\b
  meshtrio exec --catalog services.yaml -- curl http://10.96.0.10/
                                   run one program in a mesh of its own
  meshtrio agent --config meshtrio.yaml
                                   the agent of this machine
  meshtrio check                   what this machine can do

\b
Exit codes:
  0   done
  1   tried, and failed
  2   a flag or the configuration is wrong; nothing was tried
  3   no agent answers
  130 interrupted by ^C
  exec ends as its command did: its code, or 128 + signal; 126 not executable, 127 not found

Failures are one sentence on standard error. MESHTRIO_DEBUG=1 or --debug shows the trace as well.
"""


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Whoever reads our output, mostly a disk, takes no more of it."""
_TOO_MANY = (errno.EMFILE, errno.ENFILE)


class Meshtrio(click.Group):
    """The group whose `main` is the border of the process."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command, and end the process with its code. No failure escapes."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # as __main__.py leaves it
            signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            code = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
            if sys.stdout is not None:  # it is, where it was closed before we began (`>&-`)
                sys.stdout.flush()
        except BrokenPipeError:
            # Whoever read our output has enough (`| head`). Python would complain once more at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = Code.FAILED
        except SystemExit:
            raise
        except BaseException as failure:  # noqa: BLE001 (the border of the process)
            code = _told(failure, debug=_debugging(sys.argv[1:] if args is None else args))
        sys.exit(int(code or 0))


def _told(failure: BaseException, *, debug: bool) -> Code:
    """Print what went wrong, and return the exit code."""
    if debug:
        traceback.print_exception(failure)
    if any(isinstance(one, click.Abort | KeyboardInterrupt) for one in leaves(failure)):
        click.echo("meshtrio: interrupted", err=True)
        return Code.INTERRUPTED
    if isinstance(failure, click.exceptions.NoArgsIsHelpError):
        click.echo(failure.format_message(), err=True)  # a page of help is no complaint
        return Code.USAGE
    if isinstance(failure, OSError) and failure.errno in _FULL:
        complaint = Complaint(f"cannot write: {failure.strerror}")
    elif isinstance(failure, OSError) and failure.errno in _TOO_MANY:
        complaint = Complaint(f"{failure.strerror}; raise the limit (ulimit -n)")
    elif isinstance(failure, click.ClickException):
        ctx = failure.ctx if isinstance(failure, click.UsageError) else None
        where = f"; see: {ctx.command_path} --help" if ctx else ""
        complaint = Complaint(f"{failure.format_message().rstrip('.')}{where}", Code(failure.exit_code))
    else:
        found = complaint_of(failure, ())
        trace = "" if debug else " (MESHTRIO_DEBUG=1 shows where)"
        bugs = dict.fromkeys(f"{type(one).__name__}: {one}" for one in leaves(failure))
        complaint = found or Complaint(f"a fault of ours: {'; '.join(bugs)}{trace}")
    for line in error_lines(str(complaint)):
        click.echo(line, err=True)
    return complaint.code


def _debugging(words: Sequence[str]) -> bool:
    """Say whether a trace is wanted: by --debug before the subcommand, or by MESHTRIO_DEBUG."""
    from meshtrio.config.environ import environment  # the whole configuration, for those who fail only

    flags = itertools.takewhile(lambda word: word.startswith("-"), words)
    return "--debug" in flags or environment().get("MESHTRIO_DEBUG", "") not in ("", "0")


@click.group(
    cls=Meshtrio,
    commands=Subcommands(),
    help=HELP,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, "-V", "--version", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show the trace of a failure.")
@click.pass_context
def main(ctx: click.Context, debug: bool) -> None:
    """See HELP."""
    if os.environ.get("NO_COLOR"):  # noqa: TID251  everybody's convention, no setting of ours
        ctx.color = False
