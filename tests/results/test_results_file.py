"""The schema of results.json: what fits it, and what a reader says of a file that does not."""

import copy
import json

import pytest

from tests.trained import RESULTS, facts_by_hand
from vpo.errors import UserError
from vpo.results.facts import results_of
from vpo.results.schema import Results, facts_of, problem_of, read_results
from vpo.storage.store import Entry

KEYS = {"start": "1" * 16, "sft": "2" * 16, "dpo": "3" * 16}


@pytest.fixture
def content(tmp_path):
    """A whole results.json, by hand."""
    policies = {name: Entry(name, key, tmp_path) for name, key in KEYS.items()}
    return {
        "schema": 1,
        "methods": copy.deepcopy(RESULTS),
        "run": facts_by_hand(policies, Entry("queries", "4" * 16, tmp_path)),
    }


def at(content, path, value):
    """Set the value at a dotted path; DROP removes it."""
    *parents, last = path.split(".")
    for key in parents:
        content = content[key]
    if value is DROP:
        del content[last]
    else:
        content[last] = value


DROP = object()


def test_a_whole_file_fits_and_every_field_of_it_is_declared(content):
    assert problem_of(content) is None
    assert Results.model_validate(content).model_dump(mode="json", exclude_unset=True) == content
    assert facts_of(content).rows["dpo"].entry == "dpo/" + "3" * 16


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("methods.sft.aligned.mean", "0.5", "methods.sft.aligned.mean: Input should be a valid number"),
        ("methods.sft.aligned.mean", float("nan"), "methods.sft.aligned.mean: Input should be a finite number"),
        ("methods.sft.aligned.n", -1, "methods.sft.aligned.n: Input should be greater than or equal to 0"),
        ("methods.sft.aligned.n", True, "methods.sft.aligned.n: Input should be a valid integer"),
        ("methods.sft.aligned.ci95", DROP, "methods.sft.aligned.ci95: Field required"),
        ("methods", [], "methods: Input should be a valid dictionary"),
        ("schema", "1", "schema: Input should be a valid integer"),
        ("schema", 0, "schema: Input should be greater than or equal to 1"),
        ("run", DROP, "run: Field required"),
        ("run.code.commit", "main", "run.code.commit: String should match pattern"),
        ("run.data.splits.test.rows", 2.5, "run.data.splits.test.rows: Input should be a valid integer"),
        ("run.policies.dpo.entry", "dpo/../../../etc", "run.policies.dpo.entry: String should match pattern"),
        ("run.policies.dpo.entry", "/etc/passwd", "run.policies.dpo.entry: String should match pattern"),
        ("run.rows.dpo.policy", "grpo", "run: rows.dpo: the policy 'grpo' in dpo/3333333333333333 is none of policies"),
        ("run.rows.dpo.entry", "dpo/" + "9" * 16, "run: rows.dpo: the policy 'dpo' in dpo/9999999999999999 is none of policies"),
        ("run.rows.sft.policy", None, "run: rows.sft: the policy None in sft/2222222222222222 is none of policies"),
        ("run.policy", "ipo", "run: policy: 'ipo' is none of policies"),
        ("run.rows.dpo", DROP, "run.rows lacks dpo"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_by_file_field_and_cure_in_one_line(content, tmp_path, path, value, said):
    at(content, path, value)
    file = tmp_path / "results.json"
    file.write_text(json.dumps(content))
    with pytest.raises(UserError) as error:
        read_results(file)
    assert str(error.value).startswith(f"{file} is damaged ({said}")
    assert str(error.value).endswith("; give the run's command again, or move its folder away")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"methods": ', "is damaged (Expecting value"),
        ("[]", "is damaged (expected a mapping)"),
        ("null", "is damaged (expected a mapping)"),
        ("[" * 100_000, "is damaged ("),
        (
            '{"schema": 2, "results": {}}',
            ": its schema is 2 and this vpo reads up to 1; use the newer vpo that wrote it",
        ),
        (None, ": No such file or directory; finish the run by giving its command again"),
    ],
)
def test_a_file_that_is_none_is_one_line(tmp_path, text, said):
    file = tmp_path / "results.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UserError) as error:
        read_results(file)
    assert str(error.value).startswith(f"{file}{said}" if said.startswith(":") else f"{file} {said}")
    assert "\n" not in str(error.value)


def test_bytes_that_are_no_utf8_are_one_line(tmp_path):
    (tmp_path / "results.json").write_bytes(b'{"methods": "\xff"}')
    with pytest.raises(UserError, match=r"results.json is damaged \('utf-8' codec"):
        read_results(tmp_path / "results.json")


def test_files_of_before_the_schema_are_read_for_their_means(content, tmp_path):
    old = {"methods": content["methods"], "run": {"experiment": "default", "evaluators": ["alignment"]}}
    (tmp_path / "results.json").write_text(json.dumps(old))
    assert read_results(tmp_path / "results.json") == old
    assert facts_of(old) is None


def test_fields_that_a_newer_vpo_adds_are_ignored(content):
    content["run"]["weather"] = content["weather"] = content["run"]["rows"]["dpo"]["weather"] = "fine"
    assert problem_of(content) is None


def test_a_defect_of_ours_is_a_warning_and_the_means_stay_readable(content, tmp_path, caplog):
    del content["run"]["device"]
    written = results_of(content["methods"], content["run"])
    (record,) = caplog.records
    assert "does not fit its schema (run.device: Field required)" in record.getMessage()
    (tmp_path / "results.json").write_text(json.dumps(written))
    assert read_results(tmp_path / "results.json")["methods"] == content["methods"]
