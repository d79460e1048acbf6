"""Answers as rewriters of video models give them, in English and Chinese: the prompt is left, and nothing else."""

import time

import pytest

from vpo.language.answers import find_lead_in, unwrap

EN = (
    "A red fox trots across a snowy field at dawn, its breath white in the cold air. Bare birches stand in the mist behind it. The "
    "camera tracks alongside at a low angle."
)
ZH = "一只红色狐狸在清晨的雪地上小跑，口中呼出白气。身后的白桦林笼罩着薄雾。镜头低角度跟拍，带有胶片质感。中景，平视。"
SHORT = "一只小狗在草地上奔跑。"

ENGLISH = (
    "Revised Prompt: %s",
    "**Revised Prompt:**\n\n%s",
    "### Revised Prompt\n%s",
    "Revised prompt: Revised prompt: %s",
    "Rewritten Prompt (English): %s",
    "Rewritten Description: %s",
    'Modified Input:\n"%s"',
    'Modified description: "%s"',
    'Description: "%s"',
    'output: "%s"',
    'Input: "a fox"\nOutput: "%s"',
    "Input: a fox\n\nOutput: %s",
    "Output：%s",
    "The revised prompt is as follows:\n\n%s",
    "The rewritten description is:\n%s",
    "Here is the rewritten prompt in English:\n\n%s",
    "Here’s a refined prompt suitable for video generation:\n\n> %s",
    "Sure, here's an expanded version of the prompt:\n\n---\n\n%s\n\n---",
    "**Title:** Winter Dawn\n\n**Prompt:** %s",
    "1. %s",
    "5. %s",
    "Rewritten prompt:\n1. %s",
    "- %s",
    "* %s",
    "[%s]",
    "[ %s ]",
    '"%s"\n\nThis prompt emphasizes the motion of the fox.',
    "%s\n\n---\n\nFeel free to adjust any of the details.",
    "**English Prompt:**\n%s\n\n**中文提示词：**\n" + ZH,
    "%s\n\n中文翻译：" + ZH,
    "Prompt: %s\n\n（注：以上描述保留了原意。）",
    "Caption: %s",
    'Video caption: "%s"',
    "Detailed video description in English: %s",
    "Normal mode:\n%s",
    "Master mode - %s",
    "Assistant: %s\nUser: a dog",
    "<output>\n%s\n</output>",
    "```plaintext\n%s\n```",
    "Sure, here are both versions of it:\n\n**English Prompt:** %s\n\n**中文提示词：** " + ZH,
    "%s\n\nTranslation: " + ZH,
    'Final Prompt:\n\n"%s"\n\n(Word count: 34)',
)
CHINESE = (
    "改写后的prompt：\n%s",
    "改写后 prompt：%s",
    "改写后的 Prompt:\n\n%s",
    "好的，以下是改写后的提示词：\n\n%s",
    "优化后的Prompt：“%s”",
    "当然可以！以下是为您优化的视频描述：\n\n「%s」\n\n希望这个描述符合您的要求。",
    "改写后 prompt：\n1. %s",
    "扩写后的描述如下：%s",
    "改写：%s",
    "Prompt：%s",
    "提示词：%s",
    "**优化后的提示词：**\n\n%s",
    "根据您的要求，改写如下：\n%s",
    "这是改写后的文本：%s",
    "输出：\n%s",
    "%s\n\n（注：以上描述保留了原意，并补充了细节。）",
    "%s\n\n注：补充了镜头和光线。",
    "%s\n\n字数：86字",
    "%s（共58字）",
    "%s\n\n如果您需要进一步修改，请告诉我。",
    "%s\n\n以上是改写后的提示词，希望对您有帮助！",
    "%s\n\n英文翻译：" + EN,
    "“%s”",
    "『%s』",
    '{"prompt": "%s"}',
    "```\n%s\n```",
    "<prompt>%s</prompt>",
    "Here is the rewritten prompt:\n\n%s",
    "<think>用户想要一只狐狸。</think>\n\n%s",
    "思考：用户想要一只狐狸。\n\n最终提示词：%s",
    "提示詞：%s",
    "好的。\n\n%s",
    "没问题！\n%s",
    "【优化后提示词】\n%s",
    "【改写】%s",
)
SCENES = (
    "3D animation of a fox in the snow.",
    "1917, a soldier runs through a trench.",
    "1. Wide shot: a city at dawn. 2. Close-up: a man looks up.",
    "1. A fox wakes up in its den.\n2. It runs over the snow.",
    "[A park] at dawn, with [two] dogs",
    "- A fox. - A bear. Both run.",
    "- camera zoom in. A fox trots over the snow.",
    "A caption artist writes: Hello.",
    "Input devices lie on a desk: a mouse and a keyboard.",
    "Master mode engaged, a robot wakes up.",
    "Output from a factory: red cars roll off the line.",
    "好天气里，一只狗在海边奔跑。",
    "牌子上写着：“营业中”，一位老人走过。",
    "提示牌立在路边：前方施工，车辆慢行。",
    "改写历史的一刻：宇航员踏上月球。",
    "以下视角拍摄，一座高塔直入云霄。",
    "描述大海的画卷缓缓展开：浪花拍岸。",
    "注满清水的玻璃杯放在桌上，光线折射。",
    "“春”字贴在门上，一个孩子跑出门外，笑着喊：“过年了”",
    "一只猫输出代码：屏幕闪烁。",
    "好的木匠推着刨子，木屑飞舞。",
    "夜色中的广告牌显示：共58字的诗句。灯光闪烁。",
    "画面中央的字幕写着“注：本片为虚构”，人物走过。",
    "文字：“新年快乐”四个金色大字，烟花绽放。",
    "画面：一只狐狸在雪地里。\n镜头：低角度跟拍。",
    "是的，她点了点头，转身离开。",
    "一只狗。以上海为背景，霓虹闪烁。",
    "他写下：输出结果：42。屏幕变黑。",
    "The input is slow: a man waits at a desk.",
)


@pytest.mark.parametrize("form", ENGLISH)
def test_an_english_answer_is_its_prompt(form):
    assert unwrap(form.replace("%s", EN)).prompt == EN


@pytest.mark.parametrize("prompt", [ZH, SHORT])
@pytest.mark.parametrize("form", CHINESE)
def test_a_chinese_answer_is_its_prompt(form, prompt):
    assert unwrap(form.replace("%s", prompt)).prompt == prompt


@pytest.mark.parametrize("text", [*SCENES, EN, ZH, SHORT])
def test_a_scene_that_sounds_alike_is_none(text):
    assert unwrap(text) == (text, ())
    assert find_lead_in(text) == ""


@pytest.mark.parametrize(
    "unit",
    [
        "以下是",
        "改写 ",
        "好的，",
        "（注：a。",
        "1. a ",
        "> a\n",
        "---\n",
        "【a",
        "Input: a\n\n",
        "prompt ",
        "思考：a\n提示词：",
    ],
)
def test_odd_answers_end_soon(unit):
    """Work is linear in the length: four times the text takes about four times as long, never sixteen times."""

    def seconds(length):
        text = unit * (length // len(unit))
        begin = time.process_time()
        unwrap.__wrapped__(text)
        return time.process_time() - begin

    short, long = min(seconds(4_000) for _ in range(3)), min(seconds(16_000) for _ in range(3))
    assert long < 10 * short + 0.05
