"""Token after token, until each row has ended."""

from collections.abc import Collection

from vpo.language.prefill import Batch
from vpo.language.sampling import Sampler


def decode(batch: Batch, sampler: Sampler, stops: Collection[int], limit: int) -> list[list[int]]:
    """The tokens that each row of a batch writes, up to and with its first stop. A row that has ended leaves the batch.

    Args:
        batch: prompts that were read; it is used up.
        sampler: draws for the rows of the batch, by their numbers.
        stops: ids that end a row.
        limit: most tokens of a row, at least 1.
    """
    written: list[list[int]] = [[] for _ in range(len(batch.mask))]
    live = list(range(len(written)))
    for left in reversed(range(limit)):
        tokens = sampler.draw(batch.logits, live)
        drawn = tokens.tolist()
        for row, token in zip(live, drawn, strict=True):
            written[row].append(token)
        goes_on = [token not in stops for token in drawn]
        if not left or not any(goes_on):
            break
        if not all(goes_on):
            kept = _closed_up(goes_on)
            live, tokens = [live[place] for place in kept], tokens[kept]
            batch.keep(kept)
        batch.append(tokens)
    return written


def _closed_up(goes_on: list[bool]) -> list[int]:
    """The places that go on, the last ones moved to where one has ended, so that few are moved."""
    count = sum(goes_on)
    last = [place for place in range(count, len(goes_on)) if goes_on[place]]
    return [place if goes_on[place] else last.pop() for place in range(count)]
