// Fetches many pages at once: so many at a time and no more, a deadline for each, progress on the terminal.
//
//     crawler http://localhost:8080/ --depth 2       a page, and what it leads to on its host, two links deep
//     make_urls | crawler --at-once 500              URLs from standard input, as many as there may be
//
// Prints a line for each URL: status, bytes, time, URL, and where redirects led or what went wrong. http only: there is no TLS here.
// Ctrl-C ends it, with a summary of what was done. Exits with 1 if a URL failed (no answer, or one that is no success), with 130 after Ctrl-C.

#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cctype>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <iomanip>
#include <iostream>
#include <mutex>
#include <set>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <unordered_set>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <aramid/aramid.hpp>
#include <aramid/io/asio.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

#include "crawler_urls.hpp"

using namespace aramid;
using namespace std::chrono_literals;
namespace http = boost::beast::http;
using seconds = std::chrono::duration<double>;

namespace {

const bool on_terminal = ::isatty(STDERR_FILENO) == 1;

struct limits {
  std::size_t at_once = 100;
  std::size_t per_host = 8;
  double deadline_seconds = 30;
  std::size_t depth = 0;
  std::size_t redirects = 5;
  std::uint64_t body_bytes = 10'000'000;
};

class crawler {
public:
  explicit crawler(const limits& given) : limits_(given), pool_(given.at_once) {
    for (int i = 0; i != 1024; ++i) {
      turns_.emplace_back(static_cast<std::ptrdiff_t>(given.per_host));
    }
  }

  /// Visits what comes from `urls`, then what that led to, and so on.
  void crawl(const receiver<std::string>& urls) {
    std::set<std::string> links = visit_all(urls, limits_.depth > 0);
    for (std::size_t deeper = limits_.depth; deeper > 0; --deeper) {
      links = visit_all(links, deeper > 1);
    }
  }

  [[noreturn]] void show_progress() {
    for (;;) {
      {
        const std::lock_guard guard(lock_);
        std::cerr << "\r\x1b[K" << summary("in flight") << std::flush;
      }
      this_fiber::sleep_for(100ms);
    }
  }

  /// `open`: what is to be said of those that have begun and not ended.
  [[nodiscard]] std::string summary(const char* open) const {
    std::ostringstream out;
    const double megabytes = static_cast<double>(bytes_) / 1e6;
    out << done_ << " done, " << failed_ << " failed, " << begun_ - done_ - failed_ << ' ' << open << ", " << std::fixed
        << std::setprecision(1) << megabytes << " MB, " << megabytes / seconds(clock::now() - start_).count() << " MB/s";
    return out.str();
  }

  [[nodiscard]] bool failed() const { return failed_ != 0; }

private:
  using response = http::response<http::string_body>;

  struct visited {
    response answer;
    address where;
  };

  struct permit {
    explicit permit(counting_semaphore<>& from) : of(from) { of.acquire(); }
    ~permit() { of.release(); }
    counting_semaphore<>& of;
  };

  /// The pool takes a URL when it has a fiber for it, so there are never more than `at_once` in hand, however many come.
  template <class Urls>
  std::set<std::string> visit_all(const Urls& urls, bool with_links) {
    std::set<std::string> links;
    for (auto& found : pool_.map_unordered(urls, [&](const std::string& url) { return visit(url, with_links); })) {
      links.merge(found);
    }
    return links;
  }

  /// Fetches a URL, unless that has been done, and prints what came of it. Returns where the page leads, on its host.
  std::set<std::string> visit(const std::string& text, bool with_links) {
    const auto start = clock::now();
    const char* doing = "";
    std::string status = "-", note, url = text;
    std::set<std::string> links;
    std::size_t bytes = 0;
    bool good = false;
    ++begun_;
    try {
      const address where = parse(text);
      url = where.text();
      if (std::lock_guard guard(lock_); !seen_.insert(url).second) {
        --begun_;
        return {};
      }
      // Hosts that share a place here take turns too, and who waits keeps its place in the pool: simple, and polite. The deadline begins with the turn.
      const permit turn(turns_[std::hash<std::string>()(where.authority()) % turns_.size()]);
      const visited page = with_timeout(seconds(limits_.deadline_seconds), [&] { return get(where, doing); });
      status = std::to_string(page.answer.result_int());
      bytes = page.answer.body().size();
      good = http::to_status_class(page.answer.result()) == http::status_class::successful;
      note = page.where.text() != url ? "-> " + page.where.text() : "";
      if (good && with_links && page.answer[http::field::content_type].starts_with("text/html")) {
        links = links_on_host(page);
      }
    } catch (const timeout_error&) {
      note = std::string(doing) + ": the deadline has passed";
    } catch (const boost::system::system_error& failure) {
      note = std::string(doing) + ": " + failure.code().message();
    } catch (const std::exception& failure) {  // says itself what it is about
      note = failure.what();
    }
    std::ostringstream line;
    line << status << '\t' << bytes << '\t' << std::chrono::round<std::chrono::milliseconds>(clock::now() - start).count() << " ms\t" << url;
    print(note.empty() ? line.str() : line.str() + '\t' + note);
    bytes_ += bytes;
    ++(good ? done_ : failed_);
    return links;
  }

  /// The answer to `where`, or to where it redirects. `doing` says how far it has come.
  visited get(address where, const char*& doing) const {
    for (std::size_t redirects = 0;; ++redirects) {
      doing = "connect";
      io::asio_stream stream(io::connect(where.host, where.port));
      doing = "send the request";
      http::request<http::empty_body> request(http::verb::get, where.target, 11);
      request.set(http::field::host, where.authority());
      request.set(http::field::user_agent, "aramid-crawler");
      request.keep_alive(false);
      http::write(stream, request);
      doing = "read the answer";
      boost::beast::flat_buffer buffer;
      http::response_parser<http::string_body> parser;
      parser.body_limit(limits_.body_bytes);
      http::read(stream, buffer, parser);
      const auto location = parser.get()[http::field::location];
      if (http::to_status_class(parser.get().result()) != http::status_class::redirection || location.empty()) {
        return {parser.release(), std::move(where)};
      }
      if (redirects == limits_.redirects) {
        throw std::runtime_error("more than " + std::to_string(redirects) + " redirects, the last to " + std::string(location));
      }
      where = follow(where, {location.data(), location.size()});
    }
  }

  static std::set<std::string> links_on_host(const visited& page) {
    std::set<std::string> links;
    for (const std::string& link : links_in(page.answer.body())) {
      try {
        const address to = follow(page.where, link);
        if (to.authority() == page.where.authority()) {
          links.insert(to.text());
        }
      } catch (const std::invalid_argument&) {  // mailto: and the like
      }
    }
    return links;
  }

  void print(const std::string& line) {
    const std::lock_guard guard(lock_);
    if (on_terminal) {
      std::cerr << "\r\x1b[K" << std::flush;  // the line would stand behind the progress
    }
    if (!(std::cout << line << std::endl)) {
      throw std::runtime_error("standard output cannot be written");
    }
  }

  const limits limits_;
  const time_point start_ = clock::now();
  mutex lock_;                             // of the next, and of what is printed
  std::unordered_set<std::string> seen_;
  std::atomic<std::size_t> begun_{0}, done_{0}, failed_{0}, bytes_{0};
  std::deque<counting_semaphore<>> turns_;
  fiber_pool pool_;
};

/// Sends `given`, then the words of `file`, if that is open.
void feed(const sender<std::string>& urls, const std::vector<std::string>& given, io::file& file) {
  for (const std::string& each : given) {
    urls.send(each);
  }
  std::array<char, 4096> buffer;
  std::string word;
  while (const std::size_t count = file.is_open() ? file.read_some(buffer) : 0) {
    for (const char c : std::span(buffer).first(count)) {
      if (!std::isspace(static_cast<unsigned char>(c))) {
        word += c;
      } else if (!word.empty()) {
        urls.send(std::exchange(word, {}));
      }
    }
    if (word.size() > 2 * buffer.size()) {
      throw std::runtime_error("the input is no list of URLs: a word begins with " + word.substr(0, 32));
    }
  }
  if (!word.empty()) {
    urls.send(std::move(word));
  }
}

int crawl(const limits& most, const std::vector<std::string>& given, const std::string& path) {
  io::signal_set signals{SIGINT, SIGTERM};
  io::file file = path == "-" ? io::file::adopt(STDIN_FILENO) : path.empty() ? io::file() : io::file::open(path);
  crawler crawling(most);
  cancel_scope interruptible;
  fiber<> watch = spawn([&] {
    signals.wait();
    interruptible.cancel();
  });
  fiber<> progress = on_terminal ? spawn([&] { crawling.show_progress(); }) : fiber<>();
  const bool finished = interruptible.run([&] {
    auto ends = make_channel<std::string>(1);
    fiber<> feeder = spawn([&, to = std::move(ends.in)] { feed(to, given, file); });  // the channel closes when it ends
    crawling.crawl(ends.out);
    feeder.join();
  });
  progress = {};
  std::cerr << (on_terminal ? "\r\x1b[K" : "") << (finished ? "" : "interrupted: ") << crawling.summary("cut short") << '\n';
  return !finished ? 130 : crawling.failed() ? 1 : 0;
}

void raise_descriptor_limit() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

/// CLI11's own ranges let "" pass for 0, and nan for anything.
CLI::Validator number(double least, double most) {
  return CLI::Validator(
      [=](const std::string& text) {
        double value = 0;
        const char* const end = text.data() + text.size();
        const auto [stop, error] = std::from_chars(text.data(), end, value);
        const bool good = stop == end && error == std::errc() && value >= least && value <= most;
        return good ? std::string() : "'" + text + "' is not a number that makes sense here";
      },
      "NUMBER");
}

}  // namespace

int main(int argc, char** argv) {
  limits most;
  std::vector<std::string> urls;
  std::string file;
  CLI::App app("Fetches many pages at once, over http. Without a URL and without --file it reads URLs from standard input.");
  app.add_option("urls", urls, "what to fetch");
  app.add_option("--file", file, "a file with more, between white space; - is standard input");
  app.add_option("--at-once", most.at_once, "pages at a time")->check(number(1, 100'000))->capture_default_str();
  app.add_option("--per-host", most.per_host, "of those, from one host")->check(number(1, 100'000))->capture_default_str();
  app.add_option("--deadline", most.deadline_seconds, "seconds for a URL, redirects included")->check(number(0, 1e6))->capture_default_str();
  app.add_option("--depth", most.depth, "how many links deep to go on, on the same host")->check(number(0, 1e6))->capture_default_str();
  app.add_option("--redirects", most.redirects, "to follow for a URL, at most")->check(number(0, 100))->capture_default_str();
  app.add_option("--body-limit", most.body_bytes, "bytes of a page, at most")->check(number(0, 1e15))->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    raise_descriptor_limit();
    return run([&] { return crawl(most, urls, urls.empty() && file.empty() ? "-" : file); });
  } catch (const std::exception& failure) {
    std::cerr << "crawler: " << failure.what() << '\n';
    return 1;
  }
}
