"""Small random models of the true classes that look at frames: CLIP, DINO, DINOv2, ViCLIP, Idefics2 with VideoScore's head.

Their scores mean nothing. They show that the code which reads the real models runs: a config names them by `reward.path=<folder>`.
"""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from vpo.storage.jsonio import write_json

IMAGE = 28  # pixels a side that they see
WORDS = 77  # tokens of a text, as CLIP
SCALES = ("visual quality", "temporal consistency", "dynamic degree", "text-to-video alignment", "factual consistency")


def clip(folder: Path, *, patch: int, width: int) -> None:
    """A CLIPModel with a byte tokenizer in CLIP's format.

    Args:
        folder: becomes the model's.
        patch: pixels a side of a patch.
        width: of the embedding that images and texts share: 512 of B/32, 768 of L/14, 1024 of H/14.
    """
    import torch
    from transformers import CLIPConfig, CLIPModel

    tokenizer = _tokenizer(["<|startoftext|>", "<|endoftext|>"], start="<|startoftext|>", end="<|endoftext|>")
    tokenizer.model_max_length = WORDS
    tokenizer.save_pretrained(folder)
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={
            **small, "vocab_size": len(tokenizer), "max_position_embeddings": WORDS,
            "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={**small, "image_size": IMAGE, "patch_size": patch},
        projection_dim=width,
        initializer_factor=4.0,  # so that pictures differ in more than rounding
    )  # fmt: skip
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(folder)
    _write(folder / "preprocessor_config.json", _preprocessor("CLIPImageProcessor", {"shortest_edge": IMAGE}))


def clip_b32(folder: Path) -> None:
    """Like openai/clip-vit-base-patch32: embeddings of 512 numbers."""
    clip(folder, patch=14, width=512)


def clip_l14(folder: Path) -> None:
    """Like openai/clip-vit-large-patch14: embeddings of 768 numbers, which the aesthetic heads read."""
    clip(folder, patch=14, width=768)


def clip_h14(folder: Path) -> None:
    """Like laion/CLIP-ViT-H-14-laion2B-s32B-b79K, which MPS is made of, with embeddings of 64 numbers in place of 1024."""
    clip(folder, patch=14, width=64)


def aesthetic_head(folder: Path) -> None:
    """Like LAION's linear head on CLIP L/14: 768 weights and a bias."""
    import torch

    weight = torch.randn(768, generator=torch.Generator().manual_seed(0))
    write_json(folder / "head.json", {"weight": weight.tolist(), "bias": 3.5})


def dino(folder: Path) -> None:
    """Like facebook/dino-vitb16: a ViTModel without a pooler."""
    import torch
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=IMAGE, patch_size=7,
        initializer_range=0.5,
    )  # fmt: skip
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)


def dino2(folder: Path) -> None:
    """Like facebook/dinov2-base: a Dinov2Model with patches of 14 pixels, made for larger pictures than it is shown."""
    import torch
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    config = Dinov2Config(
        hidden_size=16, mlp_ratio=2, num_hidden_layers=2, num_attention_heads=2, image_size=518, patch_size=14,
        initializer_range=0.5, layerscale_value=1.0,
    )  # fmt: skip
    Dinov2Model(config).save_pretrained(folder)


def viclip(folder: Path) -> None:
    """A ViCLIP state dict by its released names, `viclip.pth`, which reads 8 frames and 32 tokens."""
    import torch

    torch.manual_seed(0)
    width, out, patch = 64, 32, 14
    places = (IMAGE // patch) ** 2 + 1
    shapes = {
        "vision_encoder.conv1.weight": (width, 3, 1, patch, patch), "vision_encoder.class_embedding": (width,),
        "vision_encoder.positional_embedding": (places, width), "vision_encoder.temporal_positional_embedding": (1, 8, width),
        "vision_encoder.proj": (width, out), "text_encoder.token_embedding.weight": (512, width),
        "text_encoder.positional_embedding": (32, width), "text_encoder.text_projection": (width, out), "temp": (),
    }  # fmt: skip
    norms = ["vision_encoder.ln_pre", "vision_encoder.ln_post", "text_encoder.ln_final"]
    for tower in ("vision_encoder", "text_encoder"):
        for layer in range(2):
            block = f"{tower}.transformer.resblocks.{layer}"
            norms += [f"{block}.ln_1", f"{block}.ln_2"]
            shapes |= {
                f"{block}.attn.in_proj_weight": (3 * width, width), f"{block}.attn.in_proj_bias": (3 * width,),
                f"{block}.attn.out_proj.weight": (width, width), f"{block}.attn.out_proj.bias": (width,),
                f"{block}.mlp.c_fc.weight": (4 * width, width), f"{block}.mlp.c_fc.bias": (4 * width,),
                f"{block}.mlp.c_proj.weight": (width, 4 * width), f"{block}.mlp.c_proj.bias": (width,),
            }  # fmt: skip
    state = {name: 0.2 * torch.randn(shape) for name, shape in shapes.items()}
    for name in norms:
        state |= {f"{name}.weight": 1 + 0.1 * torch.randn(width), f"{name}.bias": 0.1 * torch.randn(width)}
    torch.save({"model": state}, folder / "viclip.pth")


def mps(folder: Path) -> None:
    """An MPS state dict, `mps.safetensors`, beside the CLIP that it is made of."""
    import torch
    from safetensors.torch import save_file

    clip_h14(folder)
    torch.manual_seed(1)
    width, heads, head = 64, 2, 16
    inner, wide = heads * head, 4 * width
    shapes = {
        "0.fn.norm.weight": (width,), "0.fn.norm.bias": (width,), "0.fn.to_q.weight": (inner, width),
        "0.fn.to_kv.weight": (2 * head, width), "0.fn.to_out.weight": (width, inner),
        "0.fn.ff.0.weight": (2 * wide, width), "0.fn.ff.2.weight": (width, wide),
        "1.fn.norm.weight": (width,), "1.fn.norm.bias": (width,), "1.fn.rotary_emb.inv_freq": (head // 2,),
        "1.fn.fused_attn_ff_proj.weight": (inner + 2 * head + 2 * wide, width), "1.fn.attn_out.weight": (width, inner),
        "1.fn.ff_out.1.weight": (width, wide),
    }  # fmt: skip
    state = {}
    for layer in range(2):
        for name, shape in shapes.items():
            value = 0.3 * torch.randn(shape)
            if name.endswith("norm.weight"):
                value = torch.ones(shape)
            elif name.endswith("norm.bias"):
                value = torch.zeros(shape)
            elif name.endswith("inv_freq"):
                value = 10000 ** (-torch.arange(0, head, 2) / head)
            state[f"cross_model.layers.{layer}.{name}"] = value
    save_file(state, folder / "mps.safetensors")


def imagereward(folder: Path) -> None:
    """An ImageReward state dict by its released names, `imagereward.safetensors`, and a tokenizer."""
    import torch
    from safetensors.torch import save_file

    tokenizer = _tokenizer(["[PAD]", "[CLS]", "[SEP]"], start="[CLS]", end="[SEP]")
    tokenizer.pad_token = "[PAD]"
    tokenizer.save_pretrained(folder)
    width, wide, patch, places = 64, 96, 14, 5
    picture = {
        "cls_token": (1, 1, width), "pos_embed": (1, places, width), "patch_embed.proj.weight": (width, 3, patch, patch),
        "patch_embed.proj.bias": (width,), "norm.weight": (width,), "norm.bias": (width,),
    }  # fmt: skip
    text = {
        "embeddings.word_embeddings.weight": (len(tokenizer), width), "embeddings.position_embeddings.weight": (48, width),
        "embeddings.LayerNorm.weight": (width,), "embeddings.LayerNorm.bias": (width,),
    }  # fmt: skip
    for layer in range(2):
        for name, out, into in (("attn.qkv", 3 * width, width), ("attn.proj", width, width), ("mlp.fc1", wide, width),
                                ("mlp.fc2", width, wide)):  # fmt: skip
            picture |= {f"blocks.{layer}.{name}.weight": (out, into), f"blocks.{layer}.{name}.bias": (out,)}
        dense = {"intermediate.dense": (wide, width), "output.dense": (width, wide)}
        norms = ["output.LayerNorm"]
        for kind in ("attention", "crossattention"):
            dense |= {f"{kind}.self.{one}": (width, width) for one in ("query", "key", "value")}
            dense[f"{kind}.output.dense"] = (width, width)
            norms.append(f"{kind}.output.LayerNorm")
        for name, shape in dense.items():
            text |= {f"encoder.layer.{layer}.{name}.weight": shape, f"encoder.layer.{layer}.{name}.bias": shape[:1]}
        for norm, into in (*((f"blocks.{layer}.norm{n}", picture) for n in (1, 2)),
                           *((f"encoder.layer.{layer}.{one}", text) for one in norms)):  # fmt: skip
            into |= {f"{norm}.weight": (width,), f"{norm}.bias": (width,)}
    shapes = {f"blip.visual_encoder.{name}": shape for name, shape in picture.items()}
    shapes |= {f"blip.text_encoder.{name}": shape for name, shape in text.items()}
    sizes = (width, 32, 16, 8, 4, 1)
    for place, (into_size, out) in zip((0, 2, 4, 6, 7), pairwise(sizes), strict=True):
        shapes |= {f"mlp.layers.{place}.weight": (out, into_size), f"mlp.layers.{place}.bias": (out,)}
    torch.manual_seed(2)
    save_file({name: 0.2 * torch.randn(shape) for name, shape in shapes.items()}, folder / "imagereward.safetensors")


def videoscore(folder: Path) -> None:
    """Like TIGER-Lab/VideoScore-v1.1: Idefics2 with a linear head of five numbers on the last token."""
    import torch
    from safetensors.torch import load_file, save_file
    from transformers import Idefics2Config, Idefics2ForConditionalGeneration

    marks = ["<fake_token_around_image>", "<image>", "<end_of_utterance>"]
    tokenizer = _tokenizer(["<unk>", "<s>", "</s>", *marks], start="<s>", end=None)
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    tokenizer.save_pretrained(folder)
    image = tokenizer.convert_tokens_to_ids("<image>")
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    latents = {"resampler_n_latents": 4, "resampler_depth": 1, "resampler_n_heads": 2, "resampler_head_dim": 8}
    config = Idefics2Config(
        image_token_id=image,
        vision_config={**small, "image_size": IMAGE, "patch_size": 7},
        perceiver_config={"hidden_size": 16, **latents, "num_key_value_heads": 1},
        text_config={
            "model_type": "mistral", **small, "num_key_value_heads": 1, "head_dim": 8, "vocab_size": len(tokenizer),
            "max_position_embeddings": 8192, "initializer_range": 0.3, "pad_token_id": tokenizer.pad_token_id,
        },
    )  # fmt: skip
    torch.manual_seed(0)
    Idefics2ForConditionalGeneration(config).save_pretrained(folder)
    state = load_file(folder / "model.safetensors")
    state.pop("lm_head.weight")
    state |= {"score.weight": torch.randn(5, 16), "score.bias": torch.full((5,), 2.5)}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    settings |= {
        "architectures": ["Idefics2ForSequenceClassification"], "problem_type": "regression",
        "pad_token_id": tokenizer.pad_token_id, "id2label": {str(place): name for place, name in enumerate(SCALES)},
        "label2id": {name: place for place, name in enumerate(SCALES)},
    }  # fmt: skip
    _write(folder / "config.json", settings)
    size = {"shortest_edge": IMAGE, "longest_edge": 2 * IMAGE}
    shape = _preprocessor("Idefics2ImageProcessor", size) | {"do_image_splitting": False}
    _write(folder / "preprocessor_config.json", shape | {"image_mean": [0.5] * 3, "image_std": [0.5] * 3})
    _write(folder / "processor_config.json", {"processor_class": "Idefics2Processor", "image_seq_len": 4})


MODELS: dict[str, Callable[[Path], None]] = {
    "clip_b32": clip_b32,
    "clip_l14": clip_l14,
    "clip_h14": clip_h14,
    "aesthetic_head": aesthetic_head,
    "dino": dino,
    "dino2": dino2,
    "viclip": viclip,
    "mps": mps,
    "imagereward": imagereward,
    "videoscore": videoscore,
}


def _tokenizer(special: list[str], start: str, end: str | None) -> Any:
    """A byte-level tokenizer: every text can be written with it, whatever its language."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    symbols = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    vocabulary = {symbol: number for number, symbol in enumerate(symbols)}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    framed = [one for one in (start, end) if one is not None]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end or ''}".strip(), special_tokens=[(one, vocabulary[one]) for one in framed]
    )
    last = end or "</s>"
    pad = end or "<unk>"  # CLIP fills up with the end, VideoScore's base with <unk>
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=start, eos_token=last, pad_token=pad, unk_token=pad
    )


def _preprocessor(kind: str, size: dict[str, int]) -> dict[str, Any]:
    return {
        "image_processor_type": kind, "do_resize": True, "size": size, "do_center_crop": True,
        "crop_size": {"height": IMAGE, "width": IMAGE}, "do_normalize": True, "do_rescale": True, "rescale_factor": 1 / 255,
        "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711], "resample": 3,
    }  # fmt: skip


def _write(path: Path, value: dict[str, Any]) -> None:
    write_json(path, value, indent=1)
