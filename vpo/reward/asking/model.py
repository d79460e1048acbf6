"""A vision-language model that is asked about clips; a clip is read once for all questions about it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from transformers import DynamicCache

from vpo.errors import UserError
from vpo.language.chat.control_tokens import TextEncoder, encode_after
from vpo.language.checkpoints.limits import positions_of
from vpo.reward.asking.families import FAMILIES, Family, Footage, Seen
from vpo.reward.asking.loading import load_vlm

# Tokens of questions in one pass: attention between questions is computed and masked, so that longer passes cost more than they save.
TOGETHER = 512
_WORD = "Qxzvj"  # no chat template writes it: where it stands in a rendered chat, a question would stand


class TooLongError(ValueError):
    """A prompt that is longer than the model reads."""


@dataclass(frozen=True)
class Asked:
    """Questions about one clip, as token ids.

    Attributes:
        seen: the clip.
        shared: what all prompts begin with, up to the end of the clip.
        own: what follows, of each question.
    """

    seen: Seen
    shared: list[int]
    own: list[list[int]]


def called(path: str, revision: str | None) -> str:
    """How a card names a model: a hub id with its commit, of a folder the last name, as where it lies is nobody's business."""
    model = path if path.count("/") < 2 else path.rpartition("/")[2]
    return f"{model}@{revision}" if revision else model


class VisionLanguageModel:
    """Answers questions about clips; see `load_vlm` for the first four arguments.

    Args:
        min_pixels, max_pixels: of a frame, for the models that cut frames of any size into patches.
        key: who names the model, for messages.
    """

    def __init__(
        self, path: str, revision: str | None, dtype: str, device: str, min_pixels: int, max_pixels: int, key: str
    ) -> None:
        self.model, self.tokenizer, colours = load_vlm(path, revision, dtype, device, key)
        self.where = f"{key}={path}"
        kind = self.model.config.model_type
        self.family: Family = FAMILIES[kind](self.model.config, self.tokenizer, colours, min_pixels, max_pixels)
        self.positions = positions_of(self.model.config) or 2**62
        self._frame  # noqa: B018 (a chat template without a place for a clip is refused now)

    @torch.inference_mode()
    def first_token_logits(self, footage: Footage, questions: Sequence[str]) -> Tensor:
        """What the model would say first to each question alone: float32 logits (questions, vocabulary), on the CPU.

        The clip is encoded once. The questions stand behind it in one row, each at the positions that it would have alone, and each
        attends to the clip and to itself.

        Raises:
            TooLongError: A question with the clip has more tokens than the model reads.
            FrameError: The model cannot read such frames.
        """
        asked = self.ask(footage, questions)
        shared, inputs = self._tensor(asked.shared), self._inputs(asked.seen)
        # One token of text more, whose position is the one at which all questions begin.
        positions = self.family.positions(self.model, self._tensor([*asked.shared, asked.own[0][-1]]), inputs)
        cache = DynamicCache(config=self.model.config.get_text_config())
        self.model(
            input_ids=shared, position_ids=positions[..., :-1], past_key_values=cache, use_cache=True, logits_to_keep=1,
            **inputs, **self.family.more(shared),
        )  # fmt: skip
        found = [self._behind(asked.own[start:end], positions[..., -1:], cache) for start, end in _groups(asked.own)]
        return torch.cat(found)

    def inputs(self, footage: Footage, question: str) -> dict[str, Tensor]:
        """The arguments of the model's own forward pass, or `generate`, for one question with its clip. Raises as above."""
        asked = self.ask(footage, [question])
        ids = self._tensor([*asked.shared, *asked.own[0]])
        return {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            **self._inputs(asked.seen),
            **self.family.more(ids),
        }

    def ask(self, footage: Footage, questions: Sequence[str]) -> Asked:
        """The prompts of questions about a clip. All of a question is text, whatever looks like a control token in it."""
        seen = self.family.see(footage)
        before = self._frame[0]
        ids = [
            copy
            for one in self._tokenised(before + seen.text)
            for copy in [one] * (seen.run if one == self.family.token else 1)
        ]
        own = [self._own(question) for question in questions]
        longest = len(ids) + max(map(len, own))
        if longest > self.positions:
            raise TooLongError(f"the clip and a question have {longest} tokens, and the model reads {self.positions}")
        return Asked(seen, ids, own)

    def close(self) -> None:
        """Free the model's memory."""
        self.model = None
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def _behind(self, own: Sequence[Sequence[int]], start: Tensor, cache: DynamicCache) -> Tensor:
        """Logits at the end of each of some questions that stand in one row behind the shared tokens.

        Args:
            own: their ids.
            start: the position of the first token behind the shared ones, (1, 1) or (3, 1, 1).
            cache: of the shared tokens; it is left as it was.
        """
        device, known = start.device, cache.get_seq_length()
        lengths = torch.tensor([len(one) for one in own])
        ends = lengths.cumsum(0)
        owner = torch.repeat_interleave(torch.arange(len(own)), lengths)
        place = torch.arange(int(ends[-1])) - (ends - lengths)[owner]  # within its question
        count = len(owner)
        itself = (owner[:, None] == owner) & torch.ones(count, count, dtype=torch.bool).tril()
        mask = torch.cat([torch.ones(count, known, dtype=torch.bool), itself], dim=1)
        logits = self.model(
            input_ids=self._tensor([token for one in own for token in one]),
            attention_mask=mask[None, None].to(device),
            position_ids=start + place.to(device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=(ends - 1).to(device),
        ).logits[0]
        cache.crop(-count)
        return logits.float().cpu()

    def _own(self, question: str) -> list[int]:
        """The ids of a question, from the end of the clip to where the model's turn begins."""
        _, after, tail = self._frame
        encoder = self._encoder
        whole = self._tokenised(after + question + tail)
        if not encoder.has_control_text(question) and encoder.control_ids(whole) == self._frame_control_ids:
            return whole
        ids = self._tokenised(after) + encoder.encode(question, after=True)
        return ids + encode_after(self._tokenised, tail)

    @cached_property
    def _frame(self) -> tuple[str, str, str]:
        """What the chat template writes before the clip, between clip and question, and behind the question."""
        turn = {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": _WORD}]}
        try:
            text = str(self.tokenizer.apply_chat_template([turn], tokenize=False, add_generation_prompt=True))
        except Exception as error:  # a chat template is a program of the model's authors
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"{self.where}: its chat template fails on a turn with a video ({reason}); copy the hub's"
            ) from error
        head, word, tail = text.partition(_WORD)
        before, mark, after = head.partition(self.family.mark)
        if not word or not mark:
            raise UserError(
                f"{self.where}: its chat template leaves out the video or the text of a turn; copy the model's own "
                "(chat_template.jinja or chat_template.json)"
            )
        return before, after, tail

    @cached_property
    def _encoder(self) -> TextEncoder:
        return TextEncoder(self.tokenizer, "".join((*self._frame, self.family.mark)))

    @cached_property
    def _frame_control_ids(self) -> list[int]:
        _, after, tail = self._frame
        return self._encoder.control_ids(self._tokenised(after + _WORD + tail))

    def _tokenised(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)

    def _tensor(self, ids: Sequence[int]) -> Tensor:
        return torch.tensor([list(ids)], device=self.model.device)

    def _inputs(self, seen: Seen) -> dict[str, Tensor]:
        """The clip's tensors on the model's device, floating ones in its dtype but for times."""
        moved = {name: value.to(self.model.device) for name, value in seen.inputs.items()}
        return {
            name: value.to(self.model.dtype) if name.startswith("pixel") else value for name, value in moved.items()
        }


def _groups(own: Sequence[Sequence[int]]) -> Iterator[tuple[int, int]]:
    """Consecutive questions with at most TOGETHER tokens; a longer one stands alone."""
    start = total = 0
    for place, one in enumerate(own):
        if place > start and total + len(one) > TOGETHER:
            yield start, place
            start, total = place, 0
        total += len(one)
    yield start, len(own)
