"""Bring your own data: what a path in a config turns into, and how every mistake in a file is named."""

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anndata
import numpy as np
import pandas
import pytest
from scipy.sparse import csc_matrix, csr_matrix
from support.project import ROOT, run_script

from mixvae.data import load_raw
from mixvae.data.fetch import fetch
from mixvae.data.look import look
from mixvae.data.prepared import Prepared, load, prepare, save
from mixvae.errors import UserError
from mixvae.study import DatasetInfo, catalogue, own_data
from mixvae.study.catalogue import ReaderOptions
from mixvae.study.own_data import SOURCES_VARIABLE, OwnData, names_a_file, resolve, source_of, with_source, without_source

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (40, 6, 5), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (40, 6, 5, 3), dtype=np.uint8)
LABELS = np.arange(40) % 4
COUNTS = RNG.poisson(2.0, (40, 30)).astype(np.int32) + np.eye(40, 30, dtype=np.int32)


IN_A_PROCESS = own_data._look


@pytest.fixture(autouse=True)
def _look_in_this_process(monkeypatch):
    """Starting a process for every file of these tests would take minutes; one test below compares."""
    monkeypatch.setattr(own_data, "_look", look)


def test_a_process_of_its_own_sees_the_same_and_says_the_same(tmp_path):
    cells = h5ad(tmp_path / "my cells.h5ad")
    for path, label, unlabelled, genes in (
        (cells, "type", False, 8),
        (cells, None, True, None),
        (npz(tmp_path / "-a.npz", x=GREY), None, False, None),
    ):
        options = ReaderOptions(label=label)
        assert IN_A_PROCESS(path, options, unlabelled, genes) == look(path, options, unlabelled, genes)
    for path, options in ((cells, ReaderOptions()), (npz(tmp_path / "b.npz", images=GREY), ReaderOptions(keys={"x": "image"}))):
        messages = []
        for way in (IN_A_PROCESS, look):
            with pytest.raises(UserError) as caught:
                way(path, options, False, None)
            messages.append(str(caught.value))
        assert messages[0] == messages[1]


def h5ad(path: Path, x=COUNTS, columns: dict | None = None, **others) -> Path:
    columns = {"type": [f"type {i}" for i in LABELS], "depth": np.linspace(0, 1, 40)} if columns is None else columns
    names = {
        "obs": pandas.DataFrame(columns, index=[f"cell{i}" for i in range(x.shape[0] if x is not None else 40)]),
        "var": pandas.DataFrame(index=[f"gene{i}" for i in range(COUNTS.shape[1])]),
    }
    anndata.AnnData(x, **names, **others).write_h5ad(path)
    return path


def npz(path: Path, **arrays) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def to_points(value, folder: Path) -> tuple[str, OwnData, DatasetInfo, Prepared]:
    """From a config's value all the way, as the rules go it."""
    name, own, info = resolve(value, None, folder / "cache.json")
    info = with_source(DatasetInfo.model_validate_json(without_source(info)), source_of(info))
    fetch(name, info, folder / "raw", None)
    return name, own, info, prepare(name, info, load_raw(name, folder / "raw", info))


def rows(data: Prepared) -> np.ndarray:
    return np.concatenate([data.arrays[f"x_{part}"] for part in ("train", "valid", "test")])


@pytest.mark.parametrize(
    ("x", "kind", "shape", "original"),
    [
        (GREY, "grey_image", (1, 6, 5), GREY[:, None]),
        (GREY[:, None], "grey_image", (1, 6, 5), GREY[:, None]),
        (GREY[..., None], "grey_image", (1, 6, 5), GREY[:, None]),
        (GREY[:, :, :3], "grey_image", (1, 6, 3), GREY[:, None, :, :3]),
        (COLOUR, "colour_image", (3, 6, 5), COLOUR.transpose(0, 3, 1, 2)),
        (COLOUR.transpose(0, 3, 1, 2), "colour_image", (3, 6, 5), COLOUR.transpose(0, 3, 1, 2)),
    ],
)
def test_images_of_every_layout_split_80_10_10(x, kind, shape, original, tmp_path):
    name, own, info, data = to_points(str(npz(tmp_path / "My images, 2.npz", x=x, y=LABELS)), tmp_path)
    assert name.startswith("My_images_2-")
    assert own.format == "npz"
    assert (info.kind, info.shape, info.classes, info.levels) == (kind, shape, 4, 255)
    assert data.meta["sizes"] == {"train": 32, "valid": 4, "test": 4}
    label = {row.tobytes(): str(y) for row, y in zip(np.ascontiguousarray(original), LABELS, strict=True)}
    assert {row.tobytes() for row in rows(data)} == set(label)
    for part in ("train", "valid", "test"):
        found = [data.meta["label_names"][y] for y in data.arrays[f"y_{part}"]]
        assert found == [label[row.tobytes()] for row in data.arrays[f"x_{part}"]]
    assert sorted(data.arrays["y_test"]) == [0, 1, 2, 3]  # stratified
    assert data.points("test", binary=False).max() <= 1


def test_given_parts_are_kept_and_absent_ones_taken_from_the_training_part(tmp_path):
    given = {"x_train": GREY[:30], "y_train": LABELS[:30], "x_test": GREY[30:], "y_test": LABELS[30:]}
    _, _, _, data = to_points(str(npz(tmp_path / "a.npz", **given)), tmp_path / "a")
    np.testing.assert_array_equal(data.arrays["x_test"][:, 0], GREY[30:])
    assert data.meta["sizes"] == {"train": 27, "valid": 3, "test": 10}
    seen = np.concatenate([data.arrays["x_train"], data.arrays["x_valid"]])
    assert sorted(row.tobytes() for row in seen) == sorted(row.tobytes() for row in GREY[:30])
    everything = {
        f"x_{part}": GREY[rows] for part, rows in {"test": slice(30, 40), "valid": slice(20, 30), "train": slice(20)}.items()
    }
    _, _, info, data = to_points(str(npz(tmp_path / "b.npz", **everything)), tmp_path / "b")
    np.testing.assert_array_equal(rows(data)[:, 0], GREY)
    assert (info.classes, data.meta["label_names"]) == (1, ["unlabelled"])


def test_keys_rename_arrays_and_labels_may_be_text(tmp_path):
    words = np.array(["ant", "bee", "cat", "dog"])[LABELS]
    path = npz(tmp_path / "a.npz", images=GREY, animals=words[:, None], junk=np.array([{}], dtype=object))
    _, own, info, data = to_points({"path": str(path), "keys": {"x": "images", "y": "animals"}}, tmp_path)
    assert own.keys == {"x": "images", "y": "animals"}
    assert data.meta["label_names"] == ["ant", "bee", "cat", "dog"]
    assert info.options.keys == own.keys


@pytest.mark.parametrize("store", [np.asarray, csr_matrix, csc_matrix, lambda x: csr_matrix(x, dtype=np.float32)])
def test_counts_in_whatever_way_they_are_stored(store, tmp_path):
    path = h5ad(tmp_path / "cells.h5ad", store(COUNTS.astype(np.float64)))
    name, own, info, data = to_points({"path": str(path), "label": "type"}, tmp_path)
    assert name.startswith("cells-")
    assert (own.format, own.label) == ("h5ad", "type")
    assert (info.kind, info.shape, info.classes) == ("counts", (30,), 4)
    assert sorted(map(tuple, rows(data))) == sorted(map(tuple, COUNTS))
    assert data.meta["features"] == [f"gene{i}" for i in range(30)]
    assert data.meta["label_names"] == [f"type {i}" for i in range(4)]
    assert data.meta["sizes"] == {"train": 32, "valid": 4, "test": 4}


def test_genes_are_chosen_only_when_asked_for(tmp_path):
    path = h5ad(tmp_path / "cells.h5ad")
    full, *_ = resolve({"path": str(path), "label": None}, None, tmp_path / "cache.json")
    name, own, info, data = to_points({"path": str(path), "label": None, "genes": 8}, tmp_path)
    assert (own.genes, info.genes, info.shape, info.classes) == (8, 8, (8,), 1)
    assert full != name
    columns = [int(gene.removeprefix("gene")) for gene in data.meta["features"]]
    assert sorted(map(tuple, rows(data))) == sorted(map(tuple, COUNTS[:, columns]))


def test_the_name_follows_from_the_bytes_and_how_they_are_read_not_from_the_place(tmp_path):
    first = npz(tmp_path / "a.npz", x=GREY, y=LABELS)
    (tmp_path / "elsewhere").mkdir()
    second = tmp_path / "elsewhere/a.npz"
    second.write_bytes(first.read_bytes())
    cache = tmp_path / "cache.json"
    name, own, info = resolve(str(first), None, cache)
    moved = resolve(str(second), None, cache)
    assert (name, own, without_source(info)) == (moved[0], moved[1], without_source(moved[2]))
    assert str(tmp_path) not in without_source(info)
    assert source_of(moved[2]) == str(second)
    npz(first, x=255 - GREY, y=LABELS)
    assert resolve(str(first), None, cache)[0] != name
    keyed = resolve({"path": str(second), "keys": {"x_train": "x", "y_train": "y"}}, None, cache)
    assert keyed[0] != name


def test_a_relative_path_starts_here_or_in_the_mirror(tmp_path, monkeypatch):
    mirror, here = tmp_path / "mirror", tmp_path / "here"
    for folder in (mirror / "sub", here):
        folder.mkdir(parents=True)
    npz(mirror / "sub/a.npz", x=GREY)
    monkeypatch.chdir(here)
    assert source_of(resolve("sub/a.npz", str(mirror), here / "c.json")[2]) == str(mirror / "sub/a.npz")
    (here / "sub").mkdir()
    npz(here / "sub/a.npz", x=GREY)
    assert source_of(resolve("sub/a.npz", str(mirror), here / "c.json")[2]) == str(here / "sub/a.npz")
    with pytest.raises(UserError, match=r"sub/aa\.npz: no such file, looked for .*here.* \(did you mean 'a\.npz'\?\)"):
        resolve("sub/aa.npz", "https://mirror", here / "c.json")


def test_the_cache_spares_reading_and_survives_damage(tmp_path, monkeypatch):
    path, cache = npz(tmp_path / "a.npz", x=GREY), tmp_path / "deep/cache.json"
    expected = resolve(str(path), None, cache)
    with monkeypatch.context() as patch:
        patch.setattr("mixvae.study.own_data._look", lambda *_: pytest.fail("read again"))
        assert resolve(str(path), None, cache) == expected
    (entry,) = json.loads(cache.read_text()).values()
    for damage in ("", "[]", "{", json.dumps({"a": 1}), cache.read_text().replace("grey_image", "gray"), "\x00"):
        cache.write_text(damage)
        assert resolve(str(path), None, cache) == expected
        assert entry in json.loads(cache.read_text()).values()
    # another file in the same place, of another age
    npz(path, x=COLOUR)
    os.utime(path, ns=(1, 1))
    assert resolve(str(path), None, cache)[2].kind == "colour_image"
    # where nothing can be written there is no cache, and no complaint
    assert resolve(str(path), None, path / "cache.json")[2].kind == "colour_image"


def test_jobs_that_start_together_share_the_cache(tmp_path):
    paths = [str(npz(tmp_path / f"{i}.npz", x=GREY + np.uint8(i))) for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda path: resolve(path, None, tmp_path / "cache.json")[0], paths * 4))
    assert len(set(names)) == 8
    assert json.loads((tmp_path / "cache.json").read_text())
    assert [file.name for file in tmp_path.glob(".cache*")] == []


def test_a_known_file_costs_no_heavy_import(tmp_path):
    path, cache = npz(tmp_path / "a.npz", x=GREY), tmp_path / "cache.json"
    resolve(str(path), None, cache)
    code = (
        "import sys, pathlib; from mixvae.study.own_data import resolve; "
        f"resolve({str(path)!r}, None, pathlib.Path({str(cache)!r})); "
        "assert not {'numpy', 'anndata', 'h5py', 'torch', 'mixvae.data'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(ROOT / "src")})


def test_is_own():
    assert names_a_file("data/a.npz")
    assert names_a_file("b.h5ad")
    assert names_a_file({"path": "a.npz"})
    assert not any(names_a_file(name) for name in [*catalogue(), None, 3])


def objects(path: Path) -> Path:
    np.savez(path, x=GREY, y=np.array([{"a": 1}] * 40, dtype=object))
    return path


def cut(path: Path, share: float) -> Path:
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    return path


def flipped(path: Path) -> Path:
    """A byte in the middle of the compressed pixels is another."""
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(bytes(content))
    return path


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda p: npz(p, x=GREY / 255), r"x is float64, expected uint8 levels from 0 to 255"),
        (lambda p: npz(p, x=GREY.astype(int)), r"x is int64, expected uint8"),
        (lambda p: npz(p, x=GREY.reshape(40, 30)), r"x has shape \(40, 30\), expected \(N, H, W\)"),
        (lambda p: npz(p, x=GREY.reshape(40, 2, 3, 5)), r"x has shape \(40, 2, 3, 5\), expected"),
        (lambda p: npz(p, x=COLOUR[:, :3, :, :]), r"x has shape \(40, 3, 5, 3\), expected"),  # which axis is the colour?
        (lambda p: npz(p, x=GREY[:0]), r"x has shape \(0, 6, 5\), expected"),
        (lambda p: npz(p, x=GREY[:9]), r"9 points are too few to make a valid and a test part from"),
        (lambda p: npz(p, x=GREY, y=LABELS[:-1]), r"labels of train have shape \(39,\), expected \(40,\), one per image"),
        (lambda p: npz(p, x=GREY, y=LABELS / 2), r"labels of train are float64, expected integers or text"),
        (lambda p: npz(p, x_train=GREY, x_test=GREY, y_test=LABELS), r"images of train, test, but labels of test"),
        (lambda p: npz(p, x_train=GREY, x_test=GREY[:, :5]), r"images differ: train \(1, 6, 5\), test \(1, 5, 5\)"),
        (lambda p: npz(p, x=GREY, x_test=GREY), r"holds x and x_train, x_valid or x_test; which is it"),
        (lambda p: npz(p, x_train=GREY, x_tset=GREY), r"array 'x_tset' is none of .* \(did you mean 'x_test'\?\)"),
        (lambda p: npz(p, images=GREY), r"no array x_train or x; the file holds images; name it with keys: \{x: \.\.\.\}"),
        (lambda p: npz(p, x_test=GREY), r"no array x_train or x; the file holds x_test"),
        (lambda p: npz(p), r"no array x_train or x; the file holds nothing"),
        (objects, r"y holds pickled Python objects, which are not read"),
        (lambda p: cut(npz(p, x=GREY), 0.7), r"not an \.npz file, or one cut short"),
        (lambda p: flipped(npz(p, x=GREY)), r"damaged, "),
        (lambda p: p.write_bytes(b"") and p, r"not an \.npz file"),
    ],
)
def test_every_bad_npz_is_named_in_one_line(make, expected, tmp_path):
    make(tmp_path / "bad.npz")
    with pytest.raises(UserError, match=expected) as error:
        resolve(str(tmp_path / "bad.npz"), None, tmp_path / "cache.json")
    assert str(error.value).startswith(f"{tmp_path}/bad.npz: ")
    assert "\n" not in str(error.value)


def changed(value: float) -> np.ndarray:
    x = COUNTS.astype(np.float64)
    x[3, 4] = value
    return x


def no_cells(path: Path) -> Path:
    return h5ad(path, COUNTS[:0], {"type": []})


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda p: h5ad(p, changed(-2)), r"X holds the negative value -2; counts start at 0"),
        (lambda p: h5ad(p, csr_matrix(changed(0.5))), r"X holds 0\.5, not integer counts; put the raw counts into X$"),
        (
            lambda p: h5ad(p, np.log1p(COUNTS), layers={"counts": COUNTS}),
            r"raw counts into X \(perhaps from layers\['counts'\]\)",
        ),
        (lambda p: h5ad(p, changed(np.nan)), r"X holds 1 values that are NaN or infinite"),
        (lambda p: h5ad(p, changed(np.inf)), r"X holds 1 values that are NaN or infinite"),
        (lambda p: h5ad(p, changed(1e12)), r"X holds 1e\+12, too large for a count"),
        (lambda p: h5ad(p, COUNTS * (np.arange(40) != 7)[:, None]), r"1 cells have no counts at all; remove them: scanpy"),
        (lambda p: h5ad(p, None), r"X is empty"),
        (no_cells, r"X is empty, shape \(0, 30\)"),
        (lambda p: h5ad(p, COUNTS[:8], {"type": ["a", "b"] * 4}), r"8 cells are too few to split"),
        (lambda p: h5ad(p, columns={"tpye": LABELS.astype(str)}), r"label: no column 'type' in obs \(did you mean 'tpye'\?\)"),
        (lambda p: h5ad(p, columns={"type": [None, *"ab" * 19, "a"]}), r"1 cells have no type; fill it in or remove them"),
        (
            lambda p: h5ad(p, columns={"type": np.arange(40) / 3}),
            r"label: type holds 40 values of type float64 in 40 cells, no cl",
        ),
        (lambda p: cut(h5ad(p), 0.5), r"cannot be read as \.h5ad: "),
        (lambda p: p.write_bytes(b"no hdf5") and p, r"cannot be read as \.h5ad: "),
    ],
)
def test_every_bad_h5ad_is_named_in_one_line(make, expected, tmp_path):
    make(tmp_path / "bad.h5ad")
    with pytest.raises(UserError, match=expected) as error:
        resolve({"path": str(tmp_path / "bad.h5ad"), "label": "type"}, None, tmp_path / "cache.json")
    assert str(error.value).startswith(f"{tmp_path}/bad.h5ad: ")
    assert "\n" not in str(error.value)


def test_without_a_label_the_columns_that_could_be_it_are_listed(tmp_path):
    columns = {
        "type": [f"t{i}" for i in LABELS],
        "depth": np.linspace(0, 1, 40),
        "batch": LABELS // 2,
        "id": [f"i{i}" for i in range(40)],
    }
    path = h5ad(tmp_path / "cells.h5ad", columns=columns)
    with pytest.raises(
        UserError, match=r"which column of obs holds the labels\? set label \(candidates: type, batch\), or label: null"
    ):
        resolve(str(path), None, tmp_path / "cache.json")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"path": "a.npz", "keyz": {}}, r"keyz: unknown key 'keyz' \(did you mean 'keys'\?\)"),
        ({"keys": {}}, r"path: this key is required"),
        ({"path": "a.csv"}, r"path: found 'a\.csv'"),
        ({"path": "a.npz", "genes": 5}, r"a\.npz: genes does not belong to a \.npz file"),
        ({"path": "a.h5ad", "keys": {"x": "y"}}, r"a\.h5ad: keys does not belong to a \.h5ad file"),
        ({"path": "a.h5ad", "genes": 0}, r"genes: found 0"),
        ({"path": "GREY", "keys": {"x_trian": "x"}}, r"keys: unknown name 'x_trian' \(did you mean 'x_train'\?\)"),
        ({"path": "GREY", "keys": {"x": "picturs"}}, r"keys\.x: no array 'picturs' in the file \(did you mean 'pictures'\?\)"),
        ({"path": "CELLS", "label": "type", "genes": 31}, r"genes: 31 to keep, but the file has 30; lower or remove genes"),
        ("missing.npz", r"missing\.npz: no such file, looked for .*; correct the path, or set data_mirror"),
    ],
)
def test_every_mistake_in_a_config_is_named(value, expected, tmp_path):
    if isinstance(value, dict) and value.get("path") == "GREY":
        value = value | {"path": str(npz(tmp_path / "a.npz", pictures=GREY))}
    if isinstance(value, dict) and value.get("path") == "CELLS":
        value = value | {"path": str(h5ad(tmp_path / "a.h5ad"))}
    with pytest.raises(UserError, match=expected):
        resolve(value, None, tmp_path / "cache.json")


def test_a_file_that_changed_since_the_config_was_read_is_refused(tmp_path):
    path = npz(tmp_path / "a.npz", x=GREY)
    name, _, info = resolve(str(path), None, tmp_path / "cache.json")
    npz(path, x=255 - GREY)
    with pytest.raises(UserError, match=rf"{name}: 1 of 1 files could not be had: .*corrupted, sha256 expected") as error:
        fetch(name, info, tmp_path / "raw", None)
    assert "MIXVAE_DATA" not in str(error.value)


def test_the_scripts_take_own_data_from_its_path_to_verified_arrays(tmp_path):
    path = npz(tmp_path / "a.npz", x=GREY, y=LABELS)
    name, _, info = resolve(str(path), None, tmp_path / "cache.json")
    folder, env = tmp_path / "out", {"PYTHONPATH": str(ROOT / "src"), SOURCES_VARIABLE: json.dumps({name: str(path)})}
    common = {"cwd": tmp_path, "env": env}
    result = run_script("download", "--dataset", name, "--folder", folder, "--info", without_source(info), **common)
    assert (result.returncode, result.stderr) == (0, "")
    save(prepare(name, info, load_raw(name, folder / "raw", info)), folder)
    content = (folder / "data.npz").read_bytes()
    # the command that is offered for the repair needs no more than it says
    (folder / "data.npz").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"repair it: python scripts/prepare\.py") as error:
        load(folder)
    command = str(error.value).split("repair it: python scripts/prepare.py ")[1].split()
    assert run_script("prepare", *command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT / "src")}).returncode == 0
    assert (folder / "data.npz").read_bytes() == content


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (
            lambda folder: (folder / "raw.json").unlink(),
            r"raw\.json: no such file; download it again: python scripts/download\.py",
        ),
        (
            lambda folder: (folder / "raw.json").write_text('{"digits.csv.gz": "0"}'),
            r"raw\.json: not what the download rule writes",
        ),
        (
            lambda folder: (folder / "raw/digits.csv.gz").write_bytes(b"x"),
            r"digits\.csv\.gz: sha256 expected 09f6\w* found 2d71\w*; download",
        ),
    ],
)
def test_prepare_names_what_is_not_as_it_was_downloaded(damage, expected, tmp_path):
    environment = {"cwd": tmp_path, "env": {"PYTHONPATH": str(ROOT / "src")}}
    assert run_script("download", "--dataset", "digits", "--folder", tmp_path, **environment).returncode == 0
    damage(tmp_path)
    result = run_script("prepare", "--dataset", "digits", "--folder", tmp_path, **environment)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert re.search(expected, line), line


def test_download_names_an_unknown_data_set(tmp_path):
    result = run_script(
        "download", "--dataset", "mnits", "--folder", tmp_path, cwd=tmp_path, env={"PYTHONPATH": str(ROOT / "src")}
    )
    assert result.returncode == 1
    assert result.stderr == "error: --dataset: unknown data set 'mnits' (did you mean 'mnist'?)\n"


def test_keys_choose_between_a_whole_array_and_parts(tmp_path):
    np.savez(tmp_path / "both.npz", x=GREY, x_train=GREY[:-10], x_test=GREY[-10:])
    sizes = []
    for keys in ({"x": "x"}, {"x_train": "x_train"}):
        _, _, info = resolve({"path": str(tmp_path / "both.npz"), "keys": keys}, None, tmp_path / "cache.json")
        sizes.append(info.splits)
    assert sum(sizes[0].model_dump().values()) == len(GREY)
    assert sizes[1].test == 10
