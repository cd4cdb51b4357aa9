// SPDX-License-Identifier: BSD-3-Clause
// Work along one axis of an array: lines, cut into tasks.
#pragma once

#include <algorithm>

#include "base/checked.h"
#include "base/parallel.h"
#include "kernels/table.h"

namespace pyconv {

// An array seen as (outer, size, inner): lines run along the axis in the middle.
struct AxisView {
    index_t outer, size, inner;
};

// Some lines of an array: the first value of the first of them, and its number among all.
struct LineTask {
    Lines lines;
    index_t offset, first;
};

// How tasks are cut, by the shape alone: a task's values stay in L2 while it passes over them again.
class LineTasks {
  public:
    explicit LineTasks(const AxisView& v) : v_(v) {
        constexpr index_t kValues = index_t{1} << 14, kMultiple = 64;
        const index_t fit = std::max(kValues / std::max(v.size, index_t{1}), index_t{1});
        per_task_ = v.inner == 1 ? fit : round_up(fit, kMultiple);
        in_row_ = v.inner == 1 ? ceil_div(v.outer, per_task_) : ceil_div(v.inner, per_task_);
    }
    index_t count() const { return v_.inner == 1 ? in_row_ : in_row_ * v_.outer; }
    LineTask operator[](index_t task) const {
        const index_t row = task / in_row_, first = task % in_row_ * per_task_;
        const index_t lines = std::min(per_task_, (v_.inner == 1 ? v_.outer : v_.inner) - first);
        if (v_.inner == 1) return {{lines, v_.size, 1}, first * v_.size, first};
        return {
            {lines, v_.size, v_.inner}, row * v_.size * v_.inner + first, row * v_.inner + first};
    }

  private:
    AxisView v_;
    index_t per_task_, in_row_;
};

// Calls body(task, number of the task) for all lines, in parallel.
template <typename Body>
void for_each_lines(const AxisView& v, double nanoseconds_a_value, Body&& body) {
    const double values = static_cast<double>(v.outer * v.inner * v.size);
    if (values == 0) return;
    const LineTasks tasks(v);
    parallel_for(tasks.count(), values * nanoseconds_a_value,
                 [&](index_t task) { body(tasks[task], task); });
}

}  // namespace pyconv
