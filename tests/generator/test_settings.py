"""What a yaml may say: checked when a config is composed, before diffusers is imported or anything is fetched."""

import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from tests.conftest import ROOT
from tests.generator.tiny import SMALL, node_of
from vpo.checking.composing import compose
from vpo.errors import UserError
from vpo.generator.diffusers import DiffusersGenerator

YAMLS = sorted(path.stem for path in (ROOT / "conf/generator").glob("*.yaml"))


def test_each_yaml_of_diffusers_has_a_tiny_model_of_its_class():
    base = [
        one for one in YAMLS if "base/diffusers@" in (ROOT / f"conf/generator/{one}.yaml").read_text(encoding="utf-8")
    ]
    assert set(base) == {*SMALL, "cogvideox_tiny"}


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=() if one in ("wan2_2_14b", "sd3") else pytest.mark.slow) for one in SMALL]
)
def test_the_yamls_compose_with_the_authors_sizes(name):
    node = compose(f"generator={name}").config["generator"]
    assert node["path"].count("/") == 1
    assert node["revision"] is None or len(node["revision"]) == 40
    assert node["acceleration"] == {
        "cache": None, "cache_arguments": {}, "compile": False, "compile_arguments": {}, "attention": None,
    }  # fmt: skip
    assert node["memory"]["offload"] == "none"
    assert node["memory"]["bits"] is node["lora"] is None


def test_the_published_values_of_cogvideox():
    """zai-org/CogVideo: README, inference/cli_demo.py; VPO's two video models."""
    small, large, newer = (
        OmegaConf.load(ROOT / f"conf/generator/{one}.yaml")
        for one in ("cogvideox_2b", "cogvideox_5b", "cogvideox1_5_5b")
    )
    sizes = [(one["frames"], one["fps"], one["height"], one["width"], one["tokens"]) for one in (small, large, newer)]
    assert sizes == [(49, 8, 480, 720, 226), (49, 8, 480, 720, 226), (81, 16, 768, 1360, 224)]
    assert [one["scheduler"]["name"] for one in (small, large)] == ["CogVideoXDDIMScheduler", "CogVideoXDPMScheduler"]
    assert [one.get("call", {}).get("use_dynamic_cfg", False) for one in (small, large, newer)] == [False, True, True]
    assert [one["dtype"] for one in (small, large, newer)] == ["float16", "bfloat16", "bfloat16"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("generator.frames=48", r"generator\.frames=48: .*41 or 49"),
        ("generator.width=721", r"generator\.width=721: .*720 or 736"),
        ("generator.pipeline=CogVideoPipeline", r"did you mean CogVideoXPipeline\?"),
        ("generator.pipeline=CogVideoXTransformer3DModel", "is unknown"),
        ("generator.scheduler.name=DDIMSchedular", r"did you mean DDIMScheduler\?"),
        ("generator.scheduler.name=null", "need the scheduler's class"),
        ("generator.dtype=half", r"generator\.dtype=half is unknown; choose bfloat16, float16, float32"),
        ("+generator.dtypes.vae=fp32", r"generator\.dtypes\.vae=fp32 is unknown"),
        ("generator.memory.offload=disk", r"offload=disk is unknown; choose model, none, sequential"),
        ("generator.memory.bits=2", r"bits=2 is not 4 or 8"),
        ("generator.memory.vae_tiling=1", r"vae_tiling=1 must be true or false"),
        ("+generator.memory.tiling=true", r"no key generator\.memory\.tiling; its keys are offload, vae_tiling"),
        ("generator.lora={scale: 0.5}", r"generator\.lora\.path must be given"),
        ("generator.acceleration.cache=TeaCache", r"acceleration\.cache=TeaCache is unknown"),
        ("generator.device=tpu", r"generator\.device=tpu is unknown"),
        ("generator.steps=0", r"generator\.steps=0"),
        ("generator.tokens=0", r"generator\.tokens=0"),
        ("generator.path=/", r"no model_index\.json"),
        ("generator.path=./nowhere", r"generator\.path=\./nowhere: no such folder"),
    ],
)
def test_a_wrong_value_is_one_line(override, said):
    with pytest.raises(UserError, match=said) as problem:
        DiffusersGenerator.check(node_of("cogvideox_5b", "THUDM/CogVideoX-5b", override))
    assert "\n" not in str(problem.value)


def test_it_is_found_when_the_config_is_composed():
    with pytest.raises(UserError, match=r"generator\.frames=48: CogVideoXPipeline makes 8n \+ 1 frames"):
        compose("generator=cogvideox_5b", "generator.frames=48")


def test_neither_diffusers_nor_torch_is_imported_to_check_a_config():
    code = (
        "import sys, vpo; vpo.compose('generator=wan2_2_14b', 'reward=sketch'); "
        "import vpo.generator.diffusers; print([one for one in ('diffusers', 'transformers') if one in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_missing_package_is_one_line(monkeypatch):
    from vpo.generator import options

    monkeypatch.setattr(options, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs the package bitsandbytes.*pip install vpo\[quant\]"):
        options.need_package("bitsandbytes", "generator.memory.bits", "vpo[quant]")
