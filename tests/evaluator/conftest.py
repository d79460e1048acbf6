"""Small models for VBench's dimensions, which their tests share."""

import sys
import types
from pathlib import Path

import pytest
import torch

from tests.vision_models import write_models


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of tiny models."""
    names = ("clip_b32", "clip_l14", "dino", "dino2", "viclip", "aesthetic_head")
    return write_models(tmp_path_factory.mktemp("tiny"), *names)


class GreyFlow(torch.nn.Module):
    """In the place of RAFT, whose weights are not here: to the right by as many pixels as the picture became brighter in levels."""

    def forward(self, first: torch.Tensor, second: torch.Tensor, num_flow_updates: int = 12) -> list[torch.Tensor]:
        assert num_flow_updates == 20
        assert first.shape[2] % 8 == first.shape[3] % 8 == 0
        assert -1 <= first.min() <= first.max() <= 1
        step = (second - first).mean((1, 2, 3)) * 127.5
        flow = torch.zeros(len(first), 2, *first.shape[2:])
        flow[:, 0] = step[:, None, None]
        return [torch.full_like(flow, torch.nan), flow]  # the last of the updates counts


@pytest.fixture
def raft(monkeypatch: pytest.MonkeyPatch) -> None:
    """A torchvision whose RAFT is `GreyFlow`."""
    module = types.ModuleType("torchvision.models.optical_flow")
    module.Raft_Large_Weights = types.SimpleNamespace(C_T_V1="C_T_V1", DEFAULT="C_T_SKHT_V2")

    def raft_large(*, weights: str | None, progress: bool = True) -> torch.nn.Module:
        assert weights == "C_T_V1"
        return GreyFlow()

    module.raft_large = raft_large
    models = types.ModuleType("torchvision.models")
    models.optical_flow = module
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    monkeypatch.setitem(sys.modules, "torchvision.models.optical_flow", module)
