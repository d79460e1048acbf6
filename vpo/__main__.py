"""`python -m vpo` is `vpo`, but for the import path: Python puts the working folder first, and here it comes last.

A file queue.py or random.py of the user would stand in for the standard library's, so nothing is imported before that but what
Python has imported already.
"""

import os
import sys

if not sys.flags.safe_path and os.path.abspath(sys.path[0]) == os.getcwd():
    sys.path.append(sys.path.pop(0))

from vpo.cli.entry import main

if __name__ == "__main__":
    sys.exit(main())
