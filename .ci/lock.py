"""Takes torch and its CUDA packages out of a compiled requirements file: their build differs by machine."""

import re
import sys

HEAD = """\
# Pinned dependencies with hashes, for every platform; torch and its CUDA packages stand in requirements-torch.lock.
# Install with: pip install -r requirements-torch.lock && pip install --no-deps --require-hashes -r requirements.lock
# Made by: make lock
"""

blocks = re.split(r"\n(?=[a-z0-9])", sys.stdin.read().strip())
kept = [block for block in blocks if not re.match(r"torch==|triton==|nvidia-|cuda-", block)]
sys.stdout.write(HEAD + "\n".join(kept) + "\n")
