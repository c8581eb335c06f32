"""The stages of a compile as they pass: reported, timed and dumped."""

from __future__ import annotations

import difflib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from dycl.diagnostics import UNKNOWN, InternalError, UsageError
from dycl.knobs import Knobs


class Observer(Protocol):
    """Who is told of the stages."""

    def start(self, stage: str) -> None:
        """A stage begins."""

    def detail(self, text: str) -> None:
        """How far a long stage is."""

    def finish(self, stage: str, seconds: float) -> None:
        """A stage has ended well."""


class Silence:
    """The observer that says nothing."""

    def start(self, stage: str) -> None:
        """Nothing."""

    def detail(self, text: str) -> None:
        """Nothing."""

    def finish(self, stage: str, seconds: float) -> None:
        """Nothing."""


@dataclass(slots=True)
class Stages:
    """Tells the observer of each stage, keeps its time, and dumps its text where `DYCL_DUMP` says."""

    observer: Observer
    knobs: Knobs
    seconds: dict[str, float] = field(default_factory=dict)
    _texts: list[str] = field(default_factory=list)
    _mark: float = field(default_factory=time.perf_counter)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """A stage, from here to the end of the block."""
        self._begin(name)
        yield
        self._end(name)

    def passed(self, name: str, show: Callable[[], str]) -> None:
        """A stage that began where the last one ended, and has ended with what this shows."""
        self._begin(name, at=self._mark)
        self._end(name)
        self.dump(name, show)

    def _begin(self, name: str, at: float | None = None) -> None:
        if name == self.knobs.kill_at:
            os._exit(137)
        self._mark = time.perf_counter() if at is None else at
        self.observer.start(name)

    def _end(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = now - self._mark
        self._mark = now
        self.observer.finish(name, self.seconds[name])

    def dump(self, name: str, show: Callable[[], str]) -> None:
        """Write the stage's text and how it differs from the last one's; it is made only if somebody wants it."""
        if self.knobs.dump is None:
            return
        text = show()
        path = self.knobs.dump / f"{len(self._texts):02d}-{name}"
        before = self._texts[-1] if self._texts else ""
        change = difflib.unified_diff(before.splitlines(), text.splitlines(), "before", name, lineterm="")
        try:
            self.knobs.dump.mkdir(parents=True, exist_ok=True)
            Path(f"{path}.txt").write_text(text, encoding="utf-8")
            Path(f"{path}.diff").write_text("\n".join(change) + "\n", encoding="utf-8")
        except OSError as error:
            raise UsageError("DY503", UNKNOWN, f"DYCL_DUMP: {path} cannot be written: {error.strerror}") from error
        self._texts.append(text)

    def fail(self, name: str, error: Exception) -> InternalError:
        """A bug of ours in this stage, as an error that names it."""
        where = f"; the stages before it are in {self.knobs.dump}" if self.knobs.dump else ""
        return InternalError(f"{name}: {type(error).__name__}: {error}{where}")
