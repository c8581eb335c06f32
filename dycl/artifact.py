"""Artifacts on disk: staged beside their place, published by a rename, verified by their hashes when loaded.

`stage_artifact` gives a directory to write into. Until `publish` the output is untouched; a process that is killed
leaves the old artifact (or none), and its staging directory is removed by the next compile to the same place. This
module never imports torch: `dycl run` loads artifacts where torch is not installed.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import importlib.util
import itertools
import os
import secrets
import shutil
import sys
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import msgspec

from dycl.diagnostics import UNKNOWN, UsageError
from dycl.manifest import GENERATOR, MANIFEST_NAME, Manifest, decode_manifest, encode_manifest, hash_file

UNHASHED = "emit"  # what `--emit` writes is for reading: it belongs to no package and no hash covers it
_CACHE = "__pycache__"
_loads = itertools.count()
_forgetting = threading.Lock()
_hosts: list[tuple[weakref.ref[object], str]] = []  # of the artifacts that were loaded, each with its package


# ---------------------------------------------------------------- writing


@dataclass(slots=True)
class Staging:
    """A directory that becomes the artifact at `output` when it is published."""

    directory: Path
    output: Path

    def write(self, name: str, content: str) -> None:
        """Write one text file of the artifact."""
        (self.directory / name).write_text(content, encoding="utf-8", newline="\n")

    def hash_files(self) -> dict[str, str]:
        """The sha256 of every file that the manifest vouches for, by its path with forward slashes, sorted."""
        names = sorted(path.relative_to(self.directory).as_posix() for path in _files(self.directory))
        return {name: hash_file(self.directory / name) for name in names if name != MANIFEST_NAME}

    def seal(self, manifest: Manifest) -> None:
        """Write the manifest, the hashes of all files that are here now filled in."""
        sealed = msgspec.structs.replace(manifest, files=self.hash_files())
        (self.directory / MANIFEST_NAME).write_bytes(encode_manifest(sealed))

    def publish(self) -> None:
        """Put the directory in the output's place at once, whatever was there before."""
        _remove_caches(self.directory)
        _sync_tree(self.directory)
        try:
            _replace_directory(self.directory, self.output)
        except OSError as error:
            raise _unwritable(self.output, str(error.strerror or error)) from error
        _sync(self.output.parent)


@contextlib.contextmanager
def stage_artifact(output: Path) -> Iterator[Staging]:
    """A staging directory beside `output`; removed again if it was not published."""
    output = Path(os.path.abspath(output.resolve()))
    check_output(output)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        _recover(output)
        directory, lock = _make_locked_directory(output)
    except OSError as error:
        raise _unwritable(output, str(error.strerror or error)) from error
    try:
        yield Staging(directory, output)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)


def check_output(output: Path) -> None:
    """Refuse an output that is something else than a free name, an empty directory or an artifact of ours."""
    if not output.exists():
        return
    if not output.is_dir():
        raise _unwritable(output, "it is a file")
    if any(output.iterdir()) and not is_artifact(output):
        raise _unwritable(output, "it is a directory with other content than an artifact of dycl")


def is_artifact(directory: Path) -> bool:
    """Whether the directory was written by dycl (in whatever version or state)."""
    try:
        head = msgspec.json.decode((directory / MANIFEST_NAME).read_bytes())
    except (OSError, msgspec.DecodeError):
        return False
    return isinstance(head, dict) and head.get("generator") == GENERATOR


def _unwritable(output: Path, why: str) -> UsageError:
    return UsageError("DY503", UNKNOWN, f"cannot write the artifact to {output}: {why}", hint="name another directory")


def _files(directory: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(directory):
        top = Path(root) == directory
        folders[:] = [folder for folder in folders if folder != _CACHE and not (top and folder == UNHASHED)]
        yield from (Path(root) / name for name in names)


def _remove_caches(directory: Path) -> None:
    for cache in list(directory.rglob(_CACHE)):
        shutil.rmtree(cache)


def _staging_prefix(output: Path) -> str:
    return f".{output.name}.dycl-new-"


def _aside_prefix(output: Path) -> str:
    return f".{output.name}.dycl-old-"


def _make_locked_directory(output: Path) -> tuple[Path, int]:
    """A new sibling of the output, and a lock on it that dies with the process.

    Another compile may take the directory for stale between its making and its locking: then it is gone, and the next
    name is tried.
    """
    while True:
        directory = output.parent / f"{_staging_prefix(output)}{secrets.token_hex(4)}"
        directory.mkdir()
        try:
            lock = os.open(directory, os.O_RDONLY)
        except FileNotFoundError:
            continue
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.fstat(lock).st_nlink and directory.exists():
            return directory, lock
        os.close(lock)


def _recover(output: Path) -> None:
    """Clean up after compiles that were killed: an old artifact that was set aside comes back, the rest goes."""
    for aside in sorted(output.parent.glob(f"{_aside_prefix(output)}*")):
        if output.exists():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.rename(output)
    for stale in output.parent.glob(f"{_staging_prefix(output)}*"):
        _remove_unlocked(stale)


def _remove_unlocked(directory: Path) -> None:
    try:
        lock = os.open(directory, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(directory, ignore_errors=True)
    except BlockingIOError:
        return  # a running compile owns it
    finally:
        os.close(lock)


def _replace_directory(new: Path, output: Path) -> None:
    """Rename `new` to `output`. An artifact there is exchanged in one step where the system can (Linux).

    Elsewhere it is set aside first; a kill between the two renames leaves it aside, and `_recover` brings it back.
    """
    if not output.exists() or not any(output.iterdir()):
        new.rename(output)
        return
    check_output(output)
    if _exchange(new, output):
        shutil.rmtree(new, ignore_errors=True)
        return
    aside = output.parent / f"{_aside_prefix(output)}{secrets.token_hex(4)}"
    output.rename(aside)
    new.rename(output)
    shutil.rmtree(aside, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two directories atomically; False where the system has no such call."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    at_cwd, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    if renameat2(at_cwd, os.fsencode(first), at_cwd, os.fsencode(second), ctypes.c_uint(exchange)) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), str(second))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_tree(directory: Path) -> None:
    for root, _, names in os.walk(directory):
        for name in names:
            _sync(Path(root) / name)
        _sync(Path(root))


# ---------------------------------------------------------------- loading


def read_manifest(directory: Path) -> Manifest:
    """The manifest of the artifact in that directory."""
    path = directory / MANIFEST_NAME
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(
            "DY404", UNKNOWN, f"{directory} is not an artifact: {path.name} cannot be read ({error.strerror})"
        ) from error
    return decode_manifest(data, str(path))


def verify_files(directory: Path, manifest: Manifest) -> None:
    """Compare every file with the manifest; DY404 names the first that is missing or changed."""
    for name, digest in manifest.files.items():
        path = directory / name
        if not path.is_file():
            raise _damaged(directory, f"{name} is missing")
        if hash_file(path) != digest:
            raise _damaged(directory, f"{name} has changed since the model was compiled")


def _damaged(directory: Path, what: str) -> UsageError:
    return UsageError("DY404", UNKNOWN, f"the artifact {directory} is damaged: {what}", hint="compile the model again")


@dataclass(frozen=True, slots=True)
class LoadedArtifact:
    """An artifact in this process: its manifest, its package and an instance of its host class."""

    directory: Path
    manifest: Manifest
    package: ModuleType
    host: object
    device: str = "cpu"  # where its subgraphs run


def load_artifact(
    directory: Path, *, threads: int | None = None, lazy: bool = False, device: str = ""
) -> LoadedArtifact:
    """The verified artifact, imported under a name of its own: two artifacts of one name never meet.

    Its modules are forgotten by the first load after the last use of the host.

    `device`: where it runs, if not where it was compiled for. It never runs elsewhere than that: DY406.
    """
    directory = directory.resolve()
    manifest = read_manifest(directory)
    verify_files(directory, manifest)
    options: dict[str, object] = {"lazy": True} if lazy else {}  # artifacts of earlier versions do not know it
    place = device or manifest.device
    if place != manifest.device and "cpu" not in (place, manifest.device):
        raise _no_device(f"the artifact was compiled for {manifest.device}, not for {place}")
    if place != "cpu" and manifest.device == "cpu":
        raise _no_device("the artifact was compiled for the processor", hint=f"compile it with --device {place}")
    if manifest.device != "cpu":
        options["device"] = place
    _forget_packages()
    package = _import_package(directory, manifest.name)
    try:
        host = getattr(package, manifest.class_name)(threads=threads, **options)
    except Exception as error:  # the class is the artifact's own
        if type(error).__name__ != "DeviceError":
            raise
        raise _no_device(str(error), hint=getattr(error, "advice", "")) from error
    _hosts.append((weakref.ref(host), package.__name__))
    return LoadedArtifact(directory, manifest, package, host, place)


def _no_device(message: str, hint: str = "") -> UsageError:
    return UsageError("DY406", UNKNOWN, message, hint=hint)


def load_here(directory: Path, *, threads: int | None = None) -> tuple[LoadedArtifact, str]:
    """The artifact on its device, or where that is missing on the processor, and why: for whoever tells that."""
    try:
        return load_artifact(directory, threads=threads), ""
    except UsageError as error:
        if error.code != "DY406":
            raise
        return load_artifact(directory, threads=threads, device="cpu"), error.message


def _import_package(directory: Path, name: str) -> ModuleType:
    unique = f"_dycl_artifact_{next(_loads)}_{name}"
    spec = importlib.util.spec_from_file_location(
        unique, directory / "__init__.py", submodule_search_locations=[str(directory)]
    )
    assert spec is not None and spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules[unique] = package
    written = sys.dont_write_bytecode
    sys.dont_write_bytecode = True  # an artifact may be read-only, and stays as it was written
    try:
        spec.loader.exec_module(package)
    except BaseException:
        _forget_package(unique)
        raise
    finally:
        sys.dont_write_bytecode = written
    return package


def _forget_packages() -> None:
    """Python keeps modules for ever; those of a service that loads one artifact after the other would pile up.

    Not by a finalizer: the garbage collector would call it while somebody goes through `sys.modules`.
    """
    with _forgetting:
        for entry in [entry for entry in _hosts if entry[0]() is None]:
            _hosts.remove(entry)
            _forget_package(entry[1])


def _forget_package(name: str) -> None:
    for loaded in list(sys.modules):  # at once: another thread may be importing
        if loaded == name or loaded.startswith(f"{name}."):
            del sys.modules[loaded]
