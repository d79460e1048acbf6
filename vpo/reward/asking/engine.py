"""A vision-language model in this process as engine: what evaluators ask about pictures, they ask it or a server alike."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList

from vpo.language.chat.messages import message_ids
from vpo.language.sampling import Forced, Sampler
from vpo.records import Completion, Failure, Message, Request, Usage
from vpo.reward.asking.families import Footage
from vpo.reward.asking.model import TooLongError, VisionLanguageModel, called
from vpo.video.jpegs import picture_of
from vpo.video.vlm import FrameError, resize


class VisionEngine:
    """Answers chats whose one turn has pictures; see `vpo.interfaces.Engine`. Requests are answered one by one.

    The models here are given the pictures of a turn as the frames of one video, a second apart. Pictures of another size than the
    first are resized to it. Turns without pictures are read as by any language model.

    Args:
        model: `asset:<name>`, folder or hub id of a Qwen2.5-VL, Qwen3-VL, InternVL (-hf) or LLaVA-OneVision.
        revision: the hub commit.
        dtype: torch dtype by name.
        device: "cpu", or "gpu" (as the trainer's accelerator is called) or "cuda".
        min_pixels, max_pixels: of a picture, for Qwen's models.

    Raises:
        UserError: The model is not there, is no such model, or lacks weights.
    """

    def __init__(
        self, model: str, revision: str | None, dtype: str, device: str, min_pixels: int, max_pixels: int
    ) -> None:
        self.reader = VisionLanguageModel(model, revision, dtype, device, min_pixels, max_pixels, "engine.model")
        self.model_name = called(model, revision)

    def generate(self, requests: Sequence[Request]) -> list[Completion | Failure]:
        """One completion a request; a Failure for a picture that cannot be read, and for a prompt that is too long."""
        if self.reader.model is None:
            raise RuntimeError("the engine is closed")
        return [self._completion(one) for one in requests]

    def close(self) -> None:
        """Free the model's memory."""
        self.reader.close()

    def _completion(self, request: Request) -> Completion | Failure:
        try:
            inputs = self._inputs(request)
        except (ValueError, FrameError) as error:  # TooLongError is one
            return Failure("too_long" if isinstance(error, TooLongError) else "not_rendered", str(error))
        start = inputs["input_ids"].shape[1]
        room = self.reader.positions - start
        if room < 1:
            return Failure("too_long", f"the prompt has {start} tokens, and the model reads {self.reader.positions}")
        return self._write(request, inputs, min(request.sampling.max_new_tokens, room))

    def _inputs(self, request: Request) -> dict[str, Tensor]:
        """The arguments of the model's `generate`."""
        if not any(one.images for one in request.messages):
            ids = list(request.prompt_ids) or message_ids(self.reader.tokenizer, request.messages)
            found = torch.tensor([ids], device=self.reader.model.device)
            return {"input_ids": found, "attention_mask": torch.ones_like(found), **self.reader.family.more(found)}
        if len(request.messages) > 1:
            raise ValueError("a chat of several turns has pictures, and this engine reads them in a single one")
        (turn,) = request.messages
        return self.reader.inputs(footage_of(turn), turn.content)

    @torch.inference_mode()
    def _write(self, request: Request, inputs: dict[str, Tensor], longest: int) -> Completion:
        model, tokenizer, sampling = self.reader.model, self.reader.tokenizer, request.sampling
        stops = model.generation_config.eos_token_id
        stops = sorted({*([stops] if isinstance(stops, int) else stops or ()), tokenizer.eos_token_id})
        # All of the config: the model's own would fill what is not set, a repetition penalty, say.
        plain = GenerationConfig(
            do_sample=False,  # the sampler has drawn
            max_new_tokens=longest, eos_token_id=stops, pad_token_id=tokenizer.pad_token_id or tokenizer.eos_token_id,
        )  # fmt: skip
        sampler = Sampler([request.seed], sampling.temperature, sampling.top_p, model.device)
        own, model.generation_config = model.generation_config, plain
        try:
            output = model.generate(
                **inputs, logits_processor=LogitsProcessorList([Forced(sampler, 1)]), return_dict_in_generate=True,
                output_logits=request.top_logprobs > 0,
            )  # fmt: skip
        finally:
            model.generation_config = own
        start = inputs["input_ids"].shape[1]
        ids = output.sequences[0, start:].tolist()
        first = self._likeliest(output.logits[0][0], request.top_logprobs) if request.top_logprobs else None
        text = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        reason = "stop" if ids and ids[-1] in stops else "length"
        return Completion(str(text).strip(), reason, Usage(start, len(ids)), first)

    def _likeliest(self, logits: Tensor, count: int) -> dict[str, float]:
        """Probabilities of the likeliest first tokens by their text; those of one text are summed."""
        found: dict[str, float] = {}
        likely, ids = logits.float().softmax(-1).topk(min(count, len(logits)))
        for probability, token in zip(likely.tolist(), ids.tolist(), strict=True):
            text = str(self.reader.tokenizer.decode([token]))
            found[text] = found.get(text, 0.0) + probability
        return found


def footage_of(turn: Message) -> Footage:
    """The pictures of a turn as frames, a second apart. Raises ValueError where one is none."""
    pictures = [picture_of(url) for url in turn.images]
    height, width = pictures[0].shape[:2]
    frames = [
        one if one.shape[:2] == (height, width) else resize(one[None], height, width)[0].permute(1, 2, 0).numpy()
        for one in pictures
    ]
    return Footage(np.stack(frames), [float(place) for place in range(len(frames))], 1.0)
