#include "signal_mask.hpp"

namespace aramid::inline v0::detail {

namespace {

constinit thread_local bool is_ours = false;  // read in a child that has this thread only

}  // namespace

void block_broken_pipes() noexcept {
  is_ours = true;
  change_signal_mask(SIG_BLOCK, SIGPIPE);
}

void unblock_broken_pipes() noexcept {
  if (is_ours) {
    change_signal_mask(SIG_UNBLOCK, SIGPIPE);
  }
}

}  // namespace aramid::inline v0::detail
