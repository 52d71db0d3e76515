#include <aramid/io/error.hpp>

#include <string>
#include <system_error>

#include <aramid/detail/immortal.hpp>

namespace aramid::inline v0::io {
namespace {

class io_category final : public std::error_category {
public:
  [[nodiscard]] const char* name() const noexcept override { return "aramid.io"; }

  [[nodiscard]] std::string message(int code) const override {
    switch (static_cast<errc>(code)) {
      case errc::end_of_stream:
        return "end of stream";
      case errc::closed:
        return "closed, or never opened";
      case errc::bytes_lost:
        return "bytes were lost for want of memory";
    }
    return "unknown error " + std::to_string(code);
  }

  [[nodiscard]] std::error_condition default_error_condition(int code) const noexcept override {
    if (static_cast<errc>(code) == errc::closed) {
      return std::make_error_condition(std::errc::operation_canceled);
    }
    return {code, *this};
  }
};

}  // namespace

const std::error_category& category() noexcept { return detail::immortal<io_category>(); }

write_error::~write_error() = default;

}  // namespace aramid::inline v0::io
