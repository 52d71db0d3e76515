// The parts of channels that do not depend on the item.
#include <stdexcept>

#include <aramid/channel.hpp>

namespace aramid::inline v0 {

const char* channel_closed::what() const noexcept { return "aramid::channel: it is closed"; }

namespace detail {

void throw_channel_closed() { throw channel_closed(); }

void throw_no_channel() {
  throw std::logic_error("aramid: this end has no channel: moved from, reset or default-made");
}

}  // namespace detail

}  // namespace aramid::inline v0
