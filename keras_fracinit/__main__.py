"""`python -m keras_fracinit`: see `--help`."""

import sys

from keras_fracinit._cli import main

if __name__ == "__main__":
    sys.exit(main())
