"""How much a query repeats the others, and which to leave out so that none repeats them much: self-BLEU (`vpo.language.self_bleu`).

VPO filters VidProM by it (arXiv 2503.20491, section 3.2; order and threshold are not published).
"""

from collections.abc import Sequence

from vpo.curation.reading import words_of
from vpo.language.self_bleu import Remaining, self_bleu_of


def self_bleu(texts: Sequence[str], *, order: int) -> list[float]:
    """The BLEU of each text against all others, from 0 to 1; 0 for one that shares no word with another.

    Args:
        texts: what users typed; their words without flags are compared.
        order: longest n-gram. A shorter text is scored up to its own length.
    """
    return self_bleu_of([words_of(text) for text in texts], order)


def too_similar(texts: Sequence[str], *, most: float, order: int) -> dict[int, float]:
    """What is left out so that no text that stays has a self-BLEU above `most` among those that stay: {place: its score then}.

    The most similar go first, one by one, and each is scored against those that are left: so of a group of texts that repeat one
    another one stays. Ties go by place, the later one first. What has gone can make a longer reference the closest no more and so
    lift a score; therefore the rest is read again until nothing is above.

    Args:
        texts: what users typed.
        most: in [0, 1].
        order: longest n-gram.
    """
    remaining = Remaining([words_of(text) for text in texts], order)
    gone: dict[int, float] = {}
    while True:
        scored = [(remaining.score(place), place) for place in range(len(texts)) if place not in gone]
        above = sorted((one for one in scored if one[0] > most), reverse=True)
        if not above:
            return gone
        for _, place in above:
            score = remaining.score(place)
            if score > most:
                gone[place] = score
                remaining.remove(place)
