"""Data sets: what is fetched, what is refused, what comes out."""

from __future__ import annotations

import gzip
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, run_script

from mixvae.data import load_raw
from mixvae.data.arrays import Arrays
from mixvae.data.fetch import fetch
from mixvae.data.prepared import load, prepare, save
from mixvae.errors import UserError
from mixvae.files import sha256
from mixvae.spec import DatasetInfo, catalogue


def idx(array: np.ndarray) -> bytes:
    """MNIST's file format: two zero bytes, type 8 (uint8), dimensions, big-endian sizes, data; gzipped."""
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return gzip.compress(header + array.astype(np.uint8).tobytes(), mtime=0)


@pytest.fixture
def tiny_mnist(tmp_path) -> tuple[Path, DatasetInfo]:
    """A mirror with a small data set in MNIST's format, and its catalogue entry."""
    rng = np.random.default_rng(0)
    parts = {"train": 10_020, "t10k": 30}
    folder = tmp_path / "mirror/mnist"
    folder.mkdir(parents=True)
    for part, n in parts.items():
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(idx(rng.integers(0, 256, (n, 28, 28))))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(idx(rng.integers(0, 10, n)))
    entry = catalogue()["mnist"].model_dump()
    missing = "http://127.0.0.1:9/nothing-listens-here"
    entry["files"] = {name: {"sha256": sha256(folder / name), "sources": [missing]} for name in entry["files"]}
    entry["splits"] = {"train": 20, "valid": 10_000, "test": 30}
    return tmp_path / "mirror", DatasetInfo.model_validate(entry)


def test_mnist_format_through_torchvision(tiny_mnist, tmp_path):
    mirror, info = tiny_mnist
    found = fetch("mnist", info, tmp_path / "raw", str(mirror))
    assert all(entry["source"].startswith(str(mirror)) for entry in found.values())
    raw = load_raw("mnist", tmp_path / "raw")
    with gzip.open(mirror / "mnist/train-images-idx3-ubyte.gz") as file:
        expected = np.frombuffer(file.read()[16:], np.uint8).reshape(-1, 28, 28)
    np.testing.assert_array_equal(raw.x[:10_020, 0], expected)
    data = prepare("mnist", info, raw)
    # the last 10,000 of the training file validate; training stays grey, the rest is binary
    np.testing.assert_array_equal(data.arrays["x_train"][:, 0], expected[:20])
    stream = np.random.RandomState(777)
    np.testing.assert_array_equal(data.arrays["x_valid"], stream.binomial(1, raw.x[20:10_020] / 255))
    np.testing.assert_array_equal(data.arrays["x_test"], stream.binomial(1, raw.x[10_020:] / 255))
    assert data.flat("x_train").max() <= 1


def test_a_corrupt_file_is_refused_with_both_checksums_and_the_others_are_kept(tiny_mnist, tmp_path):
    mirror, info = tiny_mnist
    bad = mirror / "mnist/t10k-labels-idx1-ubyte.gz"
    content = bytearray(bad.read_bytes())
    content[-1] ^= 1
    expected = sha256(bad)
    bad.write_bytes(bytes(content))
    with pytest.raises(UserError) as error:
        fetch("mnist", info, tmp_path / "raw", str(mirror))
    message = str(error.value)
    assert f"sha256 expected {expected} found {sha256(bad)}" in message
    assert "t10k-labels" in message
    assert "set data_mirror or MIXVAE_DATA" in message
    assert "\n" not in message
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "raw").iterdir()}
    assert len(kept) == 3
    assert bad.name not in kept
    content[-1] ^= 1
    bad.write_bytes(bytes(content))
    fetch("mnist", info, tmp_path / "raw", str(mirror))
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "raw").iterdir()}
    assert len(after) == 4
    assert all(after[name] == time for name, time in kept.items())


def test_a_file_damaged_after_its_download_is_fetched_again(tiny_mnist, tmp_path):
    mirror, info = tiny_mnist
    fetch("mnist", info, tmp_path / "raw", str(mirror))
    name = "train-labels-idx1-ubyte.gz"
    (tmp_path / "raw" / name).write_bytes(b"rubbish")
    found = fetch("mnist", info, tmp_path / "raw", str(mirror))
    assert sha256(tmp_path / "raw" / name) == info.files[name].sha256
    assert [entry["source"] for file, entry in found.items() if file != name] == ["already here"] * 3


def test_a_mirror_can_be_a_url(tiny_mnist, tmp_path):
    mirror, info = tiny_mnist
    found = fetch("mnist", info, tmp_path / "raw", mirror.as_uri())
    assert len(found) == 4


def test_a_missing_mirror_is_named(tmp_path):
    with pytest.raises(UserError, match=r"data_mirror: .*nowhere: no such folder"):
        fetch("digits", catalogue()["digits"], tmp_path, str(tmp_path / "nowhere"))


def test_download_script_ends_with_one_line(tmp_path):
    result = run_script(
        "download",
        "--dataset",
        "mnist",
        "--folder",
        tmp_path,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT / "src"), "MIXVAE_DATA": "gone"},
    )
    assert result.returncode == 1
    assert result.stderr.splitlines() == [result.stderr.strip()]
    assert result.stderr.startswith("error: data_mirror: gone: no such folder")


def test_embedded_digits(prepared):
    from sklearn.datasets import load_digits

    data, reference = prepared("digits"), load_digits()
    assert {part: len(data.arrays[f"y_{part}"]) for part in ("train", "valid", "test")} == {
        "train": 1297,
        "valid": 200,
        "test": 300,
    }
    images = {image.tobytes() for image in reference.images.astype(np.uint8)}
    assert all(image.tobytes() in images for image in data.arrays["x_train"][:, 0])
    assert set(np.unique(data.arrays["x_test"])) == {0, 1}
    counts = np.bincount(data.arrays["y_test"])
    assert counts.min() >= 28  # stratified


def test_embedded_cells_are_integer_counts(prepared):
    data = prepared("pbmc68k_reduced")
    x = np.concatenate([data.arrays[f"x_{part}"] for part in ("train", "valid", "test")])
    assert x.shape == (700, 765)
    assert np.issubdtype(x.dtype, np.integer)
    assert x.min() == 0
    assert len(data.meta["label_names"]) == 10
    # the way back: every cell, normalised again, is a row of the values that the file holds
    import scanpy

    cells = scanpy.datasets.pbmc68k_reduced()
    stored = np.asarray(cells.raw.X.todense())
    totals = cells.obs["n_counts"].to_numpy()
    by_row = {
        tuple(np.rint(np.expm1(row) * total / 1e4).astype(int)[:50]): i
        for i, (row, total) in enumerate(zip(stored, totals, strict=True))
    }
    for counts in x[::50]:
        i = by_row[tuple(counts[:50])]
        np.testing.assert_allclose(np.log1p(1e4 * counts / totals[i]), stored[i], atol=2e-3)


INFO = DatasetInfo.model_validate(
    {
        "title": "t", "kind": "counts", "shape": [3], "classes": 2, "splits": {"train": 6, "valid": 2, "test": 2}, "files": {},
        "licence": "l", "citation": "c",
    }
)  # fmt: skip
GOOD = np.arange(1, 31).reshape(10, 3)
LABELS = np.array([0, 1] * 5)


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        (GOOD.astype(float), LABELS, "values are float64, expected integers"),
        (GOOD - 5, LABELS, "found the negative value -4"),
        (GOOD[:, :2], LABELS, r"points have shape \(2,\), expected \(3,\)"),
        (GOOD, LABELS[:-1], "10 points but 9 labels"),
        (np.where(np.arange(10)[:, None] == 4, 0, GOOD), LABELS, "1 cells have no counts"),
    ],
)
def test_bad_arrays_are_named(x, y, expected):
    with pytest.raises(UserError, match=f"d: {expected}"):
        prepare("d", INFO, Arrays(x, y, ["a", "b"]))


def test_prepared_data_is_the_same_bytes_and_verified_when_read(tmp_path):
    for folder in (tmp_path / "a", tmp_path / "b"):
        save(prepare("d", INFO, Arrays(GOOD, LABELS, ["a", "b"])), folder)
    a, b = ((tmp_path / name / "data.npz").read_bytes() for name in "ab")
    assert a == b
    data = load(tmp_path / "a")
    rows = np.concatenate([data.arrays[f"x_{part}"] for part in ("train", "valid", "test")])
    np.testing.assert_array_equal(np.sort(rows[:, 0]), GOOD[:, 0])
    for position in (0, len(a) // 2, len(a) - 1):
        flipped = bytearray(a)
        flipped[position] ^= 1
        (tmp_path / "a/data.npz").write_bytes(bytes(flipped))
        with pytest.raises(UserError, match="changed since it was prepared, sha256 expected"):
            load(tmp_path / "a")


def test_torchvision_datasets_import_with_and_without_compiled_operators():
    code = (
        "from mixvae.data.torchvision_import import datasets; d = datasets(); d2 = datasets(); assert d is d2; "
        "assert d.MNIST and d.FashionMNIST and d.CIFAR10"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(ROOT / "src")})
