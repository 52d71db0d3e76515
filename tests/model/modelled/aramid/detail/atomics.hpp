// The product's detail/atomics.hpp, for the model.
#pragma once

#include "../../../atomics.hpp"

namespace aramid::inline v0::detail {

using std_atomics = model::atomics;

template <class T>
using atomic = model::atomic<T>;

}  // namespace aramid::inline v0::detail
