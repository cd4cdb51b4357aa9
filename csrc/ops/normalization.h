// SPDX-License-Identifier: BSD-3-Clause
// Normalisation by mean and variance, where a weight belongs to a whole channel: batch norm (Ioffe and
// Szegedy, 2015), group norm (Wu and He, 2018) and instance norm. They differ in which values share a
// mean, a *set*, only. Layer norm, whose weights belong to single values: layer_norm.h.
#pragma once

#include "base/types.h"
#include "kernels/table.h"

namespace pyconv {

// How an array (N, C, inner) divides into sets, and a set into parts of one channel each.
struct NormalizationShape {
    index_t sets, set_step;
    index_t parts, part_step;  // of a set; where there are several, they lie one behind the other
    Planes planes;             // of a part
    index_t channels;

    // One set a channel.
    static NormalizationShape batch(index_t N, index_t C, index_t inner) {
        return {C, inner, 1, 0, {N, C * inner, inner}, C};
    }
    // One set for every image and each of G groups of channels; G divides C.
    static NormalizationShape group(index_t N, index_t C, index_t inner, index_t G) {
        return {N * G, C / G * inner, C / G, inner, {1, 0, inner}, C};
    }

    index_t count() const { return parts * planes.count * planes.size; }  // values of a set
    index_t offset(index_t set, index_t part) const { return set * set_step + part * part_step; }
    index_t channel(index_t set, index_t part) const { return (set * parts + part) % channels; }
};

// Mean and biased variance of each set.
template <typename T>
void normalization_statistics(const NormalizationShape& s, const T* input, T* mean, T* var);

// output = activation((input - mean) / sqrt(var + eps) * weight + bias), mean and var one value a set,
// weight and bias one a channel or nullptr.
template <typename T>
void normalization(const NormalizationShape& s, const T* input, const T* mean, const T* var,
                   const T* weight, const T* bias, double eps, Activation activation, T* output);

// The same by the input's own statistics, which are stored: both at once, set by set, so that a set that
// fits in a cache is read from memory once.
template <typename T>
void normalization_training(const NormalizationShape& s, const T* input, const T* weight,
                            const T* bias, double eps, Activation activation, T* mean, T* var,
                            T* output);

// With `own`, mean and var are those of the input and are differentiated through; nullptr for both if
// they are not known. bias is needed for the activation only.
template <typename T>
void normalization_backward(const NormalizationShape& s, const T* grad_output, const T* input,
                            bool own, const T* mean, const T* var, const T* weight, const T* bias,
                            double eps, Activation activation, T* grad_input, T* grad_weight,
                            T* grad_bias);

}  // namespace pyconv
