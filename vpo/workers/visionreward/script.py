"""VisionReward-Video as a worker: yes/no answers to a checklist about a clip. NEVER RUN BY US on the real model.

Jobs, see `contract.py`:

    {"id": "a", "path": "/folder/a.mp4", "query": "what the user typed"}
    -> {"answers": [true, false, null, ...], "tokens": ["yes", "no", "the", ...], "frames": [0, 8, 16, ...]}

One forward of the model a question, as in THUDM/VisionReward at 511960d, inference-video.py: the frame closest to each second, at
most 24; the "chat" template; greedy; the first new token alone is read, so no more are generated. An answer is yes where that token
decodes to "yes" exactly, and no where it decodes to "no"; the authors' script takes anything but "yes" for a no, here it is null and
counted, and the tokens are kept so that it can be seen. Their script reads questions with their line ends, and sends these to the
model; so does this one (`line_end`). The model's own code (trust_remote_code) runs in this environment alone.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Mapping, Sequence

if __package__:
    from vpo.workers import contract
else:
    HERE = os.path.dirname(os.path.abspath(__file__))
    sys.path += [HERE, os.path.dirname(HERE)]
    import contract

    del sys.path[-2:]  # what else lies there is not for the model's code

PLACE = "[[prompt]]"  # of the query in a question
PAD = 128002  # the token that the authors' script pads with


class VisionReward(contract.Script):
    """VisionReward-Video, yes/no answers about a clip."""

    name = "visionreward"
    fields = ("path", "query")
    defaults: Mapping[str, Any] = {
        "path": "THUDM/VisionReward-Video",
        "revision": None,  # a commit of the hub
        "questions": [],  # texts; [[prompt]] stands for the query
        "frames": 24,
        "line_end": True,
    }

    def check_settings(self, settings: Mapping[str, Any]) -> None:
        if not all(isinstance(one, str) and one.strip() for one in settings["questions"]):
            raise contract.BadInput("questions must be a list of texts")
        if settings["frames"] < 1:
            raise contract.BadInput(f"frames={settings['frames']} must be at least 1")

    def check(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        import decord
        import pytorchvideo.transforms  # noqa: F401 (the model's own code imports it)
        import torch
        import transformers

        gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"
        return {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "decord": decord.__version__,
            "gpu": gpu,
        }

    def load(self, settings: Mapping[str, Any]) -> None:
        import decord  # noqa: F401 (that it is missing is found now)
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        if not settings["questions"]:
            raise contract.BadInput("questions is empty; give the checklist")
        self.settings = settings
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        modern = torch.cuda.is_available() and torch.cuda.get_device_capability()[0] >= 8
        self.dtype = torch.bfloat16 if modern else torch.float16
        place = {"revision": settings["revision"], "trust_remote_code": True}
        self.tokenizer = AutoTokenizer.from_pretrained(settings["path"], **place)
        model = AutoModelForCausalLM.from_pretrained(settings["path"], torch_dtype=self.dtype, **place)
        self.model = model.eval().to(self.device)

    def work(self, job: contract.Job) -> dict[str, Any]:
        video, chosen = read_clip(job["path"], self.settings["frames"])
        asked = render_questions(self.settings["questions"], job["query"], line_end=self.settings["line_end"])
        tokens = [self.first_token(question, video) for question in asked]
        return {"answers": [read_answer(token) for token in tokens], "tokens": tokens, "frames": chosen}

    def first_token(self, question: str, video: Any) -> str:
        """The first token that the model writes, as text; `video` is (3, T, H, W)."""
        import torch

        made = self.model.build_conversation_input_ids(
            tokenizer=self.tokenizer, query=question, images=[video], history=[], template_version="chat"
        )
        names = ("input_ids", "token_type_ids", "attention_mask")
        inputs = {name: made[name].unsqueeze(0).to(self.device) for name in names}
        inputs["images"] = [[made["images"][0].to(self.device).to(self.dtype)]]
        with torch.no_grad():
            written = self.model.generate(
                **inputs, max_new_tokens=1, do_sample=False, top_k=1, pad_token_id=PAD, temperature=None, top_p=None
            )
        return self.tokenizer.decode(written[0, inputs["input_ids"].shape[1]])


def choose_frames(timestamps: Sequence[float], most: int) -> list[int]:
    """The frame closest to each second from 0 to the last timestamp, rounded; the earlier of two, and at most `most` frames.

    `timestamps`: when each frame begins, in seconds, in order. Python rounds halves to even, as the authors' script does.
    """
    seconds = range(round(max(timestamps)) + 1)
    closest = [min(range(len(timestamps)), key=lambda i: (abs(timestamps[i] - second), i)) for second in seconds[:most]]
    return closest


def render_questions(questions: Sequence[str], query: str, *, line_end: bool) -> list[str]:
    """The questions about a clip of this query. With `line_end` each ends in the line end that the authors' script leaves on it."""
    return [question.rstrip("\n").replace(PLACE, query) + ("\n" if line_end else "") for question in questions]


def read_answer(token: str) -> bool | None:
    """What a first token says: exactly "yes" or "no", else None, which is no answer."""
    return {"yes": True, "no": False}.get(token)


def read_clip(path: str, most: int) -> tuple[Any, list[int]]:
    """The chosen frames, a tensor (3, T, H, W), and their numbers. Raises JobError where the file is no video."""
    import decord
    from decord.base import DECORDError

    decord.bridge.set_bridge("torch")
    try:
        reader = decord.VideoReader(path, ctx=decord.cpu(0))
        starts = [float(reader.get_frame_timestamp(number)[0]) for number in range(len(reader))]
        if not starts:
            raise contract.JobError("unreadable", f"{path} holds no frame")
        chosen = choose_frames(starts, most)
        return reader.get_batch(chosen).permute(3, 0, 1, 2), chosen
    except (DECORDError, RuntimeError, OSError) as error:
        raise contract.JobError("unreadable", f"{path}: {contract.one_line(error)}") from error


if __name__ == "__main__":
    sys.exit(contract.main(VisionReward()))
