"""What surrounds a prompt in an answer is a flaw with a name of its own, and refine leaves the prompt alone."""

import pytest

from tests.judge.conftest import GOOD, kinds, repaired_of, verdict_of
from vpo.judge.rules.judge import RulesJudge
from vpo.language.answers import KINDS, find_lead_in, unwrap
from vpo.language.garbled import find_garbled, without_garbled

QUERY = "a red car driving at sunset"
WRAPPED = (
    ("json", '{"prompt": "%s"}'),
    ("json", '{"query": "a red car", "result": {"rewritten_prompt": "%s", "negative_prompt": "blur, text and other bad things"}}'),
    ("json", '["%s"]'),
    ("json", "{'prompt': '%s'}"),
    ("json", '{"scenes": [{"description": "%s"}, {"description": "A boat sails over a sea"}]}'),
    ("json", '{"prompt": "%s'),
    ("json", 'Here is the JSON:\n{"prompt": "%s", "reasoning": "The user wants a car, so I added a road and waves."}'),
    ("json", '```json\n{"video_prompt": "%s"}\n```'),
    ("code_fence", "```\n%s\n```"),
    ("code_fence", "Here you go:\n```text\n%s\n```\nLet me know if you want changes."),
    ("tags", "<prompt>%s</prompt>"),
    ("tags", "<thinking_done/><answer>\n%s\n</answer>"),
    ("tags", "<original>a red car</original><rewritten>%s</rewritten>"),
    ("tags", "[PROMPT]%s[/PROMPT]"),
    ("tags", "\\boxed{%s}"),
    ("quotes", '"%s"'),
    ("quotes", "\u201c%s\u201d"),
    ("quotes", "\u00ab%s\u00bb"),
    ("quotes", '**Enhanced Prompt:** "%s"'),
    ("note", "%s\n\nNote: I kept the car."),
    ("note", "%s This prompt adds detail to the query."),
    ("note", "%s\n\nThe revised prompt keeps the car and the sunset."),
    ("note", "%s\n\nLet me know if you would like changes!"),
    ("note", "%s I have added waves to make it richer."),
    ("note", "%s\nNegative prompt: blur, text"),
    ("note", "%s\n\n**Negative Prompt:** blur, text"),
    ("note", "%s (65 words)"),
    ("note", "%s\n\nWord count: 33"),
    ("note", "%s\n\nKeywords: car, sunset, coast"),
    ("note", "%s\n\nChanges made:\n- a road\n- waves"),
    ("alternatives", "Option 1: %s\nOption 2: A boat sails over the sea."),
    ("alternatives", "**Version A:** %s\n\n**Version B:** A boat sails over the sea."),
    ("alternatives", "Prompt 1: %s\n\nPrompt 2: A boat sails over the sea."),
    ("alternatives", "%s\n\nAlternatively:\nA boat sails over the sea."),
    ("thinking", "<think>The user wants a car.</think>\n%s"),
    ("thinking", "The user wants a car.</think>\n\n%s"),
    ("thinking", "<reasoning>\nA car.\n</reasoning>\n%s"),
    ("thinking", "### Thinking:\nThe user wants a car.\n\n### Prompt:\n%s"),
    ("thinking", "**Reasoning:** the user wants a car.\n\n%s"),
    ("thinking", "Analysis: it lacks light. I add it.\n\nFinal prompt: %s"),
)  # fmt: skip
OPENINGS = (
    "Below is the enhanced prompt:\n\n", "Here you go: ", "Here you go!\n", "Here it is: ", "Enhanced prompt: ", "Output: ",
    "Output:\n",
    "Refined video description:\n", "Sure thing \u2014 ", "Sure thing! ", "Rewritten: ", "Improved: ", "Prompt (enhanced): ",
    "Prompt \u2013 ", "The following is a refined prompt for your video. ", "The following is the rewritten query:\n",
    "As requested, ",
    "As you asked: ", "Per your request, ", "### Output\n", "**Final Answer:** ", "Result: ", "My version: ",
    "Cinematic prompt: ",
    "Based on your query, here is a detailed prompt: ", "I've rewritten your prompt as follows: ", "Assistant: ", "Okay, ",
    "Here's my attempt at a richer version: ", "This is the improved version of your query:\n", "Here is what I came up with: ",
    "Please find the optimized prompt below:\n",
    "For your video, I suggest the following: ", "Text-to-video prompt for Wan 2.1: ",
    "Let's enhance this prompt: ", "Expanded version of the prompt: ", "Certainly! Below you'll find the polished prompt:\n",
    "Video prompt (English, 80 words): ", "Sure, here's one: ", "New and improved prompt: ", "Detailed text-to-video description: ",
    "Optimized Query:\n", "Title: The Red Car\n\n", "I have expanded your query into a detailed prompt:\n\n",
)  # fmt: skip
SCENES = (
    "Here, a dog runs over the grass.", "Below is a valley, green and wide: a river runs through it.", "Below, the sea rolls in.",
    "A prompter on stage speaks: hello there.", "A sign with the caption: OPEN stands at a road.", "Here is a dog that runs.",
    "The following car drives on: fast and loud.", "Prompt action saves a man at sea.", "Result boards light up in a hall.",
    "Well, a dog jumps over a well.", "Version two of the robot walks by.", "Note the red car on the road, and the sea behind it.",
    'A sign reads "Stop", and a man says "go".', "A man reads a note: come home. The prompt boy runs off.",
    "Rewritten pages fly through a room.", "A refined lady sips tea: elegant and calm.", "OK stands on a door. A hand turns the key.",
    "The camera follows the ants. If you look closely, they carry leaves.", "A video wall shows clips of a city.",
    "As requested by the king, a jester dances in the hall.", "Based on a true story, a ship sails through ice.",
    "A woman writes an answer on a board: forty-two.",
    "A monk is thinking: his eyes are closed.", "Output cables hang from a wall.",
    "A plan lies on the table: a house with a garden.", "Let the wind blow: sand drifts.", "Option traders shout in a hall.",
    "[A park] at dawn, with {two} dogs.", "A poster with the words 'We are here' hangs there.", "Sure-footed goats climb a cliff.",
    "A man takes notes. The version of the poem on the wall is old.", "Great, dark waves rise: a boat is lifted by them.",
)  # fmt: skip


@pytest.mark.parametrize(("kind", "form"), WRAPPED)
def test_a_wrapper_is_a_flaw_and_the_prompt_alone_is_left(judge: RulesJudge, kind: str, form: str) -> None:
    answer = form.replace("%s", GOOD)
    assert unwrap(answer).prompt == GOOD
    verdict = verdict_of(judge, QUERY, answer)
    assert verdict.helpful is False
    assert not verdict.refusal
    assert kind in dict(kinds(verdict, "helpful"))
    assert repaired_of(judge, QUERY, answer) == GOOD


@pytest.mark.parametrize("opening", OPENINGS)
def test_an_announcement_in_any_words_is_a_lead_in(judge: RulesJudge, opening: str) -> None:
    answer = f"{opening}{GOOD}"
    assert unwrap(answer).prompt == GOOD
    verdict = verdict_of(judge, QUERY, answer)
    assert "lead_in" in dict(kinds(verdict, "helpful"))
    assert not verdict.refusal
    assert repaired_of(judge, QUERY, answer) == GOOD


@pytest.mark.parametrize("text", SCENES)
def test_a_scene_that_sounds_alike_is_none(text: str) -> None:
    assert unwrap(text) == (text, ())
    assert find_lead_in(text) == ""


def test_wrappers_in_wrappers() -> None:
    answer = f'<think>Hm.</think>Sure! Here is it:\n```json\n{{"prompt": "\\"{GOOD}\\""}}\n```\nI hope this helps!'
    prompt, wrappers = unwrap(answer)
    assert prompt == GOOD
    assert {"thinking", "json", "quotes"} <= {one.kind for one in wrappers} <= set(KINDS)


@pytest.mark.parametrize(
    "answer", ["<think>The user wants a car, so", "<think>A car.</think>", "Reasoning: the user wants a car."]
)
def test_reasoning_without_an_answer_holds_no_prompt(judge: RulesJudge, answer: str) -> None:
    assert unwrap(answer).prompt == ""
    verdict = verdict_of(judge, QUERY, answer)
    assert (verdict.accurate, verdict.helpful) == (False, False)
    assert repaired_of(judge, QUERY, answer) is None


@pytest.mark.parametrize(
    "unit", ["<a> ", "[[", '{"a":', "``` ", "<think>", "Note: a. ", '"', "Option 1: a. ", "<a>b</a>", "This prompt "]
)
def test_odd_answers_end_soon(unit: str) -> None:
    assert isinstance(unwrap(unit * (20_000 // len(unit))).prompt, str)


# What is broken in the text itself

FIRST, SECOND = GOOD.split(". ")
BROKEN = (
    ("other_script", f"{FIRST}. \u955c\u5934\u7f13\u7f13\u63a8\u8fdb\u3002{SECOND}", GOOD),
    ("other_script", f"{FIRST}. \u041a\u0430\u043c\u0435\u0440\u0430 \u0441\u043b\u0435\u0434\u0443\u0435\u0442. {SECOND}", GOOD),
    ("other_script", f"{FIRST}. \u062a\u062a\u062d\u0631\u0643 \u0627\u0644\u0643\u0627\u0645\u064a\u0631\u0627. {SECOND}", GOOD),
    ("decoding", GOOD.replace("its", "a fan\u00e2\u20ac\u2122s"), GOOD.replace("its", "a fan\u2019s")),
    ("decoding", GOOD.replace(", its", "\ufffd, its"), GOOD),
    ("loop", f"{GOOD} {SECOND} {SECOND} {SECOND}", GOOD),
    ("cut_off", f"{GOOD} The light falls on the", GOOD),
    ("cut_off", f"{GOOD} In the distance, gulls fly over the water and", GOOD),
    ("note", f"{GOOD} Input query: a red car driving at sunset", GOOD),
    ("echo", f"[INST] a red car [/INST] {FIRST}. {SECOND}", GOOD),
    ("echo", f"The prompt must be safe, respectful, and free from any harmful, offensive, or unethical content. {GOOD}", GOOD),
)  # fmt: skip


@pytest.mark.parametrize(("kind", "text", "mended"), BROKEN)
def test_a_broken_text_is_a_flaw_that_is_mended(judge: RulesJudge, kind: str, text: str, mended: str) -> None:
    verdict = verdict_of(judge, QUERY, text)
    assert kind in dict(kinds(verdict, "helpful"))
    assert repaired_of(judge, QUERY, text) == mended


@pytest.mark.parametrize(
    ("text", "query"),
    [
        (GOOD, QUERY),
        ("A caf\u00e9 in S\u00e3o Paulo, 20 \u00b0C, with \u03c0 on a board.", "a cafe"),
        ("A sign reads \u201c\u5317\u4eac\u201d over a street.", "a sign that says \u5317\u4eac"),
        ("A dog runs. A dog jumps. A dog runs. It is fast.", "a dog"),
        ("The train goes on and on and on and on through the hills.", "a train"),
        ("A field at dusk as the camera zooms in", "a field"),
    ],
)
def test_a_whole_text_is_not_broken(text: str, query: str) -> None:
    assert find_garbled(text, query) == ()
    assert without_garbled(text, query) == text
