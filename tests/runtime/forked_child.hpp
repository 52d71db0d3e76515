// Code that is run in a forked child of a test.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace aramid::test {

/// Whether a child may use the heap. Unlike glibc's malloc, those of gcc 12's ASan and TSan do not take their locks before a fork
/// (later ones do: llvm/llvm-project#96600), so a child hangs in them if another thread was in them. TSan allows no threads there either.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool heap_after_fork = false;
#else
inline constexpr bool heap_after_fork = true;
#endif

/// `Fixture` for tests that fork while other threads run.
template <class Fixture>
class forking : public Fixture {
protected:
  void SetUp() override {
    Fixture::SetUp();
    if (!heap_after_fork) {
      GTEST_SKIP() << "the sanitizer may leave its heap locked in a child";
    }
  }
};

/// Runs `fn` in a forked child.
/// Returns: whether it came to its end there and returned true; if not, how the child ended.
template <class Fn>
[[nodiscard]] ::testing::AssertionResult in_a_child(Fn fn) {
  const ::pid_t child = ::fork();
  if (child < 0) {
    return ::testing::AssertionFailure() << "cannot fork";
  }
  if (child == 0) {
    ::alarm(30);  // ends a child that hangs
    bool well = false;
    try {
      well = fn();
    } catch (...) {  // a child must not get back into the tests
    }
    ::_exit(well ? 0 : 1);
  }
  int status = 0;
  if (::waitpid(child, &status, 0) != child) {
    return ::testing::AssertionFailure() << "cannot wait for the child";
  }
  if (WIFSIGNALED(status)) {
    return ::testing::AssertionFailure() << "the child was ended by signal " << WTERMSIG(status);
  }
  if (WEXITSTATUS(status) != 0) {
    return ::testing::AssertionFailure() << "the child failed";
  }
  return ::testing::AssertionSuccess();
}

}  // namespace aramid::test
