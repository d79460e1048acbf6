"""Queries that are nearly the same as one that is kept: MinHash with locality-sensitive hashing (`datasketch`), then exact.

MinHash finds the candidates, in time and memory that grow with the number of queries and not with that of pairs; a candidate counts
only if the Jaccard index of the two sets of shingles, computed exactly, is high enough. So nothing is dropped by chance; with 128
permutations a pair just above the index may be missed: at an index of 0.7 one in twelve, at 0.75 one in fifty, at 0.8 one in 400.
"""

import importlib.util
import zlib
from collections.abc import Sequence

from vpo.curation.reading import shingles_of
from vpo.errors import UserError

PACKAGE = "datasketch"


def near_duplicates(texts: Sequence[str], *, least: float, shingle: int, permutations: int) -> dict[int, int]:
    """The texts that are near one that stands before them and is kept: {place: place of the kept one}.

    Args:
        texts: what users typed; flags, punctuation and case make no difference.
        least: Jaccard index of the shingles from which two texts are near, in (0, 1].
        shingle: characters of a shingle.
        permutations: hash functions of MinHash; more of them find more, and take time and memory.

    Raises:
        UserError: the package is missing.
    """
    if not is_installed():
        raise UserError(
            f"curation.near needs {PACKAGE}: pip install 'vpo[curation]', or leave the rule out: curation.near=null"
        )
    from datasketch import MinHash, MinHashLSH

    try:  # a missed pair stays, a wrong candidate costs one comparison: so misses weigh more
        index = MinHashLSH(threshold=least, num_perm=permutations, weights=(0.1, 0.9))
    except ValueError:  # an index so near to 1 that one band would do, which datasketch refuses
        index = MinHashLSH(num_perm=permutations, params=(2, permutations // 2))
    blank = MinHash(permutations, seed=1, hashfunc=zlib.crc32)
    found: dict[int, int] = {}
    for place, text in enumerate(texts):
        shingles = shingles_of(text, shingle)
        if not shingles:
            continue  # of emoji, say: near none
        hashes = blank.copy()
        hashes.update_batch([one.encode() for one in shingles])
        near = (
            other
            for other in sorted(index.query(hashes))
            if jaccard(shingles, shingles_of(texts[other], shingle)) >= least
        )
        kept = next(near, None)
        if kept is None:
            index.insert(place, hashes, check_duplication=False)
        else:
            found[place] = kept
    return found


def jaccard(one: set[str], other: set[str]) -> float:
    """The Jaccard index of two sets of which one is not empty."""
    both = len(one & other)
    return both / (len(one) + len(other) - both)


def is_installed() -> bool:
    """Whether the package that has MinHash is there."""
    return importlib.util.find_spec(PACKAGE) is not None
