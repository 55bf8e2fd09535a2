"""Reading the files of strangers: regular files within the results, JSON and plain arrays, nothing executed and nothing huge."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import stat
import zipfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pyarrow.parquet import ParquetFile

from mixvae.files import sha256

LARGEST_TEXT, LARGEST_TABLE, LARGEST_ARRAYS = 1 << 26, 1 << 28, 1 << 30
"""Bytes of a JSON or CSV, of a packed table and of the arrays of one file, as they are in memory."""
DEEPEST = 50
"""Levels of a JSON text: more than any file has, and fewer than a parser or printer would fail at."""


TEXT = "BYTE_ARRAY"
PLAIN = (TEXT, "DOUBLE", "INT64", "INT32", "BOOLEAN")
"""How Parquet names the types of words and numbers."""


class Unreadable(Exception):
    """A file is not there or not what it must be; the message says which."""


def locate(path: Path, results: Path) -> Path:
    """Return where `path` really lies. Raises Unreadable unless that is a regular file within `results`."""
    real = Path(os.path.realpath(path))
    if not real.is_relative_to(os.path.realpath(results)):
        raise Unreadable("a link that leads out of the results")
    try:
        mode = real.stat().st_mode
    except (OSError, ValueError):
        raise Unreadable("no such file") from None
    if not stat.S_ISREG(mode):
        raise Unreadable("not a regular file")
    return real


def digest(path: Path, results: Path) -> str | Unreadable:
    """Return the sha256 of a file, or why there is none."""
    try:
        return sha256(locate(path, results))
    except Unreadable as reason:
        return reason
    except OSError as error:
        return Unreadable(error.strerror)


def digests(paths: Iterable[Path], results: Path) -> dict[Path, str | Unreadable]:
    """Return the digest of every file. Threads share the work, as hashing releases the interpreter."""
    paths = list(dict.fromkeys(paths))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(paths, pool.map(lambda path: digest(path, results), paths), strict=True))


def read_text(path: Path, results: Path) -> str:
    """Return the content of a text file. Raises Unreadable."""
    real = locate(path, results)
    if (size := real.stat().st_size) > LARGEST_TEXT:
        raise Unreadable(f"{size} bytes, more than any such file has")
    try:
        return real.read_bytes().decode()
    except OSError as error:
        raise Unreadable(error.strerror) from None
    except UnicodeDecodeError:
        raise Unreadable("not a text file") from None


def read_mapping(path: Path, results: Path) -> dict[str, Any]:
    """Return the mapping in a JSON file. Raises Unreadable, also for numbers that are not finite."""
    return parse_mapping(read_text(path, results))


def parse_mapping(text: str) -> dict[str, Any]:
    """Return the mapping that a JSON text holds. Raises Unreadable."""
    try:
        content = json.loads(text, parse_constant=_refuse, parse_float=_finite)
        _examine(content)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise Unreadable(f"not a mapping but {type(content).__name__}")
    return content


def _examine(value: Any, depth: int = 0) -> None:
    """Raise ValueError for halves of surrogate pairs, which no file can hold, and for what is nested too deeply."""
    if depth > DEEPEST:
        raise ValueError(f"more than {DEEPEST} levels")
    if isinstance(value, str):
        value.encode()
    elif isinstance(value, dict):
        for name, part in value.items():
            name.encode()
            _examine(part, depth + 1)
    elif isinstance(value, list):
        for part in value:
            _examine(part, depth + 1)


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text)


def read_rows(path: Path, results: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """Return the rows of a CSV file with these columns. Raises Unreadable."""
    reader = csv.DictReader(io.StringIO(read_text(path, results), newline=""))
    try:
        rows = list(reader)
    except csv.Error as error:
        raise Unreadable(f"not valid CSV: {error}") from None
    if list(reader.fieldnames or []) != list(columns):
        raise Unreadable(f"columns {reader.fieldnames}, expected {list(columns)}")
    if any(None in row or None in row.values() for row in rows):
        raise Unreadable("a row has more or fewer cells than there are columns")
    return rows


def read_frame(path: Path, results: Path) -> pd.DataFrame:
    """Return the numbers of a CSV file. Raises Unreadable."""
    try:
        return pd.read_csv(io.StringIO(read_text(path, results)))
    except ValueError as error:
        raise Unreadable(f"not valid CSV: {error}") from None


def read_parquet(path: Path, results: Path, rows: int) -> pd.DataFrame:
    """Return the table in a .parquet file. Raises Unreadable, also for another number of `rows`, before anything is unpacked."""
    real = locate(path, results)
    try:
        facts = ParquetFile(real).metadata
        columns = [facts.schema.column(number) for number in range(facts.num_columns)]
        if any(column.max_repetition_level or column.physical_type not in PLAIN for column in columns):
            raise Unreadable("columns that are neither numbers nor words")
        size = sum(facts.row_group(group).total_byte_size for group in range(facts.num_row_groups))
        if facts.num_rows != rows or size > LARGEST_TABLE:
            raise Unreadable(f"{facts.num_rows} rows, expected {rows}, of {size} bytes unpacked")
        # a word is held once, however many rows repeat it
        return pd.read_parquet(real, read_dictionary=[column.path for column in columns if column.physical_type == TEXT])
    except Unreadable:
        raise
    except Exception as error:  # pyarrow raises whatever a broken file makes of it
        raise Unreadable(f"not a readable table: {type(error).__name__}: {error}") from None


def read_arrays(path: Path, results: Path, largest: int = LARGEST_ARRAYS) -> dict[str, np.ndarray]:
    """Return the arrays of real numbers in an .npz file of at most `largest` bytes unpacked.

    Raises Unreadable; arrays of objects, which are pickled, are refused.
    """
    real = locate(path, results)
    try:
        with zipfile.ZipFile(real) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > min(largest, LARGEST_ARRAYS):
            raise Unreadable(f"{size} bytes unpacked, more than such a file has")
        with np.load(real, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Unreadable:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise whatever a broken archive makes of them
        raise Unreadable(f"not readable arrays: {type(error).__name__}: {error}") from None
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
            raise Unreadable(f"{name} is not an array of real numbers")
    return arrays
