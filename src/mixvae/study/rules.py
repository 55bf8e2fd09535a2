"""Rule study: what a study consists of is written to results/<study>/study.json, for the rules that look at it as a whole."""

from __future__ import annotations

from pathlib import Path

from mixvae.files import atomic
from mixvae.provenance import record


def list_study(folder: Path, listing: str) -> None:
    """Write study.json.

    Arguments:
        folder: results/<study>.
        listing: Its content, from `config.listing`.
    """
    path = folder / "study.json"
    with record("study", folder / "provenance/study.json", inputs=[], outputs=[path]), atomic(path) as temporary:
        temporary.write_text(listing)
