"""A checklist that a served vision-language model answers (`vllm serve`, or another OpenAI-compatible server): frames as pictures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vpo.interfaces import Engine
from vpo.records import Clip, Completion, Failure, Message, Request, Sampling, Score
from vpo.reward.asking.checklist import Checklist
from vpo.reward.asking.footage import read_footage
from vpo.reward.asking.yes_no import by_first_tokens, by_text
from vpo.video.clips import ClipError
from vpo.video.frames import FrameReader
from vpo.video.jpegs import check_quality, jpeg_urls
from vpo.video.vlm import FrameError

TOP = 20  # first tokens whose probabilities are asked for: the most that the API gives


class ServedChecklist:
    """Asks each question in a request of its own; see `vpo.interfaces.Reward`.

    All requests about a clip begin with the same pictures, which a server with a prefix cache (vLLM's default) reads once.

    Args:
        questions, texts_file: as of `Checklist`.
        engine: a server of a model that reads pictures.
        frames: which frames the model is shown; see `vpo.video.selection`.
        min_pixels, max_pixels: of a frame as it is sent.
        quality: of the JPEGs that are sent, up to 100.
        instruction: stands behind each question.
        least: probability of yes and no together below which an answer is None, where the server gives probabilities.
        max_new_tokens: of an answer, which is read as a text where the server gives no probabilities.
        scale: of the total, as of `Checklist`.
        licence: of the model, for the card.
        batch_size: clips whose questions are handed to the engine together.

    Raises:
        UserError: What is missing or contradictory, and the cure.
    """

    not_in_key = ("licence", "batch_size")

    def __init__(
        self,
        questions: Sequence[Mapping[str, Any]],
        engine: Engine,
        frames: str,
        min_pixels: int,
        max_pixels: int,
        quality: int,
        instruction: str,
        least: float,
        max_new_tokens: int,
        scale: str,
        licence: str,
        batch_size: int,
        texts_file: str | None = None,
    ) -> None:
        check_quality(quality, "reward.quality")
        self.checklist = Checklist(questions, scale, texts_file)
        self.reader = FrameReader(frames, "reward.frames")
        self.engine, self.frames, self.pixels, self.quality = engine, frames, (min_pixels, max_pixels), quality
        self.instruction, self.least, self.licence = instruction, least, licence
        self.sampling = Sampling(max_new_tokens=max_new_tokens)

    def score(self, clips: Sequence[Clip]) -> list[Score | Failure]:
        """One score a clip, asked with `clip.query`.

        A clip that is unusable, cannot be read or shows nothing has None everywhere; one with a request that failed is a Failure: its
        other answers are in the engine's cache.
        """
        asked = {place: self._requests(clip) for place, clip in enumerate(clips)}
        ready = {place: one for place, one in asked.items() if isinstance(one, list)}
        answers = iter(self.engine.generate([request for requests in ready.values() for request in requests]))
        found = {place: [next(answers) for _ in requests] for place, requests in ready.items()}
        return [self._result(clip, asked[place], found.get(place, [])) for place, clip in enumerate(clips)]

    def card(self) -> Mapping[str, Any]:
        """What it asks of whom, and what the answers are worth."""
        return {
            "name": "checklist surrogate, served",
            "model": getattr(self.engine, "model_name", type(self.engine).__name__),
            "licence": self.licence,
            "input": f"frames '{self.frames}' of a clip as pictures, then a question with the original query and {self.instruction!r}",
            "frames": f"{self.frames}; resized to {self.pixels[0]}..{self.pixels[1]} pixels, JPEG of quality {self.quality}",
            "answer": f"by the probabilities of the first token (None where yes and no are together below {self.least:g}), or by the "
            "text where the server gives none",
            **self.checklist.card(),
            "note": "checklist surrogate: the 29 weights were fitted on VisionReward's own answers",
            "cannot_see": "what happens between the frames (flicker, judder), when they are shown, sound, and detail below their "
            "resolution; a general model knows no standard of generated video, and says yes readily",
        }

    def close(self) -> None:
        """Close the engine's connections."""
        self.checklist.report()
        self.reader.close()
        self.engine.close()

    def _requests(self, clip: Clip) -> list[Request] | Failure | None:
        """The questions about a clip; None where it cannot be read."""
        if clip.status != "ok":
            return None
        try:
            images = self._images(read_footage(self.reader, clip).frames)
        except ClipError:
            return None
        except FrameError as error:
            return Failure("frames", str(error))
        return [
            Request(
                messages=(Message("user", f"{text}{self.instruction}", images),),
                sampling=self.sampling,
                top_logprobs=TOP,
            )
            for text in self.checklist.texts(clip.query)
        ]

    def _images(self, frames: np.ndarray) -> tuple[str, ...]:
        return jpeg_urls(frames, *self.pixels, self.quality)

    def _result(
        self, clip: Clip, asked: list[Request] | Failure | None, answers: Sequence[Completion | Failure]
    ) -> Score | Failure:
        if isinstance(asked, Failure):
            return asked
        if asked is None:
            return self.checklist.unreadable(clip)
        failed = [one for one in answers if isinstance(one, Failure)]
        if failed:
            again = any(one.retryable for one in failed)
            return Failure(
                failed[0].kind, f"{len(failed)} of {len(answers)} questions: {failed[0].detail}", retryable=again
            )
        return self.checklist.score(clip, [self._answer(one) for one in answers if isinstance(one, Completion)])

    def _answer(self, completion: Completion) -> bool | None:
        if completion.first_tokens:
            return by_first_tokens(completion.first_tokens, self.least)
        return by_text(completion.text)
