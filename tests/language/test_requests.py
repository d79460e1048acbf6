"""The records of text generation: what they refuse, and their way to JSON and back."""

import json

import pytest

from vpo.errors import UserError
from vpo.records import Completion, Message, Prompt, Request, Sampling, Usage, Verdict, from_json, to_json


@pytest.mark.parametrize(
    "record",
    [
        Message("user", "a dog"),
        Sampling(0.7, 0.9, 160),
        Request(messages=(Message("system", "Rewrite."), Message("user", "a dog")), sampling=Sampling(0.7), seed=2**62),
        Request(prompt_ids=(1, 5, 9)),
        Completion("A dog runs.", "length", Usage(12, 5, cost=0.001)),
        Completion("", "stop"),
        Prompt("q-0", "q", "a dog", "A dog", "candidate", 0, cut=True),
        Verdict("p", True, True, None, judge="llm", raw="?", usage=Usage(3, 4)),
    ],
)
def test_records_survive_json(record):
    assert from_json(type(record), json.loads(json.dumps(to_json(record)))) == record


def test_a_prompt_of_an_older_store_was_not_cut():
    line = {"id": "q-0", "query_id": "q", "query": "a dog", "text": "A dog", "method": "sft", "index": 0}
    assert from_json(Prompt, line).cut is False


def test_a_request_has_either_messages_or_ids():
    for wrong in ({}, {"messages": (Message("user", "a"),), "prompt_ids": (1,)}):
        with pytest.raises(ValueError, match="either messages or prompt_ids"):
            Request(**wrong)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"temperature": -0.1}, "temperature=-0.1 must be at least 0"),
        ({"temperature": float("nan")}, "temperature=nan must be at least 0"),
        ({"top_p": 0}, "top_p=0 must be above 0 and at most 1"),
        ({"top_p": 1.5}, "top_p=1.5 must be above 0 and at most 1"),
        ({"max_new_tokens": 0}, "max_new_tokens=0 must be at least 1"),
    ],
)
def test_impossible_sampling_is_refused(values, message):
    with pytest.raises(UserError) as caught:
        Sampling(**values)
    assert str(caught.value) == f"sampling: {message}"


def test_only_a_completion_that_ran_out_of_tokens_was_cut():
    assert [Completion("a", reason).cut for reason in ("stop", "length", "content_filter")] == [False, True, False]
