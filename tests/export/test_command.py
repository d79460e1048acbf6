"""`vpo export`: which policy is meant, what is replaced, and what is refused in one line."""

import json
import re
import shlex
import shutil

import pytest
import yaml

from tests.conftest import run_vpo
from tests.trained import entry_of, policy, run_of
from vpo.cli.export import export_command
from vpo.errors import UserError
from vpo.export.folder import new_folder
from vpo.export.source import find_source
from vpo.storage.store import Store


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


def edit(path, change):
    """Change the facts of a run in its results.json."""
    results = json.loads(path.read_text())
    change(results["run"])
    path.write_text(json.dumps(results))


def with_a_second_round(home):
    """The run's policies become those of two rounds; returns both."""
    store, first = Store(home / "store"), entry_of(home, "dpo")
    # Another run trained it as its first round, under that name.
    second = store.get("dpo", {"round": 2}, {"start": first}, policy(9, "dpo"))

    def add(facts):
        one = facts["policies"]["dpo"]
        two = {**one, "entry": f"dpo/{second.key}", "training": [*one["training"], f"dpo/{second.key}"]}
        facts["policies"] |= {"dpo_1": one, "dpo_2": two, "dpo": two}
        facts["rows"] |= {
            "dpo": {**facts["rows"]["dpo"], "entry": two["entry"]},
            "last": {**facts["rows"]["dpo"], "policy": "dpo_2", "entry": two["entry"]},
            "dpo_1": {**facts["rows"]["dpo"], "policy": "dpo_1", "entry": one["entry"]},
        }

    edit(home / run_of(home) / "results.json", add)
    return first, second


def test_of_several_rounds_the_last_policy_is_meant_and_each_has_its_name(home):
    first, second = with_a_second_round(home)
    run = home / run_of(home)
    assert find_source(run, None, None).entry.folder == second.folder
    assert find_source(run, "dpo_2", None).entry.folder == second.folder
    assert find_source(run, "dpo_1", None).entry.folder == first.folder


def test_all_rows_of_the_exported_policy_are_marked_and_no_others(home):
    """Two methods may sample from one policy under two of its names."""
    with_a_second_round(home)
    run = home / run_of(home)
    results = json.loads((run / "results.json").read_text())
    results["methods"] |= dict.fromkeys(("last", "dpo_1"), results["methods"]["dpo"])
    (run / "results.json").write_text(json.dumps(results))
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["method"] |= {"last": config["method"]["dpo"], "dpo_1": config["method"]["dpo"]}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    export_command([run_of(home), "to=mine"])
    lines = (home / "mine/README.md").read_text().split("## Results")[1].splitlines()
    rows = [line.split("|")[1].strip() for line in lines if line.startswith("| ") and "±" in line]
    assert rows == ["original", "sft", "dpo (this model)", "last (this model)", "dpo_1"]


def test_a_control_is_exported_by_its_name_and_its_result_is_not_taken_for_sft(home):
    store, sft = Store(home / "store"), entry_of(home, "sft")
    # It takes as many updates as the preference training, which is none of its own.
    inputs = {"start": sft, "examples_of": sft, "updates_of": entry_of(home, "dpo")}
    more = store.get("sft", {"recipe": "more"}, inputs, policy(5, "sft_more"))

    def add(facts):
        trained = [f"sft/{sft.key}", f"sft/{more.key}"]
        facts["policies"]["sft_more"] = {"entry": f"sft/{more.key}", "training": trained, "taught_by": ["judge"]}

    edit(home / run_of(home) / "results.json", add)
    assert find_source(home / run_of(home), "sft_more", None).entry.folder == more.folder
    assert find_source(home / run_of(home), "sft", None).entry.folder == sft.folder
    export_command([run_of(home), "policy=sft_more", "to=more"])
    assert (
        "trained from random weights (`vpo.backbone.tiny.TinyBackbone`) by SFT then SFT."
        in (home / "more/README.md").read_text()
    )


def test_the_policy_that_the_run_is_about_is_meant_whatever_its_name(home):
    def rename(facts):
        facts["policies"]["mine"] = facts["policies"].pop("dpo")
        facts["rows"]["dpo"]["policy"] = facts["policy"] = "mine"

    edit(home / run_of(home) / "results.json", rename)
    found = find_source(home / run_of(home), None, None)
    assert (found.policy, found.entry.folder) == ("mine", entry_of(home, "dpo").folder)


def test_a_store_that_moved_is_found_where_it_is_said_to_lie(home):
    (home / "store").rename(home / "elsewhere")
    with pytest.raises(UserError, match=r"its store \S+/store is gone; set paths.store to where it lies now"):
        find_source(home / run_of(home), None, None)
    assert export_command([run_of(home), "paths.store=elsewhere"]) == 0
    assert "| pair | `" in (home / "exported/default-dpo-1234abcd/README.md").read_text()


def test_a_policy_that_was_pruned_is_told_with_those_that_are_left(home):
    shutil.rmtree(entry_of(home, "dpo").folder)
    with pytest.raises(
        UserError, match=r"policy dpo is no longer in \S+/store; give the run's command again .*\(sft\)"
    ):
        export_command([run_of(home)])
    assert export_command([run_of(home), "policy=sft"]) == 0


def test_results_of_before_the_schema_do_not_say_which_policy_a_row_is(home):
    path = home / run_of(home) / "results.json"
    results = json.loads(path.read_text())
    facts = {key: results["run"][key] for key in ("seed", "experiment", "overrides", "store", "entries", "versions")}
    path.write_text(json.dumps({"methods": results["methods"], "run": facts}))
    with pytest.raises(UserError, match=r"results.json: it does not say which stored policy each row is.* again"):
        export_command([run_of(home)])


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
    with pytest.raises(UserError, match=message) as raised:
        export_command([names.get(one, one) for one in arguments])
    assert "\n" not in str(raised.value)


def test_an_unfinished_run_is_told_with_what_it_has_trained(home):
    (home / run_of(home) / "results.json").unlink()
    with pytest.raises(UserError, match=r"the run is not finished .*sft is .*store/sft/\w{16}\)") as raised:
        export_command([run_of(home)])
    place = re.search(r"dpo is (\S+?),", str(raised.value))[1]
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
