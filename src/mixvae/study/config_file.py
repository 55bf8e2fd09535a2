"""This file finds a study's config file by name and reads its YAML."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from mixvae.errors import UserError, did_you_mean


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, except that a key written twice is an error; the safe loader would take the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} cannot be a key", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands here twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def find_config(name: str, folder: Path) -> Path:
    """Return the config file that `name` means: a path, or the name of a file in `folder`. Raises UserError."""
    if not name:
        raise UserError("STUDY is empty; give a name in config/ or a path")
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or path.parent != Path():
        if path.is_file():
            return path
        raise UserError(f"{path}: no such config file; STUDY is a name in {folder.name}/ or a path")
    path = folder / f"{name}.yaml"
    if path.is_file() and name != "datasets":
        return path
    studies = sorted(p.stem for p in folder.glob("*.yaml") if p.stem != "datasets")
    raise UserError(f"{folder.name}/{name}.yaml: no study {name!r}{did_you_mean(name, studies)}")


def read_yaml(path: Path) -> Any:
    """Parse a config file; raises UserError with the line and column that cannot be read."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise UserError(f"{path}: {place}{error.problem or error.context}; the YAML cannot be read") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a readable YAML file: {str(error).splitlines()[0]}") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
