"""Does a clip show what the query composes: attributes, positions, numbers? Questions made from the query, answered from the clip.

After T2V-CompBench (arXiv 2407.14505), which asks a vision-language model about consistent attributes and actions and detects objects
for positions and numbers, and TIFA (arXiv 2303.11897), which makes the questions by a language model. Nothing here is either's own
prompt or score: the numbers are ours.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vpo.cards import Answered, EvaluatorCard, mean_over_clips, share
from vpo.evaluator.answers import asked_licence, asked_model, chosen, passing, said
from vpo.interfaces import Engine
from vpo.language.quoting import as_data
from vpo.language.serving.answers import without_thought
from vpo.records import Clip, Completion, Failure, Message, Query, Request, Sample, Sampling
from vpo.seeding import seed_of
from vpo.templates import fill, read_template
from vpo.video.clips import ClipError
from vpo.video.shown import ClipPictures, Shown

KINDS = ("attribute", "spatial", "numeracy")
MOST = 8  # questions about a query
_LINE = re.compile(rf"[-*\s]*({'|'.join(KINDS)})\s*:\s*(\S.*\?)\s*", re.IGNORECASE)
_NONE = re.compile(r"[\W_]*none[\W_]*", re.IGNORECASE)


@dataclass(frozen=True)
class Question:
    """A yes/no question about a clip, whose answer is yes where the query is kept."""

    kind: str
    text: str


class Compositional:
    """`compositional`: the share of questions about a query that its clip answers with yes, and by kind.

    A data set may bring the questions (`Query.meta["questions"]`, a list of {"kind", "text"}); else `writer` makes them of the query,
    the same for all methods. A query of which there is nothing to ask has no number.

    Args:
        engine: a vision-language model that reads pictures and answers.
        writer: a language model that writes the questions; None for the engine.
        questions_template: names the file in `vpo/templates` that asks for questions.
        answer_template: names the one that asks a question.
        shown: which frames are sent, with the fields of `vpo.video.shown.Shown`.
        max_new_tokens: longest answer; questions may be three times as long.
        seed: of what is drawn, with the query's id.
        batch_size: queries whose clips are handed to the engine together.

    Raises:
        UserError: What is missing or contradictory, and the cure.
    """

    not_in_key = ("batch_size",)

    @staticmethod
    def card(engine: Any = None, writer: Any = None, **more: Any) -> EvaluatorCard:
        """The card, which names the engines' models."""
        return EvaluatorCard(
            name="compositional",
            version="1",
            about="yes/no questions about attributes, positions and numbers, made from the query by "
            f"{asked_model(writer or engine)} and answered from some frames by {asked_model(engine)} (with their own licences); after "
            "T2V-CompBench (arXiv 2407.14505) and TIFA (2303.11897), the numbers are ours. A held-out look at intent: do not train on "
            "it. General models count badly, and say yes readily",
            model=f"{asked_model(engine)}; questions by {asked_model(writer or engine)}",
            licence="; ".join(dict.fromkeys((asked_licence(engine), asked_licence(writer or engine)))),
            needs=frozenset({"clips"}),
            metrics=(
                share("compositional", "Compositional", "higher", "questions about the query that the clip answers with yes",
                      parts=True),
                share("questions_unread", "Questions unread", "lower", "questions whose answer could not be read", main=False),
            ),
        )  # fmt: skip

    def __init__(
        self,
        engine: Engine,
        writer: Engine | None,
        questions_template: str,
        answer_template: str,
        shown: Mapping[str, Any],
        max_new_tokens: int,
        seed: int,
        batch_size: int,
    ) -> None:
        self.engine, self.writer, self.seed, self.longest = engine, writer or engine, seed, max_new_tokens
        self.questions_text, self.answer_text = read_template(questions_template), read_template(answer_template)
        self.pictures = ClipPictures(Shown(**shown))

    def measure(self, samples: Sequence[Sample]) -> list[Mapping[str, float | None] | Failure]:
        """The shares of yes of each sample, the mean over its clips.

        None where no question could be made or an answer could not be read; a Failure where an engine failed for a reason that passes.
        """
        written = self._questions([one.query for one in samples])
        questions = [found for found, _ in written]
        asked = [self._asked(sample, found) for sample, found in zip(samples, questions, strict=True)]
        answers = iter(self.engine.generate([one for clips in asked for requests in clips for one in requests or ()]))
        rows: list[Mapping[str, float | None] | Failure] = []
        for sample, (found, text), clips in zip(samples, written, asked, strict=True):
            answered = [None if requests is None else [next(answers) for _ in requests] for requests in clips]
            failed = (
                found
                if isinstance(found, Failure) and found.retryable
                else passing([one for of_clip in answered for one in of_clip or ()])
            )
            rows.append(failed or Answered(_row(sample, found, answered), _answers(text, found, answered)))
        return rows

    def close(self) -> None:
        """Close the engines, and free the frames."""
        self.engine.close()
        if self.writer is not self.engine:
            self.writer.close()
        self.pictures.close()

    def _questions(self, queries: Sequence[Query]) -> list[tuple[list[Question] | Failure, str]]:
        """The questions about each query: its own, or the writer's with its words."""
        given = [query.meta.get("questions") for query in queries]
        asked = [query for query, own in zip(queries, given, strict=True) if own is None]
        sampling = Sampling(max_new_tokens=3 * self.longest)
        requests = [
            Request(
                messages=(Message("user", fill(self.questions_text, as_data({"query": query.text}))),),
                sampling=sampling,
                seed=seed_of("questions", self.seed, query.id),
            )
            for query in asked
        ]
        written = iter(self.writer.generate(requests))
        found: list[tuple[list[Question] | Failure, str]] = []
        for own in given:
            if own is None:
                answer = next(written)
                found.append((questions_in(answer), said(answer)))
            else:
                found.append(([Question(one["kind"], one["text"]) for one in own], ""))
        return found

    def _asked(self, sample: Sample, questions: list[Question] | Failure) -> list[list[Request] | None]:
        """What is asked about each clip; None about one that was not made or cannot be read."""
        if isinstance(questions, Failure) or not questions:
            return []
        found: list[list[Request] | None] = []
        for number, clip in enumerate(sample.clips):
            pictures = self._seen(clip)
            found.append(
                None if pictures is None else [
                    Request(
                        messages=(Message("user", fill(self.answer_text, as_data({"question": one.text})), pictures),),
                        sampling=Sampling(max_new_tokens=self.longest),
                        seed=seed_of("seen", self.seed, sample.query.id, number, one.text),
                    )
                    for one in questions
                ]
            )  # fmt: skip
        return found

    def _seen(self, clip: Clip | Failure) -> tuple[str, ...] | None:
        if not isinstance(clip, Clip) or clip.status != "ok":
            return None
        try:
            return self.pictures.of(clip.path)
        except ClipError:
            return None


def questions_in(answer: Completion | Failure) -> list[Question] | Failure:
    """The questions of an answer, each once, at most eight; none for "none"; a Failure where a line is neither, or it was cut off."""
    if isinstance(answer, Failure):
        return answer
    lines = [line for line in without_thought(answer.text)[0].splitlines() if line.strip()]
    if len(lines) == 1 and _NONE.fullmatch(lines[0]):
        return []
    found = [_LINE.fullmatch(line) for line in lines]
    if answer.cut or not found or None in found:
        return Failure("no_questions", f"the answer is no list of questions: {' '.join(answer.text.split())[:80]!r}")
    return list(dict.fromkeys(Question(one[1].lower(), one[2]) for one in found if one))[:MOST]


def _answers(
    written: str, questions: list[Question] | Failure, answered: Sequence[Sequence[Completion | Failure] | None]
) -> dict[str, str]:
    """What the models said, for people: the questions as they were written, and the answer to each about each clip."""
    found = {"questions": written} if written else {}
    for number, of_clip in enumerate(answered, start=1):
        for question, answer in zip(questions if isinstance(questions, list) else (), of_clip or (), strict=False):
            found[f"clip {number}, {question.kind}: {question.text}"] = said(answer)
    return found


def _row(
    sample: Sample, questions: list[Question] | Failure, said: Sequence[Sequence[Completion | Failure] | None]
) -> dict[str, float | None]:
    if not sample.clips or questions == []:
        return {}
    if isinstance(questions, Failure):
        return {"compositional": None}
    kinds = [kind for kind in KINDS if any(one.kind == kind for one in questions)]
    nothing: dict[str, float | None] = dict.fromkeys(("compositional", *map(_of_kind, kinds)))
    return mean_over_clips([nothing if one is None else _of_clip(questions, kinds, one) for one in said])


def _of_clip(
    questions: Sequence[Question], kinds: Sequence[str], said: Sequence[Completion | Failure]
) -> dict[str, float | None]:
    """The shares of yes of one clip; None where an answer to such a question could not be read: the others would stand for it."""
    answers = [chosen(one, "answer", ("yes", "no")) for one in said]
    row = {"compositional": _share(answers)}
    for kind in kinds:
        row[_of_kind(kind)] = _share(
            [one for question, one in zip(questions, answers, strict=True) if question.kind == kind]
        )
    return {**row, "questions_unread": answers.count(None) / len(answers)}


def _share(answers: Sequence[str | None]) -> float | None:
    return None if None in answers else answers.count("yes") / len(answers)


def _of_kind(kind: str) -> str:
    return f"compositional_{kind}"
