#include "signal_mask.hpp"

#include "thread_state.hpp"

namespace aramid::inline v0::detail {

void block_broken_pipes() noexcept {
  state_of_thread()->blocks_broken_pipes = true;
  change_signal_mask(SIG_BLOCK, SIGPIPE);
}

void unblock_broken_pipes() noexcept {
  if (state_of_thread()->blocks_broken_pipes) {
    change_signal_mask(SIG_UNBLOCK, SIGPIPE);
  }
}

}  // namespace aramid::inline v0::detail
