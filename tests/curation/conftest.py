import importlib.util
import json

import pytest

from tests import conftest
from vpo.dataset.reading.text import tidy

# Of VPO's users, as a data set gives them; our own stand in where the shared folder is missing.
QUERIES = [tidy(text).text for text in json.loads(conftest.QUERIES.read_text(encoding="utf-8"))]

needs_packages = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("datasketch", "py3langid"))), reason="the extra `curation` is not installed"
)
