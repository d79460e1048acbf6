"""Numbers of frames and sizes, by hand."""

import pytest

from vpo.errors import UserError
from vpo.generator.frame_rules import RULES, check_sizes

COG, WAN = "CogVideoXPipeline", "WanPipeline"
# A latent is 4 frames and 8 x 8 pixels; CogVideoX decodes latents in pairs, and 1.5 has patches of two in time as well.
COG15 = {
    "vae": {"temporal_compression_ratio": 4, "block_out_channels": [1] * 4},
    "transformer": {"patch_size": 2, "patch_size_t": 2},
}
WAN22 = {"vae": {"scale_factor_temporal": 4, "scale_factor_spatial": 16}, "transformer": {"patch_size": [1, 2, 2]}}


@pytest.mark.parametrize(
    ("pipeline", "frames", "height", "width", "configs"),
    [
        (COG, 49, 480, 720, {}),  # 8 x 6 + 1
        (COG, 9, 16, 16, {}),
        (COG, 81, 768, 1360, COG15),  # 16 x 5 + 1
        (WAN, 81, 480, 832, {}),  # 4 x 20 + 1
        (WAN, 121, 704, 1280, WAN22),  # 4 x 30 + 1; 704 = 32 x 22
        ("HunyuanVideoPipeline", 129, 720, 1280, {}),  # 4 x 32 + 1
        ("HunyuanVideo15Pipeline", 121, 480, 848, {}),
        ("LTXPipeline", 161, 480, 704, {}),  # 8 x 20 + 1
        ("LTX2Pipeline", 121, 512, 768, {}),
        ("MochiPipeline", 85, 480, 848, {}),  # 6 x 14 + 1
        ("LattePipeline", 16, 512, 512, {}),
        ("StableDiffusionXLPipeline", 1, 1024, 1000, {}),  # multiples of 8
        ("AllegroPipeline", 88, 720, 1280, {}),  # not listed: only even sizes are asked for
    ],
)
def test_what_a_model_can_make_is_accepted(pipeline, frames, height, width, configs):
    check_sizes(pipeline, frames, height, width, configs)


@pytest.mark.parametrize(
    ("pipeline", "frames", "height", "width", "configs", "said"),
    [
        (COG, 48, 480, 720, {}, r"frames=48: CogVideoXPipeline makes 8n \+ 1 frames; set generator\.frames=41 or 49"),
        (COG, 53, 480, 720, {}, r"frames=53.*49 or 57"),  # 4n + 1, which diffusers makes a clip of another length of
        (COG, 57, 768, 1360, COG15, r"16n \+ 1.*49 or 65"),  # 8n + 1 is not enough for 1.5
        (COG, 49, 488, 720, {}, r"height=488: .* multiples of 16 pixels; set generator\.height=480 or 496"),
        (WAN, 80, 480, 832, {}, r"4n \+ 1.*77 or 81"),
        (WAN, 81, 720, 1280, WAN22, r"height=720: .* multiples of 32 .*704 or 736"),
        ("HunyuanVideoPipeline", 128, 720, 1280, {}, "125 or 129"),
        ("LTXPipeline", 160, 480, 704, {}, "153 or 161"),
        ("LTXPipeline", 161, 480, 720, {}, r"width=720: .*704 or 736"),
        ("MochiPipeline", 84, 480, 848, {}, "79 or 85"),
        ("LattePipeline", 17, 512, 512, {}, r"clips of 16 frames only; set generator\.frames=16"),
        ("FluxPipeline", 2, 1024, 1024, {}, r"images: one frame; set generator\.frames=1"),
        ("FluxPipeline", 1, 1024, 8, {}, r"width=8: .* set generator\.width=16"),
        ("AllegroPipeline", 88, 721, 1280, {}, "720 or 722"),
    ],
)  # fmt: skip
def test_what_it_cannot_make_is_one_line_with_the_nearest_that_it_can(pipeline, frames, height, width, configs, said):
    with pytest.raises(UserError, match=said):
        check_sizes(pipeline, frames, height, width, configs)


def test_the_rules_name_pipelines_that_diffusers_has():
    from vpo.generator.options import names_of_diffusers

    assert set(RULES) <= names_of_diffusers()
