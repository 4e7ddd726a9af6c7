"""Runs the command line: one command, and an exit code for what came of it."""

from __future__ import annotations

import io
import sys
import traceback
from collections.abc import Sequence

from keras_fracinit.cli.arguments import parser_of
from keras_fracinit.cli.files import one_line
from keras_fracinit.cli.quiet import import_quietly
from keras_fracinit.utils.starting import PROGRAM


def main(argv: Sequence[str] | None = None, program: str = PROGRAM) -> int:
    """Runs one command and returns the exit code: 2 after an error, 130 after an interrupt."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # a name is no reason to fail
    try:
        arguments = parser_of(program).parse_args(argv)
        arguments.check(arguments)
        import_quietly("keras")
        from keras_fracinit.cli import commands

        return commands.RUN[arguments.command](arguments)
    except KeyboardInterrupt:
        return 130
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    except Exception:  # Python's own exit code, 1, would mean that the model is not healthy
        traceback.print_exc()
        return 2
