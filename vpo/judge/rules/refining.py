"""How a flawed prompt is repaired: what its verdict names is put right in its place, and what is missing is added.

Nothing is put before a text that contradicts it. A prompt that says something else than its query is given up: the query in front
of it would pass the judge and show two scenes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from vpo.judge.rules import evidence, fidelity, helpfulness, lexicon, naming, repairs, replacing, restoring, stock
from vpo.judge.rules.correcting import corrected, rival_of
from vpo.judge.rules.items import NAME, OBJECT, QUOTED
from vpo.judge.rules.requirements import Requirements, understand
from vpo.judge.rules.sentences import SENTENCE_END, joined, one_line, whole, within
from vpo.judge.rules.softening import harmless, without_unsafe_additions, without_unsafe_sentences
from vpo.judge.rules.words import read, stem_phrase
from vpo.language.answers import unwrap
from vpo.language.garbled import without_garbled
from vpo.language.markup import KINDS, without_marks
from vpo.records import Prompt, Reason, Verdict
from vpo.seeding import seed_of

_KEPT = 0.5  # of what the query asks for; a text that keeps no more than this is about something else
_SHORT = 8  # words of an unsafe sentence that goes whole, where a longer one loses its unsafe words
_AT_ODDS = ("changed", "denied", "excluded")  # how the kinds of reasons begin that say a text contradicts its query


@dataclass(frozen=True)
class Bounds:
    """What a refined prompt must keep to; the fields are `RulesJudge`'s arguments."""

    facets: tuple[str, ...]
    min_words: int
    max_words: int
    missing_tolerance: float
    max_clause_words: int
    rounds: int


class Refiner:
    """Repairs prompts.

    Args:
        bounds: of the refined prompts.
        judged: the verdict on a text for a prompt's query.
        unsafe: whether a classifier finds a sentence unsafe.
    """

    def __init__(self, bounds: Bounds, judged: Callable[[Prompt, str], Verdict], unsafe: Callable[[str], bool]) -> None:
        self.bounds, self.judged, self.unsafe = bounds, judged, unsafe

    def refined(self, prompt: Prompt, verdict: Verdict) -> str | None:
        """The prompt without the flaws of its verdict; None where they cannot be repaired."""
        required = understand(prompt.query)
        answer = without_garbled(unwrap(prompt.text).prompt, prompt.query)
        text = whole(one_line(without_marks(answer)), prompt.cut)
        for _ in range(self.bounds.rounds):
            repaired = self._repaired(required, text, verdict, seed_of(prompt.id))
            if repaired is None:
                return None
            text = repaired
            verdict = self.judged(prompt, text)
            if verdict.fine:
                return self._shortened(prompt, text)
        return None

    def _repaired(self, required: Requirements, text: str, verdict: Verdict, seed: int) -> str | None:
        """Repairs what the verdict names, in the order in which one repair could undo another; None for another scene."""
        kinds = {reason.kind for reason in verdict.reasons}
        if verdict.refusal or "refusal" in kinds:
            text = ""
        if not kinds.isdisjoint(KINDS):
            text = without_marks(text)
        if "lead_in" in kinds:
            text = repairs.without_lead_in(text)
        if verdict.harmless is False:
            text = self._safe(required, text, "classifier" in kinds)
        if text and self._another_scene(required, text):
            if 2 * len(text.split()) > self.bounds.min_words:
                return None
            text = ""  # a few words hold nothing that is worth keeping
        reasons: Sequence[Reason] = verdict.reasons
        if text and required.shots:
            if "changed_order" in kinds:
                return None
            text = restoring.with_lost_shots(required, text, self.bounds.max_clause_words)
            reasons = fidelity.flaws(required, read(text), self.bounds.missing_tolerance)
        for reason in reasons:
            text = self._put_right(required, text, reason)
        asides = self._asides(required, text)
        completed = self._completed(required, stock.put_in(text, asides))
        if not completed:
            return None
        sentences = stock.sentences_for(completed, self.bounds.facets, self.bounds.min_words, seed)
        room = self.bounds.max_words - len(" ".join(sentences).split())
        return stock.put_in(self._within(required, completed, room), sentences, asides)

    def _safe(self, required: Requirements, text: str, classified: bool) -> str:
        def keeps(fewer: str) -> bool:
            return self._lost(required, fewer) <= self._lost(required, text)

        text = without_unsafe_sentences(text, keeps, most=_SHORT)
        text = without_unsafe_additions(text, required.text)
        text = harmless(without_unsafe_sentences(text, keeps))
        if classified:
            text = " ".join(sentence for sentence in SENTENCE_END.split(text) if not self.unsafe(sentence))
        return text

    def _put_right(self, required: Requirements, text: str, reason: Reason) -> str:
        """The text with one reason's words put right; as it was where that would not make it more accurate."""
        changed = corrected(required, text, reason)
        return changed if changed == text or self._lost(required, changed) < self._lost(required, text) else text

    def _lost(self, required: Requirements, text: str) -> int:
        """How many ways there are in which the text fails the query; without tolerance, so that every repair shows."""
        return len(fidelity.flaws(required, read(text), 0.0))

    def _asides(self, required: Requirements, text: str) -> list[str]:
        """Short sentences for what is missing of style, camera, light and place."""
        if not text or required.shots:  # of several shots it would not be clear which one they are about
            return []
        found = fidelity.flaws(required, read(text), self.bounds.missing_tolerance)
        missing = {reason.detail for reason in found if reason.kind == "missing"}
        asides = [replacing.aside(item) for item in required.items if item.words in missing]
        return [*replacing.lights_missing(required, missing), *(aside for aside in asides if aside)]

    def _completed(self, required: Requirements, text: str) -> str:
        """The text with the query's own sentences for what it misses; nothing where the two contradict each other."""
        left = fidelity.flaws(required, read(text), self.bounds.missing_tolerance)
        if not left and text:
            return text
        if (
            text and required.shots
        ):  # a sentence of the query beside the shot that it is about would show the shot twice
            return ""
        if text and self._at_odds(required, text, left):
            return ""
        flags = [item for item in required.items if item.first < 0 and not evidence.kept(item, read(text), required)]
        flagged = [repairs.camera_sentence(item) for item in flags]
        if required.motion is not None and any(reason.kind == "motion" for reason in left):
            flagged.append(repairs.motion_sentence(required.motion))
        said = {item.words for item in flags}
        missing = [reason.detail for reason in left if reason.kind == "missing" and reason.detail not in said]
        most = self.bounds.max_clause_words if text else self.bounds.max_words
        if not text or missing or any(reason.kind == "missing_relation" for reason in left):
            own = repairs.query_sentences(required, missing if text else (), most)
            if not own and not flagged:
                return ""
            text = _interleaved(text, own)
        return stock.put_in(text, flagged)

    def _at_odds(self, required: Requirements, text: str, left: Sequence[Reason]) -> bool:
        """Whether the text is about something else than the query, or says the opposite of a part of it."""
        if any(reason.kind.startswith(_AT_ODDS) for reason in left):
            return True
        if self._another_scene(required, text):
            return True
        reading = read(text)
        things = [item for item in required.items if item.kind == "object" and not naming.is_place(item.key)]
        lost = [item for item in things if not evidence.kept(item, reading, required)]
        return any(evidence.rivals_of(item, reading, required) for item in lost)

    def _another_scene(self, required: Requirements, text: str) -> bool:
        """Whether most of what the query asks for is not there, apart from what a sentence can add: style, camera, light, place, text.

        A thing of another kind in a thing's place counts as half kept: it can be put right.
        """
        reading = read(text)
        said = [
            item for item in required.items if replacing.aside(item) or replacing.lights_missing(required, [item.words])
        ]
        asked = [item for item in required.items if item.kind not in ("soft", *QUOTED) and item not in said]
        kept = {item: evidence.kept(item, reading, required) for item in asked}
        things = [item for item in asked if item.kind in (OBJECT, NAME) and not naming.is_place(item.key)]
        if things and not any(kept[item] or rival_of(required, text, item) for item in things):
            return True
        for item in asked:
            if not kept[item] and item.kind == "object" and rival_of(required, text, item):
                kept[item] = _KEPT
        weights = {item: fidelity.WEIGHTS[item.kind] for item in asked}
        return bool(asked) and sum(weights[item] * kept[item] for item in asked) < _KEPT * sum(weights.values())

    def _within(self, required: Requirements, text: str, most: int) -> str:
        """The text without the sentences of least worth, so that it has at most so many words."""
        before = len(fidelity.flaws(required, read(text), self.bounds.missing_tolerance))

        def still(fewer: str) -> bool:
            return len(fidelity.flaws(required, read(fewer), self.bounds.missing_tolerance)) <= before

        def worth(sentence: str, others: Sequence[str]) -> int:
            here, rest = read(sentence).places, read(" ".join(others)).places
            facets = (helpfulness.signs_of(facet) for facet in self.bounds.facets)
            alone = sum(not signs.isdisjoint(here) and signs.isdisjoint(rest) for signs in facets)
            asked = sum(item.key in here for item in required.items)
            return 4 * alone + 3 * _of_the_picture(sentence) + asked

        shorter = within(text, most, worth, still)
        if len(shorter.split()) <= most:
            return shorter
        first = SENTENCE_END.split(shorter)[0]
        cut = " ".join(first.split()[:most])
        return (cut[: cut.rfind(",")] if "," in cut else cut).rstrip(" ,;") + "."

    def _shortened(self, prompt: Prompt, text: str) -> str:
        """The repaired text without closing sentences that add nothing, as near as can be to the length it had.

        Otherwise 'refined' would come to mean 'longer' (or 'shorter'), and that is what a preference for it would teach. A
        sentence that names motion, light, place, camera or style stays, even where another names the same: preferences for
        its loss teach to leave it out.
        """
        length = len(prompt.text.split())
        sentences = SENTENCE_END.split(text)
        place = len(sentences) - 1
        while place > 0:
            excess, saved = len(" ".join(sentences).split()) - length, len(sentences[place].split())
            fewer = sentences[:place] + sentences[place + 1 :]
            facets = (helpfulness.signs_of(facet) for facet in self.bounds.facets)
            places = read(sentences[place]).places
            idle = all(signs.isdisjoint(places) for signs in facets) and not _of_the_picture(sentences[place])
            if idle and saved < 2 * excess and self.judged(prompt, " ".join(fewer)).fine:
                sentences = fewer
            place -= 1
        return " ".join(sentences)


def _of_the_picture(sentence: str) -> bool:
    """Whether a sentence speaks of camera or style, as the last one of a rewrite often does."""
    return not _picture_words().isdisjoint(read(sentence).places)


@cache
def _picture_words() -> frozenset[str]:
    camera = lexicon.table("facets")["camera"]
    styles = [sign for row in lexicon.table("styles").items() for sign in (row[0], *row[1])]
    return frozenset(map(stem_phrase, (*camera, *styles, "style", "look", "tone")))


def _interleaved(text: str, own: Sequence[tuple[float, str]]) -> str:
    """The query's sentences among the text's, each as far from the beginning as it is in the query."""
    sentences = SENTENCE_END.split(text) if text else []
    count = len(sentences)
    for share, sentence in reversed(own):
        sentences.insert(round(share * count), sentence)
    return joined(*sentences)
