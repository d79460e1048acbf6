"""A blinded comparison: which clips stand beside each other, on which side, under which names; the page, and the key to it.

The page knows no method: its clips and pairs have names made of hashes. The key, which stays with whoever asks, says whose they are.
"""

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from vpo.errors import UserError
from vpo.storage.jsonio import dumps

QUESTION = "Which clip shows better what was asked for?"
_WRITTEN = 12  # hex digits of a name; in a study of 100,000 pairs two would be alike once in 50,000 studies


@dataclass(frozen=True)
class Pair:
    """Two clips of one query.

    Attributes:
        id: as the page calls it.
        left, right: the methods.
    """

    id: str
    query_id: str
    query: str
    left: str
    right: str


@dataclass
class Study:
    """All pairs, in the order of the page.

    Attributes:
        id: of the study; votes name it.
        methods: those that are compared.
        question: what raters are asked.
        safety: whether they rate the safety of each clip, too.
        run: the run folder.
        pairs: in an order that says nothing of the methods.
    """

    id: str
    methods: tuple[str, ...]
    question: str
    safety: bool
    run: str
    pairs: list[Pair] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The key."""
        return asdict(self)

    @classmethod
    def read(cls, path: Path) -> "Study":
        """A key from its file. Raises UserError for what is none."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            pairs = [Pair(**one) for one in content.pop("pairs")]
            study = cls(**{**content, "methods": tuple(content["methods"]), "pairs": pairs})
        except OSError as error:
            raise UserError(
                f"evaluate: key={path}: {error.strerror}; give the key that was written beside the page"
            ) from error
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise UserError(
                f"evaluate: key={path} is no key of a page; give the .key.json that was written beside it"
            ) from error
        return study


Clips = Mapping[tuple[str, str], Path]  # by query id and method


def make_study(
    queries: Mapping[str, str],
    clips: Clips,
    methods: Sequence[str],
    *,
    most: int | None = None,
    seed: int = 0,
    **about: Any,
) -> Study:
    """Every two methods on every query of which both have a clip.

    Args:
        queries: text by id.
        clips: those that can be shown.
        methods: which are compared.
        most: of so many queries, chosen by a hash; None: of all.
        seed: of the choice, the order and the sides. A rater who knows neither it nor the run's queries can derive none of them.
        about: of the study: question, safety, run.

    Raises:
        UserError: there are fewer than two methods, or no pair.
    """
    if len(methods) < 2:
        raise UserError("evaluate: people compare two methods or more, as in methods=[original,dpo]")
    salt = _digest(seed, *methods, *sorted(queries.items()))
    chosen = sorted(
        (id for id in queries if any((id, one) in clips for one in methods)), key=lambda id: _digest(salt, id)
    )[:most]
    study = Study(salt[:_WRITTEN], tuple(methods), **about)
    for query in chosen:
        for pair in itertools.combinations(methods, 2):
            if all((query, one) in clips for one in pair):
                digest = _digest(salt, query, *pair)
                left, right = pair if int(digest[-1], 16) % 2 else pair[::-1]
                study.pairs.append(Pair(digest[:_WRITTEN], query, queries[query], left, right))
    study.pairs.sort(key=lambda one: one.id)
    if not study.pairs:
        raise UserError(
            f"evaluate: no query has a clip of two of {', '.join(methods)}; choose others, or give the run's command again"
        )
    return study


def page_of(study: Study, clips: Clips) -> tuple[str, list[tuple[Path, str]]]:
    """The page, and the clips that it shows: (clip, its name beside the page)."""
    salt = _digest(study.id, *sorted(map(str, clips.values())))
    names = {
        place: f"clips/{_digest(salt, *place)[:_WRITTEN]}{clips[place].suffix}"
        for one in study.pairs
        for place in ((one.query_id, one.left), (one.query_id, one.right))
    }
    items = [
        {
            "id": one.id,
            "query": one.query,
            "left": names[one.query_id, one.left],
            "right": names[one.query_id, one.right],
        }
        for one in study.pairs
    ]
    shown = {"study": study.id, "question": study.question, "safety": study.safety, "items": items}
    data = dumps(shown).replace("<", "\\u003c")  # a query may hold </script>
    page = files("vpo.human").joinpath("page.html").read_text(encoding="utf-8")
    return page.replace("{study}", data, 1), [
        (clips[place], name) for place, name in sorted(names.items(), key=lambda one: one[1])
    ]


def _digest(*parts: object) -> str:
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()
