"""Caches, torch.compile and attention backends: off they are not there, on they are, and clips change."""

import numpy as np
import pytest

from tests.generator.tiny import SMALL, generator_of
from vpo.errors import UserError

TEXT = "a cat runs"
FIRST_BLOCK = (
    "generator.acceleration.cache=FirstBlockCacheConfig",
    "+generator.acceleration.cache_arguments.threshold=10.0",
)


def made(tiny, *overrides):
    return generator_of(
        "cogvideox_2b",
        tiny("cogvideox"),
        "generator.dtype=float32",
        "generator.steps=6",
        "generator.memory.vae_tiling=false",
        *overrides,
    )


def second_blocks(generator):
    """How often the transformer's second block really computes in a clip."""
    calls = []
    block = generator.pipeline().transformer.transformer_blocks[1]
    hook = block.attn1.register_forward_hook(lambda *_: calls.append(1))
    generator.frames_of(TEXT, 1)
    hook.remove()
    return len(calls)


def test_off_nothing_is_hooked_or_compiled(tiny):
    generator = made(tiny)
    model = generator.pipeline().transformer
    assert not model.is_cache_enabled
    assert getattr(model, "_diffusers_hook", None) is None
    assert model._compiled_call_impl is None
    assert second_blocks(generator) == 6


def test_the_first_block_cache_leaves_out_blocks_and_changes_the_clip(tiny):
    generator = made(tiny, *FIRST_BLOCK)
    assert generator.pipeline().transformer.is_cache_enabled
    assert second_blocks(generator) < 6
    assert not np.array_equal(generator.frames_of(TEXT, 1), made(tiny).frames_of(TEXT, 1))


def test_a_cache_keeps_nothing_from_one_clip_to_the_next(tiny):
    generator = made(tiny, *FIRST_BLOCK)
    first = generator.frames_of(TEXT, 1)
    generator.frames_of("rain", 2)
    assert np.array_equal(generator.frames_of(TEXT, 1), first)
    steps = []

    def fail_at_the_third(*_):
        steps.append(1)
        if len(steps) == 3:
            raise RuntimeError("lost")

    hook = generator.pipeline().transformer.register_forward_hook(fail_at_the_third)
    with pytest.raises(RuntimeError, match="lost"):
        generator.frames_of("snow", 3)
    hook.remove()
    assert np.array_equal(generator.frames_of(TEXT, 1), first)


@pytest.mark.parametrize(
    "overrides",
    [
        (
            "PyramidAttentionBroadcastConfig",
            "{spatial_attention_block_skip_range: 2, spatial_attention_timestep_skip_range: [0, 1000]}",
        ),
        ("FasterCacheConfig", "{spatial_attention_timestep_skip_range: [-1, 1000], tensor_format: BFCHW}"),
        (
            "TaylorSeerCacheConfig",
            "{cache_interval: 3, disable_cache_before_step: 1, cache_identifiers: ['transformer_blocks.[0-9]+.attn1']}",
        ),
    ],
)
def test_the_other_caches_of_diffusers_change_the_clip(overrides, tiny):
    cache, arguments = overrides
    generator = made(
        tiny, f"generator.acceleration.cache={cache}", f"+generator.acceleration.cache_arguments={arguments}"
    )
    clip = generator.frames_of(TEXT, 1)
    assert np.isfinite(clip).all()
    assert not np.array_equal(clip, made(tiny).frames_of(TEXT, 1))


@pytest.mark.slow
def test_compile_is_set_on_the_model(tiny):
    generator = made(
        tiny, "generator.acceleration.compile=true", "+generator.acceleration.compile_arguments.backend=eager"
    )
    assert generator.pipeline().transformer._compiled_call_impl is not None
    assert np.allclose(generator.frames_of(TEXT, 1), made(tiny).frames_of(TEXT, 1), atol=1e-4)


def test_the_attention_backend_is_set_on_every_layer(tiny):
    generator = generator_of("wan2_1_1_3b", tiny("wan2_1"), "generator.acceleration.attention=native")
    layers = [one for one in generator.pipeline().transformer.modules() if hasattr(one, "processor")]
    assert {one.processor._attention_backend.value for one in layers} == {"native"}


CACHE = "generator.acceleration.cache=FirstBlockCacheConfig"


@pytest.mark.parametrize(
    ("name", "overrides", "said"),
    [
        (
            "cogvideox_2b",
            [CACHE, "+generator.acceleration.cache_arguments.treshold=1"],
            "FirstBlockCacheConfig takes threshold",
        ),
        ("cogvideox_2b", ["generator.acceleration.attention=turbo"], r"acceleration\.attention=turbo"),
        (
            "cogvideox_2b",
            ["generator.acceleration.compile=true", "+generator.acceleration.compile_arguments.speed=9"],
            r"compile_arguments: .*speed",
        ),
        ("cogvideox_2b", ["generator.acceleration.attention=native"], "has one backend only; set it to null"),
        (
            "cogvideox_2b",
            ["generator.acceleration.cache=TaylorSeerCacheConfig"],
            "none of the layers of CogVideoXTransformer3DModel has a name that it looks for; .*cache_identifiers",
        ),
        ("sdxl", [CACHE], "UNet2DConditionModel has no caches"),
        ("latte", [CACHE], r"set it to null"),
    ],
)
def test_what_a_model_does_not_take_is_one_line(name, overrides, said, tiny):
    generator = generator_of(name, tiny(SMALL[name][0]), *overrides)
    with pytest.raises(UserError, match=said):
        generator.pipeline()
