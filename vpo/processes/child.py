"""`python child.py <module> <arguments>`: run a module of ours, or of the user, as `python -m` would, with a safe import path.

`python -m` looks for modules in the working folder first, where a file `queue.py` or `random.py` of the user would replace
the standard library's. Here the package `vpo` is the one that this file belongs to, and the folders from which the
starting process imports (VPO_IMPORT_PATH), the working folder too if it is one of them, come last.
"""

import os
import runpy
import sys


def main() -> None:
    """Run the module that the command line names."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    sys.path.insert(0, root)
    import vpo  # noqa: F401 (from here on its modules come from its own folder)

    sys.path.remove(root)
    inherited = os.environ.get("VPO_IMPORT_PATH", "").split(os.pathsep)
    sys.path += [one for one in dict.fromkeys(inherited) if one and one not in sys.path]
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
