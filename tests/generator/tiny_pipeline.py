"""A tiny CogVideoX pipeline of diffusers with random weights, behind the server of a test."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tests.generator.video_server import Fields
from vpo.video import clips


def tiny_cogvideox() -> Any:
    """A CogVideoXPipeline of a few thousand weights that reads words of its own."""
    import torch
    from diffusers import AutoencoderKLCogVideoX, CogVideoXDDIMScheduler, CogVideoXPipeline, CogVideoXTransformer3DModel
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

    torch.manual_seed(0)
    vocabulary = {
        word: number for number, word in enumerate(["<pad>", "</s>", "<unk>", "a", "dog", "cat", *map(str, range(10))])
    }
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    transformer = CogVideoXTransformer3DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=4, time_embed_dim=2, text_embed_dim=16, num_layers=1,
        sample_width=4, sample_height=2, sample_frames=9, patch_size=2, temporal_compression_ratio=4, max_text_seq_length=16,
    )  # fmt: skip
    vae = AutoencoderKLCogVideoX(
        block_out_channels=(8, 8, 8, 8), latent_channels=4, layers_per_block=1, norm_num_groups=2, temporal_compression_ratio=4,
        down_block_types=("CogVideoXDownBlock3D",) * 4, up_block_types=("CogVideoXUpBlock3D",) * 4,
    )  # fmt: skip
    return CogVideoXPipeline(
        tokenizer=PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"),
        text_encoder=T5EncoderModel(
            T5Config(vocab_size=len(vocabulary), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
        ).eval(),
        vae=vae.eval(), transformer=transformer.eval(), scheduler=CogVideoXDDIMScheduler(),
    )  # fmt: skip


def renderer(pipeline: Any) -> Any:
    """From the fields of a job to its mp4, as a server makes it."""
    import torch

    pipeline.set_progress_bar_config(disable=True)

    def render(fields: Fields) -> bytes:
        video = pipeline(
            fields["prompt"], negative_prompt=fields.get("negative_prompt"), height=int(fields["height"]), width=int(fields["width"]),
            num_frames=int(fields["num_frames"]), num_inference_steps=int(fields["num_inference_steps"]),
            guidance_scale=float(fields["guidance_scale"]), generator=torch.Generator("cpu").manual_seed(int(fields["seed"])),
            max_sequence_length=16, output_type="np",
        ).frames[0]  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            clips.write_mp4((video * 255).round().astype(np.uint8), float(fields["fps"]), Path(folder, "a.mp4"))
            return Path(folder, "a.mp4").read_bytes()

    return render
