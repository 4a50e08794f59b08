"""Files that were hashed, and the cheap question whether they are still those. Standard library only.

A digest speaks of bytes that were read once; a model is loaded from the same names later, and answers are stored later
still. Hashing again costs minutes. Instead, what the file system says of each file is taken down before it is read: a
file that is written, replaced, or replaced and put back in between has another inode or another ctime.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_ftgate.files.digests import matching_files

Mark = tuple[int, ...]


def signature(path: Path, *, follow: bool = True) -> list[int]:
    """[device, inode, size, mtime in ns, ctime in ns]; not `follow`: of the link itself. Raises OSError."""
    stat = path.stat(follow_symlinks=follow)
    return [stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


@dataclass(frozen=True, slots=True)
class Hashed:
    """The files of one directory that decide what a side answers."""

    directory: Path
    patterns: tuple[str, ...]
    """Which files count."""
    digests: Mapping[str, str]
    """POSIX name -> sha256."""
    files: Mapping[str, Mark]
    """POSIX name -> how the file, and the link that leads to it, looked before any was read."""
    folders: Mapping[str, Mark]
    """As `files`, of the directory and of the folders in it that hold some of them."""

    @classmethod
    def read(cls, directory: Path, patterns: tuple[str, ...], digest: Callable[[], Mapping[str, str]]) -> Hashed:
        """Take the marks, then hash: a change while hashing shows too, and so does one since a digest that `digest`
        remembers was made, as that only counts for a file that looks as it does now. Raises OSError.
        """
        files, folders = _marks(directory, patterns)
        return cls(directory, patterns, digest(), files, folders)

    def changed(self, *, folders: bool = False) -> str:
        """Name of a file that is not the one that was hashed, also if it only was touched. Empty where all are.

        `folders`: a folder in which anything came, went or was renamed, or that was moved, counts as well: a file that
        was there for a moment leaves no other trace.
        """
        try:
            files, around = _marks(self.directory, self.patterns)
        except OSError as error:
            return Path(error.filename).name if error.filename else self.directory.name
        # Files before folders: a file that was replaced changes its folder too, and says more.
        return _differing(self.files, files) or (_differing(self.folders, around) if folders else "")


def _differing(old: Mapping[str, Mark], new: Mapping[str, Mark]) -> str:
    return next((name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)), "")


def _marks(directory: Path, patterns: tuple[str, ...]) -> tuple[dict[str, Mark], dict[str, Mark]]:
    """Marks of the files that count, and of the folders around them (with a slash at their end)."""
    files = {name: _mark(directory / name) for name in matching_files(directory, patterns)}
    around = {"": directory} | {name.rpartition("/")[0]: (directory / name).parent for name in files}
    return files, {f"{directory.name}/{name}".rstrip("/") + "/": _mark(path) for name, path in around.items()}


def _mark(path: Path) -> Mark:
    # A link that was turned elsewhere and back is another link than before, to the same file.
    return (*signature(path, follow=False), *signature(path))
