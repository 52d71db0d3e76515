// One stackful context of a model thread, on boost::context::fiber.
//
// Differs from a plain fiber in one point: it can be *abandoned*. The explorer drops an execution in the middle all the
// time (it failed, or reached a state already explored), and the code under test is noexcept, so the stack cannot be
// unwound by an exception. The context is forgotten instead and its stack used again; what it had allocated is given
// back by `heap`. Under ASan the switches are announced; TSan is out: CMakeLists.txt.
#pragma once

#include <boost/context/fiber.hpp>
#include <cstddef>
#include <new>

namespace model {

class context {
public:
  using entry = void (*)(void*);

  context();
  ~context();
  context(const context&) = delete;
  context& operator=(const context&) = delete;

  /// Makes the context ready to run `fn(argument)` from its start. Precondition: new or abandoned.
  void start(entry fn, void* argument);

  /// Runs the context until it suspends. Called on the explorer's own stack.
  void resume();

  /// Goes back to the caller of `resume`. Called inside the context.
  void suspend();

  /// Forgets a suspended context without unwinding it. That is how every context ends: an entry that has returned
  /// stays suspended.
  void abandon();

private:
  [[noreturn]] void run(boost::context::fiber&& caller);
  boost::context::fiber& fiber() {
    return *std::launder(reinterpret_cast<boost::context::fiber*>(fiber_));
  }

  static constexpr std::size_t stack_size_bytes = 256 * 1024;

  std::byte* stack_ = nullptr;
  entry entry_ = nullptr;
  void* argument_ = nullptr;
  boost::context::fiber caller_;  // the explorer, while the context runs
  alignas(boost::context::fiber)
      std::byte fiber_[sizeof(boost::context::fiber)];  // raw: its destructor would unwind

  // Sanitizer bookkeeping; kept in every build so that the layout does not depend on the sanitizer.
  [[maybe_unused]] const void* caller_stack_ = nullptr;
  [[maybe_unused]] std::size_t caller_stack_size_bytes_ = 0;
  [[maybe_unused]] void* caller_fake_stack_ = nullptr;
};

}  // namespace model
