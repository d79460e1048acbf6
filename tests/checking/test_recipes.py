"""The papers' recipes: every value that a paper or its code gives, by hand from there."""

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from tests.checking.test_memory import QWEN_7B
from vpo.checking.memory_plan import RECIPES, peak
from vpo.templates import read_template
from vpo.training.memory import GB, DecoderShape


def recipe(name: str) -> dict:
    with initialize_config_module("vpo.conf", version_base="1.3"):
        cfg = compose("config", overrides=[f"experiment={name}", "dataset.path=queries.json"])
    return OmegaConf.to_container(cfg, resolve=True)


@pytest.mark.parametrize("name", ["paper_2b", "paper_5b"])
def test_vpo_as_in_its_paper_and_released_code(name):
    """arXiv 2503.20491, appendix 9; thu-coai/VPO, src/config and src/llama3_infer.py."""
    config = recipe(name)
    assert config["backbone"]["model"] == "meta-llama/Meta-Llama-3-8B-Instruct"
    assert config["backbone"]["template"] == "optimizer"
    sampling = config["sampling"]
    assert (sampling["k"], sampling["temperature"], sampling["top_p"], sampling["max_new_tokens"]) == (
        4,
        0.9,
        0.9,
        2048,
    )
    sft, dpo = config["sft"], config["objective"]
    assert (sft["epochs"], sft["global_batch_size"], sft["max_length"], sft["validation"]) == (5, 64, 2048, 0)
    assert (sft["optimizer"]["lr"], sft["optimizer"]["schedule"], sft["optimizer"]["warmup"]) == (2e-6, "constant", 0.1)
    assert sft["optimizer"]["betas"] == [0.9, 0.999]
    assert sft.get("adapter") is None  # full fine-tuning
    assert dpo.get("adapter") is None
    assert (dpo["loss"], dpo["beta"], dpo["epochs"], dpo["global_batch_size"]) == ("sigmoid", 0.1, 1, 16)
    assert (dpo["optimizer"]["lr"], dpo["optimizer"]["schedule"], dpo["optimizer"]["warmup"]) == (5e-7, "linear", 0.1)
    assert dpo["max_length"] == 2048
    trainer = config["trainer"]
    assert (trainer["devices"], trainer["per_device_batch_size"], trainer["precision"]) == (8, 2, "bf16-mixed")
    for stage in (sft, dpo):  # accumulation makes up the rest
        assert stage["global_batch_size"] % (trainer["devices"] * trainer["per_device_batch_size"]) == 0
    for method in ("sft", "dpo"):  # README: T = 0.7, top_p 1.0, at most 1,024 new tokens
        node = config["method"][method]
        assert (node["temperature"], node["top_p"], node["max_new_tokens"]) == (0.7, 1.0, 1024)


def test_prompt_a_video_as_in_its_released_code():
    """arXiv 2412.15156; jiyt17/Prompt-A-Video, booster/."""
    config = recipe("prompt_a_video")
    sft, dpo = config["sft"], config["objective"]
    assert config["rounds"] == 2
    sampling = config["sampling"]
    assert (sampling["k"], sampling["temperature"], sampling["top_p"], sampling["max_new_tokens"]) == (5, 1.0, 1.0, 250)
    first, second = sft["adapter"], dpo["adapter"]
    assert (first["r"], first["alpha"], first["dropout"], first["target_modules"]) == (
        8,
        32,
        0.05,
        ["q_proj", "v_proj"],
    )
    assert (second["r"], second["alpha"], second["dropout"], second["target_modules"]) == (16, 16, 0, "all-linear")
    assert (sft["epochs"], sft["optimizer"]["lr"], sft["optimizer"]["weight_decay"]) == (12, 1e-4, 0)
    learning = sft["optimizer"]
    assert (learning["schedule"], learning["gamma"], learning["warmup"]) == ("step", 0.85, 0)  # x 0.85 per epoch
    assert learning["clip"] is None  # llama-recipes: gradient_clipping = False
    assert dpo["optimizer"]["clip"] == 1.0  # TrainingArguments: max_grad_norm
    assert (dpo["epochs"], dpo["optimizer"]["lr"], dpo["optimizer"]["schedule"]) == (3, 5e-5, "linear")
    assert (dpo["beta"], dpo["optimizer"]["warmup"], dpo["global_batch_size"], dpo["max_length"]) == (
        0.1,
        0.1,
        32,
        1024,
    )
    assert config["trainer"]["per_device_batch_size"] == 4
    assert config["backbone"]["template"] == "prompt_a_video"
    assert read_template("prompt_a_video").endswith("Original prompt:\n{}\nNew prompt:\n")


def test_one_gpu_is_enough_for_the_recipe_that_says_so():
    config = recipe("single_gpu")
    assert config["trainer"]["devices"] == 1
    assert config["sft"]["adapter"]["bits"] == config["objective"]["adapter"]["bits"] == 4
    for name, node in RECIPES.items():
        size = peak(config, name, DecoderShape.of(QWEN_7B), config["trainer"], config[node]["adapter"])
        assert size < config["trainer"]["memory_gb"] * GB
        whole = peak(config, name, DecoderShape.of(QWEN_7B), config["trainer"], None)
        assert whole > config["trainer"]["memory_gb"] * GB  # so the adapter is what makes it fit
