"""`python -m vpo` is `vpo`."""

import sys

from vpo.cli import main

if __name__ == "__main__":
    sys.exit(main())
