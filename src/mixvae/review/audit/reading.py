"""Reads files that strangers may have written: only regular files within the results, nothing huge, and nothing is executed."""

import csv
import io
import json
import math
import os
import stat
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pyarrow.parquet import ParquetFile
from safetensors import safe_open

from mixvae.files import sha256

LARGEST_TEXT, LARGEST_TABLE, LARGEST_ARRAYS = 1 << 26, 1 << 28, 1 << 30
"""The most bytes in memory for the text of a JSON or CSV, for a packed table, and for the arrays of one file."""
DEEPEST = 50
"""The most levels of a JSON text: more than any file has, and fewer than a parser or printer would fail at."""
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


@contextmanager
def _parsing(what: str) -> Iterator[None]:
    """Raise Unreadable instead of whatever the parser in the body raises: a broken file makes parsers raise almost anything."""
    try:
        yield
    except Unreadable:
        raise
    except Exception as error:
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise Unreadable(f"not {what}: {kind}{error}") from None


def read_bytes(path: Path, results: Path, largest: int = LARGEST_TEXT) -> bytes:
    """Return the content of a file of at most `largest` bytes. Raises Unreadable."""
    real = locate(path, results)
    try:
        if (size := real.stat().st_size) > largest:
            raise Unreadable(f"{size} bytes, more than any such file has")
        return real.read_bytes()
    except OSError as error:
        raise Unreadable(error.strerror) from None


def read_text(path: Path, results: Path) -> str:
    """Return the content of a text file. Raises Unreadable."""
    content = read_bytes(path, results)
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise Unreadable("not a text file") from None


def read_mapping(path: Path, results: Path) -> dict[str, Any]:
    """Return the mapping in a JSON file. Raises Unreadable, also for numbers that are not finite."""
    return parse_mapping(read_text(path, results))


def parse_mapping(text: str) -> dict[str, Any]:
    """Return the mapping that a JSON text holds. Raises Unreadable."""
    with _parsing("valid JSON"):
        content = json.loads(text, parse_constant=_refuse, parse_float=_finite)
        _examine(content)
    if not isinstance(content, dict):
        raise Unreadable(f"not a mapping but {type(content).__name__}")
    return content


def _examine(value: Any, depth: int = 0) -> None:
    """Raise ValueError for halves of surrogate pairs, which no file can hold, and for what is nested too deeply."""
    if depth > DEEPEST:
        raise ValueError(f"more than {DEEPEST} levels")
    if isinstance(value, str):
        value.encode()
    elif isinstance(value, dict | list):
        for part in [*value, *value.values()] if isinstance(value, dict) else value:
            _examine(part, depth + 1)


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text)


def is_measured(entry: Mapping[str, Any]) -> bool:
    """Return whether the value of a metric, and its standard error if there is one, are finite numbers."""
    numbers = [entry["value"], *([] if entry["stderr"] is None else [entry["stderr"]])]
    # a JSON integer may be larger than any real number
    return all(type(number) in (int, float) and abs(number) <= sys.float_info.max for number in numbers)


def read_rows(path: Path, results: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """Return the rows of a CSV file with these columns. Raises Unreadable."""
    reader = csv.DictReader(io.StringIO(read_text(path, results), newline=""))
    with _parsing("valid CSV"):
        rows = list(reader)
    if list(reader.fieldnames or []) != list(columns):
        raise Unreadable(f"columns {reader.fieldnames}, expected {list(columns)}")
    if any(None in row or None in row.values() for row in rows):
        raise Unreadable("a row has more or fewer cells than there are columns")
    return rows


def read_frame(path: Path, results: Path, dtype: dict[str, type] | None = None) -> pd.DataFrame:
    """Return the content of a CSV file, with the types of `dtype` and inferred types for other columns. Raises Unreadable."""
    with _parsing("valid CSV"):
        return pd.read_csv(io.StringIO(read_text(path, results)), dtype=dtype)


def read_parquet(path: Path, results: Path, rows: int) -> pd.DataFrame:
    """Return the table in a .parquet file. Raises Unreadable, also if it has not `rows` rows, before anything is unpacked."""
    real = locate(path, results)
    with _parsing("a readable table"):
        facts = ParquetFile(real).metadata
        columns = [facts.schema.column(number) for number in range(facts.num_columns)]
        if any(column.max_repetition_level or column.physical_type not in PLAIN for column in columns):
            raise Unreadable("columns that are neither numbers nor words")
        size = sum(facts.row_group(group).total_byte_size for group in range(facts.num_row_groups))
        if facts.num_rows != rows or size > LARGEST_TABLE:
            raise Unreadable(f"{facts.num_rows} rows, expected {rows}, of {size} bytes unpacked")
        # a word is held once, however many rows repeat it
        return pd.read_parquet(real, read_dictionary=[column.path for column in columns if column.physical_type == TEXT])


def read_arrays(path: Path, results: Path, largest: int) -> dict[str, np.ndarray]:
    """Return the arrays of numbers in an .npz file of at most `largest` bytes unpacked.

    Raises Unreadable; arrays of objects, which are pickled, are refused.
    """
    real = locate(path, results)
    with _parsing("readable arrays"):
        with zipfile.ZipFile(real) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > min(largest, LARGEST_ARRAYS):
            raise Unreadable(f"{size} bytes unpacked, more than such a file has")
        with np.load(real, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        for name, array in arrays.items():
            if not isinstance(array, np.ndarray) or array.dtype.kind not in "fi":
                raise Unreadable(f"{name} is not an array of numbers")
    return arrays


def parameters_in(path: Path, results: Path) -> int:
    """Return the number of real numbers by the header of a .safetensors file, which must fit its length. Raises Unreadable."""
    real = locate(path, results)
    with _parsing("readable weights"), safe_open(real, "np") as file:
        tensors = [file.get_slice(name) for name in file.keys()]  # noqa: SIM118
        # a flow's masks are in the file, too, but are not real numbers
        return sum(math.prod(tensor.get_shape()) for tensor in tensors if "F" in tensor.get_dtype())
