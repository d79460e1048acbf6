"""The yamls of diffusers' pipelines on tiny models of the same classes: which model, and a small clip."""

from pathlib import Path

from vpo.build import build
from vpo.records import Prompt

# By yaml: tiny model, frames, height, width.
SMALL = {
    "cogvideox_2b": ("cogvideox", 9, 32, 32),
    "cogvideox_5b": ("cogvideox_rotary", 9, 32, 48),
    "cogvideox1_5_5b": ("cogvideox1_5", 17, 32, 32),
    "wan2_1_1_3b": ("wan2_1", 5, 32, 48),
    "wan2_1_14b": ("wan2_1", 5, 32, 32),
    "wan2_2_5b": ("wan2_2_5b", 5, 32, 32),
    "wan2_2_14b": ("wan2_2_14b", 5, 32, 32),
    "hunyuanvideo": ("hunyuanvideo", 5, 32, 32),
    "hunyuanvideo1_5": ("hunyuanvideo1_5", 5, 32, 32),
    "ltx": ("ltx", 9, 64, 64),
    "ltx2": ("ltx2", 9, 64, 64),
    "mochi": ("mochi", 7, 32, 32),
    "latte": ("latte", 16, 32, 32),
    "sdxl": ("sdxl", 1, 32, 32),
    "flux": ("flux", 1, 32, 32),
    "sd3": ("sd3", 1, 32, 48),
}


def node_of(name: str, path: Path | str, *overrides: str) -> dict:
    """The yaml's node with another path and a small clip, as `vpo run` would compose it."""
    from vpo.checking.composing import compose

    _, frames, height, width = SMALL[name]
    sizes = (
        f"generator.frames={frames}",
        f"generator.height={height}",
        f"generator.width={width}",
        "generator.steps=2",
    )
    variant = ("generator.variant=null",) if name == "sdxl" else ()
    composed = compose(f"generator={name}", f"generator.path={path}", *sizes, *variant, *overrides)
    return dict(composed.config["generator"])


def generator_of(name: str, path: Path | str, *overrides: str):
    """The generator of a yaml, on a tiny model in a folder."""
    return build(node_of(name, path, *overrides))


def prompt(text: str, number: int = 0) -> Prompt:
    return Prompt(id=f"q{number}/0", query_id=f"q{number}", query="a query", text=text, method="test")
