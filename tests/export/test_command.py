"""`vpo export`: which policy is meant, what is replaced, and what is refused in one line."""

import json
import re
import shlex

import pytest
import yaml

from tests.conftest import run_vpo
from tests.trained import entry_of, policy, run_of
from vpo.errors import UserError
from vpo.export import export_command, new_folder
from vpo.export_source import find_source, policies_of
from vpo.store import Store


def test_the_told_overrides_name_the_folder_whatever_it_is_called(home, capsys):
    export_command([run_of(home), "to=lr=1e-5, again"])
    command = shlex.split(re.search(r"vpo (run .*)", capsys.readouterr().out)[1])
    done = run_vpo(*command, "--cfg", "job", cwd=home)
    assert yaml.safe_load(done.stdout)["backbone"]["model"] == "lr=1e-5, again", done.stderr


def test_a_result_of_the_store_is_exported_without_measurements(home):
    entry = entry_of(home, "sft")
    export_command([f"store/sft/{entry.key}"])
    card = (home / f"exported/sft-{entry.key[:8]}/README.md").read_text()
    assert "no measurement comes with it" in card
    assert "vpo run" not in card.split("## How it was made")[1]


def test_of_several_rounds_the_last_policy_is_meant(home):
    store, first = Store(home / "store"), entry_of(home, "dpo")
    second = store.get("dpo", {"round": 2}, {"start": first}, policy(9, "dpo"))
    path = home / run_of(home) / "results.json"
    for order in ([first, second], [second, first]):
        results = json.loads(path.read_text())
        results["run"]["entries"] = [f"dpo/{one.key}" for one in order]
        path.write_text(json.dumps(results))
        assert find_source(path.parent, None, None).entry.folder == second.folder
        assert find_source(path.parent, "dpo_1", None).entry.folder == first.folder


def test_the_second_round_is_called_dpo_whatever_the_pipeline_labelled_it(home):
    """The pipeline labels the rounds dpo and dpo_2; what `dpo` was sampled from, and measured as, is the last."""
    store, first = Store(home / "store"), entry_of(home, "dpo")
    second = store.get("dpo", {"round": 2}, {"start": first}, policy(9, "dpo_2"))
    found = policies_of([f"dpo/{second.key}", f"dpo/{first.key}"], home / "store")
    assert {name: one.key for name, one in found.items()} == {
        "dpo_1": first.key,
        "dpo_2": second.key,
        "dpo": second.key,
    }


def test_what_is_there_is_replaced_only_on_request_and_only_if_it_is_a_model(home):
    export_command([run_of(home), "policy=sft", "to=mine"])
    with pytest.raises(UserError, match="mine is there already; set to="):
        export_command([run_of(home), "to=mine"])
    export_command([run_of(home), "to=mine", "force=true"])
    assert "policy `dpo`" in (home / "mine/README.md").read_text()
    assert not list(home.glob("mine.*"))
    (home / "thesis").mkdir()
    (home / "thesis/chapter.tex").write_text("all of it")
    with pytest.raises(UserError, match="thesis holds no model, so force=true does not replace it"):
        export_command([run_of(home), "to=thesis", "force=true"])
    assert (home / "thesis/chapter.tex").exists()


def test_a_failure_midway_keeps_what_was_there(home):
    export_command([run_of(home), "to=mine"])
    before = (home / "mine/README.md").read_bytes()

    def stopped():
        with new_folder(home / "mine", "export", force=True) as out:
            (out / "half.txt").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert (home / "mine/README.md").read_bytes() == before
    assert not list(home.glob("mine.*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["runs/default/none"],
            r"runs/default/none: no such folder; finished runs in runs/default: runs/default/seed=1-1234abcd",
        ),
        (["runs"], r"runs: is no run folder; finished runs in runs: runs/default/seed=1-1234abcd"),
        (["RUN", "policy=grpo"], r"no policy is called grpo; choose one of dpo, sft"),
        (["RUN", "polcy=sft"], r"polcy is unknown, did you mean policy\?"),
        (["RUN", "dtype=int8"], r"argument --dtype: invalid choice: 'int8' \(choose from 'float32'"),
        (["RUN", "force=1"], r"force=1 must be true or false"),
        (["RUN", "paths.store=gone"], r"its store gone is gone; set paths.store"),
        (["RUN", "to=/proc/nowhere"], r"/proc/nowhere: no such file or directory; set to="),
        (["RUN", "RUN"], r"unrecognized arguments: runs/\S+; use `vpo export <run folder>"),
        (["PAIR"], r"holds no trained policy"),
        (["START"], r"holds no trained policy"),
    ],
)
def test_bad_input_is_one_line(home, arguments, message):
    names = {"RUN": run_of(home)}
    names |= {stage.upper(): str(entry_of(home, stage).folder) for stage in ("pair", "start")}
    with pytest.raises(UserError, match=message) as told:
        export_command([names.get(one, one) for one in arguments])
    assert "\n" not in str(told.value)


def test_an_unfinished_run_is_told_with_what_it_has_trained(home):
    (home / run_of(home) / "results.json").unlink()
    with pytest.raises(UserError, match=r"the run is not finished .*sft is .*store/sft/\w{16}\)") as told:
        export_command([run_of(home)])
    place = re.search(r"dpo is (\S+?),", str(told.value))[1]
    assert export_command([place]) == 0


def test_the_command_line_says_it_in_one_line_with_exit_code_2(home):
    done = run_vpo("export", run_of(home), "policy=none", cwd=home)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("vpo: ")


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_leaves_no_half_model(home, small_disk):
    big = entry_of(home, "dpo").folder / "policy"
    (big / "tokenizer.json").write_text("x" * 2**20)
    with pytest.raises(UserError, match=r"model: no space left on device; make room"):
        export_command([run_of(home), f"to={small_disk}/model"])
    assert list(small_disk.iterdir()) == []
