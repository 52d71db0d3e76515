#include "context.hpp"

#include <sys/mman.h>

#include <cstdlib>
#include <memory>
#include <utility>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MODEL_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define MODEL_ASAN 1
#endif

#if defined(MODEL_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace model {
namespace {

// The stack belongs to the context and outlives the fiber that runs on it.
struct borrowed_stack {
  boost::context::stack_context allocate() { std::abort(); }
  void deallocate(boost::context::stack_context&) noexcept {}
};

// `caller`: where the caller's fake stack is kept, or null when the caller will never run again.
void announce_switch([[maybe_unused]] void** fake_stack, [[maybe_unused]] const void* bottom,
                     [[maybe_unused]] std::size_t size_bytes) {
#if defined(MODEL_ASAN)
  __sanitizer_start_switch_fiber(fake_stack, bottom, size_bytes);
#endif
}

void announce_arrival([[maybe_unused]] void* fake_stack, [[maybe_unused]] const void** bottom,
                      [[maybe_unused]] std::size_t* size_bytes) {
#if defined(MODEL_ASAN)
  __sanitizer_finish_switch_fiber(fake_stack, bottom, size_bytes);
#endif
}

}  // namespace

context::context() {
  void* memory = ::mmap(nullptr, stack_size_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  stack_ = static_cast<std::byte*>(memory);
  ::new (fiber_) boost::context::fiber();
}

context::~context() {
  abandon();
  ::munmap(stack_, stack_size_bytes);
}

void context::start(entry fn, void* argument) {
  entry_ = fn;
  argument_ = argument;
  boost::context::stack_context stack;
  stack.sp = stack_ + stack_size_bytes;
  stack.size = stack_size_bytes;
  ::new (fiber_) boost::context::fiber(
      std::allocator_arg, boost::context::preallocated(stack.sp, stack.size, stack),
      borrowed_stack{},
      [this](boost::context::fiber&& caller) -> boost::context::fiber { run(std::move(caller)); });
}

void context::run(boost::context::fiber&& caller) {
  announce_arrival(nullptr, &caller_stack_, &caller_stack_size_bytes_);
  caller_ = std::move(caller);
  entry_(argument_);
  // Not returned from: every context ends by being abandoned.
  suspend();
  std::abort();
}

void context::resume() {
  announce_switch(&caller_fake_stack_, stack_, stack_size_bytes);
  // Not `fiber() = std::move(fiber()).resume()`: the assignment would destroy the moved-from value, which is empty and
  // harmless, but it hides that nothing else here ever runs a fiber's destructor.
  boost::context::fiber next = std::move(fiber()).resume();
  ::new (fiber_) boost::context::fiber(std::move(next));
  announce_arrival(caller_fake_stack_, nullptr, nullptr);
}

void context::suspend() {
  void* own_fake_stack = nullptr;
  announce_switch(&own_fake_stack, caller_stack_, caller_stack_size_bytes_);
  caller_ = std::move(caller_).resume();
  announce_arrival(own_fake_stack, &caller_stack_, &caller_stack_size_bytes_);
}

void context::abandon() {
  ::new (fiber_) boost::context::fiber();
  ::new (&caller_) boost::context::fiber();
#if defined(MODEL_ASAN)
  __asan_unpoison_memory_region(stack_, stack_size_bytes);
#endif
}

}  // namespace model

#if defined(MODEL_ASAN)
// An abandoned context would leak its fake stack (and the explorer abandons millions).
extern "C" const char* __asan_default_options() { return "detect_stack_use_after_return=0"; }
#endif
