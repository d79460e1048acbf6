"""Randomness that belongs to an item, never to the batch or the process that happens to work on it."""

import hashlib


def seed_of(*parts: object) -> int:
    """A 63-bit seed from any printable parts, the same on every machine and in every process.

    `seed_of(cfg.seed, query.id, k)` names one candidate; Python's own `hash` is salted per process and would not do.
    """
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
