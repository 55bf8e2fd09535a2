"""The command `make check-part`: tries a user's own part as the parts of the library are tried."""

import json
from pathlib import Path
from typing import Any

from mixvae import own
from mixvae.cluster.look_part import KINDS, answer
from mixvae.cluster.part_checks import FIRST, Spec, checks
from mixvae.errors import UserError, one_line
from mixvae.files import sha256
from mixvae.study import DatasetInfo, Run, own_parts, parse_run
from mixvae.study.own_data import find_file
from mixvae.study.own_parts import NAME, OwnPart

IMAGES = DatasetInfo(
    title="grey images of four pixels",
    kind="grey_image",
    shape=(1, 2, 2),
    levels=255,
    classes=2,
    splits={"train": 30, "valid": 10, "test": 10},
    files={},
    licence="none",
    citation="none",
)
RUN = {"dataset": "images", "latent": 2, "encoder": {"hidden": [6]}, "decoder": {"hidden": [6]}}
"""The run in which a model is tried."""


def check_part(path: Path, settings: str) -> int:
    """Print what every check says of the part in a file, and return 1 if any of them fails.

    Its settings are JSON of what would stand beside `path` in a config. Raises UserError for a file that is no part, or does
    not take them.
    """
    try:
        given = json.loads(settings)
    except ValueError as error:
        raise UserError(f"--settings: {settings} is not JSON ({error}); write '{{\"df\": 4}}'") from None
    path = find_file(str(path), None, (".py",))
    if not NAME.fullmatch(path.stem) or path.suffix != ".py":
        raise UserError(f"{path}: the name of a part's file has letters, digits and _, and ends with .py; rename it")
    own.offer(path)
    digest = sha256(path)
    settings_class = getattr(own.load(digest, path.stem), own.SETTINGS)
    kind = next((kind for kind, base in KINDS.items() if issubclass(settings_class, base)), None)
    if kind is None:
        raise UserError(f"{path}: Settings derive from no kind of part; see mixvae.study.kinds and mixvae.study.systems")
    question = {"kind": kind, "settings": given, "file": str(path), "name": path.stem, "sha256": digest}
    part = _spec(question) if kind == "model" else _part(question)
    failed, said = 0, ""
    found = checks(kind, part)
    for name, check in found.items():
        wrong = _wrong(check)
        failed += bool(wrong)
        print(f"FAILED  {name}: {'the same' if wrong == said else wrong}" if wrong else f"ok      {name}", flush=True)
        said = wrong or said
        if wrong and name in FIRST:
            print("        the other checks are not made before this is right")
            break
    print(f"{path}, {kind}: {f'{failed} of {len(found)} checks failed' if failed else 'all checks passed'}")
    return int(failed > 0)


def _wrong(check: Any) -> str:
    """Return what a check finds wrong, in one line, or ""."""
    try:
        check()
    except UserError as error:
        return one_line(error)
    except Exception as error:
        return one_line(own.blame(error) or f"the library cannot use it, {type(error).__name__}: {error}")
    return ""


def _part(question: dict[str, Any]) -> OwnPart:
    found = answer(question | {"ask": "part"})
    if "error" in found:
        raise UserError(found["error"])
    return getattr(own_parts, f"Own{question['kind'].title()}").model_validate(found["part"])


def _spec(question: dict[str, Any]) -> Spec:
    """Return the spec of an own model by its number of components, on binary pixels if it takes them."""

    def spec(K: int) -> Run:
        asked = question | {"ask": "model", "dataset": IMAGES.model_dump(mode="json")}
        answers = [answer(asked | {"run": RUN | {"K": K} | more}) for more in ({"likelihood": "bernoulli"}, {})]
        found = next((found for found in answers if "error" not in found and not found["skip"]), answers[0])
        if "error" in found or found["skip"]:
            raise UserError(found.get("error") or f"it skips a small run on grey images: {found['skip']}")
        return parse_run(found["part"])

    spec(1)
    return spec
