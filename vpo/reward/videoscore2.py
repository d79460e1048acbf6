"""VideoScore2: a Qwen2.5-VL that thinks and then writes three scores of a clip (arXiv 2509.22799).

Never run by us on the released weights. Source of the output's form, of the frames and of the soft scores: TIGER-AI-Lab/VideoScore2,
`vs2_inference.py`.
"""

import math
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from vpo.errors import UserError
from vpo.records import Clip, Failure, Score
from vpo.reward.asking.footage import read_footage
from vpo.reward.asking.model import TooLongError, VisionLanguageModel, called
from vpo.reward.asking.yes_no import token_ids
from vpo.video.clips import ClipError
from vpo.video.frames import FrameReader
from vpo.video.vlm import FrameError

DIMENSIONS = ("visual quality", "text-to-video alignment", "physical/common-sense consistency")
SCORES = "12345"
# The three lines with nothing but punctuation, numbering and emphasis between them; a score is one digit of 1 to 5, or of 5.
_BETWEEN = r"[\s;,.*]*(?:\(?\d\)\s*)?[\s*]*"
_BLOCK = re.compile(
    _BETWEEN.join(rf"{re.escape(name)}[*\s]*:[*\s]*([1-5])(?:\s*/\s*5)?(?![\d/]|\.\d)" for name in DIMENSIONS),
    re.IGNORECASE,
)


class VideoScore2:
    """Three scores of 1 to 5; see `vpo.interfaces.Reward`.

    Args:
        path: folder or hub id of the model; asset:<name> will do, too.
        revision: the hub commit.
        dtype: torch dtype by name.
        device: "cpu", or "gpu" (as the trainer's accelerator is called) or "cuda".
        frames: which frames the model is shown; see `vpo.video.selection`.
        min_pixels, max_pixels: of a frame.
        instruction: what the model is told, with {} for the query.
        max_new_tokens: of its text; one that is cut before the scores has none.
        soft: take each score times its probability among the five, as the authors' script does, instead of the digit.
        licence: of the model, for the card.
        batch_size: clips at once, which are read one after the other.

    Raises:
        UserError: What is missing or contradictory, and the cure.
    """

    not_in_key = ("licence", "batch_size")

    def __init__(
        self,
        path: str,
        revision: str | None,
        dtype: str,
        device: str,
        frames: str,
        min_pixels: int,
        max_pixels: int,
        instruction: str,
        max_new_tokens: int,
        soft: bool,
        licence: str,
        batch_size: int,
    ) -> None:
        if instruction.count("{}") != 1:
            raise UserError("reward.instruction needs one {} where the query stands")
        self.reader = FrameReader(frames, "reward.frames")
        self.instruction, self.max_new_tokens, self.soft = instruction, max_new_tokens, soft
        self.path, self.revision, self.frames, self.licence = path, revision, frames, licence
        self.model = VisionLanguageModel(path, revision, dtype, device, min_pixels, max_pixels, "reward.path")
        where = self.model.where
        self.digits = [token_ids(self.model.tokenizer, (digit,), where)[0] for digit in SCORES] if soft else []

    def score(self, clips: Sequence[Clip]) -> list[Score | Failure]:
        """One score a clip, against `clip.query`: the mean of the three, None where the text holds no three scores."""
        return [self._score(clip) for clip in clips]

    def card(self) -> Mapping[str, Any]:
        """What its numbers depend on."""
        return {
            "name": "VideoScore2",
            "model": called(self.path, self.revision),
            "licence": self.licence,
            "input": "frames of a clip, and an instruction in our own words with the original query",
            "instruction": self.instruction,
            "frames": self.frames,
            "score": "mean of three scores" + (", each times its probability among 1 to 5" if self.soft else ""),
            "scale": "0.2 to 5 (an even guess is worth a fifth of its digit)" if self.soft else "1 to 5, whole numbers",
            "better": "higher",
            "text": "the original query",
            "decoding": "the likeliest token at each place; the authors sample at temperature 0.7",
            "rule": "a text without exactly one set of three scores is None",
            "cannot_see": "sound, and what happens between its frames; it was trained on clips of the generators of 2024 and 2025",
            "run_by_us": False,
        }

    def close(self) -> None:
        """Free the model's memory."""
        self.reader.close()
        self.model.close()

    def _score(self, clip: Clip) -> Score | Failure:
        values: Sequence[float | None] = (None,) * len(DIMENSIONS)
        try:
            if clip.status == "ok":
                values = self._values(clip)
        except ClipError:
            pass
        except FrameError as error:
            return Failure("frames", str(error))
        except TooLongError as error:
            return Failure("too_long", str(error))
        known = [one for one in values if one is not None]
        total = math.fsum(known) / len(values) if len(known) == len(values) else None
        return Score(clip.id, clip.prompt_id, clip.query_id, total, dict(zip(DIMENSIONS, values, strict=True)))

    def _values(self, clip: Clip) -> Sequence[float | None]:
        """The three scores that the model writes."""
        footage = read_footage(self.reader, clip)
        ids, logits = self._write(self.model.inputs(footage, self.instruction.replace("{}", clip.query.strip())))
        found = find_scores(self._decoded(ids))
        if found is None:
            return (None,) * len(DIMENSIONS)
        if not self.soft:
            return [float(score) for score, _ in found]
        ends = [len(self._decoded(ids[: end + 1])) for end in range(len(ids))]
        return [self._soft(logits[bisect_right(ends, place)]) for _, place in found]

    @torch.inference_mode()
    def _write(self, inputs: Mapping[str, Tensor]) -> tuple[list[int], Sequence[Tensor]]:
        """The likeliest text behind a prompt, as ids, and the logits at each of its places."""
        model, tokenizer = self.model.model, self.model.tokenizer
        stops = model.generation_config.eos_token_id
        stops = [stops] if isinstance(stops, int) else list(stops or ())
        # All of the config: the model's own would fill what is not set, a repetition penalty, say.
        plain = GenerationConfig(
            do_sample=False, max_new_tokens=self.max_new_tokens, eos_token_id=sorted({*stops, tokenizer.eos_token_id}),
            pad_token_id=tokenizer.pad_token_id or tokenizer.eos_token_id,
        )  # fmt: skip
        own, model.generation_config = model.generation_config, plain
        try:
            output = model.generate(**inputs, return_dict_in_generate=True, output_logits=self.soft)
        finally:
            model.generation_config = own
        ids = output.sequences[0, inputs["input_ids"].shape[1] :].tolist()
        return ids, [step[0] for step in output.logits or ()]

    def _soft(self, logits: Tensor) -> float:
        """The likeliest of the five scores times its probability among them."""
        likely = logits[self.digits].float().softmax(-1)
        best = int(likely.argmax())
        return (best + 1) * float(likely[best])

    def _decoded(self, ids: Sequence[int]) -> str:
        return str(self.model.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def find_scores(text: str) -> list[tuple[int, int]] | None:
    """The three scores at the end of VideoScore2's text, each with the place of its digit.

    Returns:
        (score, index of its character) in the order of DIMENSIONS; None where the text has no such block, or several that differ.
    """
    blocks = list(_BLOCK.finditer(text))
    if len({block.groups() for block in blocks}) != 1:
        return None
    return [(int(blocks[-1][number]), blocks[-1].start(number)) for number in range(1, len(DIMENSIONS) + 1)]
