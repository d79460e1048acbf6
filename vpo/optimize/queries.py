"""What a user typed, understood once: the text that a language model is asked to rewrite, its plain words, its flags."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vpo.dataset.reading.problems import RowProblem
from vpo.dataset.reading.text import comparison_key, tidy
from vpo.language.flags import named_flags
from vpo.language.identify import language_of
from vpo.language.markup import without_marks

# Marks of chat formats. In this process they are ordinary text to a model; a server's tokenizer may take them for turns.
# The role behind a mark that opens a turn goes with it.
_ROLE_MARKERS = re.compile(
    r"(?:<\|(?:im_start|start_header_id|header_start|start|turn)\|>|<start_of_turn>)"
    r"\s*(?:system|user|assistant|model|tool|developer|ipython|human)(?![\w-]):?"
    r"|<\|[^<>|\n]{1,60}\|>|</?s>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|<(?:bos|eos|pad)>"
    r"|^[ \t]*(?:#{1,3}[ \t]*)?(?:system|assistant|user|human|instruction|response)[ \t]*:[ \t]*",
    re.I | re.M,
)
MARKERS = "role markers removed"


@dataclass(frozen=True)
class UserQuery:
    """A query that can be worked on.

    Attributes:
        given: as it was typed.
        text: without control characters, HTML and role markers: what the language model reads. Flags stay, as in training.
        plain: the words alone, without flags, links and markup: what the query is when it is the prompt.
        flags: by name.
        language: None where it is not sure.
        notes: what was removed from the given text.
    """

    given: str
    text: str
    plain: str
    flags: Mapping[str, Any] = field(default_factory=dict)
    language: str | None = None
    notes: tuple[str, ...] = ()


def read_query(given: Any, max_chars: int, language: str = "keep") -> UserQuery:
    """Understand a query.

    Args:
        given: what the user typed.
        max_chars: a longer text is a pasted document, not a query.
        language: "refuse" for a query that is not English; see `Options.language`.

    Raises:
        RowProblem: it shows nothing, is too long or no text, or its language is refused.
    """
    if not isinstance(given, str):
        raise RowProblem("is no text", "that are no text")
    if len(given) > max_chars:
        raise RowProblem(
            f"has {len(given):,} characters, more than max-chars={max_chars}",
            f"of more than max-chars={max_chars} characters",
            "shorten it or raise the limit",
        )
    try:
        given.encode()
    except UnicodeEncodeError as error:
        raise RowProblem(
            f"holds {given[error.start]!a}, half of a surrogate pair", "with half of a surrogate pair"
        ) from error
    text, notes = tidy(given)
    bare = _ROLE_MARKERS.sub(" ", text)
    if bare != text:
        text, notes = " ".join(bare.split()), (*notes, MARKERS)
    if not comparison_key(text):
        raise RowProblem("is empty: it shows nothing", "that are empty", "write what the video shows")
    plain = without_marks(text)
    if not comparison_key(plain):
        raise RowProblem(
            f"holds nothing but {' '.join(text.split())[:60]!r}, which a video cannot show",
            "of flags, links or markup alone",
            "add what the video shows",
        )
    spoken = language_of(plain)
    if language == "refuse" and spoken not in (None, "en"):
        raise RowProblem(f"is not English ({spoken})", "that are not English", "translate it, or set language=keep")
    return UserQuery(given, text, plain, named_flags(text), spoken, notes)
