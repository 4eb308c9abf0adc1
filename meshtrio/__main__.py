"""Shell. `python -m meshtrio` is the command `meshtrio`."""

from meshtrio.cli.main import main

if __name__ == "__main__":
    main(prog_name="meshtrio")
