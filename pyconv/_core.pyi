# SPDX-License-Identifier: BSD-3-Clause
# The extension module, as pyconv.functional and pyconv.runtime see it. tests/test_package.py holds
# these names and parameter counts against the module.
from collections.abc import Sequence
from typing import Any, TypeAlias

from numpy.typing import NDArray

_Array: TypeAlias = NDArray[Any]
_Pair: TypeAlias = tuple[int, int]
_Shape4: TypeAlias = tuple[int, int, int, int]
_Padding: TypeAlias = tuple[_Pair, _Pair] | None
_ConvOptions: TypeAlias = tuple[_Pair, _Padding, _Pair, int]  # stride, padding, dilation, groups
# The same for the one or three spatial axes of conv1d and conv3d.
_Sizes: TypeAlias = tuple[int, ...]
_ConvOptionsNd: TypeAlias = tuple[_Sizes, tuple[_Pair, ...] | None, _Sizes, int]

__version__: str
_c_api: object  # the capsule that pyconv.h finds

class WeightCache:
    def clear(self) -> None: ...

def get_num_threads() -> int: ...
def set_num_threads(n: int, /) -> None: ...
def set_thread_num_threads(n: int, /) -> int: ...
def default_num_threads() -> int: ...
def set_precise(precise: bool, /) -> bool: ...
def get_isa() -> str: ...
def set_isa(name: str, /) -> None: ...
def available_isas() -> list[str]: ...
def release_memory() -> None: ...
def memory_info() -> dict[str, int]: ...
def build_info() -> dict[str, Any]: ...
def kernels() -> list[dict[str, Any]]: ...
def measure_fma_peak(threads: int, float64: bool, seconds: float, /) -> float: ...
def gemm(
    a: _Array,
    b: _Array,
    trans_a: bool,
    trans_b: bool,
    alpha: float,
    beta: float,
    out: _Array | None,
    /,
) -> _Array: ...
def linear(
    input: _Array,
    weight: _Array,
    bias: _Array | None,
    activation: str | None,
    out: _Array | None,
    /,
) -> _Array: ...
def linear_backward_input(grad_output: _Array, weight: _Array, out: _Array | None, /) -> _Array: ...
def linear_backward_weight(grad_output: _Array, input: _Array, out: _Array | None, /) -> _Array: ...
def linear_backward_bias(grad_output: _Array, out: _Array | None, /) -> _Array: ...
def conv2d(
    input: _Array,
    weight: _Array,
    bias: _Array | None,
    residual: _Array | None,
    options: _ConvOptions,
    activation: str | None,
    algorithm: str,
    weight_cache: WeightCache | None,
    out: _Array | None,
    /,
) -> _Array: ...
def conv2d_backward_input(
    grad_output: _Array,
    weight: _Array,
    input_shape: _Shape4,
    options: _ConvOptions,
    algorithm: str,
    out: _Array | None,
    /,
) -> _Array: ...
def conv2d_backward_weight(
    grad_output: _Array,
    input: _Array,
    weight_shape: _Shape4,
    options: _ConvOptions,
    algorithm: str,
    out: _Array | None,
    /,
) -> _Array: ...
def conv2d_backward_bias(grad_output: _Array, out: _Array | None, /) -> _Array: ...
def conv1d(
    input: _Array,
    weight: _Array,
    bias: _Array | None,
    residual: _Array | None,
    options: _ConvOptionsNd,
    activation: str | None,
    algorithm: str,
    weight_cache: WeightCache | None,
    out: _Array | None,
    /,
) -> _Array: ...
def conv1d_backward_input(
    grad_output: _Array,
    weight: _Array,
    input_shape: _Sizes,
    options: _ConvOptionsNd,
    algorithm: str,
    out: _Array | None,
    /,
) -> _Array: ...
def conv1d_backward_weight(
    grad_output: _Array,
    input: _Array,
    weight_shape: _Sizes,
    options: _ConvOptionsNd,
    algorithm: str,
    out: _Array | None,
    /,
) -> _Array: ...
def conv1d_backward_bias(grad_output: _Array, out: _Array | None, /) -> _Array: ...
def conv3d(
    input: _Array,
    weight: _Array,
    bias: _Array | None,
    residual: _Array | None,
    options: _ConvOptionsNd,
    activation: str | None,
    algorithm: str,
    weight_cache: WeightCache | None,
    out: _Array | None,
    /,
) -> _Array: ...
def conv3d_backward_input(
    grad_output: _Array,
    weight: _Array,
    input_shape: _Sizes,
    options: _ConvOptionsNd,
    algorithm: str,
    out: _Array | None,
    /,
) -> _Array: ...
def conv3d_backward_weight(
    grad_output: _Array,
    input: _Array,
    weight_shape: _Sizes,
    options: _ConvOptionsNd,
    algorithm: str,
    out: _Array | None,
    /,
) -> _Array: ...
def conv3d_backward_bias(grad_output: _Array, out: _Array | None, /) -> _Array: ...
def conv_transpose2d(
    input: _Array,
    weight: _Array,
    bias: _Array | None,
    options: _ConvOptions,
    output_padding: _Pair,
    activation: str | None,
    algorithm: str,
    out: _Array | None,
    /,
) -> _Array: ...
def conv_transpose2d_backward_input(
    grad_output: _Array,
    weight: _Array,
    options: _ConvOptions,
    output_padding: _Pair,
    algorithm: str,
    out: _Array | None,
    /,
) -> _Array: ...
def conv_transpose2d_backward_weight(
    grad_output: _Array,
    input: _Array,
    weight_shape: _Shape4,
    options: _ConvOptions,
    output_padding: _Pair,
    algorithm: str,
    out: _Array | None,
    /,
) -> _Array: ...
def im2col(
    input: _Array, kernel_size: _Pair, options: _ConvOptions, out: _Array | None, /
) -> _Array: ...
def col2im(
    columns: _Array,
    input_shape: _Shape4,
    kernel_size: _Pair,
    options: _ConvOptions,
    out: _Array | None,
    /,
) -> _Array: ...
def max_pool2d(
    input: _Array,
    kernel_size: _Pair,
    stride: _Pair,
    padding: _Padding,
    dilation: _Pair,
    ceil_mode: bool,
    return_indices: bool,
    out: _Array | None,
    /,
) -> _Array | tuple[_Array, _Array]: ...
def max_pool2d_backward(
    grad_output: _Array, indices: _Array, input_shape: _Shape4, out: _Array | None, /
) -> _Array: ...
def avg_pool2d(
    input: _Array,
    kernel_size: _Pair,
    stride: _Pair,
    padding: _Padding,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
    out: _Array | None,
    /,
) -> _Array: ...
def avg_pool2d_backward(
    grad_output: _Array,
    input_shape: _Shape4,
    kernel_size: _Pair,
    stride: _Pair,
    padding: _Padding,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
    out: _Array | None,
    /,
) -> _Array: ...
def adaptive_max_pool2d(
    input: _Array, output_size: _Pair, return_indices: bool, out: _Array | None, /
) -> _Array | tuple[_Array, _Array]: ...
def adaptive_avg_pool2d(input: _Array, output_size: _Pair, out: _Array | None, /) -> _Array: ...
def adaptive_avg_pool2d_backward(
    grad_output: _Array, input_shape: _Shape4, out: _Array | None, /
) -> _Array: ...
def global_max_pool2d(
    input: _Array, return_indices: bool, out: _Array | None, /
) -> _Array | tuple[_Array, _Array]: ...
def global_avg_pool2d(input: _Array, out: _Array | None, /) -> _Array: ...
def global_avg_pool2d_backward(
    grad_output: _Array, input_shape: _Shape4, out: _Array | None, /
) -> _Array: ...
def lp_pool2d(
    input: _Array,
    kernel_size: _Pair,
    norm_type: float,
    stride: _Pair,
    padding: _Padding,
    ceil_mode: bool,
    out: _Array | None,
    /,
) -> _Array: ...
def lp_pool2d_backward(
    grad_output: _Array,
    input: _Array,
    output: _Array,
    kernel_size: _Pair,
    norm_type: float,
    stride: _Pair,
    padding: _Padding,
    ceil_mode: bool,
    out: _Array | None,
    /,
) -> _Array: ...
def max_unpool2d(
    input: _Array, indices: _Array, output_shape: _Shape4, out: _Array | None, /
) -> _Array: ...
def max_unpool2d_backward(
    grad_output: _Array, indices: _Array, out: _Array | None, /
) -> _Array: ...
def relu(input: _Array, out: _Array | None, /) -> _Array: ...
def relu_backward(grad_output: _Array, output: _Array, out: _Array | None, /) -> _Array: ...
def leaky_relu(input: _Array, negative_slope: float, out: _Array | None, /) -> _Array: ...
def leaky_relu_backward(
    grad_output: _Array, input: _Array, negative_slope: float, out: _Array | None, /
) -> _Array: ...
def relu6(input: _Array, out: _Array | None, /) -> _Array: ...
def relu6_backward(grad_output: _Array, output: _Array, out: _Array | None, /) -> _Array: ...
def hardsigmoid(input: _Array, out: _Array | None, /) -> _Array: ...
def hardsigmoid_backward(grad_output: _Array, input: _Array, out: _Array | None, /) -> _Array: ...
def hardswish(input: _Array, out: _Array | None, /) -> _Array: ...
def hardswish_backward(grad_output: _Array, input: _Array, out: _Array | None, /) -> _Array: ...
def elu(input: _Array, alpha: float, out: _Array | None, /) -> _Array: ...
def elu_backward(
    grad_output: _Array, input: _Array, alpha: float, out: _Array | None, /
) -> _Array: ...
def selu(input: _Array, negative: float, positive: float, out: _Array | None, /) -> _Array: ...
def selu_backward(
    grad_output: _Array, input: _Array, negative: float, positive: float, out: _Array | None, /
) -> _Array: ...
def sigmoid(input: _Array, out: _Array | None, /) -> _Array: ...
def sigmoid_backward(grad_output: _Array, output: _Array, out: _Array | None, /) -> _Array: ...
def silu(input: _Array, out: _Array | None, /) -> _Array: ...
def silu_backward(grad_output: _Array, input: _Array, out: _Array | None, /) -> _Array: ...
def tanh(input: _Array, out: _Array | None, /) -> _Array: ...
def tanh_backward(grad_output: _Array, output: _Array, out: _Array | None, /) -> _Array: ...
def gelu(input: _Array, out: _Array | None, /) -> _Array: ...
def gelu_backward(grad_output: _Array, input: _Array, out: _Array | None, /) -> _Array: ...
def gelu_tanh(input: _Array, out: _Array | None, /) -> _Array: ...
def gelu_tanh_backward(grad_output: _Array, input: _Array, out: _Array | None, /) -> _Array: ...
def softplus(input: _Array, beta: float, threshold: float, out: _Array | None, /) -> _Array: ...
def softplus_backward(
    grad_output: _Array, input: _Array, beta: float, threshold: float, out: _Array | None, /
) -> _Array: ...
def _exp(input: _Array, out: _Array | None, /) -> _Array: ...
def _expm1_of_negative(input: _Array, out: _Array | None, /) -> _Array: ...
def _log(input: _Array, out: _Array | None, /) -> _Array: ...
def _log1p_of_fraction(input: _Array, out: _Array | None, /) -> _Array: ...
def _normal_distribution(input: _Array, out: _Array | None, /) -> _Array: ...
def add(input: _Array, other: _Array, activation: str | None, out: _Array | None, /) -> _Array: ...
def join_channels(outputs: Sequence[_Array], /) -> _Array: ...
def split_channels(grad_output: _Array, channels: Sequence[int], /) -> list[_Array]: ...
def dropout(input: _Array, p: float, draws: _Array, /) -> tuple[_Array, _Array]: ...
def dropout_backward(grad_output: _Array, mask: _Array, out: _Array | None, /) -> _Array: ...
def softmax(input: _Array, axis: int, out: _Array | None, /) -> _Array: ...
def softmax_backward(
    grad_output: _Array, output: _Array, axis: int, out: _Array | None, /
) -> _Array: ...
def log_softmax(input: _Array, axis: int, out: _Array | None, /) -> _Array: ...
def log_softmax_backward(
    grad_output: _Array, output: _Array, axis: int, out: _Array | None, /
) -> _Array: ...
def cross_entropy(
    function: str,
    logits: _Array,
    target: _Array,
    weight: _Array | None,
    ignore_index: int,
    label_smoothing: float,
    with_gradient: bool,
    /,
) -> tuple[float, _Array | None]: ...
def batch_norm_statistics(input: _Array, /) -> tuple[_Array, _Array]: ...
def batch_norm(
    input: _Array,
    mean: _Array,
    var: _Array,
    weight: _Array | None,
    bias: _Array | None,
    eps: float,
    activation: str | None,
    out: _Array | None,
    /,
) -> _Array: ...
def batch_norm_training(
    input: _Array,
    weight: _Array | None,
    bias: _Array | None,
    eps: float,
    activation: str | None,
    out: _Array | None,
    /,
) -> tuple[_Array, _Array, _Array]: ...
def batch_norm_backward(
    grad_output: _Array,
    input: _Array,
    mean: _Array,
    var: _Array,
    weight: _Array | None,
    bias: _Array | None,
    training: bool,
    eps: float,
    activation: str | None,
    /,
) -> tuple[_Array, _Array, _Array]: ...
def group_norm(
    input: _Array,
    num_groups: int,
    weight: _Array | None,
    bias: _Array | None,
    eps: float,
    out: _Array | None,
    /,
) -> _Array: ...
def group_norm_backward(
    grad_output: _Array, input: _Array, num_groups: int, weight: _Array | None, eps: float, /
) -> tuple[_Array, _Array, _Array]: ...
def instance_norm(
    input: _Array,
    weight: _Array | None,
    bias: _Array | None,
    eps: float,
    out: _Array | None,
    /,
) -> _Array: ...
def instance_norm_backward(
    grad_output: _Array, input: _Array, weight: _Array | None, eps: float, /
) -> tuple[_Array, _Array, _Array]: ...
def layer_norm(
    input: _Array,
    normalized_shape: _Sizes,
    weight: _Array | None,
    bias: _Array | None,
    eps: float,
    out: _Array | None,
    /,
) -> _Array: ...
def layer_norm_backward(
    grad_output: _Array,
    input: _Array,
    normalized_shape: _Sizes,
    weight: _Array | None,
    eps: float,
    /,
) -> tuple[_Array, _Array, _Array]: ...
def local_response_norm(
    input: _Array, size: int, alpha: float, beta: float, k: float, out: _Array | None, /
) -> _Array: ...
def local_response_norm_backward(
    grad_output: _Array,
    input: _Array,
    size: int,
    alpha: float,
    beta: float,
    k: float,
    out: _Array | None,
    /,
) -> _Array: ...

# Lists of arrays, one a parameter, changed in place; `name` begins error messages. A list of arrays
# that an optimizer may do without is empty then.
def sgd_step(
    name: str,
    values: list[_Array],
    grads: list[_Array],
    velocity: list[_Array],
    lr: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
    l1: float,
    /,
) -> None: ...
def adam_step(
    name: str,
    values: list[_Array],
    grads: list[_Array],
    mean: list[_Array],
    square: list[_Array],
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    l1: float,
    decoupled_weight_decay: float,
    /,
) -> None: ...
def rmsprop_step(
    name: str,
    values: list[_Array],
    grads: list[_Array],
    square: list[_Array],
    mean: list[_Array],
    buffer: list[_Array],
    lr: float,
    alpha: float,
    eps: float,
    momentum: float,
    weight_decay: float,
    l1: float,
    /,
) -> None: ...
def sum_of_squares(name: str, grads: list[_Array], /) -> float: ...
def scale_arrays(name: str, grads: list[_Array], factor: float, /) -> None: ...
def clip_arrays(name: str, grads: list[_Array], limit: float, /) -> None: ...
def zero_arrays(name: str, grads: list[_Array], /) -> None: ...
