"""VideoScore: an 8B vision-language model with five numbers at the end, trained on people's ratings of generated videos."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoTokenizer, Idefics2Config, Idefics2Model, Idefics2PreTrainedModel, Idefics2Processor
from transformers.models.idefics2.image_processing_pil_idefics2 import Idefics2ImageProcessorPil

from vpo.errors import UserError
from vpo.records import Clip
from vpo.reward.scoring import Result, result_of, scored_each
from vpo.templates import read_template
from vpo.video.frames import FrameReader
from vpo.video.models import Lease, Place, Shared, load

# In the order of the model's outputs, by Prompt-A-Video's short names: visual quality, temporal consistency, dynamic degree,
# text-to-video alignment, factual consistency.
DIMENSIONS = ("VQ", "TC", "DD", "TVA", "FC")


class Idefics2Regression(Idefics2PreTrainedModel):
    """Idefics2 with a linear head on the last token: the `Idefics2ForSequenceClassification` of the package mantis-vl.

    transformers has no such class. The keys are those of the released checkpoints, `model.*`, `score.weight`, `score.bias`.
    """

    config_class = Idefics2Config

    def __init__(self, config: Idefics2Config) -> None:
        super().__init__(config)
        self.model = Idefics2Model(config)
        self.score = torch.nn.Linear(config.text_config.hidden_size, config.num_labels)
        self.post_init()

    def forward(self, **inputs: torch.Tensor) -> torch.Tensor:
        """From the processor's tensors of one text without padding to (1, number of outputs), float32."""
        states = self.model(**inputs, use_cache=False).last_hidden_state
        return self.score(states[:, -1]).float()


def load_videoscore(place: Place, key: str) -> Shared:
    """The model. Raises UserError where it is not one."""
    shared = load(Idefics2Regression, place, key)
    outputs = shared.model.score.out_features
    if outputs != len(DIMENSIONS):
        raise UserError(
            f"{key}={place.path}: gives {outputs} numbers, VideoScore gives {len(DIMENSIONS)}; give VideoScore or VideoScore-v1.1"
        )
    return shared


class VideoScoreReward:
    """VideoScore v1 or v1.1 (He et al., arXiv 2406.15252): five numbers, nominally 1 to 4, and their mean.

    Args:
        path: hub id or folder of a released checkpoint.
        revision: commit of the hub; None for a folder.
        frames: which ones, as in `vpo.video.selection`: "steps 48" of v1.1, "steps 16" of v1.
        template: what the query is put into.
        dtype: of the weights.
        device: "cpu", "gpu" or "cuda".
        batch_size: clips that are scored in one call, one after the other.
    """

    def __init__(
        self,
        path: str,
        revision: str | None,
        frames: str,
        template: str,
        dtype: str,
        device: str,
        batch_size: int,
    ) -> None:
        self.path, self.frames, self.batch_size = path, frames, batch_size
        self.template = read_template(template)
        self.reader = FrameReader(frames, "reward.frames")
        self.lease = Lease(load_videoscore, Place(path, revision, dtype, device), "reward.path")
        self._processor: Any = None

    def score(self, clips: Sequence[Clip]) -> list[Result]:
        """One score a clip, with five dimensions; a Failure where it cannot be read."""
        return scored_each(clips, self._one)

    def card(self) -> Mapping[str, Any]:
        """What the numbers depend on."""
        return {
            "name": "videoscore",
            "model": self.path,
            "dimensions": {
                "VQ": "visual quality", "TC": "temporal consistency", "DD": "dynamic degree",
                "TVA": "text-to-video alignment", "FC": "factual consistency",
            },
            "score": "mean of the five dimensions; the regression's own numbers, not rounded to three places as the script does",
            "scale": "1 (bad) to 4 (like a real video), not bounded",
            "better": "higher",
            "text": "the original query",
            "frames": self.frames,
            "transform": "Idefics2: the whole frame, longest side at most 980, shortest at least 378",
            "licence": "VideoScore-v1.1: MIT (its tag); VideoScore: Apache-2.0 (its tag)",
            "cannot_see": "sound; motion between the frames that it reads; videos of newer generators than those that it was trained "
            "on (2023 and 2024); its five numbers are strongly correlated",
            "run_by_us": "never with the released weights: on tiny random ones of the same class and keys",
            "source": "arXiv 2406.15252; TIGER-AI-Lab/VideoScore at 8e44973",
        }  # fmt: skip

    def close(self) -> None:
        """Free model and frames."""
        self.lease.close()
        self.reader.close()
        self._processor = None

    def _one(self, clip: Clip) -> Result:
        frames = self.reader.read(clip.path)
        numbers = self._numbers([Image.fromarray(one) for one in frames.images], clip.query)
        return result_of(clip, sum(numbers) / len(numbers), dict(zip(DIMENSIONS, numbers, strict=True)))

    @torch.inference_mode()
    def _numbers(self, frames: list[Image.Image], query: str) -> list[float]:
        model = self.lease.get().model
        processor = self._its_processor()
        # A query that names a mark of the model's would be read as a frame, or as an end.
        for mark in processor.tokenizer.added_tokens_decoder.values():
            query = query.replace(str(mark), " ")
        text = self.template.replace("{}", query) + "<image> " * len(frames)
        inputs = processor(text=[text], images=[frames], return_tensors="pt")
        inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
        found: list[float] = model(**inputs.to(model.device))[0].tolist()
        return found

    def _its_processor(self) -> Any:
        """The model's processor; images by Pillow, as its released script has them."""
        if self._processor is None:
            self._processor = processor_of(self.lease.get(), f"reward.path={self.path}")
        return self._processor


def processor_of(shared: Shared, where: str) -> Any:
    """Idefics2's processor from a model's folder. Raises UserError where its files are missing."""
    folder: Path = shared.folder
    try:
        images = Idefics2ImageProcessorPil.from_pretrained(folder, do_image_splitting=False)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        latents = shared.model.config.perceiver_config.resampler_n_latents
        return Idefics2Processor(images, tokenizer, image_seq_len=latents)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{where}: its processor cannot be loaded ({' '.join(str(error).split())[:200]})") from error
