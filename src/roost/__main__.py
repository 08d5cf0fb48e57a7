"""The entry of the program `roost` and of ``python -m roost``."""

import sys


def main() -> None:
    """Run the command line with this process's arguments and end the process with its exit code."""
    from roost.apps.cli.program import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
