#include "conversation.hpp"

#include <algorithm>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <aramid/task_group.hpp>

#include "verdict.hpp"

using namespace aramid;
using namespace std::chrono_literals;

namespace soak {
namespace {

/// Writes `data`, or its beginning, in one of the ways that there are. Returns the number of bytes written; `written` has it also if an exception comes.
void write(io::tcp_stream& stream, std::span<const std::byte> data, std::size_t& written, std::error_code& ec, dice& d) {
  const int way = d.below(4);
  const std::size_t half = data.size() / 2;
  disturb(d, [&] {
    switch (way) {
      case 0:
        written = stream.write_some(data, ec);
        break;
      case 1:
        written = stream.write_some({data.first(half), data.subspan(half)}, ec);
        break;
      case 2:
        stream.write_all(data, written, ec);
        break;
      default:
        stream.write_all({data.first(half), data.subspan(half)}, written, ec);
    }
  });
}

/// Reads into `buffer` in one of the ways that there are. Returns how many bytes, or nothing if it was cut short.
std::optional<std::size_t> read(io::tcp_stream& stream, std::span<std::byte> buffer, bool exactly, std::error_code& ec, dice& d) {
  const int way = d.below(2);
  const std::size_t half = buffer.size() / 2;
  std::size_t count = 0;
  const bool whole = disturb(d, [&] {
    if (exactly) {
      way == 0 ? stream.read_exactly(buffer, ec) : stream.read_exactly({buffer.first(half), buffer.subspan(half)}, ec);
      count = ec ? 0 : buffer.size();
    } else {
      count = way == 0 ? stream.read_some(buffer, ec) : stream.read_some({buffer.first(half), buffer.subspan(half)}, ec);
    }
  });
  return whole ? std::optional(count) : std::nullopt;
}

void write_direction(io::tcp_stream& stream, direction& out, const pattern& bytes, dice& d) {
  std::vector<std::byte> buffer(static_cast<std::size_t>(1 + d.below(d.below(4) == 0 ? 200'000 : 8'000)));
  // The sum is kept also when an exception takes us out.
  struct counting {
    direction& out;
    std::size_t count = 0;
    ~counting() { out.written += count; }
  };
  // Not so many steps that a conversation takes seconds.
  for (std::uint64_t left = std::min(static_cast<std::uint64_t>(d.below(300'000)) >> d.below(12), 200 * buffer.size()); left > 0;) {
    const std::span<std::byte> some = std::span(buffer).first(std::min<std::uint64_t>(left, buffer.size()));
    bytes.fill(some, out.written);
    std::error_code ec;
    counting now{out};
    write(stream, some, now.count, ec, d);
    left -= now.count;
    if (ec) {
      return;
    }
  }
  std::error_code ec;
  stream.shutdown(io::shutdown_how::write, ec);
  out.ended = !ec;
}

/// Reads to the end, or `most` bytes.
void read_direction(io::tcp_stream& stream, direction& in, const pattern& bytes, std::uint64_t most, dice& d) {
  std::vector<std::byte> buffer(static_cast<std::size_t>(1'000 + d.below(20'000)));
  bool may_want_all = true;
  while (in.read < most) {
    const bool exactly = may_want_all && d.below(3) == 0;
    const std::span<std::byte> into = std::span(buffer).first(static_cast<std::size_t>(1 + d.below(static_cast<int>(buffer.size()))));
    std::error_code ec;
    const std::optional<std::size_t> count = read(stream, into, exactly, ec, d);
    if (ec && !exactly) {
      return;
    }
    // What came before the end or an error is still in the stream; whichever it was comes again.
    may_want_all = may_want_all && !ec;
    if (count == 0U && !exactly) {
      in.read_to_end = true;
      return;
    }
    if (!bytes.is(into.first(count.value_or(0)), in.read)) {
      verdict::complain("bytes that were not written there, from " + std::to_string(in.read) + " on");
      return;
    }
    in.read += count.value_or(0);
  }
}

}  // namespace

std::byte pattern::byte(std::uint64_t at) const {
  std::uint64_t word = seed_ + (at / 8) * 0x9e3779b97f4a7c15U;
  word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9U;
  word = (word ^ (word >> 27)) * 0x94d049bb133111ebU;
  return static_cast<std::byte>(word >> (8 * (at % 8)));
}

void pattern::fill(std::span<std::byte> buffer, std::uint64_t at) const {
  for (std::byte& each : buffer) {
    each = byte(at++);
  }
}

bool pattern::is(std::span<const std::byte> bytes, std::uint64_t at) const {
  return std::ranges::all_of(bytes, [&](std::byte each) { return each == byte(at++); });
}

conversation::~conversation() {
  bool agreed = true;
  for (const direction* const each : {&there, &back}) {
    const std::string counts = " (" + std::to_string(each->written) + " bytes written, " + std::to_string(each->read) + " read)";
    const bool to_end = each->ended && each->read_to_end;
    if (each->read > each->written || (each->read_to_end && each->written != unknown && each->read != each->written)) {
      verdict::complain("bytes were lost or doubled" + counts);
    }
    if (!to_end && !broken_off) {
      verdict::complain(std::string("a connection that nobody broke off did not come to its end") + counts + (each->ended ? "" : ", writer failed"));
    }
    bytes_agreed += to_end ? each->read.load() : 0;
    agreed = agreed && to_end;
  }
  ++(agreed ? whole : broken);
}

void take_part(conversation& in, side as, io::tcp_stream& stream, dice& d) {
  struct leaving {
    conversation& in;
    bool whole = false;
    ~leaving() {
      if (!whole) {
        in.broken_off = true;
      }
    }
  } leave{in};
  enum class manner { orderly, close, reset, read_no_further };
  const auto how = static_cast<manner>(std::max(0, d.below(7) - 3));
  if (how != manner::orderly) {
    in.broken_off = true;
  }
  const bool is_client = as == side::client;
  const std::uint64_t most = how == manner::read_no_further ? static_cast<std::uint64_t>(d.below(50'000)) : UINT64_MAX;
  with_task_group([&](task_group& both) {
    both.spawn([&, mine = dice(d.seed())]() mutable {
      write_direction(stream, is_client ? in.there : in.back, pattern(in.key + (is_client ? 0 : 1)), mine);
    });
    both.spawn([&, mine = dice(d.seed())]() mutable {
      read_direction(stream, is_client ? in.back : in.there, pattern(in.key + (is_client ? 1 : 0)), most, mine);
      if (how == manner::read_no_further) {
        stream.close();
      }
    });
    if (how == manner::close || how == manner::reset) {
      both.spawn([&, wait = 10 * d.a_while()] {
        this_fiber::sleep_for(wait);
        std::error_code ec;
        if (how == manner::reset) {
          stream.linger(0s, ec);
        }
        stream.close();
      });
    }
  });
  leave.whole = true;
}

void give_back(io::tcp_stream& stream, dice& d) {
  std::vector<std::byte> buffer(5'000);
  for (;;) {
    std::error_code ec;
    const std::optional<std::size_t> count = read(stream, buffer, false, ec, d);
    if (ec || count == 0U) {
      return;
    }
    for (std::size_t done = 0; done != count.value_or(0) && !ec;) {
      std::size_t written = 0;
      write(stream, std::span(buffer).subspan(done, *count - done), written, ec, d);
      done += written;
    }
  }
}

void standing_connection::use(dice& d) {
  const std::uint64_t end = written_ + static_cast<std::uint64_t>(1 + d.below(30'000));
  const auto fail_on = [](const std::error_code& ec) {
    if (ec) {
      throw std::system_error(ec, "on a standing connection");
    }
  };
  with_task_group([&](task_group& both) {
    both.spawn([&, mine = dice(d.seed())]() mutable {
      std::vector<std::byte> buffer(end - written_);
      bytes_.fill(buffer, written_);
      while (written_ != end) {
        std::error_code ec;
        std::size_t count = 0;
        write(stream_, std::span(buffer).last(end - written_), count, ec, mine);
        written_ += count;
        fail_on(ec);
      }
    });
    both.spawn([&, mine = dice(d.seed())]() mutable {
      std::vector<std::byte> buffer(7'000);
      while (read_ != end) {
        const std::span<std::byte> into = std::span(buffer).first(std::min<std::uint64_t>(end - read_, 1 + mine.below(7'000)));
        std::error_code ec;
        const std::optional<std::size_t> count = read(stream_, into, mine.below(3) == 0, ec, mine);
        fail_on(count == 0U && !ec ? make_error_code(io::errc::end_of_stream) : ec);
        if (!bytes_.is(into.first(count.value_or(0)), read_)) {
          verdict::complain("bytes on a standing connection that were not written there, from " + std::to_string(read_) + " on");
        }
        read_ += count.value_or(0);
      }
    });
  });
}

}  // namespace soak
