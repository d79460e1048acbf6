"""Clips of tiny pipelines of the true classes, by the yamls of the real models."""

import numpy as np
import pytest

from tests.generator.tiny import SMALL, generator_of, prompt
from vpo.video.clips import read_mp4, write_mp4

QUICK = ("cogvideox_2b", "cogvideox1_5_5b", "wan2_1_1_3b", "latte", "flux")
EACH = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in SMALL]
TEXTS = ("a cat runs", "the red fox walks slowly on the beach at night", "rain")


@pytest.mark.parametrize("name", EACH)
def test_each_class_renders_by_its_yaml(name, tiny, tmp_path):
    model, frames, height, width = SMALL[name]
    generator = generator_of(name, tiny(model))
    (clip,) = generator.render([prompt(TEXTS[0], 7)], [3], tmp_path)
    assert (clip.status, clip.truncated_tokens, clip.seed, clip.prompt) == ("ok", 0, 3, TEXTS[0])
    pixels, fps = read_mp4(tmp_path / clip.path)
    assert pixels.shape == (clip.frames, clip.height, clip.width, 3) == (frames, height, width, 3)
    assert fps == clip.fps
    assert type(generator.pipeline()).__name__ == generator.settings.pipeline
    generator.close()


def test_a_clip_is_what_diffusers_makes_with_these_arguments(tiny, tmp_path):
    import torch
    from diffusers import CogVideoXDPMScheduler, CogVideoXPipeline

    folder = tiny("cogvideox_rotary")
    generator = generator_of("cogvideox_5b", folder, "generator.dtype=float32", "generator.negative_prompt=dark")
    pipeline = CogVideoXPipeline.from_pretrained(folder, dtype=torch.float32)
    pipeline.scheduler = CogVideoXDPMScheduler.from_config(pipeline.scheduler.config, timestep_spacing="trailing")
    pipeline.vae.enable_tiling()
    made = pipeline(
        prompt=TEXTS[1], negative_prompt="dark", num_frames=9, height=32, width=48, num_inference_steps=2, guidance_scale=6.0,
        use_dynamic_cfg=True, max_sequence_length=226, output_type="np", generator=torch.Generator().manual_seed(5),
    ).frames[0]  # fmt: skip
    assert np.array_equal(generator.frames_of(TEXTS[1], 5), made)
    (clip,) = generator.render([prompt(TEXTS[1])], [5], tmp_path)
    write_mp4(np.rint(made * 255).astype(np.uint8), 8, tmp_path / "by_hand.mp4")
    assert (tmp_path / clip.path).read_bytes() == (tmp_path / "by_hand.mp4").read_bytes()


@pytest.mark.parametrize(
    "name", ["cogvideox_5b", "wan2_1_1_3b", "latte", pytest.param("hunyuanvideo1_5", marks=pytest.mark.slow)]
)
def test_a_clip_depends_on_its_seed_and_not_on_its_neighbours(name, tiny, tmp_path):
    generator = generator_of(name, tiny(SMALL[name][0]), "generator.dtype=float32")
    prompts = [prompt(text, number) for number, text in enumerate(TEXTS)]
    together = generator.render(prompts, [11, 12, 13], tmp_path)
    files = [(tmp_path / clip.path).read_bytes() for clip in together]
    for place in (2, 0, 1):
        (clip,) = generator.render([prompts[place]], [11 + place], tmp_path)
        assert clip == together[place]
        assert (tmp_path / clip.path).read_bytes() == files[place]
    assert not np.array_equal(generator.frames_of(TEXTS[0], 11), generator.frames_of(TEXTS[0], 12))
    assert not np.array_equal(generator.frames_of(TEXTS[0], 11), generator.frames_of(TEXTS[1], 11))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in ("cogvideox_2b", "hunyuanvideo", "flux") else pytest.mark.slow)
        for name in SMALL
    ],
)
def test_truncated_tokens_are_those_that_do_not_reach_the_text_encoder(name, tiny, tmp_path):
    """Counted a second way: the letters q of the prompt against those among the ids that the encoder is given."""
    generator = generator_of(name, tiny(SMALL[name][0]))
    pipeline, settings = generator.pipeline(), generator.settings
    tokenizer = getattr(pipeline, settings.tokenizer)
    encoder = getattr(pipeline, settings.tokenizer.replace("tokenizer", "text_encoder"))
    read = []

    def note(module, arguments, named):
        ids = named.get("input_ids", arguments[0] if arguments else None)
        read.append(
            sum(
                piece.strip("▁Ġ").removesuffix("</w>") == "q"
                for piece in tokenizer.convert_ids_to_tokens(ids[0].tolist())
            )
        )

    hook = encoder.register_forward_pre_hook(note, with_kwargs=True)
    for letters in (settings.tokens - 10, settings.tokens + 50):
        read.clear()
        (clip,) = generator.render([prompt("q" * letters)], [0], tmp_path)
        assert clip.truncated_tokens == letters - max(read), (letters, read)
        assert (clip.truncated_tokens > 0) == (letters > settings.tokens)
    hook.remove()
    generator.close()


def test_truncated_tokens_of_cogvideox_by_hand(tiny, tmp_path):
    """226 tokens, of which T5's </s> is one: 225 words of one token each are read."""
    generator = generator_of("cogvideox_2b", tiny("cogvideox"), "generator.steps=1")
    texts = [" ".join(["cat"] * words) for words in (225, 226, 300)]
    clips = generator.render([prompt(text, number) for number, text in enumerate(texts)], [0] * 3, tmp_path)
    assert [clip.truncated_tokens for clip in clips] == [0, 1, 75]


@pytest.mark.parametrize(("value", "status"), [(float("nan"), "non-finite"), (-9.0, "black")])
def test_a_clip_that_shows_nothing_says_so_and_is_not_written(value, status, tiny, tmp_path):
    import torch

    generator = generator_of("cogvideox_2b", tiny("cogvideox"))
    with torch.no_grad():
        for parameter in generator.pipeline().vae.decoder.conv_out.parameters():
            parameter.fill_(value if parameter.ndim == 1 else 0.0)
    (clip,) = generator.render([prompt(TEXTS[0])], [0], tmp_path)
    assert clip.status == status
    assert not list(tmp_path.iterdir())


def test_describe_says_what_a_clip_depends_on_and_loads_nothing(tiny):
    import diffusers

    generator = generator_of("wan2_2_14b", tiny("wan2_2_14b"))
    said = generator.describe()
    assert generator._pipeline is None
    assert (said["model"], said["revision"]) == (str(tiny("wan2_2_14b")), None)
    assert said["settings"]["call"] == {"guidance_scale_2": 3.0}
    assert said["settings"]["scheduler"] == {"name": "UniPCMultistepScheduler", "arguments": {"flow_shift": 12.0}}
    assert said["libraries"]["diffusers"] == diffusers.__version__
    assert "device" not in said["settings"]
    assert said == generator_of("wan2_2_14b", tiny("wan2_2_14b"), "generator.device=cpu").describe()


def test_libraries_do_not_write_prompts_to_the_console(tiny, tmp_path, caplog, capfd):
    generator = generator_of("cogvideox_2b", tiny("cogvideox"), "generator.steps=1")
    generator.render([prompt("zebra " * 300)], [0], tmp_path)
    said = capfd.readouterr()
    assert "zebra" not in said.err + said.out + caplog.text
