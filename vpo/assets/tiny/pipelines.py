"""Tiny pipelines of the classes of diffusers that generator yamls name, with random weights.

Depth and width are tiny; what sizes depend on (compression ratios, patches, token limits) is the real models', so that the same
yaml with another path and a small clip runs on them. Sources of the ratios: the classes' own defaults in diffusers 0.42.1.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import T5Config, T5EncoderModel

from vpo.assets.tiny import tokenizers

VIDEO_BLOCKS = {"latent_channels": 4, "layers_per_block": 1}


def _save(pipeline: Any, folder: Path) -> None:
    pipeline.save_pretrained(folder, safe_serialization=True)


def _t5(tokenizer: Any, width: int = 32) -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(
            vocab_size=len(tokenizer),
            d_model=width,
            d_kv=8,
            d_ff=32,
            num_layers=1,
            num_heads=4,
            feed_forward_proj="gated-gelu",
        )
    ).eval()


def _clip(tokenizer: Any, *, projected: bool, skips: bool = False) -> Any:
    """CLIP's text encoder, 32 wide; two layers where the last one is left out (`skips`)."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=37, num_hidden_layers=2 if skips else 1,
        num_attention_heads=4, projection_dim=32, bos_token_id=512, eos_token_id=513, pad_token_id=513,
    )  # fmt: skip
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config).eval()


def _image_vae(channels: int, **options: Any) -> Any:
    """An image autoencoder: 8 pixels a latent in height and width."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(4, 4, 4, 4), layers_per_block=1, norm_num_groups=2, latent_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, sample_size=32, **options,
    )  # fmt: skip


def _cogvideox(folder: Path, tokens: int, **options: Any) -> None:
    from diffusers import AutoencoderKLCogVideoX, CogVideoXDDIMScheduler, CogVideoXPipeline, CogVideoXTransformer3DModel

    torch.manual_seed(0)
    tokenizer = tokenizers.t5(tokens)
    transformer = CogVideoXTransformer3DModel(
        num_attention_heads=2, attention_head_dim=16, in_channels=4, out_channels=4, time_embed_dim=4, text_embed_dim=32,
        num_layers=2, max_text_seq_length=tokens, sample_width=4, sample_height=4, sample_frames=9, **options,
    )  # fmt: skip
    vae = AutoencoderKLCogVideoX(block_out_channels=(4, 4, 4, 4), norm_num_groups=2, **VIDEO_BLOCKS)
    scheduler = CogVideoXDDIMScheduler(
        prediction_type="v_prediction", timestep_spacing="trailing", rescale_betas_zero_snr=True
    )
    _save(CogVideoXPipeline(tokenizer, _t5(tokenizer), vae, transformer, scheduler), folder)


def cogvideox(folder: Path) -> None:
    """CogVideoX-2B: sines as positions."""
    _cogvideox(folder, 226)


def cogvideox_rotary(folder: Path) -> None:
    """CogVideoX-5B: rotary positions."""
    _cogvideox(folder, 226, use_rotary_positional_embeddings=True)


def cogvideox1_5(folder: Path) -> None:
    """CogVideoX1.5-5B: rotary positions, patches of two frames."""
    _cogvideox(folder, 224, use_rotary_positional_embeddings=True, patch_size_t=2, patch_bias=False)


def _wan(folder: Path, vae: Any, channels: int, *, experts: int, **options: Any) -> None:
    from diffusers import UniPCMultistepScheduler, WanPipeline, WanTransformer3DModel
    from transformers import UMT5Config, UMT5EncoderModel

    tokenizer = tokenizers.t5(512)
    encoder = UMT5EncoderModel(
        UMT5Config(vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=4)
    ).eval()
    models = [
        WanTransformer3DModel(
            num_attention_heads=2, attention_head_dim=12, in_channels=channels, out_channels=channels, text_dim=32, freq_dim=16,
            ffn_dim=32, num_layers=2, rope_max_seq_len=64,
        )
        for _ in range(experts)
    ]  # fmt: skip
    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)
    _save(
        WanPipeline(
            tokenizer, encoder, vae, scheduler, transformer=models[0], transformer_2=models[1] if experts > 1 else None,
            **options,
        ),
        folder,
    )  # fmt: skip


def _wan_vae() -> Any:
    from diffusers import AutoencoderKLWan

    return AutoencoderKLWan(base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1)


def wan2_1(folder: Path) -> None:
    """Wan 2.1."""
    torch.manual_seed(0)
    _wan(folder, _wan_vae(), 16, experts=1)


def wan2_2_5b(folder: Path) -> None:
    """Wan 2.2 5B: an autoencoder of 16 pixels a latent, a time step for each token."""
    from diffusers import AutoencoderKLWan

    torch.manual_seed(0)
    vae = AutoencoderKLWan(
        base_dim=4, decoder_base_dim=4, z_dim=8, dim_mult=[1, 1, 1, 1], num_res_blocks=1, is_residual=True, in_channels=12,
        out_channels=12, patch_size=2, scale_factor_spatial=16, latents_mean=[0.0] * 8, latents_std=[1.0] * 8,
    )  # fmt: skip
    _wan(folder, vae, 8, experts=1, expand_timesteps=True)


def wan2_2_14b(folder: Path) -> None:
    """Wan 2.2 A14B: two experts, for much noise and for little."""
    torch.manual_seed(0)
    _wan(folder, _wan_vae(), 16, experts=2, boundary_ratio=0.875)


def hunyuanvideo(folder: Path) -> None:
    """HunyuanVideo."""
    from diffusers import (
        AutoencoderKLHunyuanVideo,
        FlowMatchEulerDiscreteScheduler,
        HunyuanVideoPipeline,
        HunyuanVideoTransformer3DModel,
    )
    from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE
    from transformers import LlamaConfig, LlamaModel

    torch.manual_seed(0)
    prefix = DEFAULT_PROMPT_TEMPLATE["template"].split("{}")[0]
    tokenizer, second = tokenizers.llama(prefix, DEFAULT_PROMPT_TEMPLATE["crop_start"]), tokenizers.clip()
    encoder = LlamaModel(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2,
            num_key_value_heads=2, max_position_embeddings=512, bos_token_id=0, eos_token_id=1, pad_token_id=2,
        )
    ).eval()  # fmt: skip
    transformer = HunyuanVideoTransformer3DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=12, num_layers=2, num_single_layers=1,
        num_refiner_layers=1, text_embed_dim=16, pooled_projection_dim=32, rope_axes_dim=(4, 4, 4),
    )  # fmt: skip
    vae = AutoencoderKLHunyuanVideo(block_out_channels=(4, 4, 4, 4), norm_num_groups=2, **VIDEO_BLOCKS)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=7.0)
    _save(
        HunyuanVideoPipeline(encoder, tokenizer, transformer, vae, scheduler, _clip(second, projected=False), second),
        folder,
    )


def hunyuanvideo1_5(folder: Path) -> None:
    """HunyuanVideo 1.5."""
    from diffusers import (
        AutoencoderKLHunyuanVideo15,
        ClassifierFreeGuidance,
        FlowMatchEulerDiscreteScheduler,
        HunyuanVideo15Pipeline,
        HunyuanVideo15Transformer3DModel,
    )
    from transformers import ByT5Tokenizer, Qwen2_5_VLTextConfig, Qwen2_5_VLTextModel

    torch.manual_seed(0)
    vae = AutoencoderKLHunyuanVideo15(latent_channels=4, block_out_channels=(16,) * 5, layers_per_block=1)
    transformer = HunyuanVideo15Transformer3DModel(
        in_channels=9, out_channels=4, num_attention_heads=2, attention_head_dim=12, num_layers=2, num_refiner_layers=1,
        text_embed_dim=16, text_embed_2_dim=32, image_embed_dim=16, rope_axes_dim=(4, 4, 4), task_type="t2v",
    )  # fmt: skip
    second = ByT5Tokenizer()
    parts = {
        "transformer": transformer, "vae": vae, "scheduler": FlowMatchEulerDiscreteScheduler(shift=5.0),
        "guider": ClassifierFreeGuidance(guidance_scale=6.0), "tokenizer_2": second, "text_encoder_2": _t5(second),
    }  # fmt: skip
    message = HunyuanVideo15Pipeline(text_encoder=None, tokenizer=None, **parts).system_message
    prefix = f"<|im_start|>system\n{message}<|im_end|>\n<|im_start|>user\n"
    tokenizer = tokenizers.qwen(prefix, 108)
    encoder = Qwen2_5_VLTextModel(
        Qwen2_5_VLTextConfig(
            vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2,
            num_key_value_heads=2, rope_parameters={"rope_type": "default", "mrope_section": [1, 1, 2]}, bos_token_id=None,
            eos_token_id=None, pad_token_id=None,
        )
    ).eval()  # fmt: skip
    _save(HunyuanVideo15Pipeline(text_encoder=encoder, tokenizer=tokenizer, **parts), folder)


def ltx(folder: Path) -> None:
    """LTX-Video."""
    from diffusers import (
        AutoencoderKLLTXVideo,
        FlowMatchEulerDiscreteScheduler,
        LTXPipeline,
        LTXVideoTransformer3DModel,
    )

    torch.manual_seed(0)
    tokenizer = tokenizers.t5(128)
    transformer = LTXVideoTransformer3DModel(
        in_channels=8, out_channels=8, num_attention_heads=2, attention_head_dim=8, cross_attention_dim=16, num_layers=2,
        caption_channels=32,
    )  # fmt: skip
    vae = AutoencoderKLLTXVideo(
        latent_channels=8, block_out_channels=(8, 8, 8, 8), decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1,) * 5, decoder_layers_per_block=(1,) * 5, timestep_conditioning=True,
    )  # fmt: skip
    _save(
        LTXPipeline(
            FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True), vae, _t5(tokenizer), tokenizer, transformer
        ),
        folder,
    )


def ltx2(folder: Path) -> None:
    """LTX-2."""
    from diffusers import (
        AutoencoderKLLTX2Audio,
        AutoencoderKLLTX2Video,
        FlowMatchEulerDiscreteScheduler,
        LTX2Pipeline,
        LTX2VideoTransformer3DModel,
    )
    from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors
    from diffusers.pipelines.ltx2.vocoder import LTX2Vocoder
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    torch.manual_seed(0)
    tokenizer = tokenizers.gemma(1024)
    layers = 1
    encoder = Gemma3ForConditionalGeneration(
        Gemma3Config(
            text_config={
                "vocab_size": len(tokenizer) + 8, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": layers,
                "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 1024,
            },
            vision_config={
                "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28,
                "patch_size": 14,
            },
            mm_tokens_per_image=4, image_token_index=len(tokenizer), boi_token_index=len(tokenizer) + 1,
            eoi_token_index=len(tokenizer) + 2,
        )
    ).eval()  # fmt: skip
    transformer = LTX2VideoTransformer3DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=8, cross_attention_dim=16, num_layers=2,
        caption_channels=16, audio_in_channels=4, audio_out_channels=4, audio_num_attention_heads=2, audio_attention_head_dim=4,
        audio_cross_attention_dim=8, rope_double_precision=False,
    )  # fmt: skip
    connectors = LTX2TextConnectors(
        caption_channels=16, text_proj_in_factor=layers + 1, video_connector_num_attention_heads=2,
        video_connector_attention_head_dim=8, video_connector_num_layers=1, audio_connector_num_attention_heads=2,
        audio_connector_attention_head_dim=8, audio_connector_num_layers=1, rope_double_precision=False,
    )  # fmt: skip
    vae = AutoencoderKLLTX2Video(
        latent_channels=4, block_out_channels=(8, 16, 32, 64), decoder_block_out_channels=(8, 16, 32), layers_per_block=(1,) * 5,
        decoder_layers_per_block=(1,) * 4, spatial_compression_ratio=32, temporal_compression_ratio=8,
    )  # fmt: skip
    audio = AutoencoderKLLTX2Audio(
        base_channels=4, latent_channels=2, ch_mult=(1, 1, 1), num_res_blocks=1, mel_bins=8, resolution=16
    )
    vocoder = LTX2Vocoder(
        in_channels=16, hidden_channels=16, upsample_kernel_sizes=[4, 4], upsample_factors=[2, 2], resnet_kernel_sizes=[3],
        resnet_dilations=[[1, 3, 5]],
    )  # fmt: skip
    _save(
        LTX2Pipeline(
            FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True), vae, audio, encoder, tokenizer, connectors, transformer,
            vocoder,
        ),
        folder,
    )  # fmt: skip


def mochi(folder: Path) -> None:
    """Mochi 1."""
    from diffusers import AutoencoderKLMochi, FlowMatchEulerDiscreteScheduler, MochiPipeline, MochiTransformer3DModel

    torch.manual_seed(0)
    tokenizer = tokenizers.t5(256)
    transformer = MochiTransformer3DModel(
        num_attention_heads=2, attention_head_dim=8, num_layers=2, pooled_projection_dim=16, text_embed_dim=32,
        time_embed_dim=4,
    )  # fmt: skip
    vae = AutoencoderKLMochi(
        encoder_block_out_channels=(32,) * 4, decoder_block_out_channels=(32,) * 4, layers_per_block=(1,) * 5,
    )  # fmt: skip
    _save(
        MochiPipeline(FlowMatchEulerDiscreteScheduler(invert_sigmas=True), vae, _t5(tokenizer), tokenizer, transformer),
        folder,
    )


def latte(folder: Path) -> None:
    """Latte."""
    from diffusers import DDIMScheduler, LattePipeline, LatteTransformer3DModel

    torch.manual_seed(0)
    tokenizer = tokenizers.t5(120)
    transformer = LatteTransformer3DModel(
        sample_size=8, num_layers=1, patch_size=2, attention_head_dim=8, num_attention_heads=2, caption_channels=32,
        in_channels=4, cross_attention_dim=16, out_channels=8, attention_bias=True, activation_fn="gelu-approximate",
        num_embeds_ada_norm=1000, norm_type="ada_norm_single", norm_elementwise_affine=False, norm_eps=1e-6,
    )  # fmt: skip
    _save(LattePipeline(tokenizer, _t5(tokenizer), _image_vae(4), transformer, DDIMScheduler()), folder)


def sdxl(folder: Path) -> None:
    """Stable Diffusion XL."""
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel

    torch.manual_seed(0)
    tokenizer = tokenizers.clip()
    unet = UNet2DConditionModel(
        block_out_channels=(8, 16), layers_per_block=1, sample_size=8, in_channels=4, out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4), use_linear_projection=True, addition_embed_type="text_time", addition_time_embed_dim=8,
        transformer_layers_per_block=(1, 1), projection_class_embeddings_input_dim=32 + 6 * 8, cross_attention_dim=64,
        norm_num_groups=2,
    )  # fmt: skip
    encoders = _clip(tokenizer, projected=False, skips=True), _clip(tokenizer, projected=True, skips=True)
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
    )
    _save(
        StableDiffusionXLPipeline(
            _image_vae(4), *encoders, tokenizer, tokenizers.clip(), unet, scheduler, add_watermarker=False
        ),
        folder,
    )


def flux(folder: Path) -> None:
    """Flux.1."""
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    torch.manual_seed(0)
    first, second = tokenizers.clip(), tokenizers.t5(512)
    transformer = FluxTransformer2DModel(
        in_channels=4, num_layers=2, num_single_layers=1, attention_head_dim=16, num_attention_heads=2, joint_attention_dim=32,
        pooled_projection_dim=32, axes_dims_rope=(4, 4, 8), guidance_embeds=True,
    )  # fmt: skip
    vae = _image_vae(1, shift_factor=0.1, use_quant_conv=False, use_post_quant_conv=False)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    _save(FluxPipeline(scheduler, vae, _clip(first, projected=False), first, _t5(second), second, transformer), folder)


def sd3(folder: Path) -> None:
    """Stable Diffusion 3."""
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline

    torch.manual_seed(0)
    first, third = tokenizers.clip(), tokenizers.t5(512)
    transformer = SD3Transformer2DModel(
        sample_size=8, in_channels=4, num_layers=2, attention_head_dim=8, num_attention_heads=2, joint_attention_dim=64,
        caption_projection_dim=16, pooled_projection_dim=64, out_channels=4,
    )  # fmt: skip
    encoders = _clip(first, projected=True, skips=True), _clip(first, projected=True, skips=True)
    vae = _image_vae(4, shift_factor=0.1, use_quant_conv=False, use_post_quant_conv=False)
    _save(
        StableDiffusion3Pipeline(
            transformer, FlowMatchEulerDiscreteScheduler(shift=3.0), vae, encoders[0], first, encoders[1], tokenizers.clip(),
            _t5(third, 64), third,
        ),
        folder,
    )  # fmt: skip


MODELS: dict[str, Callable[[Path], None]] = {
    made.__name__: made
    for made in (
        cogvideox, cogvideox_rotary, cogvideox1_5, wan2_1, wan2_2_5b, wan2_2_14b, hunyuanvideo, hunyuanvideo1_5, ltx, ltx2, mochi,
        latte, sdxl, flux, sd3,
    )
}  # fmt: skip
