"""The figures of `known.yaml`, for one run: what its choices take on the GPU that the plan names."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from vpo.costs.figures import UNKNOWN, Figure, exact

FILE = Path(__file__).with_name("known.yaml")


@cache
def known() -> Mapping[str, Any]:
    """The whole file."""
    found: Mapping[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return found


@dataclass(frozen=True)
class Known:
    """What is known of the choices of a run.

    Attributes:
        config: the composed config.
        choices: by group, the file that was chosen.
    """

    config: Mapping[str, Any]
    choices: Mapping[str, str | None]

    @property
    def gpu(self) -> str:
        """The GPU that figures are of."""
        return str(self.config["plan"]["gpu"])

    def of(self, group: str) -> Mapping[str, Any]:
        """What the file says of the chosen one of a group."""
        found: Mapping[str, Any] = known().get(group, {}).get(self.choices.get(group) or "", {})
        return found

    def seconds(self, group: str) -> tuple[Figure, bool]:
        """Seconds an item takes the chosen generator, reward or judge, and whether they are of a GPU.

        A generator's are scaled to the config's steps and size where these differ from the published ones, as an estimate.
        """
        entry = self.of(group)
        if "cpu_seconds" in entry:
            return self._scaled(Figure(entry["cpu_seconds"], entry["basis"]), entry, group), False
        seconds = entry.get("seconds", {}).get(self.gpu)
        return (UNKNOWN if seconds is None else self._scaled(Figure(seconds, entry["basis"]), entry, group)), True

    def _scaled(self, seconds: Figure, entry: Mapping[str, Any], group: str) -> Figure:
        node = self.config[group]
        for name, published in entry.get("at", {}).items():
            here = node.get(name, published)
            if isinstance(here, int | float) and here != published:
                seconds = (seconds * (here / published)).weaker("estimate")
        return seconds

    def clip_bytes(self) -> Figure:
        """Bytes of a clip: measured, or by its pixels."""
        entry, node = self.of("generator"), self.config["generator"]
        if "bytes" in entry:
            return self._scaled(Figure(entry["bytes"], entry["basis"]), entry, "generator")
        sizes = [node.get(name, entry.get("at", {}).get(name)) for name in ("frames", "height", "width")]
        if not all(isinstance(one, int) for one in sizes):
            return UNKNOWN
        frames, height, width = sizes
        share = known()["bytes_a_pixel"]
        return Figure(frames * height * width * share["value"], share["basis"])

    def row_bytes(self) -> Figure:
        """Bytes of a record."""
        return Figure(known()["record"]["bytes"], known()["record"]["basis"])

    def parameters(self) -> Figure:
        """Weights of the backbone."""
        entry = self.of("backbone")
        return Figure(entry["parameters"], entry["basis"]) if entry else UNKNOWN

    def training_seconds(self, tokens: Figure, passes: float) -> Figure:
        """GPU-seconds in which `passes` FLOPs a weight and token are done: 6 of a training, 2 of a forward pass alone."""
        gpu = known()["gpus"].get(self.gpu)
        if gpu is None:
            return UNKNOWN
        rule = known()["training"]
        speed = float(gpu["tflops"] * 1e12 * rule["utilisation"])
        return (self.parameters() * tokens * (passes / speed)).weaker(rule["basis"])

    def writing_seconds(self, tokens: float, batch: int) -> Figure:
        """GPU-seconds in which the backbone writes one text, in a batch of so many: a step reads all weights, in 16 bits."""
        gpu, parameters = known()["gpus"].get(self.gpu), self.parameters()
        if gpu is None or parameters.value is None:
            return UNKNOWN
        step = max(known()["sampling"]["step"], 2 * parameters.value / gpu["bandwidth"])
        return exact(tokens * step / batch).weaker(known()["sampling"]["basis"])
