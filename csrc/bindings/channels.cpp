// SPDX-License-Identifier: BSD-3-Clause
#include "ops/channels.h"

#include "bindings/module.h"

namespace pyconv::bindings {
namespace {

// Arrays (N, C, ...) that differ in C alone, at least one.
py::array join_channels(const std::vector<py::object>& outputs) {
    const char* function = "Concat";
    check(!outputs.empty(), function, ": outputs is empty; expected at least 1");
    const py::array first = as_array(function, "outputs", outputs.front());
    check(first.ndim() >= 2, function, ": outputs have shape ", shape_text(first),
          "; expected at least two axes");
    return dispatch_float(function, "outputs", first, [&](auto zero) {
        using T = decltype(zero);
        Shape shape = shape_of(first);
        std::vector<Input<T>> inputs;
        index_t channels = 0;
        for (const py::object& output : outputs) {
            const py::array given = as_array(function, "outputs", output);
            if (given.ndim() >= 2) shape[1] = given.shape(1);
            inputs.push_back(input_array<T>(function, "outputs", output, shape));
            channels += shape[1];
        }
        std::vector<ChannelPart<const T>> parts;
        for (const Input<T>& input : inputs) {
            const index_t images = std::max(shape[0], index_t{1});
            parts.push_back({input.data(), input.given().size() / images});
        }
        shape[1] = channels;
        py::array joined = new_array(py::dtype::of<T>(), shape);
        T* to = data_of<T>(joined);
        {
            const WithoutGil nogil;
            pyconv::join_channels<T>(shape[0], parts, to);
        }
        return joined;
    });
}

// The reverse, for parts of so many channels.
py::list split_channels(const py::object& grad_output, const std::vector<index_t>& channels) {
    const char* function = "Concat";
    const py::array given = as_array(function, "grad_output", grad_output);
    check(given.ndim() >= 2, function, ": grad_output has shape ", shape_text(given),
          "; expected at least two axes");
    return dispatch_float(function, "grad_output", given, [&](auto zero) {
        using T = decltype(zero);
        Shape shape = shape_of(given);
        const auto input = input_array<T>(function, "grad_output", grad_output, shape);
        index_t sum = 0;
        for (const index_t count : channels) {
            check(count >= 0, function, ": channels has a negative one, got ", count);
            sum = checked_add(function, "channels", sum, count);
        }
        check(sum == shape[1], function, ": channels sum to ", sum, "; expected ", shape[1]);
        py::list outputs;
        std::vector<ChannelPart<T>> parts;
        for (const index_t count : channels) {
            shape[1] = count;
            py::array output = new_array(py::dtype::of<T>(), shape);
            parts.push_back({data_of<T>(output), output.size() / std::max(shape[0], index_t{1})});
            outputs.append(output);
        }
        {
            const WithoutGil nogil;
            pyconv::split_channels<T>(shape[0], input.data(), parts);
        }
        return outputs;
    });
}

}  // namespace

void def_channels(py::module_& m) {
    m.def("join_channels", join_channels);
    m.def("split_channels", split_channels);
}

}  // namespace pyconv::bindings
