"""Turns the Markdown notes below tables into HTML."""

from markdown_it import MarkdownIt
from markupsafe import Markup

# without links, images and HTML: names in a note come from strangers
PARSER = MarkdownIt("zero", {"html": False}).enable(["list", "backticks"])


def html(note: str) -> Markup:
    """Return a note as HTML in which nothing but its paragraphs, lists and code is markup."""
    return Markup(PARSER.render(note))
