"""A checklist that a vision-language model of transformers answers, by the likelier of yes and no."""

from collections.abc import Mapping, Sequence
from typing import Any

from vpo.records import Clip, Failure, Score
from vpo.reward.asking.checklist import Checklist
from vpo.reward.asking.footage import read_footage
from vpo.reward.asking.model import TooLongError, VisionLanguageModel, called
from vpo.reward.asking.yes_no import NO, YES, by_probability, token_ids
from vpo.video.clips import ClipError
from vpo.video.frames import FrameReader
from vpo.video.vlm import FrameError


class VLMChecklist:
    """Asks all questions about a clip at once; see `vpo.interfaces.Reward`.

    Args:
        questions, texts_file: as of `Checklist`.
        path: `asset:<name>`, folder or hub id of a Qwen2.5-VL, Qwen3-VL, InternVL (-hf) or LLaVA-OneVision.
        revision: the hub commit.
        dtype: torch dtype by name.
        device: "cpu", or "gpu" (as the trainer's accelerator is called) or "cuda".
        frames: which frames the model is shown; see `vpo.video.selection`.
        min_pixels, max_pixels: of a frame, for Qwen's models.
        instruction: stands behind each question.
        least: probability of yes and no together below which an answer is None.
        scale: of the total, as of `Checklist`.
        licence: of the model, for the card.
        batch_size: clips at once, which are read one after the other.

    Raises:
        UserError: What is missing or contradictory, and the cure.
    """

    not_in_key = ("licence", "batch_size")

    def __init__(
        self,
        questions: Sequence[Mapping[str, Any]],
        path: str,
        revision: str | None,
        dtype: str,
        device: str,
        frames: str,
        min_pixels: int,
        max_pixels: int,
        instruction: str,
        least: float,
        scale: str,
        licence: str,
        batch_size: int,
        texts_file: str | None = None,
    ) -> None:
        self.checklist = Checklist(questions, scale, texts_file)
        self.reader = FrameReader(frames, "reward.frames")
        self.path, self.revision, self.frames, self.instruction = path, revision, frames, instruction
        self.pixels, self.least, self.licence = (min_pixels, max_pixels), least, licence
        self.model = VisionLanguageModel(path, revision, dtype, device, min_pixels, max_pixels, "reward.path")
        self.yes, self.no = (token_ids(self.model.tokenizer, words, self.model.where) for words in (YES, NO))

    def score(self, clips: Sequence[Clip]) -> list[Score | Failure]:
        """One score a clip, asked with `clip.query`; a clip that is unusable, cannot be read or shows nothing has None everywhere."""
        return [self._score(clip) for clip in clips]

    def card(self) -> Mapping[str, Any]:
        """What it asks of whom, and what the answers are worth."""
        return {
            "name": "checklist surrogate",
            "model": called(self.path, self.revision),
            "licence": self.licence,
            "input": f"frames '{self.frames}' of a clip and each question with the original query, followed by {self.instruction!r}",
            "frames": f"{self.frames}; of Qwen's models resized to {self.pixels[0]}..{self.pixels[1]} pixels",
            "answer": f"P(yes) > P(no) of the first token, None where both together are below {self.least:g}",
            **self.checklist.card(),
            "note": "checklist surrogate: the 29 weights were fitted on VisionReward's own answers",
            "cannot_see": "what happens between the frames (flicker, judder), sound, and small detail below the resolution of its "
            "frames; a general model knows no standard of generated video, and says yes readily",
        }  # fmt: skip

    def close(self) -> None:
        """Free the model's memory."""
        self.checklist.report()
        self.reader.close()
        self.model.close()

    def _score(self, clip: Clip) -> Score | Failure:
        if clip.status != "ok":
            return self.checklist.unreadable(clip)
        questions = [f"{text}{self.instruction}" for text in self.checklist.texts(clip.query)]
        try:
            logits = self.model.first_token_logits(read_footage(self.reader, clip), questions)
        except ClipError:
            return self.checklist.unreadable(clip)
        except FrameError as error:
            return Failure("frames", str(error))
        except TooLongError as error:
            return Failure("too_long", str(error))
        likely = logits.softmax(-1)
        yes, no = (likely[:, ids].sum(-1).tolist() for ids in (self.yes, self.no))
        answers = [by_probability(one, other, self.least) for one, other in zip(yes, no, strict=True)]
        return self.checklist.score(clip, answers)
