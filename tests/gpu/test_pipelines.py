"""What only a GPU can show of video models: offloading and quantisation by the yamls, on tiny pipelines."""

import numpy as np
import pytest

from tests.generator.tiny import SMALL, generator_of, prompt

TEXT = "a cat runs"


@pytest.fixture
def model(tmp_path):
    from vpo.assets.tiny.pipelines import MODELS

    name = SMALL["cogvideox_5b"][0]
    MODELS[name](tmp_path / name)
    return tmp_path / name


@pytest.mark.parametrize("offload", ["model", "sequential"])
def test_offloading_changes_no_clip(offload, model):
    same = ("generator.dtype=float32", "generator.device=gpu")
    whole, apart = (
        generator_of("cogvideox_5b", model, *same, f"generator.memory.offload={one}") for one in ("none", offload)
    )
    assert np.allclose(whole.frames_of(TEXT, 1), apart.frames_of(TEXT, 1), atol=1e-3)
    assert whole.pipeline().transformer.device.type == "cuda"
    assert apart.pipeline().transformer.device.type != "cuda"  # between its turns


@pytest.mark.parametrize(("bits", "layer"), [(4, "Linear4bit"), (8, "Linear8bitLt")])
def test_named_components_are_quantised(bits, layer, model, tmp_path):
    pytest.importorskip("bitsandbytes")
    generator = generator_of("cogvideox_5b", model, f"generator.memory.bits={bits}", "generator.device=gpu")
    layers = {type(one).__name__ for one in generator.pipeline().transformer.modules()}
    assert layer in layers
    assert layer not in {type(one).__name__ for one in generator.pipeline().text_encoder.modules()}
    assert generator.render([prompt(TEXT)], [0], tmp_path)[0].status == "ok"


def test_noise_is_the_same_on_every_device(model):
    on_gpu, on_cpu = (
        generator_of("cogvideox_5b", model, "generator.dtype=float32", f"generator.device={one}")
        for one in ("gpu", "cpu")
    )
    assert np.abs(on_gpu.frames_of(TEXT, 1) - on_cpu.frames_of(TEXT, 1)).mean() < 0.01
