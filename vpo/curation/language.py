"""Which queries are in the languages that are trained on, by py3langid (139 languages, offline, 5 MB, BSD-3-Clause)."""

import importlib.util
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from vpo.curation.reading import plain_text
from vpo.errors import UserError

PACKAGE = "py3langid"


def language_reason(text: str, *, allowed: Sequence[str], least_probability: float) -> str | None:
    """A text that is very unlikely to be in one of the languages.

    Short texts are hard to tell ("a pizza" could be Italian), so a text stays unless the languages have nearly no probability. Of
    VPO's sample of users' queries and VBench's prompts the English ones have above 0.001, nearly all others less
    (tests/curation/test_language.py).

    Args:
        text: what the user typed; flags are not read.
        allowed: ISO 639 codes, such as en.
        least_probability: of all of them together, in (0, 1].

    Raises:
        UserError: the package is missing, or knows no such language.
    """
    identifier = identifier_for(tuple(allowed))
    plain = plain_text(text).lower()
    language, confidence = identifier.classify(plain)
    if language in allowed and confidence >= least_probability:
        return None
    ranked = dict(identifier.rank(plain))
    probability = sum(ranked[one] for one in allowed)
    if probability >= least_probability:
        return None
    likeliest = max(ranked, key=lambda one: ranked[one])
    return f"looks like {likeliest} ({ranked[likeliest]:.2f}), {'/'.join(allowed)} {probability:.1g} is below {least_probability}"


def is_installed() -> bool:
    """Whether the package that knows languages is there."""
    return importlib.util.find_spec(PACKAGE) is not None


@lru_cache(maxsize=4)
def identifier_for(allowed: tuple[str, ...]) -> Any:
    """The model, loaded once. Raises UserError where it does not know a language."""
    if not is_installed():
        raise UserError(
            f"curation.language needs {PACKAGE}: pip install 'vpo[curation]', or leave the rule out: curation.language=null"
        )
    identifier = _load()
    unknown = sorted(set(allowed) - set(identifier.labels))
    if unknown:
        raise UserError(
            f"curation.language.allowed: {unknown[0]!r} is no language that {PACKAGE} knows; it knows "
            f"{', '.join(sorted(identifier.labels))}"
        )
    return identifier


@lru_cache(maxsize=1)
def _load() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
