"""What a yaml of a diffusers pipeline says, checked without importing diffusers or torch."""

import ast
import difflib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from vpo.errors import UserError
from vpo.generator.frame_rules import check_sizes

DTYPES = ("bfloat16", "float16", "float32")
OFFLOADS = ("none", "model", "sequential")
DEVICES = ("auto", "cpu", "gpu", "cuda")
CACHES = (
    "FasterCacheConfig", "FirstBlockCacheConfig", "MagCacheConfig", "PyramidAttentionBroadcastConfig", "TaylorSeerCacheConfig",
)  # fmt: skip
LIBRARIES = ("diffusers", "transformers", "torch", "accelerate", "safetensors", "bitsandbytes", "peft", "ftfy")
Options = TypeVar("Options")


@dataclass(frozen=True)
class Scheduler:
    """Which scheduler takes the place of the one in the model's folder, whose settings it inherits.

    Attributes:
        name: a class of diffusers; None keeps the model's.
        arguments: of its constructor, over the inherited ones.
    """

    name: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Memory:
    """What saves GPU memory.

    Attributes:
        offload: which parts wait in the machine's memory until their turn: "none", whole models one after the other ("model"), or
            single layers ("sequential", slow). Only on a GPU.
        vae_tiling: decode a clip in tiles; seams may be seen.
        vae_slicing: decode a batch clip by clip.
        bits: 4 or 8 quantise `quantised` by bitsandbytes; None keeps all weights whole.
        quantised: names of components.
    """

    offload: str = "none"
    vae_tiling: bool = False
    vae_slicing: bool = False
    bits: int | None = None
    quantised: tuple[str, ...] = ("transformer",)


@dataclass(frozen=True)
class Lora:
    """An adapter on the pipeline, such as one that RLHF has made.

    Attributes:
        path: hub id, or folder with safetensors.
        revision: commit of the hub.
        weight_name: its file; None where there is one only.
        scale: 1 is full strength.
    """

    path: str
    revision: str | None = None
    weight_name: str | None = None
    scale: float = 1.0


@dataclass(frozen=True)
class Acceleration:
    """What makes a pipeline faster and changes its clips. All of it is off by default.

    Attributes:
        cache: one of CACHES, by its name in diffusers: what is reused from one step to the next; None is off.
        cache_arguments: of that class.
        compile: torch.compile of the model that denoises.
        compile_arguments: of torch.compile.
        attention: a backend of diffusers ("native", "flash", "sage" ...); None is its default.
    """

    cache: str | None = None
    cache_arguments: Mapping[str, Any] = field(default_factory=dict)
    compile: bool = False
    compile_arguments: Mapping[str, Any] = field(default_factory=dict)
    attention: str | None = None


@dataclass(frozen=True)
class Settings:
    """All that a yaml says of a model; `vpo.generator.diffusers.DiffusersGenerator` explains the fields."""

    path: str
    revision: str | None
    pipeline: str
    dtype: str
    frames: int
    fps: float
    height: int
    width: int
    steps: int
    guidance: float | None
    tokens: int
    tokenizer: str
    negative_prompt: str | None
    device: str
    variant: str | None
    dtypes: Mapping[str, str]
    call: Mapping[str, Any]
    scheduler: Scheduler
    memory: Memory
    lora: Lora | None
    acceleration: Acceleration

    def check(self) -> None:
        """Raise UserError for values that cannot be, or cannot go together. Nothing heavy is imported."""
        check_choice("generator.pipeline", self.pipeline, names_of_diffusers(), ending="Pipeline")
        check_sizes(self.pipeline, self.frames, self.height, self.width)
        for key, one in (("dtype", self.dtype), *((f"dtypes.{name}", one) for name, one in self.dtypes.items())):
            check_choice(f"generator.{key}", one, DTYPES)
        check_choice("generator.device", self.device, DEVICES)
        check_choice("generator.memory.offload", self.memory.offload, OFFLOADS)
        if self.scheduler.name is not None:
            check_choice("generator.scheduler.name", self.scheduler.name, names_of_diffusers(), ending="Scheduler")
        elif self.scheduler.arguments:
            raise UserError(
                "config: generator.scheduler.arguments need the scheduler's class; set generator.scheduler.name"
            )
        if self.memory.bits not in (None, 4, 8):
            raise UserError(f"config: generator.memory.bits={self.memory.bits} is not 4 or 8; null quantises nothing")
        if self.memory.bits is not None:
            need_package("bitsandbytes", "generator.memory.bits", "vpo[quant]")
        if self.lora is not None:
            need_package("peft", "generator.lora", "peft")
        if self.acceleration.cache is not None:
            check_choice("generator.acceleration.cache", self.acceleration.cache, CACHES)
        for name in ("steps", "tokens"):
            if getattr(self, name) < 1:
                raise UserError(f"config: generator.{name}={getattr(self, name)} must be a whole number of at least 1")
        if self.path.startswith((".", "/", "~")) and not Path(self.path).is_dir():
            raise UserError(
                f"config: generator.path={self.path}: no such folder; give the folder of a pipeline, or a hub id"
            )


def read_options(kind: type[Options], values: Mapping[str, Any] | None, key: str) -> Options:
    """An options object of a mapping of the config. Raises UserError for unknown, missing and mistyped keys."""
    known = {one.name: one for one in fields(kind)}  # type: ignore[arg-type]
    for name, value in (values or {}).items():
        if name not in known:
            raise UserError(f"config: there is no key {key}.{name}; its keys are {', '.join(known)}")
        if value is None and str(known[name].type) in _NULL_IS_DEFAULT:
            continue
        wanted = _TYPES.get(str(known[name].type))
        if wanted and (not isinstance(value, wanted[0]) or (isinstance(value, bool) and bool not in wanted[0])):
            raise UserError(f"config: {key}.{name}={value} must be {wanted[1]}")
    given = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in (values or {}).items()
        if value is not None or str(known[name].type) not in _NULL_IS_DEFAULT
    }
    for name, one in known.items():
        if name not in given and one.default is MISSING and one.default_factory is MISSING:
            raise UserError(f"config: {key}.{name} must be given")
    return kind(**given)


_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "<class 'str'>": ((str,), "a text"),
    "<class 'bool'>": ((bool,), "true or false"),
    "<class 'float'>": ((int, float), "a number"),
    "str | None": ((str, type(None)), "a text or null"),
    "int | None": ((int, type(None)), "a whole number or null"),
    "tuple[str, ...]": ((list, tuple), "a list of names"),
    "collections.abc.Mapping[str, typing.Any]": ((Mapping,), "a mapping"),
}


_NULL_IS_DEFAULT = ("collections.abc.Mapping[str, typing.Any]", "tuple[str, ...]")


def check_choice(key: str, value: str, known: tuple[str, ...] | frozenset[str], ending: str = "") -> None:
    """Raise UserError where a value is none of the known names (with an ending, of those that end so)."""
    if value in known and value.endswith(ending):
        return
    possible = sorted(one for one in known if one.endswith(ending))
    near = difflib.get_close_matches(str(value), possible, n=1)
    listed = ", ".join(possible) if len(possible) < 12 else f"a class of diffusers that ends in {ending}"
    raise UserError(f"config: {key}={value} is unknown; {f'did you mean {near[0]}?' if near else f'choose {listed}'}")


def need_package(package: str, key: str, install: str) -> None:
    """Raise UserError where a package is not installed."""
    if find_spec(package) is None:
        raise UserError(f"config: {key} needs the package {package}, which is not installed; `pip install {install}`")


def not_a_pipeline(path: str) -> str:
    """The line for a folder without `model_index.json`."""
    return (
        f"generator.path={path}: there is no model_index.json in it, so it is no pipeline of diffusers; give a folder that "
        "save_pretrained of a pipeline wrote, or a hub id"
    )


@cache
def names_of_diffusers() -> frozenset[str]:
    """The public names of the installed diffusers, read from its source: importing it takes seconds."""
    need_package("diffusers", "generator", "diffusers")
    spec = find_spec("diffusers")
    tree = ast.parse(Path(str(spec and spec.origin)).read_text(encoding="utf-8"))
    return frozenset(
        one.value for one in ast.walk(tree) if isinstance(one, ast.Constant) and isinstance(one.value, str)
    )
