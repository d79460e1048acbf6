"""ViCLIP (InternVid, arXiv 2307.06942): clips and texts in one space, for VBench's overall consistency and temporal style.

A CLIP whose image tower reads the patches of all frames in one sequence behind one class token, each with a position in its frame and
one in time. Weights keep the names of the released file, `ViClip-InternVid-10M-FLT.pth`, and sizes are read from them.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vpo.errors import UserError
from vpo.language.checkpoints.wording import in_short
from vpo.video.models import Place, find
from vpo.video.states import read_state
from vpo.video.transforms import CLIP_OF_VBENCH, Transform

HEAD = 64  # numbers of an attention head, as in all of OpenAI's CLIPs
_CURE = "give ViClip-InternVid-10M-FLT.pth: `hf download OpenGVLab/VBench_Used_Models ViClip-InternVid-10M-FLT.pth`"


class Viclip:
    """Embeddings of clips and texts; file and tokenizer are read when the first one is asked for.

    Args:
        file: of the weights.
        tokenizer: of which model CLIP's tokenizer is taken; its weights are not loaded.
        device: "cpu", "gpu" or "cuda".
        key: the config key of the file, for messages.
        tokenizer_key: that of the model.
    """

    def __init__(self, file: str | None, tokenizer: Place, device: str, key: str, tokenizer_key: str) -> None:
        self.file, self.key = file, key
        self.device = "cuda" if device == "gpu" else device
        self._place, self._place_key = tokenizer, tokenizer_key
        self._model: ViclipModel | None = None

    @property
    def model(self) -> "ViclipModel":
        """The towers. Raises UserError where they cannot be loaded."""
        if self._model is None:
            if self.device.startswith("cuda") and not torch.cuda.is_available():
                raise UserError(
                    f"{self.key}: device={self.device}, and there is no GPU; set the evaluator's device=cpu"
                )
            self._model = load_viclip(self.file, self.key).to(self.device)
        return self._model

    @cached_property
    def tokenizer(self) -> Any:
        """CLIP's. Raises UserError where the model that has it is not there."""
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(find(self._place, self._place_key))

    @torch.inference_mode()
    def embedding(self, frames: np.ndarray) -> Tensor:
        """The embedding of length 1, float32 (d,), of a clip: uint8 (T, H, W, 3), where T is `model.frames`."""
        vision = self.model.vision_encoder
        transform: Transform = VICLIP_OF_VBENCH.of_size(vision.size)
        pixels = transform(frames).movedim(0, 1).unsqueeze(0).to(self.device)
        return nn.functional.normalize(vision(pixels).float().cpu()[0], dim=-1)

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """Embeddings of length 1, float32 (n, d); what is longer than the model reads is cut, and still ends with its last token."""
        tower, end = self.model.text_encoder, self.tokenizer.eos_token_id
        ids = torch.zeros(len(texts), tower.length, dtype=torch.long)
        for row, one in enumerate(self.tokenizer(list(texts)).input_ids):
            cut = one if len(one) <= tower.length else [*one[: tower.length - 1], end]
            ids[row, : len(cut)] = torch.tensor(cut)
        ends = (ids == end).int().argmax(1)
        return nn.functional.normalize(tower(ids.to(self.device), ends.to(self.device)).float().cpu(), dim=-1)

    def close(self) -> None:
        """Free its memory."""
        self._model = None


# The frames are whole grey levels there, which torchvision rounds to again (`read_frames_decord_by_fps`, `clip_transform`).
VICLIP_OF_VBENCH = Transform(224, "bicubic", False, True, CLIP_OF_VBENCH.mean, CLIP_OF_VBENCH.std, whole=True)


class ViclipModel(nn.Module):
    """Both towers, of the sizes of a state dict. Raises KeyError where it is none of a ViCLIP."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        self.vision_encoder, self.text_encoder = _Vision(state, "vision_encoder."), _Text(state, "text_encoder.")
        self.temp = nn.Parameter(torch.tensor(0.01))  # of the training's loss

    @property
    def frames(self) -> int:
        """T, the frames of a clip that it reads."""
        return int(self.vision_encoder.temporal_positional_embedding.shape[1])


class _Vision(nn.Module):
    """Clips, (n, 3, T, h, w), to embeddings (n, d)."""

    class_embedding: Tensor
    positional_embedding: Tensor
    temporal_positional_embedding: Tensor
    proj: Tensor

    def __init__(self, state: dict[str, Tensor], prefix: str) -> None:
        super().__init__()
        width, _, deep, patch, _ = state[f"{prefix}conv1.weight"].shape
        self.conv1 = nn.Conv3d(3, width, (deep, patch, patch), (deep, patch, patch), bias=False)
        for name in ("class_embedding", "positional_embedding", "temporal_positional_embedding", "proj"):
            self.register_parameter(name, nn.Parameter(torch.empty(state[prefix + name].shape)))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = _Transformer(_depth(state, prefix), width)
        self.size = int(patch * (len(state[f"{prefix}positional_embedding"]) - 1) ** 0.5)

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.conv1(pixels).flatten(3)  # (n, d, T, places)
        in_frame, in_time = self.positional_embedding[1:].T, self.temporal_positional_embedding[0].T
        patches = patches + in_frame[:, None, :] + in_time[:, :, None]
        first = (self.class_embedding + self.positional_embedding[0]).expand(len(pixels), 1, -1)
        found = self.ln_pre(torch.cat([first, patches.flatten(2).transpose(1, 2)], 1))
        found = self.transformer(found)
        projected: Tensor = self.ln_post(found[:, 0]) @ self.proj
        return projected


class _Text(nn.Module):
    """Token ids, (n, length), and where each text ends, (n,), to embeddings (n, d)."""

    positional_embedding: Tensor
    text_projection: Tensor

    def __init__(self, state: dict[str, Tensor], prefix: str) -> None:
        super().__init__()
        vocabulary, width = state[f"{prefix}token_embedding.weight"].shape
        self.token_embedding = nn.Embedding(vocabulary, width)
        for name in ("positional_embedding", "text_projection"):
            self.register_parameter(name, nn.Parameter(torch.empty(state[prefix + name].shape)))
        self.ln_final = nn.LayerNorm(width)
        self.transformer = _Transformer(_depth(state, prefix), width)
        self.length = len(state[f"{prefix}positional_embedding"])

    def forward(self, ids: Tensor, ends: Tensor) -> Tensor:
        found = self.token_embedding(ids) + self.positional_embedding
        later = torch.full((self.length, self.length), float("-inf"), device=ids.device).triu(1)
        found = self.transformer(found, later.to(found.dtype))
        at_end = found[torch.arange(len(ids), device=ids.device), ends]
        projected: Tensor = self.ln_final(at_end) @ self.text_projection
        return projected


class _Transformer(nn.Module):
    """Blocks in a row."""

    def __init__(self, depth: int, width: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList([_Block(width) for _ in range(depth)])

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        for block in self.resblocks:
            x = block(x, mask)
        return x


class _Block(nn.Module):
    """Attention and two linear layers, each behind a norm and beside what it reads; quick GELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, width // HEAD, batch_first=True)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)})

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        normed = self.ln_1(x)
        x = x + self.attn(normed, normed, normed, need_weights=False, attn_mask=mask)[0]
        inner = self.mlp["c_fc"](self.ln_2(x))
        added: Tensor = x + self.mlp["c_proj"](inner * torch.sigmoid(1.702 * inner))
        return added


def _depth(state: dict[str, Tensor], prefix: str) -> int:
    """How many blocks a state dict has."""
    start = f"{prefix}transformer.resblocks."
    return len({name.removeprefix(start).partition(".")[0] for name in state if name.startswith(start)})


def load_viclip(file: str | None, key: str) -> ViclipModel:
    """The released file, or one like it. Raises UserError where it is none."""
    where = f"{key}={file}"
    path = check_viclip(file, key)
    state: dict[str, Any] = read_state(path, where, _CURE)
    try:
        state = dict(state.get("model", state))
        with torch.device("meta"):
            model = ViclipModel(state)
        model.load_state_dict(state, assign=True)
    except (KeyError, ValueError, RuntimeError, AttributeError, TypeError, AssertionError, ZeroDivisionError) as error:
        raise UserError(f"{where}: is no ViCLIP ({in_short(error)}); {_CURE}") from error
    return model.float().eval().requires_grad_(False)


def check_viclip(file: str | None, key: str) -> Path:
    """Where the file is. Raises UserError where there is none."""
    path = None if file is None else Path(file).expanduser()
    if path is None or not path.is_file():
        raise UserError(f"{key}={'null' if file is None else f'{file}: no such file'}; {_CURE}")
    return path
