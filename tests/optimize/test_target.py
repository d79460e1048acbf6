"""The limits of the targets against what diffusers' pipelines read by default."""

import ast
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import ROOT
from vpo.optimize.target import TargetModel

# The file of the pipeline, and its method and argument. They are read and not imported, which takes ten seconds.
LIMITS = {
    "cogvideox": ("cogvideo/pipeline_cogvideox.py", "__call__", "max_sequence_length"),
    "hunyuanvideo": ("hunyuan_video/pipeline_hunyuan_video.py", "__call__", "max_sequence_length"),
    "hunyuanvideo1_5": (
        "hunyuan_video1_5/pipeline_hunyuan_video1_5.py", "_get_mllm_prompt_embeds", "tokenizer_max_length",
    ),
    "ltx": ("ltx/pipeline_ltx.py", "__call__", "max_sequence_length"),
    "ltx2": ("ltx2/pipeline_ltx2.py", "__call__", "max_sequence_length"),
    "mochi": ("mochi/pipeline_mochi.py", "__call__", "max_sequence_length"),
    "wan2_1": ("wan/pipeline_wan.py", "__call__", "max_sequence_length"),
    "wan2_2": ("wan/pipeline_wan.py", "__call__", "max_sequence_length"),
}  # fmt: skip
BY_README = {
    "cogvideox1_5": 224
}  # "Prompt Token Limit" of zai-org/CogVideo, which its pipeline in diffusers does not know


def default_of(file: Path, method: str, argument: str) -> object:
    (found,) = (
        one
        for one in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(one, ast.FunctionDef) and one.name == method
    )
    names = [one.arg for one in found.args.args]
    return ast.literal_eval(found.args.defaults[names.index(argument) - len(names)])


@pytest.mark.parametrize("name", sorted(LIMITS))
def test_the_limit_is_what_the_pipeline_reads(name):
    pipeline, method, argument = LIMITS[name]
    file = Path(find_spec("diffusers").origin).parent / "pipelines" / pipeline
    if not file.is_file():
        pytest.skip(f"this diffusers has no {pipeline}")
    assert TargetModel(name).values.tokens == default_of(file, method, argument)


def test_no_target_is_left_out():
    names = {path.stem for path in (ROOT / "conf/target").glob("*.yaml")}
    assert names - {"none"} == set(LIMITS) | set(BY_README)
    assert all(TargetModel(name).values.tokens == tokens for name, tokens in BY_README.items())


@pytest.mark.parametrize("name", sorted({*LIMITS, *BY_README}))
def test_every_target_says_what_it_wants_and_fits_what_it_says(name):
    """A prompt of 80 words, which each of the video models' guides allows, is not cut."""
    target = TargetModel(name)
    assert target.values.conventions
    assert target.values.tokenizer
    assert target.fits("word " * 80)
    assert not target.fits("word " * 1000)
