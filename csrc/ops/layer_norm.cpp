// SPDX-License-Identifier: BSD-3-Clause
#include "ops/layer_norm.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/buffer.h"
#include "base/checked.h"
#include "base/parallel.h"
#include "kernels/registry.h"

namespace pyconv {
namespace {

// Nanoseconds a value for a pass over a row, and for the start of one.
constexpr double kPass = 0.3, kRow = 50;
// Values of a task, of at least one row; and rows whose gradients are summed in T, at most.
constexpr index_t kValues = index_t{1} << 14, kRows = 64;

// Calls body(first row, end, task) for blocks of rows.
template <typename Body>
void for_each_block(index_t rows, index_t block, index_t size, double passes, Body&& body) {
    const double work = static_cast<double>(rows) * (static_cast<double>(size) * kPass + kRow);
    parallel_for(ceil_div(rows, block), passes * work, [&](index_t task) {
        body(task * block, std::min(rows, (task + 1) * block), task);
    });
}

index_t rows_of_block(index_t size) {
    return std::clamp(kValues / std::max(size, index_t{1}), index_t{1}, kRows);
}

template <typename T>
struct RowStatistics {
    T mean;
    double inverse;  // 1 / sqrt(var + eps)
};
template <typename T>
RowStatistics<T> row_statistics(index_t size, const T* row, double eps) {
    double mean = 0, squares = 0;
    kernels<T>().moments({1, 0, size}, row, &mean, &squares);
    const double var = squares / static_cast<double>(size);
    return {static_cast<T>(mean), 1 / std::sqrt(var + eps)};
}

// `values`, or as many of `fill`.
template <typename T>
class OrConstant {
  public:
    OrConstant(const T* values, index_t size, T fill) : values_(values) {
        if (values != nullptr) return;
        filled_ = AlignedBuffer<T>(size);
        std::fill_n(filled_.data(), size, fill);
        values_ = filled_.data();
    }
    const T* data() const { return values_; }

  private:
    AlignedBuffer<T> filled_;
    const T* values_;
};

}  // namespace

template <typename T>
void layer_norm(index_t rows, index_t size, const T* input, const T* weight, const T* bias,
                double eps, T* output) {
    const Kernels<T>& kernel = kernels<T>();
    const OrConstant<T> w(weight, size, 1), b(bias, size, 0);
    for_each_block(rows, rows_of_block(size), size, 2, [&](index_t row, index_t end, index_t) {
        for (; row < end; ++row) {
            const T* x = input + row * size;
            const RowStatistics<T> s = row_statistics(size, x, eps);
            kernel.normalize_row(size, s.mean, static_cast<T>(s.inverse), x, w.data(), b.data(),
                                 output + row * size);
        }
    });
}

// With xhat = (x - mean) * r, r = 1 / sqrt(var + eps), g' = g * weight, and means over the row:
//   grad_input = r * (g' - mean(g') - xhat * mean(g' * xhat))
//   grad_weight = sum g * xhat,  grad_bias = sum g, over the rows.
// Each block of rows sums the last two for itself; the blocks are added up in double.
template <typename T>
void layer_norm_backward(index_t rows, index_t size, const T* grad_output, const T* input,
                         const T* weight, double eps, T* grad_input, T* grad_weight, T* grad_bias) {
    const Kernels<T>& kernel = kernels<T>();
    const OrConstant<T> w(weight, size, 1);
    const index_t block = rows_of_block(size);
    // Some blocks at a time, so that their sums do not grow with the number of rows: up to 32 MiB.
    const index_t blocks =
        std::clamp((index_t{1} << 22) / std::max(size, index_t{1}), index_t{2}, index_t{64});
    const index_t together = std::min(blocks, ceil_div(rows, block));
    const AlignedBuffer<T> sums(2 * size * together);
    std::vector<double> total(static_cast<size_t>(2 * size));
    for (index_t first = 0; first < rows; first += blocks * block) {
        const index_t count = std::min(blocks * block, rows - first);
        for_each_block(count, block, size, 4, [&](index_t row, index_t end, index_t task) {
            T* gw = sums.data() + task * 2 * size;
            T* gb = gw + size;
            std::fill_n(gw, 2 * size, T(0));
            for (; row < end; ++row) {
                const index_t i = (first + row) * size;
                const RowStatistics<T> s = row_statistics(size, input + i, eps);
                double sum[2];
                kernel.weighted_sums(size, s.mean, grad_output + i, input + i, w.data(), sum);
                const double r = s.inverse, n = static_cast<double>(size);
                kernel.normalize_row_backward(size, s.mean, static_cast<T>(r),
                                              static_cast<T>(-r * r * r * sum[1] / n),
                                              static_cast<T>(-r * sum[0] / n), grad_output + i,
                                              input + i, w.data(), grad_input + i, gw, gb);
            }
        });
        for (index_t task = 0; task < ceil_div(count, block); ++task)
            for (index_t j = 0; j < 2 * size; ++j)
                total[static_cast<size_t>(j)] +=
                    static_cast<double>(sums.data()[task * 2 * size + j]);
    }
    for (index_t j = 0; j < size; ++j) {
        grad_weight[j] = static_cast<T>(total[static_cast<size_t>(j)]);
        grad_bias[j] = static_cast<T>(total[static_cast<size_t>(size + j)]);
    }
}

#define PYCONV_INSTANTIATE(T)                                                                     \
    template void layer_norm(index_t, index_t, const T*, const T*, const T*, double, T*);         \
    template void layer_norm_backward(index_t, index_t, const T*, const T*, const T*, double, T*, \
                                      T*, T*);
PYCONV_INSTANTIATE(float)
PYCONV_INSTANTIATE(double)
#undef PYCONV_INSTANTIATE

}  // namespace pyconv
