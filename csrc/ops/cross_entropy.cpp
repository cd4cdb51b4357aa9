// SPDX-License-Identifier: BSD-3-Clause
// Cross entropy: the kernel finds what each line needs of the exponentials and, with a gradient, writes
// softmax times a factor; what concerns single classes is put right here.
#include <limits>
#include <vector>

#include "kernels/registry.h"
#include "ops/softmax.h"

namespace pyconv {
namespace {

// Nanoseconds a value, with and without gradient.
constexpr double kLoss = 0.5, kLossAndGradient = 0.8;

// The lines of one task and what each of them contributes.
template <typename T>
class Part {
  public:
    Part(const Targets<T>& targets, const LineTask& task, double total, double sum_of_weights)
        : t_(targets),
          lines_(task.lines),
          classes_(targets.classes + task.first),
          total_(total),
          spread_(targets.smoothing / static_cast<double>(task.lines.size)),
          sum_of_weights_(sum_of_weights),
          values_(static_cast<size_t>(3 * task.lines.count)) {}

    double loss(const T* logits, T* grad) {
        T* factor = values_.data();
        T *largest = factor + lines_.count, *log_sum = largest + lines_.count;
        if (grad != nullptr) {
            for (index_t l = 0; l < lines_.count; ++l) {
                const double share = on_target(l) + spread_ * sum_of_weights_;
                factor[l] = counts(l) ? static_cast<T>(share / total_) : T(0);
            }
        }
        kernels<T>().cross_entropy(lines_, logits, factor, largest, log_sum, grad);
        double sum = 0;
        const auto minus_log = [&](index_t l, index_t at_k) {
            const double x = static_cast<double>(logits[at_k]);
            return (static_cast<double>(largest[l]) - x) + static_cast<double>(log_sum[l]);
        };
        for (index_t l = 0; l < lines_.count; ++l) {
            const double f = on_target(l);
            if (f == 0) continue;
            const index_t at_target = at(l, classes_[l]);
            sum += f * minus_log(l, at_target);
            if (grad != nullptr) grad[at_target] -= static_cast<T>(f / total_);
        }
        if (spread_ != 0) {
            for_all([&](index_t l, index_t k) {
                const double f = counts(l) ? spread_ * weight(k) : 0;
                if (f == 0) return;
                sum += f * minus_log(l, at(l, k));
                if (grad != nullptr) grad[at(l, k)] -= static_cast<T>(f / total_);
            });
        }
        return sum;
    }

  private:
    bool counts(index_t l) const { return classes_[l] != t_.ignored; }
    double weight(index_t k) const {
        return t_.weight == nullptr ? 1 : static_cast<double>(t_.weight[k]);
    }
    // Of a line that counts: what its target has beyond the share of every class.
    double on_target(index_t l) const {
        return counts(l) ? (1 - t_.smoothing) * weight(classes_[l]) : 0;
    }
    index_t at(index_t l, index_t k) const {
        return lines_.step == 1 ? l * lines_.size + k : l + k * lines_.step;
    }
    // In the order in which the values lie.
    template <typename Body>
    void for_all(Body&& body) const {
        if (lines_.step == 1) {
            for (index_t l = 0; l < lines_.count; ++l)
                for (index_t k = 0; k < lines_.size; ++k) body(l, k);
        } else {
            for (index_t k = 0; k < lines_.size; ++k)
                for (index_t l = 0; l < lines_.count; ++l) body(l, k);
        }
    }

    const Targets<T>& t_;
    Lines lines_;
    const int64_t* classes_;
    double total_, spread_, sum_of_weights_;
    std::vector<T> values_;
};

}  // namespace

template <typename T>
double cross_entropy(const Targets<T>& t, const T* logits, T* grad) {
    const AxisView& v = t.view;
    const index_t lines = v.outer * v.inner;
    const auto weight = [&](index_t k) {
        return t.weight == nullptr ? 1 : static_cast<double>(t.weight[k]);
    };
    double total = 0, sum_of_weights = 0;
    for (index_t l = 0; l < lines; ++l)
        if (t.classes[l] != t.ignored) total += weight(t.classes[l]);
    for (index_t k = 0; k < v.size; ++k) sum_of_weights += weight(k);
    if (total == 0) {
        if (grad != nullptr) std::fill_n(grad, lines * v.size, std::numeric_limits<T>::quiet_NaN());
        return std::numeric_limits<double>::quiet_NaN();
    }
    // One sum for each task, added up in their order.
    std::vector<double> sums(static_cast<size_t>(LineTasks(v).count()));
    for_each_lines(
        v, grad == nullptr ? kLoss : kLossAndGradient, [&](const LineTask& task, index_t number) {
            Part<T> part(t, task, total, sum_of_weights);
            sums[static_cast<size_t>(number)] =
                part.loss(logits + task.offset, grad == nullptr ? nullptr : grad + task.offset);
        });
    double loss = 0;
    for (const double sum : sums) loss += sum;
    return loss / total;
}

template double cross_entropy(const Targets<float>&, const float*, float*);
template double cross_entropy(const Targets<double>&, const double*, double*);

}  // namespace pyconv
