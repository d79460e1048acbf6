"""Chat templates that date, think, drop or change: what is set in them at the start, and what is refused in one line."""

import json
import logging
from datetime import datetime
from unittest.mock import patch

import pytest
import torch

from tests.chat_models import CHATML_CHAT, LLAMA3_CHAT, chatml_tokenizer, llama3_tokenizer, save_llama
from vpo.backbone.hf import HFBackbone
from vpo.errors import UserError
from vpo.language.chat.rendering import Renderer
from vpo.language.chat.templates import FIXED, clock, open_thought
from vpo.language.checkpoints.intake import check_rendering
from vpo.language.checkpoints.loading import load_pretrained
from vpo.templates import read_template
from vpo.training.policy_folder import PolicyWriter

TURNS = "{% for turn in messages %}{{ '<|im_start|>' + turn.role + '\n' + CONTENT + '<|im_end|>' + '\n' }}{% endfor %}"
PROMPT = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
DATED = "{{ 'Today is ' + strftime_now('%d %b %Y %H:%M:%S') + '\n' }}" + CHATML_CHAT
# The ways of Qwen 3 and others, and of GPT-OSS, whose system turn prints the level.
QWEN3 = CHATML_CHAT + (
    "{% if add_generation_prompt and enable_thinking is defined and enable_thinking is false %}"
    "{{ '<think>\n\n</think>\n\n' }}{% endif %}"
)
OPENS = (
    CHATML_CHAT
    + "{% if add_generation_prompt %}{{ '<think>\n' }}{% if not thinking | default(true) %}{{ '</think>' }}{% endif %}{% endif %}"
)
ALWAYS = CHATML_CHAT + "{% if add_generation_prompt %}{{ '<think>\n' }}{% endif %}"
LEVEL = CHATML_CHAT + "{% if add_generation_prompt and reasoning_effort != 'none' %}{{ '[THINK]' }}{% endif %}"
PRINTED = "{{ 'Reasoning: ' + reasoning_effort | default('medium') | string + '\n' }}" + CHATML_CHAT
PARTS = (
    "{% for turn in messages %}{{ '<|im_start|>' + turn.role + '\n' }}"
    "{% for part in turn.content %}{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}"
    "{{ '<|im_end|>' + '\n' }}{% endfor %}"
) + PROMPT
FIRST_PART = TURNS.replace("CONTENT", "turn.content[0]['text']") + PROMPT
GUARD = (
    "{{ '<|im_start|>user\n' }}{% for turn in messages if turn.role == 'user' %}{{ turn.content }}{% endfor %}"
    "{{ '<|im_end|>\n<|im_start|>verdict\n' }}"
)


def checked(chat: str, template: str = "Rewrite: {} now"):
    """The renderer of a tokenizer whose chat template was checked, and the template that it got, if any."""
    tokenizer = chatml_tokenizer()
    tokenizer.chat_template = chat
    adapted = check_rendering(tokenizer, template, "a-model", needs_chat_template=True)
    return Renderer(tokenizer, template), adapted


def at(moment: datetime, renderer: Renderer) -> list[int]:
    """The ids of a query at another time."""

    class Clock(datetime):
        @classmethod
        def now(cls, *_):
            return moment

    with patch("transformers.utils.chat_template_utils.datetime", Clock):
        return renderer.prompt_ids("a dog")


def test_templates_that_need_nothing_stay_as_they_are(caplog):
    caplog.set_level(logging.INFO)
    mentioned = "{% if tools %}{{ strftime_now('%Y') }}{% endif %}" + CHATML_CHAT
    for chat in (CHATML_CHAT, mentioned, PRINTED, CHATML_CHAT + "{# thinking #}"):
        renderer, adapted = checked(chat)
        assert adapted is None
        assert renderer.tokenizer.chat_template == chat
    assert not caplog.records


def test_a_template_that_dates_itself_has_one_date_for_ever(caplog):
    caplog.set_level(logging.INFO)
    tokenizer = chatml_tokenizer()
    tokenizer.chat_template = DATED
    then, later = datetime(2025, 1, 2, 3, 4, 5), datetime(2031, 11, 12, 13, 14, 15)
    assert at(then, Renderer(tokenizer, "{}")) != at(later, Renderer(tokenizer, "{}"))  # so it is by itself
    renderer, adapted = checked(DATED)
    assert at(then, renderer) == at(later, renderer)
    assert renderer.text("a dog").startswith("Today is 26 Jul 2024 00:00:00\n<|im_start|>user\nRewrite: a dog now")
    assert adapted.endswith(DATED)
    assert caplog.messages == [
        "backbone.model=a-model: its chat template dates itself: always 26 July 2024 here, in all that is made of it"
    ]


@pytest.mark.parametrize(
    "asked",
    ["('%H')|int < 12", "('%A') == 'Monday'", "('%Y') >= '2027'", "('%m%d')|int % 2 == 0", "('%y')|length + 1 > 3"],
)
def test_a_template_that_branches_on_the_date_has_one_date_too(asked):
    chat = "{% if strftime_now" + asked + " %}One.{% else %}Other.{% endif %}" + CHATML_CHAT
    renderer, adapted = checked(chat)
    assert adapted.endswith(chat)
    moments = [datetime(2025, 1, 2, 3), datetime(2031, 11, 3, 13), datetime(2024, 7, 26), datetime(2029, 10, 15, 23)]
    assert len({tuple(at(moment, renderer)) for moment in moments}) == 1


def test_the_fixed_date_is_the_one_that_strftime_writes():
    tokenizer, moment = chatml_tokenizer(), datetime(2024, 7, 26)
    every = "|".join(sorted(FIXED.keys() - {"%s", "%n", "%t"}))  # %s depends on the time zone
    tokenizer.chat_template = clock(FIXED) + "{{ strftime_now('" + every + "') }}"
    given = tokenizer.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False)
    assert given.split("|") == moment.strftime(every).split("|")


@pytest.mark.parametrize(
    ("chat", "switch", "ends"),
    [
        (QWEN3, "enable_thinking = false", "<|im_start|>assistant\n<think>\n\n</think>\n\n"),
        (OPENS, "thinking = false", "<|im_start|>assistant\n<think>\n</think>"),
        (LEVEL, "reasoning_effort = 'none'", "<|im_start|>assistant\n"),
        (
            ALWAYS.replace("prompt %}{{ '<think>", "prompt and not no_think %}{{ '<think>"),
            "no_think = true",
            "assistant\n",
        ),
    ],
)
def test_thinking_is_turned_off_where_the_template_knows_how(caplog, chat, switch, ends):
    caplog.set_level(logging.INFO)
    renderer, adapted = checked(chat)
    assert renderer.text("a dog").endswith(ends)
    assert open_thought(renderer.text("a dog")) is None
    assert f"{{%- set {switch} %}}" in adapted
    assert caplog.messages == [f"backbone.model=a-model: its chat template thinks: {switch} is set in it"]


@pytest.mark.parametrize(
    ("text", "opened"),
    [
        ("<think>\n", "<think>"), ("<think>\n</think>", None), ("</think>", None), ("[THINK]", "[THINK]"), ("[THINK][/THINK]", None),
        ("<|START_THINKING|>", "<|START_THINKING|>"), ("<|START_THINKING|><|END_THINKING|>", None), ("<seed:think>", "<seed:think>"),
        ("<|begin_of_thought|>", "<|begin_of_thought|>"), ("◁think▷", "◁think▷"), ("◁think▷◁/think▷", None), ("<think/>", None),
        ("I think so", None), ("<reasoning>", "<reasoning>"), ("<think><think/>", "<think>"),
        ("<|end|><|start|>assistant<|channel|>analysis<|message|>", "<|channel|>analysis"), ("<|channel>thought\n<channel|>", None),
        ("<think></think><think>", "<think>"),
    ],
)  # fmt: skip
def test_open_thoughts_are_seen_in_the_tags_of_known_models(text, opened):
    assert open_thought(text) == opened


@pytest.mark.parametrize("chat", [PARTS, FIRST_PART])
def test_content_is_given_as_parts_where_the_template_reads_nothing_else(caplog, chat):
    caplog.set_level(logging.INFO)
    renderer, _ = checked(chat)
    due = "<|im_start|>user\nRewrite: a dog now<|im_end|>\n<|im_start|>assistant\n"
    assert renderer.text("a dog") == due
    assert renderer.prompt_ids("a dog") == renderer.tokenizer(due, add_special_tokens=False).input_ids
    assert renderer.tokenizer.convert_ids_to_tokens(renderer.end_id) == "<|im_end|>"  # answers are parts, too
    assert caplog.messages == [
        "backbone.model=a-model: its chat template reads content as a list of parts: queries are given so"
    ]


def test_all_that_a_template_needs_is_set_at_once():
    chat = "{{ strftime_now('%Y') }}" + PARTS + "{% if enable_thinking is not defined %}<think>{% endif %}"
    renderer, _ = checked(chat)
    assert renderer.text("a dog") == "2024<|im_start|>user\nRewrite: a dog now<|im_end|>\n<|im_start|>assistant\n"


def test_what_was_set_once_is_not_set_again():
    """An exported policy is a backbone as any other; and its users may give content as parts."""
    _, adapted = checked(
        "{{ strftime_now('%d.%m.%Y') }}" + PARTS + "{% if enable_thinking is not defined %}<think>{% endif %}"
    )
    renderer, again = checked(adapted)
    assert again is None
    turn = {"role": "user", "content": [{"type": "text", "text": "Rewrite: a dog now"}]}
    given = renderer.tokenizer.apply_chat_template([turn], tokenize=False, add_generation_prompt=True)
    assert given == renderer.text("a dog")


@pytest.mark.parametrize(
    "chat",
    [
        GUARD,
        CHATML_CHAT.replace("turn.content", "(turn.content if turn.role == 'user' else '')"),
        "{% if messages | length > 1 %}{{ raise_exception('one turn only') }}{% endif %}" + CHATML_CHAT,
    ],
)
def test_answers_that_a_template_does_not_write_end_with_eos(caplog, chat):
    caplog.set_level(logging.INFO)
    tokenizer = llama3_tokenizer(eos="<|end_of_text|>", chat="{{ bos_token }}" + chat)
    check_rendering(tokenizer, "{}", "a-model", needs_chat_template=True)
    renderer = Renderer(tokenizer, "{}")
    assert renderer.stop_ids == [tokenizer.eos_token_id]
    assert renderer.completion_ids("A dog.")[-1] == tokenizer.eos_token_id
    assert caplog.messages == [
        "backbone.model=a-model: its chat template writes no answers: they end with EOS, <|end_of_text|>"
    ]


@pytest.mark.parametrize(
    ("chat", "message"),
    [
        (ALWAYS, r"opens a thought before the answer \(<think>\) and has no switch for it"),
        (TURNS.replace("CONTENT", "'nothing'") + PROMPT, "drops the query, as text and as a list of parts"),
        (TURNS.replace("CONTENT", "(turn.content[:12])") + PROMPT, "drops the query"),
        (TURNS.replace("CONTENT", "(turn.content[:900])") + PROMPT, "cuts long queries"),
        (TURNS.replace("CONTENT", "(turn.content | truncate(500))") + PROMPT, "cuts long queries"),
        (TURNS.replace("CONTENT", "(turn.content | lower)") + PROMPT, "changes the case of the query"),
        (TURNS.replace("CONTENT", "(turn.content | capitalize)") + PROMPT, "changes the case of the query"),
        (TURNS.replace("CONTENT", "(turn.content | e)") + PROMPT, "escapes signs of the query"),
        (TURNS.replace("CONTENT", "(turn.content | tojson)") + PROMPT, "escapes signs of the query"),
        (TURNS.replace("CONTENT", "(turn.content | replace('\n', ' '))") + PROMPT, "changes the words or spaces of a query"),
        (TURNS.replace("CONTENT", "(turn.content.split() | join(' '))") + PROMPT, "changes the words or spaces of a query"),
        ("{{ [1, 2, 3, 4, 5, 6, 7, 8, 9] | random }}" + CHATML_CHAT, "draws at random"),
        ("{{ raise_exception('a system turn, please') if messages[0].role != 'system' }}" + CHATML_CHAT, "a system turn, please"),
        ("{% for turn in messages %}" + CHATML_CHAT, "its chat template fails"),
        (LLAMA3_CHAT.replace("{{ bos_token }}", "<|im_end|>").partition("{% if add")[0] + "<|im_end|>", "ends with <.im_end.>"),
    ],
)  # fmt: skip
def test_what_cannot_be_mended_is_one_line(chat, message):
    with pytest.raises(UserError, match=message) as found:
        checked(chat)
    assert str(found.value).startswith("backbone.model=a-model: ")
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_stored_policy_renders_as_its_start_did(tmp_path, wrapped):
    """Start, the policy that training leaves, whole or an adapter, and what plain transformers makes of it."""
    from transformers import AutoTokenizer

    released = save_llama(tmp_path / "released", llama3_tokenizer(chat="{{ strftime_now('%S.%f') }}" + LLAMA3_CHAT))
    backbone, start = HFBackbone(str(released), None, "optimizer", True, "float32", "cpu"), tmp_path / "start"
    start.mkdir()
    backbone.prepare(start)
    first = backbone.load(start).renderer
    assert first.text("a dog").startswith("00.000000<|begin_of_text|>")
    model, tokenizer = load_pretrained(start, torch.float32)
    if wrapped:
        from tests.training_jobs import LORA
        from vpo.training.lora import add_adapter

        model = add_adapter(model, LORA)
    PolicyWriter(model, tokenizer, read_template("optimizer"), start, None).write(tmp_path / "policy")
    stored = backbone.load(tmp_path / "policy").renderer
    assert stored.prompt_ids("a dog") == first.prompt_ids("a dog")
    turn = [{"role": "user", "content": first.template.replace("{}", "a dog")}]
    plain = AutoTokenizer.from_pretrained(tmp_path / "policy")
    assert plain.apply_chat_template(turn, add_generation_prompt=True, return_dict=False) == first.prompt_ids("a dog")


def test_a_template_that_cannot_be_used_is_refused_at_the_start(tmp_path):
    released = save_llama(tmp_path / "released", llama3_tokenizer(chat=LLAMA3_CHAT + "<think>"))
    with pytest.raises(UserError, match=r"opens a thought before the answer \(<think>\)"):
        HFBackbone(str(released), None, "optimizer", True, "float32", "cpu").prepare(tmp_path)
    assert not (tmp_path / "start.json").exists()


def test_the_pointer_of_a_start_holds_the_template(tmp_path):
    released = save_llama(tmp_path / "released", llama3_tokenizer(chat="{{ strftime_now('%Y') }}" + LLAMA3_CHAT))
    HFBackbone(str(released), None, "optimizer", True, "float32", "cpu").prepare(tmp_path)
    pointer = json.loads((tmp_path / "start.json").read_text())
    assert pointer.keys() == {"model", "revision", "limits", "chat_template"}
    assert pointer["chat_template"].endswith(LLAMA3_CHAT)
