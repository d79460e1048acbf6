"""The yamls of diffusers' pipelines on tiny models of the same classes: which model, and a small clip."""

from pathlib import Path

from omegaconf import OmegaConf

from tests.conftest import ROOT
from vpo.build import build
from vpo.records import Prompt

CONF = ROOT / "conf/generator"
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
    """The yaml's node with another path and a small clip. Merged without Hydra, which takes a second."""
    _, frames, height, width = SMALL[name]
    given = [f"path={path}", f"frames={frames}", f"height={height}", f"width={width}", "steps=2", "device=cpu"]
    given += ["variant=null"] if name == "sdxl" else []
    given += [one.lstrip("+").removeprefix("generator.") for one in overrides]
    parts = [OmegaConf.load(CONF / one) for one in ("base/diffusers.yaml", f"{name}.yaml")]
    node = OmegaConf.to_container(OmegaConf.merge(*parts, OmegaConf.from_dotlist(given)))
    node.pop("defaults")
    return node


def generator_of(name: str, path: Path | str, *overrides: str):
    """The generator of a yaml, on a tiny model in a folder."""
    return build(node_of(name, path, *overrides))


def prompt(text: str, number: int = 0) -> Prompt:
    return Prompt(id=f"q{number}/0", query_id=f"q{number}", query="a query", text=text, method="test")
