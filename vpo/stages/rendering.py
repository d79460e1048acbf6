"""What surrounds every video model: a clip that is there already is not rendered, a new one is checked, retried once, described and
kept. Once, for all generators."""

import dataclasses
import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from vpo.build import Spec, setting_of
from vpo.errors import UserError
from vpo.interfaces import Generator
from vpo.processes.hardware import peak_memory, restart_peak_memory
from vpo.records import Clip, Failure, Prompt, from_json, to_json
from vpo.seeding import seed_of
from vpo.stages.contents import with_contents
from vpo.storage.clip_store import FOLDER, ClipStore, StoredClip, place
from vpo.storage.code_hash import class_hash
from vpo.storage.installed import installed
from vpo.storage.jsonio import write_json
from vpo.storage.names import file_name
from vpo.storage.redact import redact
from vpo.storage.store import without
from vpo.targets import declared, targets_in

log = logging.getLogger(__name__)

LOOK = 0.5  # seconds between two looks at whether another process has rendered the clip
LIBRARIES = ("vpo", "av", "numpy", "torch", "diffusers", "transformers", "accelerate", "httpx2")


@dataclass
class CheckedGenerator:
    """A generator whose clips are checked; it is built when the first clip must be rendered.

    A clip whose file fails the check is rendered once more, with the seed `seed_of("retry", seed)`, and its record says in `faults`
    what was wrong. If that one fails, too, `status` says what is wrong with it and its file lies in `broken/`, so that nobody takes
    it for a clip.

    Beside each mp4 lies `<name>.json`: the clip's record, what it was asked for, and how it was made.

    Attributes:
        make: builds the generator.
        node: its config with the content of local files and without what cannot change a clip: what names a clip beside text and seed.
        code: names the generator's code. A clip of older code is used, with a warning, as results of older code are.
        store: of clips; None where the generator's clips are not worth storing.
        reuse: whether clips of the store are used; else all are rendered anew, and replace those of the store.
        still_is_fine: whether a clip in which nothing moves is no fault.
        retries: whether a clip that fails the check is rendered once more: not where another seed would give the same one.
    """

    make: Callable[[], Generator]
    node: Mapping[str, Any]
    code: str
    store: ClipStore | None
    reuse: bool = True
    still_is_fine: bool = False
    retries: bool = True
    _generator: Any = None
    _about: Mapping[str, Any] | None = None
    _warned: bool = False

    def render(self, prompts: Sequence[Prompt], seeds: Sequence[int], folder: Path) -> list[Clip | Failure]:
        """One clip a prompt, from the store or rendered now; see `vpo.interfaces.Generator`."""
        results: list[Clip | Failure | None] = [None] * len(prompts)
        waiting = self._render_claimed(prompts, seeds, folder, results, range(len(prompts)))
        if waiting:
            log.info("waiting for %d clips that another process is rendering", len(waiting))
        while waiting:
            time.sleep(LOOK)
            waiting = self._render_claimed(prompts, seeds, folder, results, waiting)
        return [one for one in results if one is not None]

    def close(self) -> None:
        """Let the generator go."""
        generator, self._generator = self._generator, None
        if hasattr(generator, "close"):
            generator.close()

    def asked(self, prompt: Prompt, seed: int) -> dict[str, Any]:
        """What names a clip in the store."""
        return {"generator": self.node, "prompt": prompt.text, "seed": seed}

    def _render_claimed(
        self,
        prompts: Sequence[Prompt],
        seeds: Sequence[int],
        folder: Path,
        results: list[Clip | Failure | None],
        waiting: Sequence[int],
    ) -> list[int]:
        """Take what is stored and render what no other process renders now. Returns the places of what others do.

        Claims are held while one's own clips are rendered, never while one waits for others', so that nobody waits for ever.
        """
        mine, others = [], []
        with ExitStack() as claims:
            for at in waiting:
                asked = self.asked(prompts[at], seeds[at])
                stored = self._find(asked)
                if stored is None and self.store is not None and not claims.enter_context(self.store.claim(asked)):
                    others.append(at)
                    continue
                stored = stored or self._find(asked)  # another process may have finished it just before the claim
                if stored is not None:
                    results[at] = self._taken(stored, prompts[at], folder)
                if results[at] is None:
                    mine.append(at)
            if mine:
                made = self._rendered([prompts[at] for at in mine], [seeds[at] for at in mine], folder)
                for at, one in zip(mine, made, strict=True):
                    results[at] = one
        return others

    def _find(self, asked: Mapping[str, Any]) -> StoredClip | None:
        return self.store.find(asked) if self.store is not None and self.reuse else None

    def _taken(self, stored: StoredClip, prompt: Prompt, folder: Path) -> Clip | None:
        """A stored clip in the stage's folder; None where it has just been deleted from the store, its record is unreadable, or it
        stands still and was allowed to when it was rendered."""
        from vpo.video.checks import problem_of

        path = f"{file_name(prompt.id)}.mp4"
        try:
            clip = dataclasses.replace(
                from_json(Clip, stored.clip), id=prompt.id, prompt_id=prompt.id, query_id=prompt.query_id, query=prompt.query,
                path=path,
            )  # fmt: skip
            if stored.made.get("still_is_fine") and not self.still_is_fine:
                at_home = dataclasses.replace(clip, path=stored.path.name)
                if problem_of(at_home, stored.path.parent) != "ok":
                    return None
            place(stored.path, folder / path)
        except (FileNotFoundError, TypeError):
            return None
        if stored.made.get("code") != self.code and not self._warned:
            self._warned = True
            log.warning("clips are used that older code has rendered; recompute=[render] renders them anew")
        self._describe(clip, {**stored.made, "from_store": True}, folder)
        return clip

    def _rendered(self, prompts: Sequence[Prompt], seeds: Sequence[int], folder: Path) -> list[Clip | Failure]:
        """One checked clip a prompt, each written down as soon as it is good, so that a failure among the retries loses none."""
        results = self._tried(prompts, seeds, folder)
        again = [at for at, one in enumerate(results) if isinstance(one, Clip) and one.status != "ok"]
        if not again or not self.retries:
            return results
        new_seeds = [seed_of("retry", seeds[at]) for at in again]
        second = self._tried(
            [prompts[at] for at in again], new_seeds, folder, first=[(seeds[at], results[at]) for at in again]
        )
        for at, one in zip(again, second, strict=True):
            results[at] = one
        return results

    def _tried(
        self,
        prompts: Sequence[Prompt],
        seeds: Sequence[int],
        folder: Path,
        first: Sequence[tuple[int, Any]] | None = None,
    ) -> list[Clip | Failure]:
        """One try at each; `first` are the seeds that were asked for and the clips of the first try where this is the second."""
        restart_peak_memory()
        begin = time.perf_counter()
        if self._generator is None:
            self._generator = self.make()
            begin = time.perf_counter()
        outcomes = self._generator.render(prompts, seeds, folder)
        if len(outcomes) != len(prompts):
            raise UserError(
                f"{type(self._generator).__name__}: {len(outcomes)} results for {len(prompts)} prompts; it must give one each, or a "
                "Failure in its place"
            )
        made = {
            **self._of_generator(), "seconds": round((time.perf_counter() - begin) / len(prompts), 3), "batch": len(prompts),
            "peak_memory": peak_memory(), "code": self.code, "still_is_fine": self.still_is_fine,
        }  # fmt: skip
        results = []
        for at, (prompt, one) in enumerate(zip(prompts, outcomes, strict=True)):
            if isinstance(one, Clip):
                asked_seed, before = (seeds[at], None) if first is None else first[at]
                one = self._finished(one, prompt, asked_seed, before, made, folder)
            results.append(one)
        return results

    def _finished(
        self, clip: Clip, prompt: Prompt, seed: int, before: Clip | None, made: Mapping[str, Any], folder: Path
    ) -> Clip:
        """The clip with its status after the check, described and kept if it is good or there will be no further try."""
        from vpo.video.checks import problem_of
        from vpo.video.clips import set_aside

        status = problem_of(clip, folder, still_is_fine=self.still_is_fine)
        faults = (*before.faults, f"seed {before.seed}: {before.status}") if before is not None else clip.faults
        clip = dataclasses.replace(clip, status=status, faults=faults)
        if status != "ok":
            set_aside(folder / clip.path)
        if status == "ok" or before is not None or not self.retries:
            self._describe(clip, made, folder)
        if status == "ok" and self.store is not None:
            self.store.keep(self.asked(prompt, seed), folder / clip.path, to_json(clip), made)
        return clip

    def _describe(self, clip: Clip, made: Mapping[str, Any], folder: Path) -> None:
        write_json((folder / clip.path).with_suffix(".json"), {**to_json(clip), **made}, indent=1)

    def _of_generator(self) -> Mapping[str, Any]:
        """What a sidecar says of the video model: its settings, its revision, and the versions of what it runs on."""
        if self._about is None:
            own = getattr(self._generator, "describe", None)
            settings = redact(dict(own())) if own is not None else dict(self.node)
            self._about = {
                "generator": settings, "revision": settings.get("revision", self.node.get("revision")), "versions": versions(),
            }  # fmt: skip
        return self._about


def versions() -> dict[str, str]:
    """Of Python and of those libraries that this process has loaded."""
    return {"python": sys.version.split()[0]} | installed(name for name in LIBRARIES if name in sys.modules)


def checked_generator(node: Mapping[str, Any], store: Path, *, reuse: bool = True) -> "partial[CheckedGenerator]":
    """How a generator is built from its node, with what surrounds it; `store` is the folder of results, whose clips it shares."""
    paths = [
        ".".join((*path, name)) for path, one in targets_in(node) for name in declared(one["_target_"], "not_in_key")
    ]
    # Whether it may stand still is a matter of the check: a clip that is there is checked again rather than rendered again.
    exempt = ["still_is_fine", *paths]
    return partial(
        CheckedGenerator, Spec(node),
        node=redact(without(with_contents(node), exempt), environment=False),
        code=class_hash(node),
        store=ClipStore(store.resolve() / FOLDER) if setting_of(node, "worth_storing", True) else None,
        reuse=reuse, still_is_fine=bool(setting_of(node, "still_is_fine", False)), retries=bool(setting_of(node, "retries", True)),
    )  # fmt: skip
