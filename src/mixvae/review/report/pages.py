"""The .md pages of tables, taken apart: tables cell by cell, and the notes as HTML."""

from __future__ import annotations

from typing import NamedTuple

from markdown_it import MarkdownIt
from markupsafe import Markup

# without links, images and HTML: the pages come from strangers
PARSER = MarkdownIt("zero", {"html": False}).enable(["table", "list", "backticks", "heading"])


class Page(NamedTuple):
    """Tables as their headers and rows of text, and what stands around them."""

    tables: list[tuple[list[str], list[list[str]]]]
    note: Markup


def read(text: str) -> Page:
    """Take a page apart; its title is left out."""
    tables: list[tuple[list[str], list[list[str]]]] = []
    around, within, heading = [], "", False
    for token in PARSER.parse(text):
        match token.type:
            case "table_open":
                tables.append(([], []))
                within = "table"
            case "table_close":
                within = ""
            case "thead_open" | "tbody_open":
                within = token.type
            case "tr_open" if within == "tbody_open":
                tables[-1][1].append([])
            case "inline" if within == "thead_open":
                tables[-1][0].append(token.content)
            case "inline" if within == "tbody_open":
                tables[-1][1][-1].append(token.content)
            case "heading_open" | "heading_close":
                heading = token.type == "heading_open"
            case _ if not within and not heading:
                around.append(token)
    return Page(tables, Markup(PARSER.renderer.render(around, PARSER.options, {})))
