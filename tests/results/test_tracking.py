"""The run folder is the truth; W&B, here the real one in offline mode, holds what the folder holds."""

import json
import logging
import struct
import sys

import numpy as np
import pytest
import yaml

from vpo.build import build
from vpo.errors import UserError
from vpo.evaluator.alignment import Alignment
from vpo.logger import wandb as wandb_mirror
from vpo.logger.csv import CsvLogger
from vpo.logger.wandb import WandbLogger, logged_in, run_id
from vpo.logger.wandb_content import values_of
from vpo.results.record import RunRecord
from vpo.video.clips import write_mp4

RESULTS = {
    "evaluators": {"alignment": Alignment.card.to_json()},
    "methods": {"dpo": {"aligned": {"mean": 0.75, "n": 4, "n_failed": 0, "ci95": 0.1, "low": 0.6, "high": 0.8}}},
    "run": {"experiment": "smoke", "seed": 0, "overrides": ["seed=0", "judge.api_key=sk-hidden"]},
}
CONFIG = {"seed": 0, "judge": {"api_key": "sk-hidden", "max_new_tokens": 8}}


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """A machine without a login and with nothing of W&B in its environment."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))


def finished(tmp_path, loggers):
    folder = tmp_path / "smoke" / "seed=0-1a2b3c4d"
    (folder / "clips").mkdir(parents=True)
    write_mp4(np.full((4, 64, 64, 3), 99, np.uint8), 8.0, folder / "clips" / "a.mp4")
    fox = {"query_id": "q1", "query": "a fox", "method": "dpo", "prompt": "A red fox.", "clip": "clips/a.mp4"}
    dog = {"query_id": "q2", "query": "a dog", "method": "dpo", "prompt": "A dog.", "clip": None}
    away = {"render": {"kind": "timeout", "detail": "no answer", "attempts": 3, "retryable": True}}
    said = {"judge": "harmless yes, accurate yes, helpful yes"}
    items = [
        fox | {"metrics": {"aligned": 1.0}, "weights": {"aligned": 16.0}, "answers": said},
        dog | {"metrics": {"aligned": None, "scene": 0.5}, "failures": away},
    ]
    source = tmp_path / "training.jsonl"
    source.write_text('{"step": 10, "train/loss": 0.69}\n{"step": 20, "train/loss": 0.5}\n')
    (tmp_path / "prompts.jsonl").write_text('{"step": 10, "query": "a fox", "prompt": "A red fox.", "tokens": 4}\n')
    (tmp_path / "warnings.jsonl").write_text('{"step": 10, "name": "rows cut", "warning": "3 of 9 rows"}\n')
    rows = [("a fox", {"dpo": folder / "clips" / "a.mp4"})]
    with RunRecord(folder) as record:
        record.write_config(CONFIG)
        record.finish(RESULTS, items, rows, {"dpo": source}, [build(node) for node in (loggers or {}).values()])
    return folder


def offline_records(folder):
    """The records of the run's one offline file: LevelDB's log format around protocol buffers."""
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    data, at, parts, found = path.read_bytes(), 7, b"", []
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:  # no room for a header: the block is padded
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a full record, or the last part of one
            found.append(Record.FromString(parts))
            parts = b""
    return found


def test_the_folder_holds_the_run_without_secrets(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="vpo")
    folder = finished(tmp_path, {"csv": {"_target_": "vpo.logger.csv.CsvLogger"}})
    names = {path.name for path in folder.iterdir()}
    assert names >= {
        "config.yaml",
        "results.json",
        "items.jsonl",
        "table.md",
        "contact_sheet.png",
        "curves.png",
        "log.txt",
    }
    assert yaml.safe_load((folder / "config.yaml").read_text())["judge"] == {"api_key": "***", "max_new_tokens": 8}
    assert json.loads((folder / "results.json").read_text())["methods"] == RESULTS["methods"]
    assert not any(b"sk-hidden" in path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert "75.0" in (folder / "log.txt").read_text()
    assert "WARNING dpo, step 10: 3 of 9 rows" in (folder / "log.txt").read_text()
    assert "A red fox." in (folder / "training/prompts/dpo.jsonl").read_text()
    assert (folder / "curves.csv").read_text() == "policy,step,train/loss\ndpo,10,0.69\ndpo,20,0.5\n"
    assert (folder / "results.csv").read_text().splitlines()[
        1
    ] == "dpo,aligned,0.75,4,0,0.1,0.6,0.8,Aligned,higher,%,100.0"
    lines = (folder / "items.csv").read_text().splitlines()
    assert lines[0] == "query_id,query,method,prompt,clip,aligned,aligned_weight,judge_answers,scene,failures"
    assert lines[2] == "q2,a dog,dpo,A dog.,,,,,0.5,render: timeout (no answer)"


def test_the_log_says_why_a_run_ended_early_and_lets_go_of_the_logger(tmp_path):
    before = list(logging.getLogger("vpo").handlers)
    with pytest.raises(UserError), RunRecord(tmp_path / "run"):
        raise UserError("line 7 is broken")
    assert "ended early: line 7 is broken" in (tmp_path / "run" / "log.txt").read_text()
    assert logging.getLogger("vpo").handlers == before


def test_a_folder_that_cannot_be_made_is_a_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"paths\.runs"), RunRecord(tmp_path / "file" / "run"):
        pass


def test_wandb_offline_holds_config_means_curves_and_clips(tmp_path, offline):
    folder = finished(tmp_path, {})
    logger = WandbLogger(project="vpo", entity=None, mode="auto", clips=1)
    logger.mirror(folder)
    records = offline_records(folder)
    (run,) = [record.run for record in records if record.HasField("run")]
    assert (run.run_id, run.run_group, run.display_name) == (run_id(folder), "smoke", "seed=0")
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config["judge"] == {"api_key": "***", "max_new_tokens": 8}
    updates = [item for record in records for item in record.summary.update]
    summary = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in updates}
    assert summary["alignment/aligned/dpo"] == 0.75
    ends = ("low", "high", "n", "failed")
    assert [summary[f"alignment/aligned_{end}/dpo"] for end in ends] == [0.6, 0.8, 4, 0]
    assert config["cards"]["alignment"]["metrics"][0]["unit"] == "%"
    history = [
        {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
        for record in records
        if record.HasField("history")
    ]
    curve = [
        (row["training/dpo/step"], row["training/dpo/train/loss"]) for row in history if "training/dpo/step" in row
    ]
    assert curve == [("10", "0.69"), ("20", "0.5")]
    (row,) = [one for one in history if "prompts/ncols" in one]  # the one table, once: a query has one row
    assert (row["prompts/ncols"], row["prompts/nrows"]) == ("7", "2")
    file, *_ = (
        one for one in (folder / "wandb/data").rglob("*") if one.is_file() and b"video-file" in one.read_bytes()
    )
    table = json.loads(file.read_text(encoding="utf-8"))
    assert table["columns"] == [
        "query_id", "query", "dpo/prompt", "dpo/clip", "dpo/answers", "dpo/failed", "dpo/aligned",
    ]  # fmt: skip
    assert [line[:3] + line[4:] for line in table["data"]] == [
        ["q1", "a fox", "A red fox.", "judge: harmless yes, accurate yes, helpful yes", None, 1.0],
        ["q2", "a dog", "A dog.", None, "render", None],
    ]
    assert [line[3] and line[3]["_type"] for line in table["data"]] == ["video-file", None]
    logged = {name.partition("/")[0] for row in history for name in row}
    assert logged >= {"training", "prompts", "contact_sheet"}
    (table,) = [row for row in history if any(name.startswith("greedy_prompts/dpo") for name in row)]
    assert (table["greedy_prompts/dpo/ncols"], table["greedy_prompts/dpo/nrows"]) == ("4", "1")
    assert any(path.read_bytes()[4:8] == b"ftyp" for path in (folder / "wandb" / "data").rglob("*") if path.is_file())

    file = next(folder.glob("wandb/offline-run-*"))
    (folder / "results.json").write_text(json.dumps({**RESULTS, "run": {"seconds": 9}}))
    logger.mirror(folder)  # only what may vary between equal runs has changed: nothing to do
    assert list(folder.glob("wandb/offline-run-*")) == [file]


def test_histograms_are_of_the_items_values_and_of_more_than_yes_and_no(tmp_path):
    """By evaluator, metric and method; what failed is no value, and a metric that no card lists is another's."""
    lines = [
        {"query_id": str(n), "query": "q", "method": method, "prompt": "p", "clip": None, "metrics": metrics}
        for method, shift in (("sft", 0), ("dpo", 1))
        for n, metrics in enumerate(
            [{"words": 3 + shift, "aligned": 0, "mine": 0.5}, {"words": 9, "aligned": 1, "mine": None}]
        )
    ]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "results.json").write_text(json.dumps(RESULTS | {"methods": {}}))
    assert values_of(tmp_path) == {
        "histograms/alignment/words/sft": [3, 9], "histograms/alignment/words/dpo": [4, 9],
    }  # fmt: skip
    lines[0]["metrics"]["mine"], lines[2]["metrics"]["mine"] = 0.25, 0.75
    lines[1]["metrics"]["mine"] = 0.5
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert values_of(tmp_path)["histograms/other/mine/sft"] == [0.25, 0.5]
    assert values_of(tmp_path)["histograms/other/mine/dpo"] == [0.75]


def test_histograms_stand_in_the_offline_run(tmp_path, offline):
    folder = finished(tmp_path, {})
    items = [json.loads(line) for line in (folder / "items.jsonl").read_text().splitlines()]
    for number, item in enumerate([*items, dict(items[0])]):
        item["metrics"] = {"words": float(number)}
    (folder / "items.jsonl").write_text("".join(
        json.dumps(item | {"query_id": f"q{n}", "metrics": {"words": float(n)}}) + "\n" for n, item in enumerate(items * 2)
    ))  # fmt: skip
    WandbLogger(project="vpo", entity=None, mode="auto", clips=0).mirror(folder)
    rows = [
        {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
        for record in offline_records(folder) if record.HasField("history")
    ]  # fmt: skip
    (row,) = [one for one in rows if any(name.startswith("histograms/") for name in one)]
    parts = {name.removeprefix("histograms/alignment/words/dpo"): json.loads(value) for name, value in row.items()
             if name.startswith("histograms/alignment/words/dpo")}  # fmt: skip
    assert "histogram" in json.dumps(parts)
    counts = parts.get("", parts).get("values") or parts["/values"]
    assert sum(counts) == 4


def test_the_last_good_offline_copy_stays_until_there_is_a_new_one(tmp_path, offline, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "")
    folder = finished(tmp_path, {})
    logger = WandbLogger(project="vpo", entity=None, mode="auto", clips=1)
    logger.mirror(folder)
    good = sorted((folder / "wandb").glob("offline-run-*")) + sorted((folder / "wandb/data").iterdir())
    assert len(good) == 2
    whole = (folder / "items.jsonl").read_text()
    (folder / "items.jsonl").write_text('{"query_id": "q1"}\n')  # found when half is written
    logger.mirror(folder)
    assert sorted((folder / "wandb").glob("offline-run-*")) + sorted((folder / "wandb/data").iterdir()) == good
    (folder / "items.jsonl").write_text(whole + whole)
    logger.mirror(folder)
    (copy,), (data,) = (folder / "wandb").glob("offline-run-*"), (folder / "wandb/data").iterdir()
    assert not {copy, data} & set(good)


def test_an_unknown_wandb_mode_stays_offline_and_is_told(tmp_path, offline, monkeypatch, caplog):
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    logger = WandbLogger(project="vpo", entity=None, mode="auto", clips=1)
    monkeypatch.setenv("WANDB_MODE", "")
    assert logger._mode() == "online"
    assert not caplog.records
    monkeypatch.setenv("WANDB_MODE", "ofline")
    assert logger._mode() == "offline"
    assert "W&B: WANDB_MODE=ofline is not one of online, offline" in caplog.text


def test_a_broken_or_absent_wandb_costs_one_warning(tmp_path, offline, monkeypatch, caplog):
    folder = finished(tmp_path, {})
    monkeypatch.setitem(sys.modules, "wandb", None)
    WandbLogger(project="vpo", entity=None, mode="auto", clips=1).mirror(folder)
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "W&B: not mirrored" in warnings[0]
    assert "\n" not in warnings[0]
    assert not (folder / "wandb.json").exists()


def warned(caplog) -> list[str]:
    ours = [record for record in caplog.records if record.name.startswith("vpo.")]
    return [record.getMessage() for record in ours if record.levelno >= logging.WARNING]


@pytest.mark.slow
def test_a_key_without_a_network_leaves_an_offline_copy(tmp_path, offline, monkeypatch, caplog):
    """Port 9 answers nobody. The copy is whole, and once it is made it is kept while nothing changes."""
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(wandb_mirror, "INIT_TIMEOUT", 2.0)
    folder = finished(tmp_path, {})
    logger = WandbLogger(project="vpo", entity=None, mode="auto", clips=1)
    caplog.clear()
    logger.mirror(folder)
    (line,) = warned(caplog)
    assert line.startswith("W&B: not mirrored online (CommError: ")
    assert line.endswith(f"`wandb sync {folder}/wandb/offline-run-*` uploads the offline copy)")
    assert "\n" not in line
    assert "xxxx" not in caplog.text
    updates = [item for record in offline_records(folder) for item in record.summary.update]
    assert {item.key or "/".join(item.nested_key): item.value_json for item in updates}[
        "alignment/aligned/dpo"
    ] == "0.75"
    copies = sorted(folder.glob("wandb/*run-*"))
    assert [path.name.startswith("offline-run-") for path in copies] == [True]
    logger.mirror(folder)
    assert sorted(folder.glob("wandb/*run-*")) == copies
    assert "already up to date" in warned(caplog)[-1]


def test_a_key_that_is_none_and_an_absent_wandb(tmp_path, offline, monkeypatch, caplog):
    monkeypatch.setenv("WANDB_API_KEY", "short")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(wandb_mirror, "INIT_TIMEOUT", 2.0)
    folder = finished(tmp_path, {})
    caplog.clear()
    logger = WandbLogger(project="vpo", entity=None, mode="online", clips=1)
    logger.mirror(folder)
    assert len(list(folder.glob("wandb/offline-run-*"))) == 1
    monkeypatch.setitem(sys.modules, "wandb", None)
    (folder / "items.jsonl").write_text("")
    logger.mirror(folder)
    first, second = warned(caplog)
    assert "uploads the offline copy" in first
    assert second.startswith("W&B: not mirrored (ModuleNotFoundError")


def test_wandb_is_online_only_when_logged_in(tmp_path, offline, monkeypatch):
    logger = WandbLogger(project="vpo", entity=None, mode="auto", clips=1)
    assert not logged_in()
    assert logger._mode() == "offline"
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password hidden\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert logged_in()
    assert logger._mode() == "online"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert logger._mode() == "disabled"
    with pytest.raises(UserError, match=r"logger\.wandb\.mode=maybe"):
        WandbLogger(project="vpo", entity=None, mode="maybe", clips=1)


def test_csv_of_nothing_but_results(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(RESULTS))
    CsvLogger().mirror(tmp_path)
    assert (tmp_path / "items.csv").read_text() == "\n"
