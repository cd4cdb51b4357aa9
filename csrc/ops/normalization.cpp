// SPDX-License-Identifier: BSD-3-Clause
// A task does all passes over a set, so that the later ones find in a cache what the first one read. Where
// there are too few sets for that, blocks of a set are shared out. The blocks and the order in which what
// they come to is added up depend on the shape only, and are the same in both cases.
#include "ops/normalization.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/parallel.h"
#include "kernels/registry.h"

namespace pyconv {
namespace {

// Nanoseconds a value for a pass over two arrays.
constexpr double kPass = 0.4;

struct Block {
    index_t offset;
    Planes planes;
};

std::vector<Block> cut(Planes p) {
    constexpr index_t kBlock = index_t{1} << 15;
    if (p.count > 1 && p.step == p.size) p = {1, 0, p.count * p.size};
    std::vector<Block> blocks;
    if (p.size == 0) return blocks;
    const index_t together = std::max(index_t{1}, kBlock / p.size);
    for (index_t run = 0; run < p.count; run += together) {
        const index_t runs = std::min(together, p.count - run);
        for (index_t start = 0; start < p.size; start += kBlock)
            blocks.push_back(
                {run * p.step + start, {runs, p.step, std::min(kBlock, p.size - start)}});
    }
    return blocks;
}

// All values of a set.
Planes whole(const NormalizationShape& s) {
    return s.parts == 1 ? s.planes : Planes{1, 0, s.parts * s.planes.size};
}

bool divides(const NormalizationShape& s, size_t blocks) {
    return s.sets < 2 * num_threads() && blocks > 1;
}

double work(const NormalizationShape& s) { return static_cast<double>(s.sets * s.count()) * kPass; }

struct Moments {
    double count = 0, mean = 0, squares = 0;

    void merge(const Moments& other) {
        const double all = count + other.count, apart = other.mean - mean;
        if (count > 0) squares += apart * apart * (count * other.count / all);
        squares += other.squares;
        // Not mean + apart * ...: two infinite means give one.
        mean = (mean * count + other.mean * other.count) / all;
        count = all;
    }
};

template <typename T>
Moments moments_of(const Block& block, const T* set) {
    Moments m{.count = static_cast<double>(block.planes.count * block.planes.size)};
    kernels<T>().moments(block.planes, set + block.offset, &m.mean, &m.squares);
    return m;
}

template <typename T>
void store(const Moments& m, T& mean, T& var) {
    mean = static_cast<T>(m.mean);
    var = static_cast<T>(m.squares / m.count);
}

template <typename T>
void set_statistics(const std::vector<Block>& blocks, const T* set, T& mean, T& var) {
    Moments all;
    for (const Block& block : blocks) all.merge(moments_of(block, set));
    store(all, mean, var);
}

template <typename T>
double inverse_deviation(T var, double eps) {
    return 1 / std::sqrt(static_cast<double>(var) + eps);
}

// What the kernels need of a channel of a set.
template <typename T>
struct Affine {
    const NormalizationShape& s;
    const T *mean, *var, *weight, *bias;
    double eps;
    Activation activation;

    double weight_of(index_t set, index_t part) const {
        return weight != nullptr ? static_cast<double>(weight[s.channel(set, part)]) : 1;
    }
    double inverse(index_t set) const { return inverse_deviation(var[set], eps); }
    Normalization<T> operator()(index_t set, index_t part) const {
        return {mean[set], static_cast<T>(inverse(set) * weight_of(set, part)),
                bias != nullptr ? bias[s.channel(set, part)] : T(0), activation};
    }
};

// Calls body(set, part, block, number) for all blocks of all parts, backwards within a set: the pass
// before this one left its last blocks in the caches.
template <typename Body>
void for_each_part_of(const NormalizationShape& s, index_t set, const std::vector<Block>& blocks,
                      Body&& body) {
    for (index_t part = s.parts - 1; part >= 0; --part)
        for (auto block = blocks.rbegin(); block != blocks.rend(); ++block) body(set, part, *block);
}
// The same for every set, in parallel.
template <typename Body>
void for_each_part(const NormalizationShape& s, const std::vector<Block>& blocks, Body&& body) {
    const auto count = static_cast<index_t>(blocks.size());
    if (!divides(s, static_cast<size_t>(s.parts * count))) {
        parallel_for(s.sets, work(s), [&](index_t set) { for_each_part_of(s, set, blocks, body); });
        return;
    }
    parallel_for(s.sets * s.parts * count, work(s), [&](index_t task) {
        const index_t part = task / count;
        body(part / s.parts, part % s.parts, blocks[static_cast<size_t>(task % count)]);
    });
}

template <typename T>
void normalize_block(const Affine<T>& affine, const T* input, T* output, index_t set, index_t part,
                     const Block& block) {
    const index_t i = affine.s.offset(set, part) + block.offset;
    kernels<T>().normalize(block.planes, affine(set, part), input + i, output + i);
}

struct Sums {
    double g = 0, gx = 0;  // sum g and sum g * (x - mean)
};

template <typename T>
Sums sums_of(const Affine<T>& affine, const T* grad_output, const T* input, index_t set,
             index_t part, const Block& block) {
    const index_t i = affine.s.offset(set, part) + block.offset;
    double sums[2];
    kernels<T>().normalize_sums(block.planes, affine(set, part), grad_output + i, input + i, sums);
    return {sums[0], sums[1]};
}

// With xhat = (x - mean) * r, r = 1 / sqrt(var + eps), M values in a set:
//   grad_bias = sum g,  grad_weight = sum g * xhat
//   grad_input = r * (weight * g - (sum weight * g) / M - xhat * (sum weight * g * xhat) / M)
// the last two terms only if the statistics are the input's own. `parts` holds the sums of the parts.
template <typename T>
class InputGradient {
  public:
    InputGradient(const Affine<T>& affine, bool own, index_t set, const Sums* parts)
        : affine_(affine), own_(own), r_(affine.inverse(set)) {
        const auto M = static_cast<double>(affine.s.count());
        double g = 0, gx = 0;
        for (index_t part = 0; part < affine.s.parts; ++part) {
            const double weight = affine.weight_of(set, part);
            g += weight * parts[part].g;
            gx += weight * parts[part].gx;
        }
        constant_ = static_cast<T>(-r_ * g / M);
        factor_x_ = static_cast<T>(-r_ * r_ * r_ * gx / M);
    }
    void operator()(const T* grad_output, const T* input, T* grad_input, index_t set, index_t part,
                    const Block& block) const {
        const index_t i = affine_.s.offset(set, part) + block.offset;
        const auto factor_g = static_cast<T>(r_ * affine_.weight_of(set, part));
        kernels<T>().normalize_backward(block.planes, affine_(set, part),
                                        {factor_g, factor_x_, constant_, own_}, grad_output + i,
                                        input + i, grad_input + i);
    }

  private:
    const Affine<T>& affine_;
    bool own_;
    double r_;
    T factor_x_, constant_;
};

}  // namespace

template <typename T>
void normalization_statistics(const NormalizationShape& s, const T* input, T* mean, T* var) {
    const std::vector<Block> blocks = cut(whole(s));
    const auto count = static_cast<index_t>(blocks.size());
    if (!divides(s, blocks.size())) {
        parallel_for(s.sets, work(s), [&](index_t set) {
            set_statistics(blocks, input + s.offset(set, 0), mean[set], var[set]);
        });
        return;
    }
    std::vector<Moments> moments(static_cast<size_t>(s.sets * count));
    parallel_for(s.sets * count, work(s), [&](index_t task) {
        moments[static_cast<size_t>(task)] = moments_of(blocks[static_cast<size_t>(task % count)],
                                                        input + s.offset(task / count, 0));
    });
    for (index_t set = 0; set < s.sets; ++set) {
        Moments all;
        for (index_t b = 0; b < count; ++b)
            all.merge(moments[static_cast<size_t>(set * count + b)]);
        store(all, mean[set], var[set]);
    }
}

template <typename T>
void normalization(const NormalizationShape& s, const T* input, const T* mean, const T* var,
                   const T* weight, const T* bias, double eps, Activation activation, T* output) {
    const Affine<T> affine{s, mean, var, weight, bias, eps, activation};
    for_each_part(s, cut(s.planes), [&](index_t set, index_t part, const Block& block) {
        normalize_block(affine, input, output, set, part, block);
    });
}

template <typename T>
void normalization_training(const NormalizationShape& s, const T* input, const T* weight,
                            const T* bias, double eps, Activation activation, T* mean, T* var,
                            T* output) {
    const std::vector<Block> all = cut(whole(s)), blocks = cut(s.planes);
    if (divides(s, all.size())) {
        normalization_statistics(s, input, mean, var);
        normalization(s, input, mean, var, weight, bias, eps, activation, output);
        return;
    }
    const Affine<T> affine{s, mean, var, weight, bias, eps, activation};
    parallel_for(s.sets, 2 * work(s), [&](index_t set) {
        set_statistics(all, input + s.offset(set, 0), mean[set], var[set]);
        for_each_part_of(s, set, blocks, [&](index_t, index_t part, const Block& block) {
            normalize_block(affine, input, output, set, part, block);
        });
    });
}

template <typename T>
void normalization_backward(const NormalizationShape& s, const T* grad_output, const T* input,
                            bool own, const T* mean, const T* var, const T* weight, const T* bias,
                            double eps, Activation activation, T* grad_input, T* grad_weight,
                            T* grad_bias) {
    const bool unknown = mean == nullptr;
    std::vector<T> computed(unknown ? static_cast<size_t>(2 * s.sets) : 0);
    T *own_mean = computed.data(), *own_var = unknown ? own_mean + s.sets : nullptr;
    const Affine<T> affine{
        s, unknown ? own_mean : mean, unknown ? own_var : var, weight, bias, eps, activation};
    const std::vector<Block> all = cut(whole(s)), blocks = cut(s.planes);
    const auto count = static_cast<index_t>(blocks.size());
    std::vector<Sums> sums(static_cast<size_t>(s.sets * s.parts));
    if (!divides(s, all.size())) {
        parallel_for(s.sets, 3 * work(s), [&](index_t set) {
            if (unknown) set_statistics(all, input + s.offset(set, 0), own_mean[set], own_var[set]);
            Sums* own_sums = sums.data() + set * s.parts;
            for (index_t part = 0; part < s.parts; ++part) {
                for (const Block& block : blocks) {
                    const Sums add = sums_of(affine, grad_output, input, set, part, block);
                    own_sums[part].g += add.g;
                    own_sums[part].gx += add.gx;
                }
            }
            const InputGradient<T> gradient(affine, own, set, own_sums);
            for_each_part_of(s, set, blocks, [&](index_t, index_t part, const Block& block) {
                gradient(grad_output, input, grad_input, set, part, block);
            });
        });
    } else {
        if (unknown) normalization_statistics(s, input, own_mean, own_var);
        const index_t tasks = s.sets * s.parts * count;
        std::vector<Sums> block_sums(static_cast<size_t>(tasks));
        parallel_for(tasks, 2 * work(s), [&](index_t task) {
            const index_t part = task / count;
            block_sums[static_cast<size_t>(task)] =
                sums_of(affine, grad_output, input, part / s.parts, part % s.parts,
                        blocks[static_cast<size_t>(task % count)]);
        });
        for (index_t task = 0; task < tasks; ++task) {
            Sums& sum = sums[static_cast<size_t>(task / count)];
            sum.g += block_sums[static_cast<size_t>(task)].g;
            sum.gx += block_sums[static_cast<size_t>(task)].gx;
        }
        for_each_part(s, blocks, [&](index_t set, index_t part, const Block& block) {
            const InputGradient<T> gradient(affine, own, set, sums.data() + set * s.parts);
            gradient(grad_output, input, grad_input, set, part, block);
        });
    }
    std::vector<Sums> channels(static_cast<size_t>(s.channels));
    for (index_t set = 0; set < s.sets; ++set) {
        for (index_t part = 0; part < s.parts; ++part) {
            const Sums& sum = sums[static_cast<size_t>(set * s.parts + part)];
            Sums& channel = channels[static_cast<size_t>(s.channel(set, part))];
            channel.g += sum.g;
            channel.gx += sum.gx * affine.inverse(set);
        }
    }
    for (index_t c = 0; c < s.channels; ++c) {
        grad_weight[c] = static_cast<T>(channels[static_cast<size_t>(c)].gx);
        grad_bias[c] = static_cast<T>(channels[static_cast<size_t>(c)].g);
    }
}

#define PYCONV_INSTANTIATE(T)                                                                      \
    template void normalization_statistics(const NormalizationShape&, const T*, T*, T*);           \
    template void normalization(const NormalizationShape&, const T*, const T*, const T*, const T*, \
                                const T*, double, Activation, T*);                                 \
    template void normalization_training(const NormalizationShape&, const T*, const T*, const T*,  \
                                         double, Activation, T*, T*, T*);                          \
    template void normalization_backward(const NormalizationShape&, const T*, const T*, bool,      \
                                         const T*, const T*, const T*, const T*, double,           \
                                         Activation, T*, T*, T*);
PYCONV_INSTANTIATE(float)
PYCONV_INSTANTIATE(double)
#undef PYCONV_INSTANTIATE

}  // namespace pyconv
