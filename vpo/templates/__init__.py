"""The texts for language models, as files; a template's hash goes into every manifest that depends on it.

`optimizer.txt` is interface data of the released VPO models: thu-coai/VPO (Apache-2.0), README and `src/process_data.py`,
byte for byte (sha256 d8f31468...). `prompt_a_video.txt` has that paper's field labels and our own wording (its repository has no
licence). `tiny.txt` is the sketch world's short one, `fewshot.txt` ours for models that are not trained, with three examples.
"""

import hashlib
from pathlib import Path

from vpo.errors import UserError

FOLDER = Path(__file__).parent


def template_files() -> list[Path]:
    """The files of all templates, in order of their names."""
    return sorted(FOLDER.glob("*.txt"))


def read_template(name: str) -> str:
    """The template's text; it holds the slot `{}` for the query exactly once. Raises UserError if there is none."""
    path = FOLDER / f"{name}.txt"
    if path not in template_files():
        known = ", ".join(one.stem for one in template_files())
        raise UserError(f"template {name!r} does not exist; choose one of {known}")
    text = path.read_bytes().decode("utf-8")
    if text.count("{}") != 1:
        raise UserError(f"template {name!r} must hold the slot {{}} exactly once, found {text.count('{}')}")
    return text


def template_hash(name: str) -> str:
    """The sha256 of the template's text."""
    return hashlib.sha256(read_template(name).encode()).hexdigest()


def name_of_template(path: Path) -> str | None:
    """The name under which vpo has the template that a model folder holds; None for one of its own, or none at all."""
    if not path.is_file():
        return None
    text = path.read_bytes()
    return next((one.stem for one in template_files() if one.read_bytes() == text), None)
