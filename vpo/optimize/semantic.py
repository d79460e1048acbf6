"""The semantic score of candidates: which of those that the judge finds equal is nearest to its query in meaning."""

import logging

from vpo.assets.folder import PREFIX, find_asset
from vpo.checking.schema import Search
from vpo.errors import UserError

log = logging.getLogger(__name__)

ENCODER = f"{PREFIX}all-minilm-l6-v2"
MAX_TOKENS, BATCH_SIZE = 256, 32  # as `conf/evaluator/semantic.yaml`; the published model reads 256 tokens


def encoder_for(search: Search, *, tell: bool = True) -> str | None:
    """The sentence encoder that a search asks for, or None, which is logged with `tell`. Nothing is downloaded for it.

    Raises:
        UserError: semantic=true, and the encoder is not at hand; the line has the command that gets it.
    """
    if search.semantic is False or (search.semantic == "auto" and search.n == 1):
        return None
    try:
        find_asset(ENCODER, None, "search.semantic")
    except UserError as error:
        if search.semantic is True:
            raise
        if tell:
            log.info("candidates are ranked without the semantic score (%s)", error)
        return None
    return ENCODER
