// The figures in words or as JSON, on standard output.
#pragma once

#include "load.hpp"
#include "options.hpp"

namespace net_load {

void print_text(const options& settings, const figures& result);
void print_json(const options& settings, const figures& result);

}  // namespace net_load
