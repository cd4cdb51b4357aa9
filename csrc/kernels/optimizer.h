// SPDX-License-Identifier: BSD-3-Clause
// The numbers of one step of an optimizer, as its kernel takes them (optimizer-inl.h).
//
// All start from the penalised gradient g = grad + weight_decay * value + l1 * sign(value). A factor
// of 0 means that the term is not there: 0 * Inf is not added.
#pragma once

namespace pyconv {

// v = momentum * v + g;  value -= lr * v      (Nesterov: lr * (g + momentum * v))
template <typename T>
struct SgdStep {
    T lr, momentum, weight_decay, l1;
    bool nesterov;
};

// value *= shrink
// m = beta1 * m + rest1 * g;  s = beta2 * s + rest2 * g^2;  value -= rate * m / (root * sqrt(s) + eps)
template <typename T>
struct AdamStep {
    T weight_decay, l1;
    T shrink;                      // 1, or 1 - lr * weight decay where that is decoupled
    T beta1, beta2, rest1, rest2;  // rest = 1 - beta
    T rate, root;                  // lr / (1 - beta1^t) and 1 / sqrt(1 - beta2^t) in step t
    T eps;
};

// s = alpha * s + rest * g^2;  centered: a += rest * (g - a), and s - a^2 in place of s below
// d = g / (sqrt(s) + eps);  with momentum: d = b = momentum * b + d;  value -= lr * d
template <typename T>
struct RmspropStep {
    T lr, weight_decay, l1;
    T alpha, rest, eps, momentum;  // rest = 1 - alpha
};

}  // namespace pyconv
