"""The sketch world's text-to-video model: a deliberately weak one.

It reads the first words of a prompt only, knows only part of the vocabulary, and fills badly what the prompt leaves
open; so a prompt makes a better clip by naming each facet early and in words the model knows. Nothing but feedback on
clips can teach the latter to a prompt optimizer.
"""

import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from vpo.errors import DISK_ERRORS
from vpo.records import Clip, Prompt
from vpo.sketch import world
from vpo.sketch.painter import Drawing, paint
from vpo.sketch.sprites import UNKNOWN_SHAPES
from vpo.sketch.vocabulary import FACETS, UNSAFE_WORDS, Mention, bound_mentions, without_flags, words_of
from vpo.storage.names import file_name
from vpo.video import clips

_EXCLUSIVE = ("colour", "place", "light")  # facets that can have one value only: two tear the picture


class SketchGenerator:
    """Draws prompts with numpy: `frames` frames of 64 x 64 pixels at `fps`."""

    still_is_fine = (
        True  # a subject whose motion the prompt does not name may stand still: that is how it draws, no fault
    )
    # Drawing a clip takes 8 ms. To store it would double the number of files, and keep clips of a renderer that is still edited.
    worth_storing = False

    def __init__(self, frames: int, fps: float, reads_words: int, unknown: Collection[str]) -> None:
        """`reads_words`: how many words of a prompt it reads. `unknown`: wordings that it never learnt."""
        self.frames = frames
        self.fps = fps
        self.reads_words = reads_words
        self.unknown = frozenset(unknown)

    def render(self, prompts: Sequence[Prompt], seeds: Sequence[int], folder: Path) -> list[Clip]:
        """One mp4 a prompt, `<file_name(prompt.id)>.mp4` in `folder`; a failure leaves no file and its text in `status`."""
        return [self._render(prompt, seed, folder) for prompt, seed in zip(prompts, seeds, strict=True)]

    def understand(self, text: str) -> Drawing:
        """What the model makes of any text."""
        words = words_of(without_flags(text))[: self.reads_words]
        mentions = [mention for mention in bound_mentions(words) if mention.wording not in self.unknown]
        first: dict[str, Mention] = {}
        for mention in mentions:
            first.setdefault(mention.facet, mention)
        concepts = {facet: first[facet].concept if facet in first else None for facet in FACETS}
        concepts["count"] = concepts["count"] or 1
        digest = hashlib.sha256(text.encode(errors="replace")).digest()
        return Drawing(
            **concepts,
            hue=(90 + digest[0] % 90, 90 + digest[1] % 90, 90 + digest[2] % 90),  # muted: no colour is named
            unknown_shape=UNKNOWN_SHAPES[digest[3] % len(UNKNOWN_SHAPES)],
            torn=any(len({m.concept for m in mentions if m.facet == facet}) > 1 for facet in _EXCLUSIVE),
            unsafe=not UNSAFE_WORDS.isdisjoint(words),
        )

    def _render(self, prompt: Prompt, seed: int, folder: Path) -> Clip:
        path, status = f"{file_name(prompt.id)}.mp4", "ok"
        try:
            frames = paint(self.understand(prompt.text), self.frames, np.random.default_rng(seed))
            status = clips.check(frames)
            if status == "ok":
                clips.write_mp4(frames, self.fps, folder / path)
        except (OSError, ValueError, ArithmeticError) as error:
            if isinstance(error, OSError) and error.errno in DISK_ERRORS:
                raise  # a full disk is no broken clip
            status = f"{type(error).__name__}: {error}"
        return Clip(
            id=prompt.id, prompt_id=prompt.id, query_id=prompt.query_id, query=prompt.query, prompt=prompt.text,
            path=path, seed=seed, frames=self.frames, fps=self.fps, height=world.SIZE, width=world.SIZE, status=status,
        )  # fmt: skip
