// SPDX-License-Identifier: BSD-3-Clause
// Lists of arrays that are changed in place: every one is checked before anything is written.
#include "ops/optimizer.h"

#include "bindings/module.h"

namespace pyconv::bindings {
namespace {

// "parameters[3].grad", written out only for an error.
struct Label {
    size_t index;
    const char* name;

    friend std::ostream& operator<<(std::ostream& stream, const Label& label) {
        return stream << "parameters[" << label.index << "]." << label.name;
    }
};

// An array of floats that can be changed where it lies.
py::array changeable(const char* function, const Label& label, const py::handle& object) {
    using Api = py::detail::npy_api;
    constexpr int kPlace = Api::NPY_ARRAY_C_CONTIGUOUS_ | Api::NPY_ARRAY_ALIGNED_;
    if (!py::isinstance<py::array>(object)) as_array(function, join(label).c_str(), object);
    auto array = py::reinterpret_borrow<py::array>(object);
    if (!has_dtype<float>(array) && !has_dtype<double>(array))
        throw TypeFault(join(function, ": ", label, " has dtype ",
                             py::str(array.dtype()).cast<std::string>(),
                             "; expected native float32 or float64"));
    check((array.flags() & kPlace) == kPlace, function, ": ", label,
          " is not C-contiguous and aligned; expected memory that can be changed in place");
    check(array.writeable(), function, ": ", label, " is read-only; expected a writeable array");
    return array;
}

// The same, with shape and dtype of the parameter's value.
py::array like(const char* function, const Label& label, const py::handle& object,
               const py::array& value) {
    py::array array = changeable(function, label, object);
    if (array.itemsize() != value.itemsize())
        throw TypeFault(join(function, ": ", label, " is ",
                             py::str(array.dtype()).cast<std::string>(), " but its value is ",
                             py::str(value.dtype()).cast<std::string>()));
    check(std::equal(array.shape(), array.shape() + array.ndim(), value.shape(),
                     value.shape() + value.ndim()),
          function, ": ", label, " has shape ", shape_text(array), "; expected ",
          shape_text(value));
    return array;
}

// What an optimizer keeps for each parameter: a list as long as that of the values, or, unless it is
// required, an empty one.
struct Slot {
    const char* name;
    const py::list& arrays;
    bool required;
};

// The arrays of all parameters, those of float32 and float64 apart.
class Parameters {
  public:
    Parameters(const char* function, const py::list& values, const py::list& grads,
               std::initializer_list<Slot> slots) {
        const size_t count = values.size();
        check(grads.size() == count, function, ": grads has ", grads.size(), " arrays; expected ",
              count, " as values");
        for (const Slot& slot : slots) {
            const size_t size = slot.arrays.size();
            check(size == count || (size == 0 && !slot.required), function, ": ", slot.name,
                  " has ", size, " arrays; expected ", count, " as values");
        }
        for (size_t i = 0; i < count; ++i) {
            const py::array value = changeable(function, Label{i, "value"}, values[i]);
            if (value.itemsize() == 4) {
                add(floats_, function, i, value, grads, slots);
            } else {
                add(doubles_, function, i, value, grads, slots);
            }
        }
    }

    template <typename T>
    ParameterList<T> of() const {
        if constexpr (sizeof(T) == 4) {
            return floats_;
        } else {
            return doubles_;
        }
    }

  private:
    template <typename T>
    void add(std::vector<ParameterArrays<T>>& list, const char* function, size_t i, py::array value,
             const py::list& grads, std::initializer_list<Slot> slots) {
        ParameterArrays<T> p{value.size(), data_of<T>(value), nullptr, {}};
        const auto hold = [&](const char* name, const py::handle& object) {
            held_.push_back(like(function, Label{i, name}, object, value));
            return data_of<T>(held_.back());
        };
        p.grad = hold("grad", grads[i]);
        size_t at = 0;
        for (const Slot& slot : slots) {
            if (slot.arrays.size() != 0) p.state[at] = hold(slot.name, slot.arrays[i]);
            ++at;
        }
        list.push_back(p);
        held_.push_back(std::move(value));
    }

    std::vector<py::array> held_;  // keeps them while the GIL is not held
    std::vector<ParameterArrays<float>> floats_;
    std::vector<ParameterArrays<double>> doubles_;
};

// The gradients of all parameters, likewise.
class Arrays {
  public:
    Arrays(const char* function, const py::list& grads) {
        for (size_t i = 0; i < grads.size(); ++i) {
            py::array array = changeable(function, Label{i, "grad"}, grads[i]);
            if (array.itemsize() == 4) {
                floats_.push_back({array.size(), data_of<float>(array)});
            } else {
                doubles_.push_back({array.size(), data_of<double>(array)});
            }
            held_.push_back(std::move(array));
        }
    }

    template <typename T>
    ValuesList<T> of() const {
        if constexpr (sizeof(T) == 4) {
            return floats_;
        } else {
            return doubles_;
        }
    }

  private:
    std::vector<py::array> held_;
    std::vector<Values<float>> floats_;
    std::vector<Values<double>> doubles_;
};

// Calls step(T()) for both types; each has parameters of its own, perhaps none.
template <typename Step>
void for_both(Step&& step) {
    const WithoutGil nogil;
    step(float());
    step(double());
}

}  // namespace

void def_optimizer(py::module_& m) {
    m.def("sgd_step", [](const std::string& name, const py::list& values, const py::list& grads,
                         const py::list& velocity, double lr, double momentum, bool nesterov,
                         double weight_decay, double l1) {
        const Parameters p(name.c_str(), values, grads, {{"velocity", velocity, false}});
        for_both([&](auto zero) {
            using T = decltype(zero);
            sgd_step<T>(p.of<T>(), {lr, momentum, nesterov, weight_decay, l1});
        });
    });
    m.def("adam_step", [](const std::string& name, const py::list& values, const py::list& grads,
                          const py::list& mean, const py::list& square, index_t step, double lr,
                          double beta1, double beta2, double eps, double weight_decay, double l1,
                          double decoupled_weight_decay) {
        const Parameters p(name.c_str(), values, grads,
                           {{"mean", mean, true}, {"square", square, true}});
        for_both([&](auto zero) {
            using T = decltype(zero);
            adam_step<T>(p.of<T>(),
                         {step, lr, beta1, beta2, eps, weight_decay, l1, decoupled_weight_decay});
        });
    });
    m.def("rmsprop_step",
          [](const std::string& name, const py::list& values, const py::list& grads,
             const py::list& square, const py::list& mean, const py::list& buffer, double lr,
             double alpha, double eps, double momentum, double weight_decay, double l1) {
              const Parameters p(
                  name.c_str(), values, grads,
                  {{"square", square, true}, {"mean", mean, false}, {"buffer", buffer, false}});
              for_both([&](auto zero) {
                  using T = decltype(zero);
                  rmsprop_step<T>(p.of<T>(), {lr, alpha, eps, momentum, weight_decay, l1});
              });
          });
    m.def("sum_of_squares", [](const std::string& name, const py::list& grads) {
        const Arrays a(name.c_str(), grads);
        double sum = 0;
        for_both([&](auto zero) { sum += sum_of_squares(a.of<decltype(zero)>()); });
        return sum;
    });
    m.def("scale_arrays", [](const std::string& name, const py::list& grads, double factor) {
        const Arrays a(name.c_str(), grads);
        for_both([&](auto zero) { scale_values(a.of<decltype(zero)>(), factor); });
    });
    m.def("clip_arrays", [](const std::string& name, const py::list& grads, double limit) {
        const Arrays a(name.c_str(), grads);
        for_both([&](auto zero) { clip_values(a.of<decltype(zero)>(), limit); });
    });
    m.def("zero_arrays", [](const std::string& name, const py::list& grads) {
        const Arrays a(name.c_str(), grads);
        for_both([&](auto zero) { zero_values(a.of<decltype(zero)>()); });
    });
}

}  // namespace pyconv::bindings
