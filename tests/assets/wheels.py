"""Wheels and manifests made by the tests themselves, and pip told to look in a folder and nowhere else."""

import hashlib
import json
import zipfile
from pathlib import Path

import yaml


def make_wheel(folder: Path, name: str, members: dict[str, bytes], version: str = "1.0") -> Path:
    """A wheel that pip downloads: https://packaging.python.org/specifications/binary-distribution-format."""
    folder.mkdir(parents=True, exist_ok=True)
    info, path = f"{name}-{version}.dist-info", folder / f"{name}-{version}-py3-none-any.whl"
    meta = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{member},,\n" for member in [*members, *meta, f"{info}/RECORD"]).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in {**members, **meta, f"{info}/RECORD": record}.items():
            archive.writestr(zipfile.ZipInfo(member), content)
    return path


def entry(wheel: Path, member: str, prepare: str = "file", **fields) -> dict:
    """The manifest's entry of an asset in a wheel."""
    content = wheel.read_bytes()
    name, version = wheel.name.split("-")[:2]
    origin = {
        "wheel": f"{name}=={version}",
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
        "member": member,
    }
    made = {
        "about": "a test's file",
        "origin": origin,
        "prepare": prepare,
        "size": 5,
        "licence": "CC0-1.0",
        "cite": "us",
    }
    return made | fields


def write_manifest(path: Path, **entries: dict) -> Path:
    path.write_text(yaml.safe_dump(entries), encoding="utf-8")
    return path


def only_from(folder: Path) -> dict[str, str]:
    """The environment in which pip knows this folder and no index."""
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "PIP_CONFIG_FILE": "/dev/null"}


def record_of(folder: Path) -> dict:
    return json.loads((folder / "asset.json").read_text(encoding="utf-8"))
