"""How TVM is called: with which options, and silently."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any


def tvm_options() -> Any:
    """How TVM compiles, as a context.

    Without asserts: each function would check each of its arguments, in code three times as large. What the host hands
    over is checked by `main` of the virtual machine, and the rest is of the compiler's own making.
    """
    import tvm

    return tvm.transform.PassContext(opt_level=3, config={"tirx.disable_assert": True})


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep warnings and log records to itself, those too that C++ writes to standard error; exceptions pass."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    sys.stderr.flush()
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
        logging.disable(disabled)
