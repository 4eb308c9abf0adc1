"""Shell. `python -m meshtrio` is the command `meshtrio`. Knows how it begins, and not what it does."""

import signal


def main() -> None:
    """Be the command, from its first moment."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Until the command can tell that it was interrupted, ^C ends it without a trace of what was imported.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from meshtrio.cli.main import main as command

    command(prog_name="meshtrio")


if __name__ == "__main__":
    main()
