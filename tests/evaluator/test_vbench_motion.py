"""The static filter and dynamic degree against a second implementation, on networks whose flow differs from place to place."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.evaluator.official_motion import Motion
from tests.evaluator.test_vbench import node, query, sample
from vpo.build import build
from vpo.cards import Weighted
from vpo.video import clips

SIZES = ((128, 136), (150, 122))  # the second one is padded


class Changes(torch.nn.Module):
    """What became redder is the flow to the right, what became greener that downwards: no pair of frames gives that of another."""

    def forward(self, first: torch.Tensor, second: torch.Tensor, num_flow_updates: int = 12) -> list[torch.Tensor]:
        assert num_flow_updates == 20
        return [torch.full_like(first[:, :2], torch.nan), 10 * (second - first)[:, :2]]


def tiny_raft() -> torch.nn.Module:
    """torchvision's RAFT with few channels and random weights."""
    try:
        from torchvision.models.optical_flow import raft
    except Exception as error:  # one that does not fit the torch beside it raises RuntimeError
        pytest.skip(f"torchvision is not here ({type(error).__name__}); the extra `raft` brings it")
    torch.manual_seed(0)
    encoders = [
        raft.FeatureEncoder(block=raft.ResidualBlock, layers=(8, 8, 12, 16, 16), norm_layer=torch.nn.InstanceNorm2d)
        for _ in range(2)
    ]
    corr = raft.CorrBlock(num_levels=4, radius=2)
    update = raft.UpdateBlock(
        motion_encoder=raft.MotionEncoder(
            in_channels_corr=corr.out_channels, corr_layers=(12, 8), flow_layers=(8, 8), out_channels=8
        ),
        recurrent_block=raft.RecurrentBlock(input_size=8 + 8, hidden_size=8),
        flow_head=raft.FlowHead(in_channels=8, hidden_size=8),
    )
    mask = raft.MaskPredictor(in_channels=8, hidden_size=8)
    model = raft.RAFT(
        feature_encoder=encoders[0],
        context_encoder=encoders[1],
        corr_block=corr,
        update_block=update,
        mask_predictor=mask,
    )
    return Kept(model.eval())


class Kept(torch.nn.Module):
    """A network that is asked once about a pair of pictures, whoever asks: RAFT takes long on a CPU."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner, self.known = inner, {}

    def forward(self, first: torch.Tensor, second: torch.Tensor, num_flow_updates: int = 12) -> list[torch.Tensor]:
        return [torch.cat([self.one(*pair, num_flow_updates) for pair in zip(first, second, strict=True)])]

    @torch.no_grad()
    def one(self, first: torch.Tensor, second: torch.Tensor, updates: int) -> torch.Tensor:
        key = (first.numpy().tobytes(), second.numpy().tobytes(), updates)
        if key not in self.known:
            self.known[key] = self.inner(first[None], second[None], num_flow_updates=updates)[-1].clone()
        return self.known[key]


class Scaled(torch.nn.Module):
    """A network whose flow is so many times as long, so that random weights stand near the thresholds."""

    def __init__(self, inner: torch.nn.Module, factor: float) -> None:
        super().__init__()
        self.inner, self.factor = inner, factor

    def forward(self, first: torch.Tensor, second: torch.Tensor, num_flow_updates: int = 12) -> list[torch.Tensor]:
        return [self.factor * one for one in self.inner(first, second, num_flow_updates=num_flow_updates)]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, tuple[int, int], int, float]]:
    """Clips in which a spot moves by other steps from frame to frame: (path, size, frames, frames a second)."""
    folder, random, found = tmp_path_factory.mktemp("motion"), np.random.default_rng(0), []
    for number, (count, fps) in enumerate([(2, 8), (9, 8), (17, 8), (20, 24)]):
        height, width = SIZES[number % 2]
        frames = np.full((count, height, width, 3), 60, np.uint8)
        place = 10
        for t in range(count):
            frames[t, 40:90, place : place + 30] = (200 - 9 * (t % 4), 90 + 8 * (t % 3), 120)
            place = int(random.integers(8, 13))  # back and forth, so that the last frame is not far from the first
        path = folder / f"{number}.mp4"
        clips.write_mp4(frames, fps, path)
        found.append((str(path), (height, width), count, float(fps)))
    return found


@pytest.mark.parametrize("make", [Changes, pytest.param(tiny_raft, marks=pytest.mark.slow)])
def test_what_moves_and_what_is_static_is_as_in_the_second_implementation(make, tiny: Path, videos) -> None:
    network = make()
    videos = videos[:2] if make is tiny_raft else videos  # its forwards take long
    paths = [path for path, *_ in videos]
    frames = [clips.read_mp4(Path(path))[0] for path in paths]
    speeds = [Motion(network).radius(one[t], one[t + 1], 0.05) for one in frames for t in range(len(one) - 1)]
    assert np.ptp(speeds) > 0.01 * np.mean(speeds)
    seen = set()
    levels = [
        float(np.quantile(speeds, 0.5)),
        2 * max(speeds),
    ]  # a half of the steps are faster than the threshold, or none is
    for limit in (3.0, 6.0):
        for level in levels:
            factor = limit * 128 / 256 / level
            scaled = Scaled(network, factor)
            evaluator = build(node(tiny, dimensions=["temporal_flickering", "dynamic_degree"]))
            evaluator.measures.flow._model = scaled
            asked = [query(number, ["temporal_flickering", "dynamic_degree"]) for number in range(len(videos))]
            rows = evaluator.measure([
                sample(one, path, height=size[0], width=size[1], frames=count, fps=fps)
                for one, (path, size, count, fps) in zip(asked, videos, strict=True)
            ])  # fmt: skip
            evaluator.close()
            second = Motion(scaled)
            for path, row in zip(paths, rows, strict=True):
                static, moves = second.is_static(path), second.moves(path)
                assert row["dynamic_degree"] == Weighted(float(moves), 1), (path, factor)
                assert row["vbench_static_clips"] == Weighted(float(static), 1), (path, factor)
                assert ("temporal_flickering" in row) is static
                seen |= {("moves", moves), ("static", static)}
    assert seen == {("moves", True), ("moves", False), ("static", True), ("static", False)}
