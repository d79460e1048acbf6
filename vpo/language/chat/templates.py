"""A chat template made fit for training: it dates nothing, thinks nothing, and holds every word of the query.

A chat template is a program of the model's authors. What has to be set for it (a date, a switch, the form of a turn's content)
is written into the template itself, before its first line. So training, sampling, export and every reader of a stored policy
use the same one, and nothing else has to be remembered.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from vpo.errors import UserError

Render = Callable[[str, str], str]  # chat template and query -> rendered chat, up to where the answer begins

# The fixed moment: the date that Llama 3's templates use where they know no clock.
FIXED = {
    "%Y": "2024", "%y": "24", "%m": "07", "%-m": "7", "%d": "26", "%-d": "26", "%e": "26", "%B": "July", "%b": "Jul", "%h": "Jul",
    "%A": "Friday", "%a": "Fri", "%w": "5", "%u": "5", "%j": "208", "%-j": "208", "%U": "29", "%W": "30", "%V": "30", "%G": "2024",
    "%g": "24", "%C": "20", "%H": "00", "%-H": "0", "%k": " 0", "%I": "12", "%-I": "12", "%l": "12", "%M": "00", "%-M": "0",
    "%S": "00", "%-S": "0", "%f": "000000", "%p": "AM", "%P": "am", "%z": "", "%Z": "", "%s": "1721952000",
    "%c": "Fri Jul 26 00:00:00 2024", "%x": "07/26/24", "%D": "07/26/24", "%F": "2024-07-26", "%X": "00:00:00", "%T": "00:00:00",
    "%R": "00:00", "%r": "12:00:00 AM", "%n": "\n", "%t": "\t", "%%": "%",
}  # fmt: skip
DATE = "26 July 2024"
NO_CLOCK = "{%- macro strftime_now(format) -%}{{ raise_exception('asks for the date') }}{%- endmacro %}\n"

PARTS = (
    "{%- set vpo = namespace(messages=[]) -%}\n"
    "{%- for message in messages -%}\n"
    "{%- if message.content is string -%}\n"
    "{%- set message = dict(message, content=[{'type': 'text', 'text': message.content}]) -%}\n"
    "{%- endif -%}\n"
    "{%- set vpo.messages = vpo.messages + [message] -%}\n"
    "{%- endfor -%}\n"
    "{%- set messages = vpo.messages %}\n"
)

SWITCH = re.compile(r"\b[A-Za-z_]*(?:think|thought|reason)[A-Za-z_]*\b", re.IGNORECASE)
FIRST = ("enable_thinking", "thinking")  # the switches that most templates have
OFF_BY_TRUE = re.compile(r"^(?:no|disable|skip|without)_?", re.IGNORECASE)
LEVELS = ("'none'", "'off'", "'disabled'", "0")  # of switches that are no yes or no; tried where a thought is left open
# <think>, </think>, [THINK], <seed:think>, <|START_THINKING|>, <|begin_of_thought|>, ◁think▷, and channels: <|channel|>analysis
TAG = re.compile(
    r"[<\[◁][^<>\[\]◁▷\s]*(?:think|thought|reason)[^<>\[\]◁▷\s]*[>\]▷]"
    r"|<\|channel\|?>\s*(?:analysis|thought)|<channel\|>|<\|end\|>",
    re.IGNORECASE,
)
CLOSING = re.compile(r"^[<\[◁]\|?(?:/|end|close|channel\|>$)|/>$", re.IGNORECASE)

PROBES = (
    "Ab  \"c\" & 'd' <e> {f} [g] #h é 猫 🐈\n\nSecond line, with a \\ and a tab\t.",
    "A Long Query, " * 600,
)
CURE = "save a tokenizer with another chat template"


@dataclass(frozen=True)
class Adapted:
    """A chat template that can be trained with.

    Attributes:
        template: its text.
        notes: what was set in it, as phrases for the user.
    """

    template: str
    notes: tuple[str, ...] = ()


def adapt(template: str, render: Render, where: str, query: str) -> Adapted:
    """The chat template as it is to be used from now on, its own text where nothing has to be set.

    Args:
        template: Jinja's.
        render: renders a chat of one user turn that holds a query.
        where: whose template it is, for messages.
        query: a word that stands in no template.

    Raises:
        UserError: It fails, changes or drops the query, leaves a thought open or draws at random.
    """
    parts = _form(template, render, where, query)
    form = parts + template
    date = clock(FIXED) if _asks_for_the_date(render, form, query) else ""
    still = clock(FIXED) + form  # whatever is compared below differs by no date
    switch = _thinking_off(still, render, where, query)
    setting = f"{{%- set {switch} %}}\n" if switch else ""
    adapted = date + setting + form
    _check_words(adapted, render, where, query)
    notes = (
        *([f"its chat template dates itself: always {DATE} here, in all that is made of it"] if date else []),
        *(["its chat template reads content as a list of parts: queries are given so"] if parts else []),
        *([f"its chat template thinks: {switch} is set in it"] if switch else []),
    )
    return Adapted(adapted if notes else template, notes)


def clock(moment: dict[str, str]) -> str:
    """Jinja's text that puts a fixed moment in the place of transformers' `strftime_now`, for all of strftime's directives."""
    replaced = "".join(f" | replace({one!r}, {text!r})" for one, text in moment.items())
    return "{%- macro strftime_now(format) -%}{{ format" + replaced + " }}{%- endmacro %}\n"


def open_thought(text: str) -> str | None:
    """The last tag of a text that opens a thought which is not closed; None where there is none."""
    opened: list[str] = []
    for tag in TAG.findall(text):
        if not CLOSING.search(tag):
            opened.append(tag)
        elif opened and not tag.endswith("/>"):
            opened.pop()
    return opened[-1] if opened else None


def _form(template: str, render: Render, where: str, query: str) -> str:
    """What makes the template hold the query: nothing, or its content as a list of parts."""
    failure = None
    for parts in ("", PARTS):
        try:
            given = render(clock(FIXED) + parts + template, query)
        except Exception as error:  # a chat template is a program of the model's authors
            failure = failure or (error if not parts else None)
            continue
        if query in given:
            return parts
        if query.lower() in given.lower():
            raise UserError(f"{where}: its chat template changes the case of the query; {CURE}")
    if failure is not None:
        reason = " ".join(str(failure).split())[:200]
        raise UserError(f"{where}: its chat template fails on one user turn ({reason}); {CURE}") from failure
    raise UserError(f"{where}: its chat template drops the query, as text and as a list of parts; {CURE}")


def _thinking_off(template: str, render: Render, where: str, query: str) -> str | None:
    """The assignment that turns thinking off where it is on and the template has a switch; None where nothing is to be done."""
    plain = render(template, query)
    names = sorted(set(SWITCH.findall(template)), key=lambda name: (name not in FIRST, name))
    tried = [f"{name} = {'true' if OFF_BY_TRUE.search(name) else 'false'}" for name in names]
    left_open = open_thought(_answer_begins(plain, query))
    if left_open:
        tried += [f"{name} = {level}" for name in names for level in LEVELS]
    for switch in tried:
        try:
            given = render(f"{{%- set {switch} %}}\n{template}", query)
        except Exception:  # no value for this switch
            continue
        value = switch.rpartition(" ")[2].strip("'")
        is_printed = given.lower().count(value) > plain.lower().count(value)  # so it is no switch, or has no such value
        if given != plain and not is_printed and query in given and not open_thought(_answer_begins(given, query)):
            return switch
    if left_open:
        raise UserError(
            f"{where}: its chat template opens a thought before the answer ({left_open}) and has no switch for it; {CURE}"
        )
    return None


def _answer_begins(rendered: str, query: str) -> str:
    return rendered.rpartition(query)[2]


def _asks_for_the_date(render: Render, template: str, query: str) -> bool:
    """Whether rendering calls the clock, whatever it makes of it: `{% if strftime_now('%H')|int < 12 %}` prints no date."""
    try:
        render(NO_CLOCK + template, query)
    except Exception:  # with the fixed date it renders
        return True
    return False


def _check_words(template: str, render: Render, where: str, query: str) -> None:
    """Raise UserError unless every word of any query stands in the rendered chat as it is, the same every time."""
    given = render(template, query)
    if any(render(template, query) != given for _ in range(8)):
        raise UserError(f"{where}: its chat template draws at random; {CURE}")
    around = given.split(query)
    for probe in (one.strip() for one in PROBES):
        if render(template, probe) != probe.join(around):
            raise UserError(f"{where}: its chat template {_change(render(template, probe), probe, around)}; {CURE}")


def _change(given: str, probe: str, around: list[str]) -> str:
    due = probe.join(around)
    if any(given.count(sign) > due.count(sign) for sign in ("&amp;", "&lt;", "&#", '\\"', "\\n", "\\u")):
        return "escapes signs of the query"
    return (
        "cuts long queries"
        if probe in PROBES[1] and len(given) < len(due)
        else "changes the words or spaces of a query"
    )
