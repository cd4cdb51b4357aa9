# SPDX-License-Identifier: BSD-3-Clause
"""Modules of torch.nn whose forward pass runs on pyconv.

Each is its torch class with one change: while torch's own `forward` runs, the functions that it calls
are those of this backend. Constructors, parameters, hooks, state dicts and padding modes are torch's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from pyconv.backends.torch import convolution, dense, pooling

__all__ = ["replace_layers"]

_PLAIN = {
    getattr(torch.nn.functional, name): getattr(module, name)
    for module in (convolution, dense, pooling)
    for name in module.__all__
    if hasattr(torch.nn.functional, name)
}
_FUNCTIONS: dict[Any, Any] = _PLAIN | {
    # How torch calls its functions of these names when it is asked for indices.
    torch.nn.functional.max_pool1d_with_indices: pooling.max_pool1d,
    torch.nn.functional.max_pool2d_with_indices: pooling.max_pool2d,
    torch.nn.functional.max_pool3d_with_indices: pooling.max_pool3d,
}


class _Redirect(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _FUNCTIONS.get(func, func)(*args, **(kwargs or {}))


class _Backed:
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        with _Redirect():
            return super().forward(*args, **kwargs)  # type: ignore[misc]


# By name, at the top level, so that a model can be copied and pickled.


class Conv1d(_Backed, torch.nn.Conv1d):
    """`torch.nn.Conv1d` on pyconv."""


class Conv2d(_Backed, torch.nn.Conv2d):
    """`torch.nn.Conv2d` on pyconv."""


class Conv3d(_Backed, torch.nn.Conv3d):
    """`torch.nn.Conv3d` on pyconv."""


class ConvTranspose1d(_Backed, torch.nn.ConvTranspose1d):
    """`torch.nn.ConvTranspose1d` on pyconv."""


class ConvTranspose2d(_Backed, torch.nn.ConvTranspose2d):
    """`torch.nn.ConvTranspose2d` on pyconv."""


class ConvTranspose3d(_Backed, torch.nn.ConvTranspose3d):
    """`torch.nn.ConvTranspose3d` on pyconv."""


class MaxPool1d(_Backed, torch.nn.MaxPool1d):
    """`torch.nn.MaxPool1d` on pyconv."""


class MaxPool2d(_Backed, torch.nn.MaxPool2d):
    """`torch.nn.MaxPool2d` on pyconv."""


class MaxPool3d(_Backed, torch.nn.MaxPool3d):
    """`torch.nn.MaxPool3d` on pyconv."""


class AvgPool1d(_Backed, torch.nn.AvgPool1d):
    """`torch.nn.AvgPool1d` on pyconv."""


class AvgPool2d(_Backed, torch.nn.AvgPool2d):
    """`torch.nn.AvgPool2d` on pyconv."""


class AvgPool3d(_Backed, torch.nn.AvgPool3d):
    """`torch.nn.AvgPool3d` on pyconv."""


class Linear(_Backed, torch.nn.Linear):
    """`torch.nn.Linear` on pyconv."""


class BatchNorm1d(_Backed, torch.nn.BatchNorm1d):
    """`torch.nn.BatchNorm1d` on pyconv."""


class BatchNorm2d(_Backed, torch.nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` on pyconv."""


class BatchNorm3d(_Backed, torch.nn.BatchNorm3d):
    """`torch.nn.BatchNorm3d` on pyconv."""


class ReLU(_Backed, torch.nn.ReLU):
    """`torch.nn.ReLU` on pyconv, unless in place."""


class LogSoftmax(_Backed, torch.nn.LogSoftmax):
    """`torch.nn.LogSoftmax` on pyconv."""


class CrossEntropyLoss(_Backed, torch.nn.CrossEntropyLoss):
    """`torch.nn.CrossEntropyLoss` on pyconv."""


_CLASSES: dict[type, type] = {backed.__mro__[2]: backed for backed in _Backed.__subclasses__()}


def replace_layers(model: torch.nn.Module) -> int:
    """Make the layers of a model run on pyconv, in place.

    Parameters
    ----------
    model : torch.nn.Module
        A layer itself, or anything that contains some.

    Returns
    -------
    int
        How many layers were replaced. Subclasses of torch's layers are left alone, as they may
        compute something else.

    Raises
    ------
    TypeError
        `model` is no module.

    Notes
    -----
    The modules stay the same objects and only change their class: parameters, buffers, hooks,
    optimizers and the keys of `state_dict` are not touched.

    Examples
    --------
    >>> import torch
    >>> from pyconv.backends.torch import replace_layers
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.Tanh())
    >>> replace_layers(model)
    1
    >>> list(model.state_dict())
    ['0.weight', '0.bias']
    """
    if not isinstance(model, torch.nn.Module):
        got = type(model).__name__
        raise TypeError(
            f"replace_layers: model is not a module, got {got}; expected torch.nn.Module"
        )
    layers = [module for module in model.modules() if type(module) in _CLASSES]
    for layer in layers:
        layer.__class__ = _CLASSES[type(layer)]
    return len(layers)
