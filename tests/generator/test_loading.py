"""Loading a pipeline: what its folder must hold, and schedulers, memory options and adapters as they are really applied."""

import json
import logging
import shutil

import numpy as np
import pytest

from tests.generator.tiny import SMALL, generator_of, node_of
from vpo.errors import UserError
from vpo.generator import folder as folders
from vpo.generator import loading
from vpo.generator.diffusers import DiffusersGenerator

TEXT = "a cat runs"


@pytest.fixture
def copy(tiny, tmp_path):
    """A tiny CogVideoX to spoil."""
    return shutil.copytree(tiny("cogvideox"), tmp_path / "copy")


def change_index(folder, **changes):
    path = folder / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def drop_weight(file, end):
    from safetensors.torch import load_file, save_file

    weights = load_file(file)
    name = next(one for one in weights if one.endswith(end))
    del weights[name]
    save_file(weights, file, {"format": "pt"})
    return name


def refused(generator):
    with pytest.raises(UserError) as problem:
        generator.pipeline()
    line = str(problem.value)
    assert "\n" not in line
    return line


def test_a_folder_of_another_class_is_refused(tiny):
    said = refused(generator_of("cogvideox_2b", tiny("latte")))
    assert "it is a LattePipeline, not a CogVideoXPipeline" in said
    with pytest.raises(UserError, match="not a CogVideoXPipeline"):  # when the config is composed, too
        DiffusersGenerator.check(node_of("cogvideox_2b", tiny("latte")))


def test_code_of_a_models_folder_is_never_run(copy):
    (copy / "mine.py").write_text("raise SystemExit('run')")
    change_index(copy, transformer=["mine", "Mine"])
    assert "mine.Mine, needs code from the model's folder, which is never run" in refused(
        generator_of("cogvideox_2b", copy)
    )


def test_a_component_that_is_not_there_is_named(copy):
    shutil.rmtree(copy / "vae")
    assert "model_index.json names vae, and there is no such folder" in refused(generator_of("cogvideox_2b", copy))


def test_the_models_own_ratios_are_checked_before_its_weights_are_read(tiny, copy):
    generator = generator_of("cogvideox_2b", tiny("cogvideox1_5"), "generator.tokens=224")
    assert "CogVideoXPipeline makes 16n + 1 frames; set generator.frames=1 or 17" in refused(generator)
    for weights in copy.rglob("*.safetensors"):
        weights.unlink()
    assert "this model reads 226; set generator.tokens=226" in refused(
        generator_of("cogvideox_2b", copy, "generator.tokens=300")
    )
    assert "cannot be loaded" in refused(generator_of("cogvideox_2b", copy))


@pytest.mark.parametrize(
    ("part", "file", "end"),
    [
        ("transformer", "diffusion_pytorch_model.safetensors", "norm_q.weight"),
        ("text_encoder", "model.safetensors", "q.weight"),  # which transformers fills with random numbers
    ],
)
def test_missing_weights_are_not_filled_with_random_numbers(part, file, end, copy):
    name = drop_weight(copy / part / file, end)
    assert f"1 weights of its {part} are missing, such as {name}" in refused(generator_of("cogvideox_2b", copy))


def test_pickled_weights_are_not_read(copy):
    import torch
    from safetensors.torch import load_file

    file = copy / "vae/diffusion_pytorch_model.safetensors"
    torch.save(load_file(file), file.with_suffix(".bin"))
    file.unlink()
    assert "cannot be loaded" in refused(generator_of("cogvideox_2b", copy))


def test_the_hubs_tokenizer_of_cogvideox_is_read(copy, monkeypatch):
    """The hub's folder holds spiece.model and no tokenizer.json."""
    pytest.importorskip("sentencepiece", reason="sentencepiece is not installed")
    from vpo.assets.tiny.tokenizers import sentencepiece_model

    whole = generator_of("cogvideox_2b", copy).frames_of(TEXT, 1)
    (copy / "tokenizer/tokenizer.json").unlink()
    sentencepiece_model(copy / "tokenizer/spiece.model")
    assert np.array_equal(generator_of("cogvideox_2b", copy).frames_of(TEXT, 1), whole)
    monkeypatch.setattr(folders, "find_spec", lambda name: None)
    said = refused(generator_of("cogvideox_2b", copy))
    assert "its tokenizer needs the package sentencepiece, which is not installed; `pip install sentencepiece`" in said


def test_the_scheduler_is_the_yamls_and_keeps_what_the_model_says_of_itself(tiny):
    pipeline = generator_of("cogvideox_5b", tiny("cogvideox_rotary")).pipeline()
    assert type(pipeline.scheduler).__name__ == "CogVideoXDPMScheduler"
    assert pipeline.scheduler.config.timestep_spacing == "trailing"
    assert pipeline.scheduler.config.prediction_type == "v_prediction"  # of the model's own, a DDIM
    own = generator_of(
        "cogvideox_5b",
        tiny("cogvideox_rotary"),
        "generator.scheduler.name=null",
        "generator.scheduler.arguments=null",
    )
    assert type(own.pipeline().scheduler).__name__ == "CogVideoXDDIMScheduler"


def test_an_argument_that_a_scheduler_does_not_take_is_refused(tiny):
    generator = generator_of(
        "cogvideox_5b", tiny("cogvideox_rotary"), "+generator.scheduler.arguments.spacing=trailing"
    )
    assert "generator.scheduler.arguments.spacing: CogVideoXDPMScheduler takes num_train_timesteps" in refused(
        generator
    )


@pytest.mark.parametrize(
    ("name", "overrides", "said"),
    [
        (
            "cogvideox_5b",
            ["+generator.call.use_dynamic_cgf=true"],
            r"takes no such argument; did you mean use_dynamic_cfg\?",
        ),
        (
            "cogvideox_5b",
            ["+generator.call.num_frames=17"],
            r"generator\.call\.num_frames: it is set by generator\.frames",
        ),
        ("flux", ["generator.negative_prompt=dark"], r"negative_prompt: FluxPipeline reads it only with a second pass"),
        (
            "flux",
            ["+generator.dtypes.unet=float32"],
            r"dtypes\.unet: the pipeline has no such component; it has .*transformer",
        ),
    ],
)
def test_what_would_have_no_effect_is_refused(name, overrides, said, tiny):
    with pytest.raises(UserError, match=said):
        generator_of(name, tiny(SMALL[name][0]), *overrides).pipeline()


def test_guidance_that_a_component_holds_is_set(tiny):
    generator = generator_of("hunyuanvideo1_5", tiny("hunyuanvideo1_5"), "generator.guidance=2.5")
    assert generator.pipeline().guider.guidance_scale == 2.5
    assert generator.pipeline().tokenizer_max_length == 1000


def test_a_token_limit_that_cannot_be_set_is_refused(tiny):
    generator = generator_of("latte", tiny("latte"), "generator.tokens=100")
    assert "LattePipeline reads 120 and takes no other limit; set generator.tokens=120" in refused(generator)


def test_tiling_and_slicing_are_on_where_the_yaml_says_so(tiny):
    on = generator_of("cogvideox_2b", tiny("cogvideox")).pipeline().vae
    off = generator_of(
        "cogvideox_2b", tiny("cogvideox"), "generator.memory.vae_tiling=false", "generator.memory.vae_slicing=false"
    )
    assert (on.use_tiling, on.use_slicing) == (True, True)
    assert (off.pipeline().vae.use_tiling, off.pipeline().vae.use_slicing) == (False, False)


def test_dtypes_are_the_yamls(tiny):
    import torch

    pipeline = generator_of("wan2_1_1_3b", tiny("wan2_1")).pipeline()
    found = (pipeline.transformer.dtype, pipeline.text_encoder.dtype, pipeline.vae.dtype)
    assert found == (torch.bfloat16, torch.bfloat16, torch.float32)


def test_named_components_are_quantised_on_a_gpu(tiny):
    pytest.importorskip("bitsandbytes")
    four = ("generator.memory.bits=4", "generator.memory.quantised=[transformer,text_encoder]")
    generator = generator_of("cogvideox_5b", tiny("cogvideox_rotary"), *four, "generator.device=cpu")
    assert "generator.memory.bits=4: bitsandbytes quantises on a GPU only" in refused(generator)
    parts = {"transformer": (), "text_encoder": (), "vae": ()}
    made = loading.quantisation(generator.settings, parts)
    assert (made.quant_backend, made.components_to_quantize) == ("bitsandbytes_4bit", ["transformer", "text_encoder"])
    assert made.quant_kwargs["load_in_4bit"] is True
    assert str(made.quant_kwargs["bnb_4bit_compute_dtype"]) == "torch.bfloat16"
    with pytest.raises(
        UserError, match="quantised=text_encoder: the pipeline has no such component; it has transformer"
    ):
        loading.quantisation(generator.settings, {"transformer": ()})


def test_without_a_gpu_nothing_is_offloaded_and_the_log_says_so(tiny, caplog):
    caplog.set_level(logging.INFO, logger="vpo")
    generator = generator_of(
        "cogvideox_2b", tiny("cogvideox"), "generator.memory.offload=model", "generator.device=cpu"
    )
    assert str(generator.pipeline().transformer.device) == "cpu"
    assert "there is no GPU to be relieved" in caplog.text


def save_lora(folder, tiny, *, other=False):
    """A LoRA of rank 2 on the attention of the tiny CogVideoX."""
    import torch
    from diffusers import CogVideoXPipeline, CogVideoXTransformer3DModel
    from peft import LoraConfig, get_peft_model_state_dict

    transformer = CogVideoXTransformer3DModel.from_pretrained(tiny("cogvideox"), subfolder="transformer")
    transformer.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["to_q", "to_v"], init_lora_weights=False))
    torch.manual_seed(1)
    weights = {name: torch.randn_like(one) for name, one in get_peft_model_state_dict(transformer).items()}
    if other:
        weights = {f"of_another_model.{name}": one for name, one in weights.items()}
        from safetensors.torch import save_file

        folder.mkdir()
        save_file(weights, folder / "pytorch_lora_weights.safetensors")
        return None
    CogVideoXPipeline.save_lora_weights(folder, transformer_lora_layers=weights)
    return weights


def test_a_lora_adds_its_product_to_the_weights(tiny, tmp_path):
    """Checked by adding scale x B A to the weights by hand (rank = alpha)."""
    import torch

    weights = save_lora(tmp_path / "lora", tiny)
    plain, off, half = (
        generator_of("cogvideox_2b", tiny("cogvideox"), "generator.dtype=float32", *more)
        for more in ([], [f"generator.lora={{path: {tmp_path / 'lora'}, scale: 0.0}}"],
                     [f"generator.lora={{path: {tmp_path / 'lora'}, scale: 0.5}}"])
    )  # fmt: skip
    before, with_lora = plain.frames_of(TEXT, 1), half.frames_of(TEXT, 1)
    assert np.allclose(off.frames_of(TEXT, 1), before, atol=1e-5)
    assert np.abs(with_lora - before).max() > 0.01
    modules = dict(plain.pipeline().transformer.named_modules())
    with torch.no_grad():
        for name, a in weights.items():
            if name.endswith("lora_A.weight"):
                modules[name.removesuffix(".lora_A.weight")].weight += (
                    0.5 * weights[name.replace("lora_A", "lora_B")] @ a
                )
    assert np.allclose(plain.frames_of(TEXT, 1), with_lora, atol=1e-4)


def test_a_lora_of_another_model_is_refused(tiny, tmp_path):
    save_lora(tmp_path / "other", tiny, other=True)
    said = refused(generator_of("cogvideox_2b", tiny("cogvideox"), f"generator.lora={{path: {tmp_path / 'other'}}}"))
    assert "give a LoRA of this model" in said
    said = refused(generator_of("cogvideox_2b", tiny("cogvideox"), f"generator.lora={{path: {tmp_path}}}"))
    assert "which file is meant?; it holds no safetensors" in said
