// The model tests do not run under TSan. They have one OS thread, so there is nothing for it to find; and the explorer abandons
// stacks by the million, whose calls TSan would have to be told of one by one (its fibers cost 0.8 MB and tens of
// microseconds each: a suite of 20 s took minutes and gigabytes).
#include <gtest/gtest.h>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define MODEL_UNDER_TSAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define MODEL_UNDER_TSAN 1
#endif

#if defined(MODEL_UNDER_TSAN)
namespace {

class no_tsan : public testing::Environment {
public:
  void SetUp() override { GTEST_SKIP() << "the explorer does not run under TSan"; }
};

[[maybe_unused]] testing::Environment* const registered =
    testing::AddGlobalTestEnvironment(new no_tsan);

}  // namespace
#endif
