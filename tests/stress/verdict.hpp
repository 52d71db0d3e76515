// What the soak has to say against the library. Everything that is wrong is said, each thing once; one is enough to fail.
#pragma once

#include <atomic>
#include <iostream>
#include <mutex>
#include <string>

class verdict {
public:
  /// Suspends: never. Threads: any.
  static void complain(const std::string& what) {
    if (complaints.fetch_add(1) < most_said) {
      const std::lock_guard guard(lock);
      std::cout << "soak: WRONG: " << what << std::endl;
    }
  }
  [[nodiscard]] static bool good() { return complaints == 0; }

private:
  static constexpr int most_said = 50;
  static inline std::atomic<int> complaints{0};
  static inline std::mutex lock;  // held over no suspension
};
