"""How each family of vision-language models reads a clip: what its vision tower is given, and what stands in the text for it.

Source: the processors of transformers (`models/<family>/processing_<family>.py`), which need torchvision.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from vpo.video.vlm import Colours, Grid, patches, pictures, seconds_of_patches


@dataclass(frozen=True)
class Footage:
    """Frames of a clip.

    Attributes:
        frames: uint8 (T, H, W, 3), RGB.
        times: in seconds, when each is shown.
        step: seconds between two frames, on average.
    """

    frames: np.ndarray
    times: Sequence[float]
    step: float


@dataclass(frozen=True)
class Seen:
    """A clip as a model is given it.

    Attributes:
        inputs: further arguments of the model's forward.
        text: what stands for the clip in the prompt, with one placeholder for each run of tokens.
        run: how many placeholders each of these becomes.
    """

    inputs: Mapping[str, Tensor]
    text: str
    run: int


class Family(Protocol):
    """One way of reading clips.

    Attributes:
        mark: what the chat template writes for a clip.
        token: the id of the placeholder.
    """

    mark: str
    token: int

    def see(self, footage: Footage) -> Seen:
        """The clip as the model is given it. Raises FrameError where it cannot read such frames."""
        ...

    def more(self, ids: Tensor) -> dict[str, Tensor]:
        """What else the forward pass is given with whole prompts (rows, tokens)."""
        ...

    def positions(self, model: Any, ids: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        """The positions of a whole prompt (1, tokens): (1, tokens), or (3, 1, tokens) for three axes."""
        ...


class _Qwen:
    """What Qwen's models share: clips cut into patches over two frames, rotary positions of three axes."""

    def __init__(self, config: Any, tokenizer: Any, colours: Colours, min_pixels: int, max_pixels: int) -> None:
        vision = config.vision_config
        self.token = config.video_token_id
        self.placeholder = tokenizer.convert_ids_to_tokens(config.video_token_id)
        self.start, self.end = tokenizer.convert_ids_to_tokens(
            [config.vision_start_token_id, config.vision_end_token_id]
        )
        self.colours = colours
        self.grid = Grid(
            vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size, min_pixels, max_pixels
        )

    def more(self, ids: Tensor) -> dict[str, Tensor]:
        return {"mm_token_type_ids": (ids == self.token).to(torch.int32) * 2}

    def positions(self, model: Any, ids: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        grids = {name: value for name, value in inputs.items() if name in ("video_grid_thw", "second_per_grid_ts")}
        found: Tensor = model.model.get_rope_index(ids, **self.more(ids), **grids)[0]
        return found

    def _cut(self, footage: Footage) -> tuple[dict[str, Tensor], tuple[int, int, int]]:
        values, grid = patches(footage.frames, self.grid, self.colours)
        return {"pixel_values_videos": values, "video_grid_thw": torch.tensor([grid])}, grid


class Qwen25VL(_Qwen):
    """Qwen2.5-VL: the temporal axis counts time, `tokens_per_second` a second."""

    @property
    def mark(self) -> str:
        return str(self.placeholder)

    def see(self, footage: Footage) -> Seen:
        inputs, (t, h, w) = self._cut(footage)
        seconds = self.grid.frames * footage.step
        return Seen(
            {**inputs, "second_per_grid_ts": torch.tensor([seconds])}, self.placeholder, t * h * w // self.grid.merge**2
        )


class Qwen3VL(_Qwen):
    """Qwen3-VL: the time of each patch is written before it.

    `<|vision_start|><|video_pad|><|vision_end|>` as a whole becomes the patches with their own marks, as in the processor that its
    authors gave transformers 4.57. That of 5.x replaces the placeholder alone, so that the marks stand twice.
    """

    @property
    def mark(self) -> str:
        return f"{self.start}{self.placeholder}{self.end}"

    def see(self, footage: Footage) -> Seen:
        inputs, (_, h, w) = self._cut(footage)
        seconds = seconds_of_patches(footage.times, self.grid.frames)
        text = "".join(f"<{one:.1f} seconds>{self.mark}" for one in seconds)
        return Seen(inputs, text, h * w // self.grid.merge**2)


class _Pictures:
    """What models share that read each frame as a picture of one size, at positions of one axis."""

    def __init__(self, config: Any, tokenizer: Any, colours: Colours, min_pixels: int, max_pixels: int) -> None:
        side = config.vision_config.image_size
        self.size = (side, side) if isinstance(side, int) else (side[0], side[1])
        self.config, self.tokenizer, self.colours = config, tokenizer, colours

    def more(self, ids: Tensor) -> dict[str, Tensor]:
        return {}

    def positions(self, model: Any, ids: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        return torch.arange(ids.shape[1], device=ids.device)[None]


class InternVL(_Pictures):
    """InternVL: frames announced by their number."""

    mark = "<video>"

    def __init__(self, config: Any, tokenizer: Any, colours: Colours, min_pixels: int, max_pixels: int) -> None:
        super().__init__(config, tokenizer, colours, min_pixels, max_pixels)
        self.token = config.image_token_id
        self.start = getattr(tokenizer, "start_image_token", None) or "<img>"
        self.end = getattr(tokenizer, "end_image_token", None) or "</img>"
        self.mark = getattr(tokenizer, "video_token", None) or self.mark

    def see(self, footage: Footage) -> Seen:
        picture = f"{self.start}{self.tokenizer.convert_ids_to_tokens(self.token)}{self.end}"
        text = "\n".join(f"Frame{number}: {picture}" for number in range(1, len(footage.frames) + 1))
        values = pictures(footage.frames, self.size, self.colours)
        return Seen({"pixel_values": values}, text, self.config.image_seq_length)


class LlavaOnevision(_Pictures):
    """LLaVA-OneVision: the tokens of all frames together, and one that ends them."""

    def __init__(self, config: Any, tokenizer: Any, colours: Colours, min_pixels: int, max_pixels: int) -> None:
        super().__init__(config, tokenizer, colours, min_pixels, max_pixels)
        self.token = config.video_token_id
        self.mark = tokenizer.convert_ids_to_tokens(self.token)
        self.pooled = math.ceil(self.size[0] // config.vision_config.patch_size / 2)

    def see(self, footage: Footage) -> Seen:
        values = pictures(footage.frames, self.size, self.colours)[None]
        return Seen({"pixel_values_videos": values}, self.mark, len(footage.frames) * self.pooled**2 + 1)


# By transformers' `model_type`.
FAMILIES: dict[str, Any] = {
    "qwen2_5_vl": Qwen25VL,
    "qwen3_vl": Qwen3VL,
    "internvl": InternVL,
    "llava_onevision": LlavaOnevision,
}
