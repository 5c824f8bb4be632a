"""Read text as bytes: one file, gzipped or not, or all the text files in a folder.

Only whole UTF-8 text gets through; what the documents are used for is left to the caller.
"""

from __future__ import annotations

import gzip
import os
import stat
import zlib
from pathlib import Path

from nas.errors import DataError

# Files of a folder that count as text; each may also end in .gz. A file given by itself may have
# any name.
# fmt: off
TEXT_SUFFIXES = frozenset({
    ".txt", ".text", ".md", ".markdown", ".rst", ".tex", ".org", ".adoc", ".srt", ".log",
    ".html", ".xml", ".css", ".json", ".jsonl", ".csv", ".tsv", ".yaml", ".yml", ".toml", ".ini",
    ".py", ".pyi", ".c", ".h", ".cc", ".cpp", ".hpp", ".cu", ".rs", ".go", ".java", ".kt",
    ".swift", ".js", ".ts", ".rb", ".php", ".pl", ".r", ".jl", ".lua", ".sh", ".sql",
})
# fmt: on


def read_text_path(path: Path) -> list[bytes]:
    """Read a text file, or every text file of a folder and its subfolders.

    Args:
        path: A file of any name that holds UTF-8 text, or a folder. In a folder only files whose
            suffix is in `TEXT_SUFFIXES` are read; hidden files and links are skipped.

    Returns:
        The content of each file, unzipped; of a folder in the order of the paths.

    Raises:
        DataError: If the path is missing, unreadable, or holds anything but UTF-8 text.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    if stat.S_ISDIR(mode):
        return [read_text_file(file) for file in _text_files(path)]
    if not stat.S_ISREG(mode):
        raise DataError(f"{path}: neither a file nor a folder; give a text file or a folder")
    return [read_text_file(path)]


def read_text_file(path: Path) -> bytes:
    """Read one UTF-8 text file; one whose name ends in `.gz` is unzipped.

    Raises:
        DataError: If the file is missing, unreadable, a broken gzip file or not UTF-8 text.
    """
    try:
        if path.suffix.lower() == ".gz":
            with gzip.open(path) as file:
                content = file.read()
        else:
            content = path.read_bytes()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not a whole gzip file ({error}); fetch it again") from error
    except OSError as error:
        raise unreadable(path, error) from error
    _check_text(content, path)
    return content


def _check_text(content: bytes, path: Path) -> None:
    zero = content.find(b"\0")  # valid UTF-8, yet a sign of a binary file or of UTF-16
    if zero >= 0:
        raise DataError(f"{path}: byte {zero} is zero: not UTF-8 text; give a plain text file")
    try:
        content.decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: byte {error.start} is 0x{content[error.start]:02x}: not UTF-8 text; "
            "convert it to UTF-8 or leave it out"
        ) from error


def _text_files(folder: Path) -> list[Path]:
    files: list[Path] = []
    for parent, subfolders, names in os.walk(folder, onerror=_raise):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        files += [Path(parent, name) for name in names if not name.startswith(".")]
    files = [f for f in files if _is_text_name(f) and f.is_file() and not f.is_symlink()]
    if not files:
        raise DataError(
            f"{folder}: no text files in this folder (looked for .txt, .md, .py, .txt.gz and the "
            "like; hidden files and links are skipped)"
        )
    return sorted(files)


def _is_text_name(path: Path) -> bool:
    name = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return name.suffix.lower() in TEXT_SUFFIXES


def _raise(error: OSError) -> None:
    raise unreadable(Path(error.filename), error) from error


def unreadable(path: Path, error: OSError | ValueError) -> DataError:
    """Return the error that says why a path cannot be read."""
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return DataError(f"{path}: no such file or folder; check the path")
    reason = error.strerror if isinstance(error, OSError) else None
    return DataError(f"{path}: cannot be read: {reason or error}")
