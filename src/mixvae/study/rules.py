"""Rule study writes study.json, the list of a study's runs and data sets, for the rules that work on the whole study."""

from pathlib import Path

from mixvae.files import atomic
from mixvae.provenance import record


def list_study(folder: Path, listing: str) -> None:
    """Write study.json.

    Arguments:
        folder: results/<study>.
        listing: The file's content, from `mixvae.study.listing.listing`.
    """
    path = folder / "study.json"
    with record("study", folder / "provenance/study.json", inputs=[], outputs=[path]), atomic(path) as temporary:
        temporary.write_text(listing)
