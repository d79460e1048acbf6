"""A worker without a model: draws a small moving square by a seed, or answers questions by the length of their text.

It shows that workers can be installed and run on a machine, and how a script of one's own looks. Its jobs, see `contract.py`:

    {"id": "a", "path": "/folder/a.mp4", "seed": 3}       writes the clip: {"path", "frames", "fps", "height", "width"}
    {"id": "b", "questions": ["Is it so?", "And so?"]}    {"answers": [true, true]}: whether a text has an odd number of characters
"""

from __future__ import annotations

import os
import random
import sys
import time
from typing import Any, Mapping

if __package__:
    from vpo.workers import contract
else:
    HERE = os.path.dirname(os.path.abspath(__file__))
    sys.path += [HERE, os.path.dirname(HERE)]
    import contract

    del sys.path[-2:]  # what else lies there is not for the model's code


class Toy(contract.Script):
    """Small clips of a moving square, and answers by the length of a question."""

    name = "toy"
    defaults: Mapping[str, Any] = {
        "frames": 8,
        "size": 64,
        "fps": 8,
        "seconds": 0.0,
    }  # seconds: how long a job takes, at least

    def check(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        import av

        return {"av": av.__version__}

    def load(self, settings: Mapping[str, Any]) -> None:
        import av  # noqa: F401 (that it is missing is found now)

        self.settings = settings

    def work(self, job: contract.Job) -> dict[str, Any]:
        time.sleep(self.settings["seconds"])
        if "questions" in job:
            return {"answers": [len(question) % 2 == 1 for question in job["questions"]]}
        if "path" not in job:
            raise contract.JobError("bad_job", "a job has a path or questions")
        size, frames, fps = self.settings["size"], self.settings["frames"], self.settings["fps"]
        with contract.whole_file(job["path"]) as part:
            write_clip(pictures(job.get("seed", 0), frames, size), size, fps, part)
        return {"path": job["path"], "frames": frames, "fps": fps, "height": size, "width": size}

    def is_there(self, job: contract.Job, result: Mapping[str, Any]) -> bool:
        return "path" not in result or os.path.exists(result["path"])


def pictures(seed: int, frames: int, size: int) -> list[bytes]:
    """Grey pictures, size x size bytes each: a bright square of a quarter of the width, which a seed places, moves to the right."""
    side = size // 4
    draw = random.Random(seed)
    top, left = draw.randrange(size - side), draw.randrange(size - side)
    made = []
    for frame in range(frames):
        picture = bytearray([40]) * (size * size)
        start = (left + 2 * frame) % (size - side)
        for row in range(top, top + side):
            picture[row * size + start : row * size + start + side] = bytes([220]) * side
        made.append(bytes(picture))
    return made


def write_clip(made: list[bytes], size: int, fps: int, path: str) -> None:
    """Write grey pictures as H.264 in mp4."""
    import av

    with av.open(path, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = size, size, "yuv420p"
        stream.thread_count = 1  # x264 makes equal files of equal frames only in one thread and without a look-ahead
        stream.options = {"threads": "1", "x264-params": "threads=1:sync-lookahead=0:rc-lookahead=0:mbtree=0"}
        for picture in made:
            frame = av.VideoFrame(size, size, "gray")
            plane, line = frame.planes[0], bytearray()
            for row in range(size):
                line += picture[row * size : (row + 1) * size].ljust(plane.line_size, b"\0")
            plane.update(bytes(line))
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode())


if __name__ == "__main__":
    sys.exit(contract.main(Toy()))
