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
from transformers import AutoTokenizer, CLIPModel, Dinov2Model, ViTModel

from tests.video.test_transforms import along, cubic, linear
from vpo.video.clips import read_mp4
from vpo.video.transforms import IMAGENET_MEAN, IMAGENET_STD, OPENAI_MEAN, OPENAI_STD

SIDE = 28  # of the tiny models; 224 of the real ones


Video = str | np.ndarray  # a file, or its frames


def load_video(video: Video) -> np.ndarray:
    return read_mp4(Path(video))[0] if isinstance(video, str) else video


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
    def subject_consistency(self, videos: list[Video]) -> tuple[float, list[float]]:
        return self._consistency(
            videos,
            lambda frame: self.dino(dino_transform(frame), interpolate_pos_encoding=True).last_hidden_state[:, 0],
        )

    @torch.no_grad()
    def background_consistency(self, videos: list[Video]) -> tuple[float, list[float]]:
        return self._consistency(
            videos, lambda frame: self.b32.get_image_features(pixel_values=clip_transform(frame)).pooler_output
        )

    def _consistency(self, videos: list[Video], encode: Any) -> tuple[float, list[float]]:
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
    def aesthetic_quality(self, videos: list[Video], weight: torch.Tensor, bias: float) -> tuple[float, list[float]]:
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
    def appearance_style(self, videos: list[tuple[Video, str]]) -> tuple[float, list[float]]:
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

    def temporal_flickering(self, videos: list[Video]) -> tuple[float, list[float]]:
        results = []
        for video in videos:
            frames = [frame[:, :, ::-1].astype(np.float32) for frame in load_video(video)]
            steps = [np.mean(np.abs(frames[i] - frames[i + 1])) for i in range(len(frames) - 1)]
            results.append((255.0 - np.mean(steps).item()) / 255.0)
        return float(np.mean(results)), results


def split_video_into_clips(path: str, duration: int) -> list[np.ndarray]:
    """As `vbench2_beta_long/utils.py` cuts a video, without writing the parts to files."""
    frames, fps = read_mp4(Path(path))
    segment_frame_count = int(fps) * duration
    if len(frames) < segment_frame_count:
        return [frames]
    total, remaining = divmod(len(frames), segment_frame_count)
    parts = [frames[i * segment_frame_count : (i + 1) * segment_frame_count] for i in range(total)]
    if remaining > 0:
        needed = segment_frame_count - remaining
        parts.append(frames[max(0, total * segment_frame_count - needed) :])
    return parts


def dinov2_transform(frame: np.ndarray) -> torch.Tensor:
    """Resized by Pillow as pictures of floating point numbers, one a channel: antialiased and not rounded."""
    height, width = frame.shape[:2]
    size = (256 * width // height, 256) if height <= width else (256, 256 * height // width)
    channels = [Image.fromarray(frame[:, :, place].astype(np.float32)) for place in range(3)]
    image = np.stack([np.array(one.resize(size, Image.Resampling.BICUBIC)) for one in channels], axis=2)
    top, left = (round((side - 224) / 2.0) for side in image.shape[:2])
    return normalised(image[top : top + 224, left : left + 224], IMAGENET_MEAN, IMAGENET_STD)


def get_frame_indices(num_frames: int, vlen: int) -> list[int]:
    """`sample="middle"`."""
    acc_samples = min(num_frames, vlen)
    intervals = np.linspace(start=0, stop=vlen, num=acc_samples + 1).astype(int)
    ranges = [(interval, intervals[idx + 1] - 1) for idx, interval in enumerate(intervals[:-1])]
    indices = [int((low + high) // 2) for low, high in ranges]
    return indices + [indices[-1]] * (num_frames - len(indices))


def clip_transform_of_whole(frame: np.ndarray) -> torch.Tensor:
    """`clip_transform` of a tensor of uint8, which is resized to whole grey levels."""
    height, width = sides(frame)
    image = along(along(frame.astype(float), 0, height, cubic), 1, width, cubic)
    return normalised(cropped(np.clip(np.rint(image), 0, 255)), OPENAI_MEAN, OPENAI_STD)


@torch.no_grad()
def overall_consistency(model: Any, text: torch.Tensor, videos: list[Video]) -> tuple[float, list[float]]:
    """Of videos with the feature of a text, by a ViCLIP's towers; temporal_style is the same of other prompts."""
    sim = []
    for video in videos:
        frames = load_video(video)
        images = torch.cat([clip_transform_of_whole(frames[i]) for i in get_frame_indices(8, len(frames))])
        feature = model.vision_encoder(images.unsqueeze(0).permute(0, 2, 1, 3, 4))
        sim.append(float((feature / feature.norm(dim=-1, keepdim=True))[0] @ text))
    return float(np.mean(sim)), sim


class OfficialLong:
    """VBench-Long's dimensions over videos: (the dimension's number, the videos' numbers); see `Official`."""

    def __init__(self, models: Path, mapping: dict[float, float]) -> None:
        self.short, self.mapping = Official(models), mapping
        self.dino2 = Dinov2Model.from_pretrained(models / "dino2").eval()

    def over_clips(self, videos: list[str], measure: Any, duration: int = 2) -> tuple[float, list[float]]:
        """The mean over all parts of all videos, and each video's own.

        `reorganize_clips_results` groups rows by `os.path.join(<path of the part>, <name of the video>)`: each part is a group.
        """
        scores = [[measure(part) for part in split_video_into_clips(video, duration)] for video in videos]
        rows = [score for own in scores for score in own]
        return sum(rows) / len(rows), [sum(own) / len(own) for own in scores]

    @torch.no_grad()
    def subject_consistency(self, videos: list[str]) -> tuple[float, list[float]]:
        """Fused, as `--dev_flag` has it; by the sorted keys of the table and linear interpolation."""
        rows, means = [], []
        for video in videos:
            parts = split_video_into_clips(video, 2)
            between = 0.0
            if len(parts) > 1:
                firsts = np.stack([part[0] for part in parts])
                between, _ = self.short._consistency(
                    [firsts], lambda frame: self.dino2(dinov2_transform(frame)).pooler_output
                )
            keys = sorted(self.mapping)
            above = next((i for i, key in enumerate(keys) if key >= between), len(keys))
            if above == 0:
                mapped = self.mapping[keys[0]]
            else:
                k0, k1 = keys[above - 1], keys[above]
                mapped = self.mapping[k0] + (self.mapping[k1] - self.mapping[k0]) * (between - k0) / (k1 - k0)
            own = []
            for part in parts:  # a row each, fused with the number of the whole video
                score = self.short.subject_consistency([part])[0]
                own.append(score * 0.5 + mapped * 0.5 if mapped != 0.0 else score)
            rows += own
            means.append(sum(own) / len(own))
        return sum(rows) / len(rows), means
