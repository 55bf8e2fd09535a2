"""Data sets: what is fetched, what is refused, what comes out."""

import gzip
import hashlib
import io
import pickle
import struct
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from support.project import ROOT, run_script

from mixvae.data import fetch as fetching
from mixvae.data import load_raw
from mixvae.data.archives import unpack
from mixvae.data.arrays import PARTS, Arrays, split
from mixvae.data.fetch import fetch
from mixvae.data.genes import most_variable
from mixvae.data.prepared import load, prepare, save
from mixvae.data.torchvision_import import datasets as torchvision_datasets
from mixvae.errors import UserError
from mixvae.files import sha256
from mixvae.study import DatasetInfo, catalogue
from mixvae.study.catalogue import RawFile

NOWHERE = "http://127.0.0.1:9/nothing-listens-here"
TYPES = {"grey_image": np.uint8, "colour_image": np.uint8, "counts": np.int32, "real": np.float32, "density": np.float32}

Truth = dict[bytes, str]
"""The label of each point, by its bytes."""


def idx(array: np.ndarray) -> bytes:
    """MNIST's file format: two zero bytes, type 8 (uint8), dimensions, big-endian sizes, data; gzipped."""
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return gzip.compress(header + array.astype(np.uint8).tobytes(), mtime=0)


def images(rng: np.random.Generator, n: int, *shape: int) -> np.ndarray:
    """Different images that are black but for eight pixels, so that they pack and unpack quickly."""
    x = np.zeros((n, int(np.prod(shape))), np.uint8)
    x[np.arange(n)[:, None], rng.integers(0, x.shape[1], (n, 8))] = rng.integers(1, 256, (n, 8))
    return x.reshape(n, *shape)


def truth_of(x: np.ndarray, labels: list[str]) -> Truth:
    assert len(x) == len(labels)
    return {row.tobytes(): label for row, label in zip(np.ascontiguousarray(x), labels, strict=True)}


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def tiny_mnist_files(folder: Path, rng: np.random.Generator, classes: list[str]) -> tuple[dict, Callable[[list], Truth]]:
    x, y = images(rng, 10_050, 28, 28), rng.integers(0, 10, 10_050)
    for part, rows in {"train": slice(0, 10_020), "t10k": slice(10_020, None)}.items():
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(idx(x[rows]))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(idx(y[rows]))
    truth = truth_of(x, [classes[label] for label in y])
    return {"splits": {"train": 20, "valid": 10_000, "test": 30}}, lambda features: truth


def tiny_cifar10_files(folder: Path, rng: np.random.Generator, monkeypatch) -> tuple[dict, Callable[[list], Truth]]:
    """Five training batches and one of tests: pickled dicts of `data` (N, 3072), channel after channel, and `labels`."""
    names = [f"name {label}" for label in range(10)]
    x, y = images(rng, 10_050, 3, 32, 32), rng.integers(0, 10, 10_050)
    batches = {f"data_batch_{i + 1}": slice(2004 * i, 2004 * (i + 1)) for i in range(5)} | {"test_batch": slice(10_020, None)}
    contents = {
        name: pickle.dumps({"data": x[rows].reshape(-1, 3072), "labels": y[rows].tolist()}, protocol=2)
        for name, rows in batches.items()
    } | {"batches.meta": pickle.dumps({"label_names": names}, protocol=2)}
    with tarfile.open(folder / "cifar-10-python.tar.gz", "w:gz", compresslevel=1) as archive:
        for name, content in contents.items():
            add(archive, f"cifar-10-batches-py/{name}", content)
    md5 = {name: hashlib.md5(content).hexdigest() for name, content in contents.items()}
    official = torchvision_datasets().CIFAR10
    monkeypatch.setattr(official, "train_list", [[name, md5[name]] for name in batches if name != "test_batch"])
    monkeypatch.setattr(official, "test_list", [["test_batch", md5["test_batch"]]])
    monkeypatch.setattr(official, "meta", official.meta | {"md5": md5["batches.meta"]})
    truth = truth_of(x, [names[label] for label in y])
    return {"splits": {"train": 20, "valid": 10_000, "test": 30}}, lambda features: truth


def tiny_omniglot_files(folder: Path, rng: np.random.Generator) -> tuple[dict, Callable[[list], Truth]]:
    """A MATLAB file of inks in [0, 1], one drawing per column, whose pixels run down the columns of the drawing."""
    from scipy.io import savemat

    x, y = images(rng, 1_395, 28, 28), rng.integers(0, 50, 1_395)
    columns, one_hot = x.transpose(2, 1, 0).reshape(784, -1) / 255, np.eye(50)[:, y]
    train, test = slice(0, 1_365), slice(1_365, None)
    arrays = {
        "data": columns[:, train],
        "target": one_hot[:, train],
        "testdata": columns[:, test],
        "testtarget": one_hot[:, test],
    }
    savemat(folder / "chardata.mat", arrays | {"targetchar": y[None, train] + 1.0})
    truth = truth_of(x, [f"alphabet {label + 1}" for label in y])
    return {"splits": {"train": 20, "valid": 1345, "test": 30}}, lambda features: truth


def tiny_counts(rng: np.random.Generator, cells: int, genes: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    y = np.arange(cells) % classes
    rates = rng.gamma(2.0, 2.0, (classes, genes))
    return rng.poisson(rates[y]).astype(np.int32), y


def tiny_cortex_files(folder: Path, rng: np.random.Generator) -> tuple[dict, Callable[[list], Truth]]:
    """Ten lines of annotation with their names in the second column, an empty line, then genes with a group number each."""
    x, y = tiny_counts(rng, 60, 90, 7)
    types, genes = [f"type {label}" for label in y], [f"Gene{i}" for i in range(89)] + ["NA"]
    rows = ["tissue", "group #", "total mRNA mol", "well", "sex", "age", "diameter", "cell_id", "level1class", "level2class"]
    values = {"tissue": ["sscortex"] * 60, "cell_id": [f"177_{i}" for i in range(60)], "level1class": types}
    lines = [["", row, *values.get(row, ["1"] * 60)] for row in rows] + [[""] * 62]
    lines += [[gene, "7", *map(str, x[:, i])] for i, gene in enumerate(genes)]
    (folder / "expression_mRNA_17-Aug-2014.txt").write_text("".join("\t".join(line) + "\n" for line in lines))
    changes = {"splits": {"train": 40, "valid": 10, "test": 10}, "genes": 30, "shape": (30,)}
    return changes, lambda features: truth_of(x[:, [genes.index(name) for name in features]], types)


def tiny_pbmc3k_files(folder: Path, rng: np.random.Generator) -> tuple[dict, Callable[[list], Truth]]:
    """10x's folder of a Matrix Market file (genes x cells) with names beside it; an h5ad of the cells kept, in other order."""
    import anndata
    import pandas
    from scipy.io import mmwrite
    from scipy.sparse import coo_matrix

    x, y = tiny_counts(rng, 80, 90, 8)
    types, genes = [f"type {label}" for label in y], [f"GENE{i}" for i in range(90)]
    barcodes = [f"AAAC{i:04}-1" for i in range(80)]
    matrix = io.BytesIO()
    mmwrite(matrix, coo_matrix(x.T), field="integer")
    with tarfile.open(folder / "pbmc3k_filtered_gene_bc_matrices.tar.gz", "w:gz") as archive:
        inside = "filtered_gene_bc_matrices/hg19"
        add(archive, f"{inside}/matrix.mtx", matrix.getvalue())
        add(archive, f"{inside}/genes.tsv", "".join(f"ENSG{i}\t{gene}\n" for i, gene in enumerate(genes)).encode())
        add(archive, f"{inside}/barcodes.tsv", "".join(f"{barcode}\n" for barcode in barcodes).encode())
    kept = rng.permutation(80)[:70]
    obs = pandas.DataFrame({"louvain": pandas.Categorical([types[i] for i in kept])}, index=[barcodes[i] for i in kept])
    anndata.AnnData(np.zeros((70, 1), np.float32), obs=obs).write_h5ad(folder / "pbmc3k.h5ad")
    changes = {"splits": {"train": 50, "valid": 10, "test": 10}, "genes": 30, "shape": (30,)}
    return changes, lambda features: truth_of(x[kept][:, [genes.index(name) for name in features]], [types[i] for i in kept])


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Return a function that gives a data set's entry, a mirror with a tiny copy of its files, and the truth about them.

    What is generated or ships inside a dependency stays as it is.
    """

    def make(name: str) -> tuple[DatasetInfo, Path, Callable[[list], Truth] | None]:
        info, folder, rng = catalogue()[name], tmp_path / "mirror" / name, np.random.default_rng(0)
        folder.mkdir(parents=True)
        if all(source.startswith("package://") for file in info.files.values() for source in file.sources):
            return info, folder.parent, None
        changes, truth = {
            "mnist": lambda: tiny_mnist_files(folder, rng, [f"{i} - {word}" for i, word in enumerate(DIGITS)]),
            "fashion_mnist": lambda: tiny_mnist_files(folder, rng, CLOTHES),
            "cifar10": lambda: tiny_cifar10_files(folder, rng, monkeypatch),
            "omniglot": lambda: tiny_omniglot_files(folder, rng),
            "cortex": lambda: tiny_cortex_files(folder, rng),
            "pbmc3k": lambda: tiny_pbmc3k_files(folder, rng),
        }[name]()
        files = {file: {"sha256": sha256(folder / file), "sources": [NOWHERE]} for file in info.files}
        return DatasetInfo.model_validate(info.model_dump() | changes | {"files": files}), folder.parent, truth

    return make


DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
CLOTHES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]


@pytest.mark.parametrize("name", catalogue())
def test_every_data_set_from_its_official_files_to_points(name, tiny, tmp_path):
    info, mirror, truth_about = tiny(name)
    found = fetch(name, info, tmp_path / "raw", str(mirror))
    assert set(found) == set(info.files)
    made = []
    for folder in ("first", "second"):
        raw = load_raw(name, tmp_path / "raw", info)
        save(prepare(name, info, raw), tmp_path / folder)
        made.append((tmp_path / folder / "data.npz").read_bytes())
    assert made[0] == made[1]
    data = load(tmp_path / "first")
    assert data.meta["name"] == name
    assert (data.meta["kind"], tuple(data.meta["shape"]), data.meta["levels"]) == (info.kind, info.shape, info.levels)
    assert data.meta["sizes"] == {part: len(data.arrays[f"x_{part}"]) for part in PARTS} == info.splits.model_dump()
    assert len(data.meta["label_names"]) == len(set(data.meta["label_names"])) == info.classes

    x = np.concatenate([data.arrays[f"x_{part}"] for part in PARTS])
    y = np.concatenate([data.arrays[f"y_{part}"] for part in PARTS])
    assert x.shape[1:] == info.shape
    assert x.dtype == TYPES[info.kind]
    assert y.dtype == np.int64
    assert 0 <= y.min() <= y.max() < info.classes
    if info.levels:
        assert x.max() == info.levels
    # every point of the raw files is in one part, and in no second one
    everything = raw.x if isinstance(raw.x, np.ndarray) else raw.x.toarray()
    if info.genes:
        assert len(set(data.meta["features"])) == info.genes
        everything = everything[:, [raw.features.index(gene) for gene in data.meta["features"]]]
    assert sorted(row.tobytes() for row in x) == sorted(row.tobytes() for row in everything.astype(x.dtype))
    if truth_about:
        truth = truth_about(data.meta["features"])
        assert [data.meta["label_names"][label] for label in y] == [truth[row.tobytes()] for row in x]

    for part in PARTS:
        points, values = data.points(part, binary=False), data.arrays[f"x_{part}"]
        assert points.dtype == np.float32
        np.testing.assert_array_equal(points, values.reshape(len(values), -1) / np.float32(info.levels or 1))
        if info.kind == "grey_image":
            binary = data.points(part, binary=True)
            assert binary.dtype == np.float32
            assert set(np.unique(binary)) == {0, 1}
            assert (binary[points == 1] == 1).all()
            assert (binary[points == 0] == 0).all()
        else:
            with pytest.raises(UserError, match=f"{name}: only grey images can be binarised, its kind is {info.kind}"):
                data.points(part, binary=True)


@pytest.mark.parametrize(("name", "info"), catalogue().items())
def test_every_entry_says_where_it_comes_from(name, info):
    assert info.licence
    assert info.citation
    assert (ROOT / f"src/mixvae/data/{name}.py").is_file()
    assert bool(info.files) == (name not in ("toy1d", "ring", "bivariate"))
    for file in info.files.values():
        assert file.sources
        assert all(source.startswith(("https://", "http://", "package://")) for source in file.sources)
        assert (file.digest is None) == (name == "cortex")  # the one file that nobody publishes a digest of


@pytest.mark.parametrize("change", [{}, {"sha256": "0" * 64, "md5": "0" * 32}, {"sha256": "0" * 63}, {"md5": "unpublished"}])
def test_a_file_has_exactly_one_digest(change):
    with pytest.raises(ValueError, match=r"sha256|md5"):
        RawFile.model_validate({"sources": ["https://x"]} | change)


@pytest.fixture
def tiny_mnist(tiny) -> tuple[Path, DatasetInfo]:
    """A mirror with a small data set in MNIST's format, and its catalogue entry."""
    info, mirror, _ = tiny("mnist")
    return mirror, info


def test_mnist_is_binarised_as_in_the_vampprior_code(tiny_mnist, tmp_path):
    mirror, info = tiny_mnist
    found = fetch("mnist", info, tmp_path / "raw", str(mirror))
    assert all(entry["source"].startswith(str(mirror)) for entry in found.values())
    raw = load_raw("mnist", tmp_path / "raw")
    with gzip.open(mirror / "mnist/train-images-idx3-ubyte.gz") as file:
        expected = np.frombuffer(file.read()[16:], np.uint8).reshape(-1, 28, 28)
    np.testing.assert_array_equal(raw.x[:10_020, 0], expected)
    data = prepare("mnist", info, raw)
    # the last 10,000 of the training file validate; one stream binarises validation, test and training points
    stream = np.random.RandomState(777)
    np.testing.assert_array_equal(data.arrays["x_valid_binary"], stream.binomial(1, raw.x[20:10_020] / 255))
    np.testing.assert_array_equal(data.arrays["x_test_binary"], stream.binomial(1, raw.x[10_020:] / 255))
    np.testing.assert_array_equal(data.arrays["x_train_binary"], stream.binomial(1, raw.x[:20] / 255))


def test_the_last_10000_training_images_of_cifar10_validate(tiny, tmp_path):
    info, mirror, _ = tiny("cifar10")
    raw = load_raw("cifar10", mirror / "cifar10")
    with tarfile.open(mirror / "cifar10/cifar-10-python.tar.gz") as archive:
        first = pickle.load(archive.extractfile("cifar-10-batches-py/data_batch_1"))["data"].reshape(-1, 3, 32, 32)
    data = prepare("cifar10", info, raw)
    np.testing.assert_array_equal(data.arrays["x_train"], first[:20])
    np.testing.assert_array_equal(data.arrays["x_valid"][: len(first) - 20], first[20:])


def test_a_cifar10_batch_that_is_not_the_official_one_is_not_unpickled(tiny, tmp_path, monkeypatch):
    _, mirror, _ = tiny("cifar10")
    official = torchvision_datasets().CIFAR10
    monkeypatch.setattr(official, "train_list", [[name, "0" * 32] for name, _ in official.train_list])
    monkeypatch.setattr(pickle, "load", lambda *_, **__: pytest.fail("unpickled"))
    with pytest.raises(RuntimeError, match="corrupted"):
        load_raw("cifar10", mirror / "cifar10")


def test_omniglot_holds_out_as_the_iwae_code_does(tiny):
    from scipy.io import loadmat

    info, mirror, _ = tiny("omniglot")
    data = prepare("omniglot", info, load_raw("omniglot", mirror / "omniglot"))
    # the reshaping of the IWAE and VampPrior code, on flat images
    flat = loadmat(mirror / "omniglot/chardata.mat")["data"].T.reshape((-1, 28, 28)).reshape((-1, 784), order="F")
    shuffled = flat[np.random.RandomState(123).permutation(len(flat))]
    np.testing.assert_allclose(data.points("train", binary=False), shuffled[:-1345], atol=1e-6)
    np.testing.assert_allclose(data.points("valid", binary=False), shuffled[-1345:], atol=1e-6)


def test_generated_points_have_the_densities_they_are_said_to_have(tmp_path):
    """Kolmogorov-Smirnov against distribution functions from scipy; a shift of a tenth of a standard deviation fails each."""
    toy, ring, two = (load_raw(name, tmp_path) for name in ("toy1d", "ring", "bivariate"))
    low, high = stats.norm(0.3, 0.05), stats.norm(0.7, 0.05)
    assert stats.kstest(toy.x[:, 0].astype(float), lambda x: (low.cdf(x) + high.cdf(x)) / 2).pvalue > 0.01
    assert stats.kstest(toy.x[toy.y == 1, 0].astype(float), high.cdf).pvalue > 0.01
    radius, angle = np.hypot(*ring.x.T.astype(float)), np.arctan2(*ring.x.T.astype(float))
    grid = np.linspace(0.7, 1.1, 4001)
    cumulative = np.cumsum(grid * np.exp(-((grid - 0.9) ** 2) / 0.001))
    assert stats.kstest(radius, lambda r: np.interp(r, grid, cumulative / cumulative[-1])).pvalue > 0.01
    assert stats.kstest(angle, stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > 0.01
    assert abs(np.mean(two.y) - 0.8) < 4 * np.sqrt(0.16 / 12_000)
    for component, mean in enumerate((-1, 1)):
        points = two.x[two.y == component].astype(float)
        assert all(stats.kstest(points[:, axis], stats.norm(mean, 0.5).cdf).pvalue > 0.01 for axis in (0, 1))
        assert abs(np.corrcoef(points.T)[0, 1]) < 4 / np.sqrt(len(points))


def test_the_most_variable_genes_are_those_of_scanpy_and_of_training_cells_alone():
    import anndata
    import scanpy

    rng = np.random.default_rng(0)
    rates = np.tile(np.linspace(2, 8, 400), (200, 1))
    rates[:100, 20::40] *= 2
    rates[100:, 20::40] = 0  # ten genes of the same means as their neighbours, but not the same in all cells
    counts = rng.poisson(rates).astype(np.int32)
    cells = anndata.AnnData(counts.astype(np.float32))
    scanpy.pp.normalize_total(cells, target_sum=1e4)
    scanpy.pp.log1p(cells)
    scanpy.pp.highly_variable_genes(cells, n_top_genes=10, flavor="seurat")
    kept = most_variable(counts, 10)
    np.testing.assert_array_equal(kept, np.flatnonzero(cells.var["highly_variable"]))
    assert set(kept) == set(range(20, 400, 40))
    # whatever the other cells hold changes nothing
    info = DatasetInfo.model_validate(
        INFO.model_dump() | {"genes": 40, "shape": (40,), "splits": {"train": 180, "valid": 10, "test": 10}}
    )
    parts = {"train": np.arange(180), "valid": np.arange(180, 190), "test": np.arange(190, 200)}
    other = counts.copy()
    other[180:] = rng.integers(1, 1000, (20, 400))
    chosen = [
        prepare("d", info, Arrays(x, np.zeros(200, int), ["a"], list(map(str, range(400))), parts)).meta["features"]
        for x in (counts, other)
    ]
    assert chosen[0] == chosen[1]


def test_parts_are_stratified_where_classes_allow_it():
    y = np.repeat([0, 1, 2], [100, 60, 40])
    parts = split(y, {"train": 160, "valid": 20, "test": 20})
    assert np.bincount(y[parts["test"]]).tolist() == [10, 6, 4]
    assert sorted(np.concatenate(list(parts.values()))) == list(range(200))
    rare = np.append(y, 3)
    assert [len(part) for part in split(rare, {"train": 161, "valid": 20, "test": 20}).values()] == [161, 20, 20]


def test_an_md5_is_enough_and_checked(tmp_path):
    content = b"x" * 100
    (tmp_path / "d").mkdir()
    (tmp_path / "d/f").write_bytes(content)
    entry = INFO.model_dump() | {"files": {"f": {"md5": hashlib.md5(content).hexdigest(), "sources": [NOWHERE]}}}
    found = fetch("d", DatasetInfo.model_validate(entry), tmp_path / "raw", str(tmp_path))
    assert found["f"]["sha256"] == hashlib.sha256(content).hexdigest()
    again = fetch("d", DatasetInfo.model_validate(entry), tmp_path / "raw", None)
    assert again["f"] == {"sha256": hashlib.sha256(content).hexdigest(), "source": "already here"}
    entry["files"]["f"]["md5"] = "0" * 32
    expected = f"md5 expected {'0' * 32} found {hashlib.md5(content).hexdigest()}"
    with pytest.raises(UserError, match=expected):
        fetch("d", DatasetInfo.model_validate(entry), tmp_path / "raw", str(tmp_path))
    assert not (tmp_path / "raw/f").exists()


def test_a_file_without_published_digest_is_taken_with_a_warning_that_says_how_to_pin_it(tmp_path, capfd, monkeypatch):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/f").write_bytes(b"what arrives")
    entry = INFO.model_dump() | {"files": {"f": {"sha256": "unpublished", "sources": [NOWHERE]}}}
    info = DatasetInfo.model_validate(entry)
    digest = hashlib.sha256(b"what arrives").hexdigest()
    assert fetch("d", info, tmp_path / "raw", str(tmp_path))["f"]["sha256"] == digest
    (warning,) = capfd.readouterr().err.splitlines()
    assert warning.startswith("warning: d/f: no digest is published")
    assert digest in warning
    assert "pin it as files: f: sha256 of d in config/datasets.yaml" in warning
    # one that is there is not trusted, since it may have been damaged since
    (tmp_path / "raw/f").write_bytes(b"damaged")
    assert fetch("d", info, tmp_path / "raw", str(tmp_path))["f"]["sha256"] == digest
    # pinned, it is checked like any other
    entry["files"]["f"]["sha256"] = digest
    capfd.readouterr()
    assert fetch("d", DatasetInfo.model_validate(entry), tmp_path / "raw", None)["f"]["source"] == "already here"
    assert not capfd.readouterr().err
    # without a digest a broken connection shows in the length alone
    monkeypatch.setattr(fetching.os, "fstat", lambda _: type("Status", (), {"st_size": 1000}))
    with pytest.raises(UserError, match="cut short, 1000 bytes expected 12 found"):
        fetch("d", info, tmp_path / "raw", str(tmp_path))


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
    assert set(np.unique(data.arrays["x_test_binary"])) == {0, 1}
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
        (np.where(np.arange(10)[:, None] == 4, 0, GOOD), LABELS, "1 cells have no counts at all; remove those cells"),
    ],
)
def test_bad_arrays_are_named(x, y, expected):
    with pytest.raises(UserError, match=f"d: {expected}"):
        prepare("d", INFO, Arrays(x, y, ["a", "b"]))


def test_genes_that_leave_cells_empty_are_too_few():
    x = np.ones((10, 4), np.int32)
    x[:, 1:] = 0
    x[3] = [0, 1, 1, 1]
    info = DatasetInfo.model_validate(INFO.model_dump() | {"genes": 1, "shape": (1,)})
    with pytest.raises(UserError, match=r"d: \d+ cells have no counts in the 1 genes kept; raise genes or remove those cells"):
        prepare("d", info, Arrays(x, LABELS, ["a", "b"], list("efgh")))


@pytest.mark.parametrize(
    ("kind", "x", "expected"),
    [
        ("grey_image", np.full((10, 3), 17), "found the level 17, expected at most 16"),
        ("real", np.full((10, 3), np.nan), "30 values are not finite numbers"),
        ("density", np.full((11, 3), 0.0), "11 points but 10 labels"),
    ],
)
def test_bad_values_of_other_kinds_are_named(kind, x, expected):
    levels = {"levels": 16} if kind == "grey_image" else {}
    info = DatasetInfo.model_validate(INFO.model_dump() | {"kind": kind} | levels)
    with pytest.raises(UserError, match=f"d: {expected}"):
        prepare("d", info, Arrays(x, LABELS, ["a", "b"]))


def test_points_that_do_not_add_up_to_the_splits_are_named():
    with pytest.raises(UserError, match="d: 9 points, expected 10 to split into"):
        prepare("d", INFO, Arrays(GOOD[:9], LABELS[:9], ["a", "b"]))


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


def test_an_archive_cannot_write_outside_of_its_folder(tmp_path):
    def archive(*names):
        path = tmp_path / "a.tar.gz"
        with tarfile.open(path, "w:gz") as file:
            for name in names:
                add(file, name, b"ok")
            link = tarfile.TarInfo("link")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            file.addfile(link)
        return path

    folder = tmp_path / "folder"
    folder.mkdir()
    unpack(archive("a/b", "c"), folder)
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*")} == {"a", "a/b", "c"}
    assert (folder / "a/b").read_bytes() == b"ok"
    for hostile in ("../out", "/tmp/out-of-the-folder", "a/../../out"):
        with pytest.raises(UserError, match="would be unpacked outside of its folder"):
            unpack(archive(hostile), folder)
    assert not (tmp_path / "out").exists()


def test_no_point_of_training_is_tested():
    info = catalogue()["digits"].model_copy(
        update={"splits": catalogue()["digits"].splits.model_copy(update={"train": 6, "valid": 2, "test": 2})}
    )
    x, y = np.zeros((10, *info.shape), np.uint8), np.arange(10)
    parts = {"train": np.arange(6), "valid": np.arange(6, 8), "test": np.array([8, 5])}
    with pytest.raises(UserError, match="digits: a point is in two of the parts train, valid, test"):
        prepare("digits", info, Arrays(x, y, list("0123456789"), parts=parts))
    parts["test"][1] = 9
    assert prepare("digits", info, Arrays(x, y, list("0123456789"), parts=parts)).meta["sizes"]["test"] == 2
