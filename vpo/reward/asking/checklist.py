"""A checklist: its questions, what becomes of the answers, and what its card says."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from vpo.errors import UserError
from vpo.feedback.checklist import SCALES, Answers, Question, dimension_scores, never_yes
from vpo.records import Clip, Score

log = logging.getLogger(__name__)

PROMPT = "[[prompt]]"
CURE = (
    "put VisionReward_Video/VisionReward_video_qa.txt of github.com/THUDM/VisionReward (Apache-2.0) there, or give reward.questions "
    "with texts of your own and reward.texts_file=null"
)
SCALE_NAMES = {
    "sum_of_yes": "R01: sum of the weights of the questions answered yes",
    "mean_of_signed": "mean of +weight for yes and -weight for no, over the questions with a weight",
}


class Checklist:
    """Yes/no questions with weights. Counts the answers that could not be read, and warns of a model that never says yes.

    Args:
        questions: each with the fields of `vpo.feedback.checklist.Question`; `[[prompt]]` in a text becomes the user's query.
        scale: of the total, a name of `vpo.feedback.checklist.SCALES`. Dimensions are sums of the weights of yes.
        texts_file: a line a question: the texts of questions that have none, by their ids, from 1. None where all have theirs.
        where: whose config it is, for messages.

    Raises:
        UserError: A question lacks something, the file is not there, or there is no such scale.
    """

    def __init__(
        self,
        questions: Sequence[Mapping[str, Any]],
        scale: str,
        texts_file: str | None = None,
        where: str = "reward",
    ) -> None:
        if scale not in SCALES:
            raise UserError(f"{where}.scale={scale} is no scale of a checklist; choose {' or '.join(SCALES)}")
        if not questions:
            raise UserError(f"{where}.questions is empty; give at least one question")
        if texts_file is not None and any("text" not in one for one in questions):
            questions = _with_texts(questions, texts_file, f"{where}.texts_file={texts_file}")
        self.questions = tuple(_question(one, place, where) for place, one in enumerate(questions))
        self.weights = [one.weight for one in self.questions]
        self.scale = scale
        self.asked = self.unread = 0
        self._warned = False

    def texts(self, query: str) -> list[str]:
        """The questions about a clip that was made for this query."""
        return [one.text.replace(PROMPT, query.strip()) for one in self.questions]

    def score(self, clip: Clip, answers: Answers) -> Score:
        """The score of answers in question order; None among them are counted."""
        answers = tuple(answers)
        missing = answers.count(None)
        self.asked, self.unread = self.asked + len(answers), self.unread + missing
        if never_yes(answers) and not self._warned:
            self._warned = True
            log.warning(
                "reward: no answer of %d about clip %s decoded to \"yes\". No video is like that: the model may be loaded wrongly, or "
                "another version of it or of transformers; its scores mean nothing",
                len(answers) - missing,
                clip.id,
            )  # fmt: skip
        return Score(
            clip_id=clip.id,
            prompt_id=clip.prompt_id,
            query_id=clip.query_id,
            value=SCALES[self.scale](answers, self.weights),
            dimensions=dimension_scores(answers, self.questions),
            answers=answers,
        )

    def unreadable(self, clip: Clip) -> Score:
        """The score of a clip that cannot be read: None everywhere."""
        self.asked, self.unread = self.asked + len(self.questions), self.unread + len(self.questions)
        answers = (None,) * len(self.questions)
        return Score(clip.id, clip.prompt_id, clip.query_id, None, dimension_scores(answers, self.questions), answers)

    def report(self) -> None:
        """Log how many answers were neither yes nor no, if any."""
        if self.unread:
            log.warning(
                "reward: %d of %d answers were neither yes nor no, and are no part of a score", self.unread, self.asked
            )

    def card(self) -> dict[str, Any]:
        """What the card of a reward says of its checklist."""
        lowest, highest = (
            SCALES[self.scale]([all_yes] * len(self.questions), self.weights) for all_yes in (False, True)
        )
        return {
            "questions": [asdict(one) for one in self.questions],
            "maximum": highest,
            "score": SCALE_NAMES[self.scale],
            "scale": f"{lowest:g} to {highest:g}",
            "better": "higher",
            "text": "the original query",
            "rule": "an answer that is neither yes nor no is None; a score that needs it is None, too",
        }


def _with_texts(questions: Sequence[Mapping[str, Any]], file: str, who: str) -> list[Mapping[str, Any]]:
    """The questions, those without a text with the line of the file that has the number of their id."""
    try:
        lines = Path(file).expanduser().read_text(encoding="utf-8").rstrip("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror.lower() if isinstance(error, OSError) and error.strerror else "no text in UTF-8"
        raise UserError(f"{who}: {reason}; {CURE}") from error
    found = []
    for one in questions:
        number = one.get("id")
        if "text" not in one and isinstance(number, int):
            if not 1 <= number <= len(lines) or not lines[number - 1].strip():
                raise UserError(f"{who}: it has no line for question {number}; {CURE}")
            one = {**one, "text": lines[number - 1].strip()}
        found.append(one)
    return found


def _question(values: Mapping[str, Any], place: int, where: str) -> Question:
    names = {one.name for one in fields(Question)}
    wrong = sorted(set(values) ^ names)
    if wrong:
        has = "is missing" if wrong[0] in names else "is no part of a question"
        raise UserError(f"{where}.questions[{place}]: {wrong[0]} {has}; a question has {', '.join(sorted(names))}")
    if not isinstance(values["weight"], int | float) or not isinstance(values["text"], str):
        raise UserError(f"{where}.questions[{place}]: its text is a text and its weight a number; correct them")
    return Question(**values)
