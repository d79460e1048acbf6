"""What Chinese language models put around a prompt: thoughts and announcements before it, notes and translations behind it.

Used by `vpo.language.answers` alone. An announcement is made of nothing but its own words ("好的，以下是改写后的提示词："), so that a
scene with a colon stays as it is ("提示牌立在路边：前方施工").
"""

import re

# Simplified and traditional. A label is a run of these words, and has one of the first kind: "文字：" names what is to be seen.
_NAMING = (
    "提示词 提示詞 提示语 提示語 描述 输出 輸出 结果 結果 答案 回答 最终 最終 以下 下面 如下 "
    "改写 改寫 重写 重寫 优化 優化 扩写 擴寫 扩展 擴展 润色 潤色 修改 增强 增強 翻译 翻譯 prompt output"
)
_BESIDE = (
    "文本 内容 內容 文字 版本 脚本 腳本 完善 丰富 豐富 生成 英文 中文 视频 視頻 画面 畫面 详细 詳細 完整 新 版 后 後 过 過 的 所示 "
    "这是 這是 就是 是 为 為 给 給 您 你 我 一个 一個 一段 一份 请看 請看 prompts video caption english chinese"
)


def _any_of(*words: str) -> str:
    return "|".join(sorted(" ".join(words).split(), key=len, reverse=True))


_LABEL = (
    rf"(?=[^\n：:】\]]{{0,40}}?(?:{_any_of(_NAMING)}))(?:(?:{_any_of(_NAMING, _BESIDE)})[ \t]*){{1,16}}"
    r"(?:[（(][^（()）\n]{1,12}[)）][ \t]*)?"
)
_OPEN = r"[\s\"*_#>-]{0,12}"
_YES = r"(?:好的?|当然(?:可以)?|當然(?:可以)?|没问题|沒問題|明白了?|收到)(?:[，,。！!：:][ \t]*\n*|[ \t]*\n+)[\s*_]*"
_BECAUSE = r"(?:根据|根據|按照|基于|基於|针对|針對|依据|依據)[^，,：:。\n]{1,20}[，,][ \t]*(?:我)?"
_COLON = r"[ \t*_]*[：:][\s*_]*"
_LEAD_IN = re.compile(
    rf"\A{_OPEN}(?:(?:{_YES})?(?:[【\[]{_LABEL}[】\]][\s*_]*[：:]?[\s*_]*|(?:{_BECAUSE})?{_LABEL}(?:{_COLON}|[ \t*_]*\n[\s*_]*))"
    rf"|{_YES})",
    re.I,
)
_HEAD = re.compile(rf"(?:^|\n){_OPEN}{_LABEL}{_COLON}", re.I)
_THOUGHT = re.compile(rf"\A{_OPEN}(?:思考|分析|思路|推理|理解)(?:过程|過程)?{_COLON}")
_NOTES = re.compile(
    r"(?:\n|(?<=[。！？.!?”」』])[ \t]*)[\s（(\[【*_#>-]{0,12}(?:"
    r"(?:注(?:意|释|釋|明|解)?|说明|說明|备注|備註|解释|解釋|改动|改動|修改说明|字数(?:统计)?|字數(?:統計)?|关键词|關鍵詞|"
    r"(?:负面|負面|反向)(?:提示[词詞]|prompt)|(?:中文|英文|中译|英译)[ \t]*(?:翻译|翻譯|译文|譯文|版本?|提示[词詞]|描述|prompt)|"
    r"(?:(?:english|chinese) )?(?:翻译|翻譯|译文|譯文|translation))[】*_ \t]*[：:]"
    r"|以上(?:是|就是|为(?:您|你)|為(?:您|你)|描述|内容|內容|提示[词詞]|prompt)"
    r"|希望(?:这|這|以上|对您|對您|对你|對你|能(?:够|夠)?(?:满足|滿足|帮|幫))"
    r"|如(?:果)?(?:您|你|有|需)[^\n]{0,40}(?:告诉|告訴|告知|随时|隨時|修改|调整|調整)"
    r"|(?:请|請)(?:告诉|告訴|随时|隨時)"
    r"|(?:这|這)(?:个|個|段|条|條)(?:提示[词詞]|prompt|描述|版本)(?:保留|突出|强调|強調|增加|补充|補充|描述|展现|展現|包含)"
    r"|(?:全文)?(?:大)?(?:约|約|共|总计|總計)?[ \t]*\d{2,3}[ \t]*(?:个|個)?字[）)。\s]*\Z"
    r").*",
    re.I | re.S,
)


def find_lead_in(text: str) -> str:
    """The Chinese words that announce a prompt at the start of a text, or nothing."""
    match = _LEAD_IN.match(text)
    return match.group().strip() if match else ""


def without_thinking(text: str) -> str | None:
    """What follows the last announcement after thoughts; empty where there is none, None where no thoughts begin the text."""
    if not _THOUGHT.match(text):
        return None
    heads = list(_HEAD.finditer(text))
    return text[heads[-1].end() :].strip() if heads else ""


def notes_from(text: str, start: int) -> int | None:
    """Where notes, remarks or a translation begin behind a prompt, looked for from a place on; None where there are none."""
    match = _NOTES.search(text, start)
    return match.start() if match else None
