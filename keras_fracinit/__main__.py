"""`python -m keras_fracinit`: see `--help`."""

from __future__ import annotations

import sys

from keras_fracinit.cli.main import main

if __name__ == "__main__":
    sys.exit(main(program="python -m keras_fracinit"))
