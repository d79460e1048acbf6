"""The official VBench as a worker: one dimension over a folder of videos a job. NEVER RUN BY US on the real models.

Jobs, see `contract.py`:

    {"id": "scene", "dimension": "scene", "videos": "/folder"}
    -> {"dimension", "score", "videos": [{"name", "prompt", "index", "value", "counts"}], "left_out": [names], "missing": [names]}

`/folder` holds `<prompt>-<0..4>.mp4` in VBench's naming; with optimised prompts a video keeps the name of the ORIGINAL prompt, and
every text-conditioned dimension then scores against that. VBench looks into the whole folder and takes the first file's suffix for
all, so it is given links to the dimension's own videos alone.

`score` is the official number of the dimension (one GPU: frame-weighted where VBench's is). `value` is a video's own, as a number:
an answer is 0 or 1, and imaging_quality, which VBench gives in 0..100 for a video and in 0..1 for the dimension, is divided by 100.
`counts` are the numbers that VBench gives beside it. `left_out` are videos that VBench gives no value (color: no such object was
seen); `missing` are videos that the suite expects and the folder lacks. Models are VBench's own, loaded anew for each dimension.
Vchitect/VBench at 45e79ec: vbench/__init__.py and the dimensions' files.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
from typing import Any, Iterable, Mapping, Sequence

if __package__:
    from vpo.workers import contract
else:
    HERE = os.path.dirname(os.path.abspath(__file__))
    sys.path += [HERE, os.path.dirname(HERE)]
    import contract

    del sys.path[-2:]  # what else lies there is not for the model's code

DIMENSIONS = (
    "subject_consistency",
    "background_consistency",
    "temporal_flickering",
    "motion_smoothness",
    "dynamic_degree",
    "aesthetic_quality",
    "imaging_quality",
    "object_class",
    "multiple_objects",
    "human_action",
    "color",
    "spatial_relationship",
    "scene",
    "appearance_style",
    "temporal_style",
    "overall_consistency",
)
VIDEOS = 5  # of each prompt
NAME = re.compile(r"(?P<prompt>.+)-(?P<index>\d+)\.mp4", re.DOTALL)


class VBench(contract.Script):
    """The official VBench, one dimension a job."""

    name = "vbench"
    fields = ("dimension", "videos")
    defaults: Mapping[str, Any] = {"repository": "", "full_info": "", "imaging_quality_preprocessing_mode": "longer"}

    def check(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        import torch

        use_repository(settings["repository"])
        import vbench  # noqa: F401

        try:
            import detectron2
        except ImportError:
            found = "none: object_class, multiple_objects, color and spatial_relationship cannot be measured"
        else:
            found = detectron2.__version__
        gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"
        return {"torch": torch.__version__, "detectron2": found, "gpu": gpu}

    def load(self, settings: Mapping[str, Any]) -> None:
        use_repository(settings["repository"])
        import torch
        import vbench  # noqa: F401

        self.settings = settings
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        path = settings["full_info"] or os.path.join(settings["repository"], "vbench", "VBench_full_info.json")
        with open(path, encoding="utf-8") as file:
            self.full_info = json.load(file)
        self.path = path

    def work(self, job: contract.Job) -> dict[str, Any]:
        from vbench import VBench as Official

        dimension, folder = job["dimension"], job["videos"]
        if dimension not in DIMENSIONS:
            raise contract.JobError("bad_job", f"VBench has no dimension {dimension!r}")
        wanted = expected_names(self.full_info, dimension)
        try:
            there = set(os.listdir(folder))
        except OSError as error:
            raise contract.JobError("bad_job", f"{folder}: {error.strerror}") from error
        given = [name for name in wanted if name in there]
        if not given:
            raise contract.JobError("no_videos", f"{folder} holds no video of {dimension}, such as {wanted[0]!r}")
        mode = {"imaging_quality_preprocessing_mode": self.settings["imaging_quality_preprocessing_mode"]}
        with tempfile.TemporaryDirectory() as place:
            links, output = os.path.join(place, "videos"), os.path.join(place, "results")
            link_all(given, folder, links)
            official = Official(self.device, self.path, output)
            official.evaluate(
                videos_path=links,
                name=dimension,
                dimension_list=[dimension],
                **(mode if dimension == "imaging_quality" else {}),
            )
            with open(os.path.join(output, dimension + "_eval_results.json"), encoding="utf-8") as file:
                written = json.load(file)
        return read_official(written, dimension, given, missing=[name for name in wanted if name not in there])


def expected_names(full_info: Iterable[Mapping[str, Any]], dimension: str) -> list[str]:
    """The names of all videos of a dimension, `<prompt>-<0..4>.mp4`, each once, in the suite's order."""
    prompts = [row["prompt_en"] for row in full_info if dimension in row["dimension"]]
    return [f"{prompt}-{index}.mp4" for prompt in dict.fromkeys(prompts) for index in range(VIDEOS)]


def read_official(
    written: Mapping[str, Any], dimension: str, given: Sequence[str], missing: Sequence[str]
) -> dict[str, Any]:
    """The result of a job from what VBench wrote: {dimension: [score, [{"video_path", "video_results", ...}]]}.

    Raises JobError where it is not of that form, or speaks of a video that it was not given.
    """
    try:
        score, rows = written[dimension]
        videos = [read_video(row, dimension) for row in rows]
        score = float(score)
    except (KeyError, ValueError, TypeError) as error:
        raise contract.JobError("unreadable_result", f"VBench's result of {dimension} is in an unknown form") from error
    named = [video["name"] for video in videos]
    odd = set(named) - set(given)
    if odd or len(set(named)) < len(named):
        raise contract.JobError(
            "unreadable_result", f"VBench's result of {dimension} names a video twice, or an unknown one"
        )
    left_out = [name for name in given if name not in set(named)]
    return {"dimension": dimension, "score": score, "videos": videos, "left_out": left_out, "missing": list(missing)}


def read_video(row: Mapping[str, Any], dimension: str) -> dict[str, Any]:
    """A video's own value, and what stands beside it in VBench's result."""
    name = os.path.basename(row["video_path"])
    parts = NAME.fullmatch(name)
    if parts is None:
        raise ValueError(name)
    value = float(row["video_results"])
    return {
        "name": name,
        "prompt": parts["prompt"],
        "index": int(parts["index"]),
        "value": value / 100 if dimension == "imaging_quality" else value,
        "counts": {key: one for key, one in row.items() if key not in ("video_path", "video_results")},
    }


def link_all(names: Iterable[str], source: str, target: str) -> None:
    """A folder with links to some files of another; copies where the file system has no links."""
    os.makedirs(target)
    for name in names:
        path, to = os.path.abspath(os.path.join(source, name)), os.path.join(target, name)
        try:
            os.symlink(path, to)
        except OSError:
            shutil.copyfile(path, to)


def use_repository(folder: str) -> None:
    """Import from the repository. Raises BadInput where it is not there."""
    if not os.path.isdir(os.path.join(folder, "vbench")):
        raise contract.BadInput(f"repository={folder!r} holds no vbench; name the folder of a clone of VBench")
    if folder not in sys.path:
        sys.path.insert(0, folder)


if __name__ == "__main__":
    sys.exit(contract.main(VBench()))
