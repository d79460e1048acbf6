"""Clips that are there already: others have rendered them, as `vpo evaluate` is given them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vpo.external.material import Source, read_material
from vpo.records import Clip, Failure, Prompt
from vpo.storage.clip_store import place
from vpo.storage.names import file_name
from vpo.video.clips import ClipError, describe


class ExternalClips:
    """Takes each prompt's clip from its method's material, as it is: of any size, rate, length and container.

    The given file stays where it is; the stage's folder gets a second name of it (a hard link), or a copy.

    Args:
        sources: by method, where its clips lie; see `vpo.external.material.Source`.

    Attributes:
        not_in_key: arguments that say only where the clips lie: their bytes are part of the prompts' key.
        still_is_fine: a clip in which nothing moves is what the method made, and is measured.
        retries: False: it is taken once, whatever is wrong with it.

    Raises:
        UserError: a source cannot be read.
    """

    not_in_key = ("sources",)
    still_is_fine = True
    worth_storing = False
    retries = False

    def __init__(self, sources: dict[str, Any]) -> None:
        self.materials = {
            name: read_material(Source.of(node, f"generator.sources.{name}")) for name, node in sources.items()
        }

    @staticmethod
    def contents(node: Mapping[str, Any]) -> str:
        """The version of what is made of clips that no prompt has: 2 counts those that were never given as no failures."""
        return "2"

    def render(self, prompts: Sequence[Prompt], seeds: Sequence[int], folder: Path) -> list[Clip | Failure]:
        """One clip a prompt; see `vpo.interfaces.Generator`."""
        return [self._taken(prompt, seed, folder) for prompt, seed in zip(prompts, seeds, strict=True)]

    def _taken(self, prompt: Prompt, seed: int, folder: Path) -> Clip | Failure:
        material = self.materials.get(prompt.method)
        given = None if material is None else material.of_query(prompt.query)
        clips = () if given is None else given.clips
        if prompt.index >= len(clips):
            return Failure(
                "no_clip",
                f"{len(clips)} clips are given of this prompt" if clips else "no clip is given of this prompt",
            )
        file = clips[prompt.index]
        path = f"{file_name(prompt.id)}{file.suffix.lower()}"
        try:
            place(
                file.resolve(), folder / path
            )  # of a link the file itself: a relative link would lead nowhere from there
            found = describe(folder / path)
        except FileNotFoundError:
            return Failure("no_file", f"{file}: no such file")
        except ClipError as error:
            (folder / path).unlink(missing_ok=True)
            return Failure("unreadable_file", str(error).replace(str(folder / path), str(file)))
        except OSError as error:
            return Failure("unreadable_file", f"{file}: {error.strerror or error}")
        return Clip(
            prompt.id, prompt.id, prompt.query_id, prompt.query, prompt.text, path, seed,
            frames=found.frames, fps=found.fps, height=found.height, width=found.width,
        )  # fmt: skip
