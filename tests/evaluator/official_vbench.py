"""VBench's dimensions written a second time, as its own code goes: one dimension, one clip, one frame after the other, with sums.

It shares with the package the decoded frames and the models' classes, and nothing else: resizing is numpy's and Pillow's, and the sums
are those of `vbench/<dimension>.py` at 45e79ec on one GPU.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import cosine_similarity, normalize
from transformers import AutoTokenizer, CLIPModel, ViTModel

from tests.video.test_transforms import along, cubic, linear
from vpo.video.clips import read_mp4
from vpo.video.transforms import IMAGENET_MEAN, IMAGENET_STD, OPENAI_MEAN, OPENAI_STD

SIDE = 28  # of the tiny models; 224 of the real ones


def load_video(path: str) -> np.ndarray:
    return read_mp4(Path(path))[0]


def normalised(image: np.ndarray, mean: Any, std: Any) -> torch.Tensor:
    return torch.from_numpy(((image / 255 - np.array(mean)) / np.array(std)).transpose(2, 0, 1)).float().unsqueeze(0)


def sides(image: np.ndarray) -> tuple[int, int]:
    height, width = image.shape[:2]
    return (SIDE, int(SIDE * width / height)) if height <= width else (int(SIDE * height / width), SIDE)


def cropped(image: np.ndarray) -> np.ndarray:
    top, left = (round((side - SIDE) / 2.0) for side in image.shape[:2])
    return image[top : top + SIDE, left : left + SIDE]


def clip_transform(frame: np.ndarray) -> torch.Tensor:
    height, width = sides(frame)
    image = along(along(frame.astype(float), 0, height, cubic), 1, width, cubic)
    return normalised(cropped(image), OPENAI_MEAN, OPENAI_STD)


def clip_transform_image(frame: np.ndarray) -> torch.Tensor:
    height, width = sides(frame)
    image = np.array(Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC)).astype(float)
    return normalised(cropped(image), OPENAI_MEAN, OPENAI_STD)


def dino_transform(frame: np.ndarray) -> torch.Tensor:
    height, width = sides(frame)
    return normalised(
        along(along(frame.astype(float), 0, height, linear), 1, width, linear), IMAGENET_MEAN, IMAGENET_STD
    )


class Official:
    """The dimensions over videos; each returns (the dimension's number, the videos' numbers)."""

    def __init__(self, models: Path) -> None:
        self.dino = ViTModel.from_pretrained(models / "dino", add_pooling_layer=False).eval()
        self.b32 = CLIPModel.from_pretrained(models / "clip_b32").eval()
        self.l14 = CLIPModel.from_pretrained(models / "clip_l14").eval()
        self.tokenizer = AutoTokenizer.from_pretrained(models / "clip_b32")

    @torch.no_grad()
    def subject_consistency(self, videos: list[str]) -> tuple[float, list[float]]:
        return self._consistency(
            videos,
            lambda frame: self.dino(dino_transform(frame), interpolate_pos_encoding=True).last_hidden_state[:, 0],
        )

    @torch.no_grad()
    def background_consistency(self, videos: list[str]) -> tuple[float, list[float]]:
        return self._consistency(
            videos, lambda frame: self.b32.get_image_features(pixel_values=clip_transform(frame)).pooler_output
        )

    def _consistency(self, videos: list[str], encode: Any) -> tuple[float, list[float]]:
        sim, count, results = 0.0, 0, []
        for video in videos:
            video_sim = 0.0
            images = load_video(video)
            first = former = torch.empty(0)
            for i in range(len(images)):
                features = normalize(encode(images[i]), dim=-1, p=2)
                if i == 0:
                    first = features
                else:
                    to_last = max(0.0, cosine_similarity(former, features).item())
                    to_first = max(0.0, cosine_similarity(first, features).item())
                    video_sim += (to_last + to_first) / 2
                    count += 1
                former = features
            sim += video_sim
            results.append(video_sim / (len(images) - 1))
        return sim / count, results

    @torch.no_grad()
    def aesthetic_quality(self, videos: list[str], weight: torch.Tensor, bias: float) -> tuple[float, list[float]]:
        head = torch.nn.Linear(len(weight), 1)
        head.load_state_dict({"weight": weight.float().unsqueeze(0), "bias": torch.tensor([bias])})
        results = []
        for video in videos:
            scores = []
            for frame in load_video(video):
                features = self.l14.get_image_features(pixel_values=clip_transform(frame)).pooler_output
                scores.append(head(normalize(features, dim=-1, p=2)).squeeze() / 10)
            results.append(torch.stack(scores).mean().item())
        return sum(results) / len(results), results

    @torch.no_grad()
    def appearance_style(self, videos: list[tuple[str, str]]) -> tuple[float, list[float]]:
        """Of (video, style): by the logits of the whole model, which are divided by 100, as OpenAI's scale is 100."""
        sim, count, results = 0.0, 0, []
        for video, query in videos:
            text = self.tokenizer(query, return_tensors="pt")
            current = []
            for frame in load_video(video):
                out = self.b32(pixel_values=clip_transform_image(frame), **text)
                current.append(out.logits_per_text[0][0].item() / self.b32.logit_scale.exp().item())
                sim += current[-1]
                count += 1
            results.append(float(np.mean(current)))
        return sim / count, results

    def temporal_flickering(self, videos: list[str]) -> tuple[float, list[float]]:
        results = []
        for video in videos:
            frames = [frame[:, :, ::-1].astype(np.float32) for frame in load_video(video)]
            steps = [np.mean(np.abs(frames[i] - frames[i + 1])) for i in range(len(frames) - 1)]
            results.append((255.0 - np.mean(steps).item()) / 255.0)
        return float(np.mean(results)), results
