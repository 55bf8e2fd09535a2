"""This file unpacks tar archives, on any python, and refuses paths in them that lead out of the target folder."""

import shutil
import tarfile
from pathlib import Path

from mixvae.errors import UserError


def unpack(archive: Path, folder: Path) -> None:
    """Write the regular files of a tar archive into `folder`; links and devices are left out.

    Raises UserError for a file that would land outside of `folder`.
    """
    folder = folder.resolve()
    with tarfile.open(archive) as members:
        for member in members:
            if not member.isfile():
                continue
            target = (folder / member.name).resolve()
            if not target.is_relative_to(folder):
                raise UserError(
                    f"{archive}: {member.name} would be unpacked outside of its folder; this is not the official file"
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            with members.extractfile(member) as source, target.open("wb") as file:
                shutil.copyfileobj(source, file)
