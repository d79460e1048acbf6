"""VidProM's file, read in one pass: which queries are drawn, what is left out, and how much memory a file of its size takes."""

import csv
import gzip
import hashlib
import json
import random
import subprocess
import sys

import pandas
import pytest

from tests.conftest import ROOT
from vpo.dataset.vidprom import TOXICITY, VidProM
from vpo.errors import UserError

HEADER = ["uuid", "prompt", "time", *TOXICITY]
TIME = "Sun Sep  3 12:27:44 2023"
WORDS = [
    "dog", "cat", "river", "neon", "city", "rain", "slow", "motion", "drone", "mountain", "robot", "café", "girl", "walking",
    "sunset", "forest", "犬", "🎬", "-ar", "16:9",
]  # fmt: skip


def rows_of(count, seed=0):
    """Rows in VidProM's columns: commas, quotes, line ends and letters of other scripts among them, every fifth text once more."""
    rng = random.Random(seed)
    texts = []
    for number in range(count):
        text = " ".join(rng.choices(WORDS, k=rng.randint(4, 20)))
        texts.append(text.upper() if number % 5 == 4 else f'{text}, "take {number}"\nand on')
        if number % 5 == 4:
            texts[-1] = texts[-2].upper()  # the same query to a reader
        yield [f"u-{number}", texts[-1], TIME, *(f"{rng.random():.6f}" for _ in TOXICITY)]


def write(path, rows, header=HEADER):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def load(path, sft=6, dpo=5, test=4, max_chars=2000):
    return VidProM(str(path), sft=sft, dpo=dpo, test=test, max_chars=max_chars)


def test_a_draw_is_that_of_sorted_hashes_whatever_the_order_and_the_format(tmp_path):
    rows = list(rows_of(100))
    data = load(write(tmp_path / "v.csv", rows))
    splits = data.splits()
    # Independently: the distinct texts by the first 8 bytes of blake2b of their case-folded words.
    firsts = {}
    for name, text, *_ in rows:
        firsts.setdefault(" ".join(text.casefold().split()), name)
    order = sorted(firsts, key=lambda key: hashlib.blake2b(key.encode(), digest_size=8).digest())
    expected = [firsts[key] for key in order[:15]]
    assert [one.id for name in ("test", "dpo", "sft") for one in splits[name]] == expected
    assert {name: len(queries) for name, queries in splits.items()} == {"test": 4, "dpo": 5, "sft": 6}
    assert data.left_out["rows not drawn"] + data.left_out["duplicates dropped"] == 100 - 15
    frame = pandas.DataFrame(rows, columns=HEADER).astype(dict.fromkeys(TOXICITY, float))
    frame.to_parquet(tmp_path / "v.parquet")
    (tmp_path / "v.csv.gz").write_bytes(gzip.compress((tmp_path / "v.csv").read_bytes(), mtime=0))
    for name in ("v.parquet", "v.csv.gz"):
        assert load(tmp_path / name).splits() == splits
    shuffled = load(write(tmp_path / "s.csv", rows[::-1])).splits()
    assert {one.text.casefold() for one in shuffled["sft"]} == {one.text.casefold() for one in splits["sft"]}
    fewer = load(tmp_path / "v.csv", sft=2).splits()
    assert (fewer["test"], fewer["dpo"], fewer["sft"]) == (splits["test"], splits["dpo"], splits["sft"][:2])


def test_a_stream_has_every_row_with_its_scores(tmp_path):
    rows = list(rows_of(20))
    queries = list(load(write(tmp_path / "v.csv", rows)).stream())
    assert [one.id for one in queries] == [row[0] for row in rows]
    assert queries[3].text == rows[3][1]
    assert dict(queries[3].meta) == dict(zip(TOXICITY, map(float, rows[3][3:]), strict=True))


def test_rows_of_no_use_are_left_out_and_counted(tmp_path):
    rows = list(rows_of(20))
    rows[1][1] = "  "
    rows[2][1] = "x" * 2001
    rows[3][4] = "high"
    rows[5][4] = "1.5"
    rows[6][0] = ""
    rows[7][1] = "a dog\x00"
    data = load(write(tmp_path / "v.csv", rows))
    assert len(list(data.stream())) == 14
    assert data.left_out == {
        "rows that are no query (a text that shows something)": 1, "rows of more than dataset.max_chars=2000 characters": 1,
        "rows with a score that is none from 0 to 1": 2, "rows without a uuid": 1, "rows with control characters in them": 1,
    }  # fmt: skip


def cut(content, share):
    return content[: int(len(content) * share)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("v.csv", b"", "the file is empty"),
        ("v.csv", ",".join(HEADER).encode() + b"\n", "no rows in it"),
        ("v.csv", b"uuid,prompt\n1,a dog\n", "has no column 'toxicity', which VidProM's files have"),
        ("v.csv", b"uuid,text,toxicity\n1,a dog,0\n", "has no column prompt; found uuid, text, toxicity; rename"),
        ("v.csv", b"1;2\n3;4\n", "has no column prompt; found 1, 2"),
        ("v.csv", "uuid,prompt\n1,собака\n".encode("cp1251"), "is not UTF-8"),
        ("v.csv", b'uuid,prompt,time,toxicity,obscene,identity_attack,insult,threat,sexual_explicit\n1,"a dog,t,0,0,0,0,0,0\n',
         "line 2 opens a quote that never closes"),
        ("v.csv", b"uuid,prompt,time,toxicity,obscene,identity_attack,insult,threat,sexual_explicit\n1,a dog,t,a,b,c,d,e,f\n",
         "no row can be used; line 2 has the toxicity 'a', which is no score from 0 to 1"),
        ("v.csv.gz", cut(gzip.compress(b"uuid,prompt\n" + bytes(range(32, 120)) * 900, mtime=0), 0.5), "is damaged"),
        ("v.parquet", b"PAR1 and no more", "is damaged or not Parquet"),
        ("v.parquet", b"404: Not Found", "is a server's answer"),
        ("v.xlsx", b"x", "unknown suffix '.xlsx'"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("streamed", [False, True])
def test_a_file_that_cannot_be_used_is_one_line(tmp_path, monkeypatch, streamed, name, content, message):
    if streamed:
        monkeypatch.setattr("vpo.dataset.reading.stream.WHOLE", 0)
    (tmp_path / name).write_bytes(content)
    for read in (lambda data: list(data.stream()), lambda data: data.splits()):
        with pytest.raises(UserError) as error:
            read(load(tmp_path / name))
        assert message in str(error.value)
        assert str(error.value).startswith(str(tmp_path / name))
        assert "\n" not in str(error.value)


def test_a_parquet_file_of_numbers_is_one_line(tmp_path):
    numbers = pandas.DataFrame({name: [1, 2] for name in HEADER})
    numbers.to_parquet(tmp_path / "v.parquet")
    with pytest.raises(UserError, match="no row can be used; row 1 is not a query"):
        load(tmp_path / "v.parquet").splits()


def test_too_few_queries_and_impossible_numbers_are_one_line(tmp_path):
    write(tmp_path / "v.csv", rows_of(10))
    with pytest.raises(
        UserError, match=r"8 different queries are too few for dataset\.test=4 dataset\.dpo=5 dataset\.sft=6"
    ):
        load(tmp_path / "v.csv").splits()
    for amount in (0, 0.5, -1, True):
        with pytest.raises(UserError, match=f"dataset.dpo={amount} must be a whole number of at least 1"):
            load(tmp_path / "v.csv", dpo=amount)


READ = """
import json, logging, resource, sys, time
logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
from vpo.dataset.vidprom import VidProM
from vpo.storage import progress
progress.PLAIN_SECONDS = 2.0
started = time.process_time()
data = VidProM(sys.argv[1], sft=10_000, dpo=10_000, test=500, max_chars=2000)
data.fingerprint()
sizes = {name: len(queries) for name, queries in data.splits().items()}
try:  # of this program alone: Linux's ru_maxrss counts the parent's memory, from which it was started
    peak = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
except OSError:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps({"sizes": sizes, "left_out": data.left_out, "peak": peak, "seconds": time.process_time() - started}))
"""


def generate(path, count):
    """A CSV file of VidProM's columns, as `rows_of` without the costs of a row."""
    rng = random.Random(0)
    starts = [" ".join(rng.choices(WORDS, k=rng.randint(4, 30))) for _ in range(5000)]
    scores = [",".join(f"{rng.random():.6f}" for _ in TOXICITY) for _ in range(5000)]
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(",".join(HEADER) + "\r\n")
        for number in range(count):
            place = number % 5000
            file.write(f'u-{number},"{starts[place]}, ""take {number}""\nand on",{TIME},{scores[number % 4999]}\r\n')


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_file_of_the_size_of_vidproms_takes_less_than_a_gigabyte(tmp_path, suffix):
    count = 1_670_000
    generate(tmp_path / "v.csv", count)
    if suffix == ".parquet":
        from pyarrow import csv as arrow_csv
        from pyarrow import parquet

        options = arrow_csv.ParseOptions(newlines_in_values=True)
        parquet.write_table(arrow_csv.read_csv(tmp_path / "v.csv", parse_options=options), tmp_path / "v.parquet")
    done = subprocess.run(
        [sys.executable, "-c", READ, str(tmp_path / f"v{suffix}")], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert found["sizes"] == {"test": 500, "dpo": 10_000, "sft": 10_000}
    assert found["left_out"] == {"rows not drawn": count - 20_500}
    assert found["peak"] < 10**9, found
    assert "MB of VidProM" in done.stderr  # the progress, as a log has it
    print(suffix, found)
