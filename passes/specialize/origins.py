"""Whose code a function is, by its file: ours, torch's, the standard library's, a package's, the model's."""

from __future__ import annotations

import collections.abc
import functools
import os
import re

import mpmath
import numpy
import sympy
import torch

from dycl import diagnostics
from dycl.passes.specialize import pyautograd, pyiterators, pylists, pymodels, pyorders, pytables, torchmodels

MODULE_SWITCHES = (torch.nn.Module.train, torch.nn.Module.eval, torch.nn.Module.apply)  # for the journal
TORCH = os.path.dirname(torch.__file__) + os.sep
STDLIB = os.path.dirname(os.__file__) + os.sep
# Packages whose functions spell operations of torch in another way. They run natively like torch's own Python: their
# calls of torch are recorded, and what they keep to themselves are caches.
TENSOR_PACKAGES = frozenset({"einops", "einx", "opt_einsum"})
TENSOR_LIBRARY = re.compile(rf".*[/\\]site-packages[/\\]({'|'.join(sorted(TENSOR_PACKAGES))})[/\\]")
_MODELS = (pyautograd, pyiterators, pylists, pymodels, pyorders, pytables, torchmodels)
MODELS_FILES = frozenset(module.__file__ for module in _MODELS)
OWN = os.path.dirname(pymodels.__file__) + os.sep  # the machine's own values are no source of the model's
# Python that runs below native code without being the model's: the machine itself, torch, what torch's symbols call.
LIBRARIES = (
    OWN,
    TORCH,
    *(os.path.dirname(str(module.__file__)) + os.sep for module in (diagnostics, numpy, sympy, mpmath)),
)
STEPPED_LIBRARY = (
    *(STDLIB + name for name in ("contextlib.py", "functools.py", "dataclasses.py", "collections" + os.sep)),
    collections.abc.Mapping.get.__code__.co_filename,  # of all abstract containers
)


@functools.cache
def is_library(file: str) -> bool:
    """Whether Python in this file is none of the model's."""
    if file.startswith(("<", *LIBRARIES)) or (file.startswith(STDLIB) and "site-packages" not in file):
        return True
    return TENSOR_LIBRARY.match(file) is not None
