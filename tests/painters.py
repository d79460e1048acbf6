"""A video model of a test: it paints a moving square, and does what a prompt's words ask it to do wrong."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vpo.records import Clip, Failure, Prompt
from vpo.storage.names import file_name
from vpo.video import clips


class Painter:
    """Paints clips of 8 frames, 32 x 48 pixels.

    Words of a prompt: `black`, `frozen`, `short`, `small`, `cut` (the file), `nan`: every try is so; with ` once` behind the word,
    only the try with the seed that was asked for, which the painter knows by `asked` beginning the log. `refused` is a Failure,
    `large` needs more memory than there is for more than one clip at a time, `huge` always does, `slow` takes 0.3 s.
    """

    batch_size = 4

    def __init__(
        self, log: str, path: str | None = None, size: int = 16, batch_size: int = 4, still_is_fine: bool = False
    ) -> None:
        self.log, self.path, self.size = Path(log), path, size
        self._note("built")

    def render(self, prompts: Sequence[Prompt], seeds: Sequence[int], folder: Path) -> list[Clip | Failure]:
        words = [one.text.split() for one in prompts]
        if any("huge" in one for one in words) or (len(words) > 1 and any("large" in one for one in words)):
            raise MemoryError("out of memory: tried to allocate 20 GiB")
        return [self._render(prompt, seed, folder) for prompt, seed in zip(prompts, seeds, strict=True)]

    def close(self) -> None:
        self._note("closed")

    def _render(self, prompt: Prompt, seed: int, folder: Path) -> Clip | Failure:
        first = f"render {prompt.text}" not in self.log.read_text().splitlines()
        self._note(f"render {prompt.text}")
        words = prompt.text.split()
        if "refused" in words:
            return Failure("refused", "not this")
        if "slow" in words:
            time.sleep(0.3)
        bad = set(words) if first or "once" not in words else set()
        height = 16 if "small" in bad else 32
        frames = np.zeros((4 if "short" in bad else 8, height, 48, 3), np.float32)
        if "black" not in bad:
            frames += 90 + np.random.default_rng(seed).integers(0, 60, 3).astype(np.float32)
            for t, frame in enumerate(frames):
                at = 4 if "frozen" in bad else 4 + 4 * t
                frame[4:12, at : at + 8] = 250
        if "nan" in bad:
            frames[0, 0, 0] = np.nan
        path, status = f"{file_name(prompt.id)}.mp4", clips.check(frames) if "nan" in bad else "ok"
        if status == "ok":
            clips.write_mp4(frames.round().astype(np.uint8), 8, folder / path)
            if "cut" in bad:
                content = (folder / path).read_bytes()
                (folder / path).write_bytes(content[: len(content) * 2 // 3])
        return Clip(
            prompt.id, prompt.id, prompt.query_id, prompt.query, prompt.text, path, seed, 8, 8.0, 32, 48, status
        )

    def _note(self, line: str) -> None:
        with self.log.open("a") as file:
            file.write(f"{line}\n")


class Sketcher(Painter):
    """One that may stand still, and whose clips are not worth storing."""

    still_is_fine = True
    worth_storing = False


class Describer(Painter):
    """One that says more of itself than its node."""

    def describe(self) -> dict:
        return {"model": "painter-1", "revision": "abc", "scheduler": "none", "api_key": "sk-0123456789abcdef0123"}


def fill_disk(folder: Path, room: int = 70_000) -> None:
    """Leave so many bytes on a small file system."""
    with (folder / "filler").open("wb") as file:
        free = os.statvfs(folder)
        file.write(b"x" * max(0, free.f_bavail * free.f_frsize - room))
