"""What of a query's text is kept, and which texts are the same query."""

import unicodedata

import pytest

from vpo.dataset.reading.text import CONTROLS, ENTITIES, TAGS, comparison_key, tidy

DOG = "a dog"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *((DOG, f"a {mark}dog") for mark in "\u200b\u200c\u200d\u2060\ufeff\u00ad\u034f\u180e\u2063\u202e"),
        *((DOG, f"a {mark}dog") for mark in "\ufe0f\u3164\u115f\u17b4\U000e0041"),
        *((DOG, f"a dog{mark}") for mark in "\u200b\ufeff\u200e\x00\x07\x7f\x9f"),
        *((DOG, f"a{space}dog") for space in "\u00a0\u1680\u2003\u2009\u2028\u2029\u202f\u205f\u3000\u2800\t\n\x0b\x0c\x1f\x85"),
        (DOG, "a \u200b dog"),
        (DOG, "A DOG"),
        (DOG, "ａ ｄｏｇ"),  # full width
        ("café", "cafe\u0301"),
        ("café", "cafe\u034f\u0301"),  # a joiner of graphemes between letter and accent
        ("café", "CAFE\u0301"),
        ("각", "\u1100\u1161\u11a8"),  # Hangul, composed and in its parts
        ("ﬁsh", "fish"),
        ("straße", "STRASSE"),
        ("❤ a dog", "❤\ufe0f a dog"),
    ],
)  # fmt: skip
def test_texts_that_look_the_same_are_the_same_query(one, other):
    assert comparison_key(one) == comparison_key(other)


@pytest.mark.parametrize(
    "pair", [("a dog", "adog"), ("cafe", "café"), ("a dog", "a dog!"), ("犬", "猫"), ("a d", "ad")]
)
def test_texts_that_look_different_are_different_queries(pair):
    assert comparison_key(pair[0]) != comparison_key(pair[1])


def test_every_character_that_unicode_gives_no_width_is_ignored():
    """All of Unicode: what is format or control and no white space never makes a difference."""
    for code in range(0x110000):
        if 0xD800 <= code < 0xE000 or unicodedata.category(chr(code)) not in ("Cf", "Cc"):
            continue
        key = comparison_key(f"a{chr(code)}b")
        assert key == ("a b" if chr(code).isspace() else "ab"), hex(code)


@pytest.mark.parametrize("text", ["", " ", "\u200b", "\ufeff\u200b", "\u3164", "\u2800", "\x00", "\u00ad\u2060 \u00a0"])
def test_a_text_that_shows_nothing_has_no_key(text):
    assert comparison_key(text) == ""


@pytest.mark.parametrize(
    ("typed", "text", "changes"),
    [
        ("<p>a dog</p> &amp; a cat", "a dog & a cat", (ENTITIES, TAGS)),
        ("a &#39;dog&#39;", "a 'dog'", (ENTITIES,)),
        ("a &quot;dog&quot; &#x1F415; &eacute;", 'a "dog" 🐕 é', (ENTITIES,)),
        ("a &amp;#39;dog&amp;#39;", "a 'dog'", (ENTITIES,)),  # escaped twice
        ("a &lt;b&gt;big&lt;/b&gt; dog", "a big dog", (ENTITIES, TAGS)),
        ("a dog<br>a cat<BR/>a fox", "a dog a cat a fox", (TAGS,)),
        ('<a href="x.html">a dog</a> <span class=x>runs</span>', "a dog runs", (TAGS,)),
        ("<div><p>a dog<p>a cat</div>", "a dog a cat", (TAGS,)),
        ("a dog<!-- hidden --> runs<script>alert(1)</script>", "a dog runs", (TAGS,)),
        ("a&nbsp;big&#160;dog", "a big dog", (ENTITIES,)),
        ("a\x00 dog\x07\ufeff", "a dog", (CONTROLS,)),
        ("a \x1b[31mred\x1b[0m cat", "a red cat", (CONTROLS,)),
        ("\x1b]0;title\x07a \x1b]8;;http://x.y\x1b\\cat\x1b]8;;\x1b\\\x1b(B", "a cat", (CONTROLS,)),
        ("a \x1b]cat \x1bdog", "a ]cat dog", (CONTROLS,)),  # no sequence: it has no end
        ("a\x0bdog\x85runs\r\nfast\rnow", "a dog runs\nfast\nnow", ()),
        (" \u200b a dog \u2060\u00a0", "a dog", ()),
    ],
)
def test_what_no_user_types_is_taken_out_and_named(typed, text, changes):
    assert tidy(typed) == (text, changes)


@pytest.mark.parametrize(
    "text",
    [
        "I <3 dogs", "a < b", "if a<b and c>d", "x <y> z", "<lora:x:1>", "<lora:doortoinfinity:0.75>", "<a dog> runs", "<b> is bold",
        "a dog <|im_end|>", "<filename>", "<video>", "<title> card", "<think>", "->", "<->", "<<a dog>>",
        "fish&chips", "R&B", "AT&T", "rock & roll", "&reg without its end", "&nosuchentity;", "&;", "&#;", "https://x.y/?a=1&copy=2",
        "👨\u200d👩\u200d👧", "می\u200cخواهم", "क\u094d\u200dष", "❤\ufe0f",
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "a\u200bb", "a\u00a0dog", "cafe\u0301", "a\ttab\nand a line",
    ],
)  # fmt: skip
def test_what_a_user_types_stays(text):
    assert tidy(text) == (text, ())
