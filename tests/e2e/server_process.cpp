#include "server_process.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <thread>
#include <utility>

namespace aramid::e2e {
namespace {

using std::chrono::steady_clock;

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error(what + ": " + std::strerror(errno));
}

std::string contents_of(int fd) {
  std::string text;
  std::array<char, 4096> part;
  ssize_t count = 0;
  while ((count = ::pread(fd, part.data(), part.size(), static_cast<off_t>(text.size()))) > 0) {
    text.append(part.data(), static_cast<std::size_t>(count));
  }
  return text;
}

int make_file(const char* name) {
  const int fd = ::memfd_create(name, MFD_CLOEXEC);
  if (fd < 0) {
    fail("memfd_create");
  }
  return fd;
}

// In the child, between fork and exec.
void restrict_child(const process_options& options) {
  if (options.driver != nullptr) {
    ::setenv("ARAMID_DRIVER", options.driver, 1);
  }
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  if (options.descriptors) {
    limit = {*options.descriptors, *options.descriptors};
  } else {
    limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, 1024);
  }
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) {
    ::_exit(126);
  }
  // What is not in the bounding set, exec does not give back, to root either.
  if (!options.may_bind_low_ports && ::geteuid() == 0 &&
      ::prctl(PR_CAPBSET_DROP, CAP_NET_BIND_SERVICE, 0, 0, 0) != 0) {
    ::_exit(126);
  }
}

template <class Visit>
void for_each_entry(const std::string& directory, Visit&& visit) {
  DIR* const entries = ::opendir(directory.c_str());
  if (entries == nullptr) {
    return;
  }
  while (const dirent* entry = ::readdir(entries)) {
    if (entry->d_name[0] != '.') {
      visit(directory + "/" + entry->d_name);
    }
  }
  ::closedir(entries);
}

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

/// What stands behind `key` in the status file of a process or a task; empty if it has gone.
std::string status_of(const std::string& directory, std::string_view key) {
  std::ifstream status(directory + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(key)) {
      return line.substr(line.find_first_not_of(" \t", key.size()));
    }
  }
  return {};
}

/// Calls `visit(task's directory, its name)` for each of the program's own threads.
template <class Visit>
void for_each_thread_of(pid_t pid, Visit visit) {
  const std::string root = "/proc/" + std::to_string(pid) + "/task";
  for_each_entry(root, [&](const std::string& task) {
    const bool is_main = task == root + "/" + std::to_string(pid);
    const std::string name = first_line(task + "/comm");
    if (is_main || name.starts_with("aramid-")) {
      visit(task, name);
    }
  });
}

/// Whether it is in a futex wait that has an end, which may be over while its CPU does not run yet.
bool waits_for_a_deadline(const std::string& task) {
  std::istringstream line(first_line(task + "/syscall"));
  std::string call, word, operation, value, timeout;
  line >> call >> word >> operation >> value >> timeout;
  return call == std::to_string(SYS_futex) && timeout != "0x0";
}

}  // namespace

process::process(const std::vector<std::string>& command, const process_options& options)
    : program_(command.front()), output_fd_(make_file("output")), errors_fd_(make_file("errors")) {
  std::vector<char*> words;
  for (const std::string& word : command) {
    words.push_back(const_cast<char*>(word.c_str()));
  }
  words.push_back(nullptr);
  pid_ = ::fork();
  if (pid_ < 0) {
    fail("fork");
  }
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // a test that crashes leaves no server behind
    restrict_child(options);
    const int nothing = ::open("/dev/null", O_RDONLY);
    ::dup2(nothing, STDIN_FILENO);
    ::dup2(output_fd_, STDOUT_FILENO);
    ::dup2(errors_fd_, STDERR_FILENO);
    ::close_range(3, ~0U, 0);
    for (const int number : {SIGINT, SIGTERM, SIGPIPE}) {
      ::signal(number, SIG_DFL);  // as a shell in the background would not
    }
    ::execv(words.front(), words.data());
    ::_exit(127);
  }
  pid_fd_ = static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0));
  if (pid_fd_ < 0) {
    fail("pidfd_open");
  }
}

process::~process() {
  if (!exit_code_) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  ::close(pid_fd_);
  ::close(output_fd_);
  ::close(errors_fd_);
}

void process::signal(int number) const {
  if (!exit_code_) {
    ::kill(pid_, number);
  }
}

bool process::has_exited(std::chrono::milliseconds within) {
  if (exit_code_) {
    return true;
  }
  pollfd ended{pid_fd_, POLLIN, 0};
  if (::poll(&ended, 1, static_cast<int>(within.count())) <= 0) {
    return false;
  }
  int status = 0;
  if (::waitpid(pid_, &status, 0) != pid_) {
    fail("waitpid");
  }
  exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return true;
}

int process::wait_exit() {
  if (!has_exited(patience)) {
    throw std::runtime_error(program_ + " does not end; it said: " + output() + errors());
  }
  return *exit_code_;
}

std::string process::output() const { return contents_of(output_fd_); }
std::string process::errors() const { return contents_of(errors_fd_); }

server_process::server_process(std::vector<std::string> command, const process_options& options)
    : process((command.insert(command.end(), {"--port", "0"}), command), options) {
  const bool settled = eventually([&] {
    const std::string said = output();
    const auto line = said.find("listening on ");
    const auto end = said.find('\n', line);
    if (line != std::string::npos && end != std::string::npos) {
      port_ = static_cast<std::uint16_t>(std::stoul(said.substr(said.rfind(':', end) + 1)));
      return true;
    }
    return has_exited(std::chrono::milliseconds(0));
  });
  if (!settled || port_ == 0) {
    throw std::runtime_error(command.front() + " does not listen; it said: " + output() + errors());
  }
}

void nap() { std::this_thread::sleep_for(std::chrono::milliseconds(2)); }

process_shape shape_of(pid_t pid) {
  const std::string root = "/proc/" + std::to_string(pid);
  process_shape shape;
  for_each_entry(root + "/fd", [&](const std::string& path) {
    std::array<char, 256> target{};
    if (::readlink(path.c_str(), target.data(), target.size() - 1) > 0) {
      ++shape.descriptors;
      shape.listing += path + " -> " + target.data() + "\n";
    }
  });
  for_each_entry(root + "/task", [&](const std::string& path) {
    ++shape.threads;
    shape.listing += path + " " + first_line(path + "/comm") + "\n";
  });
  return shape;
}

std::map<std::string, std::uint64_t> wake_ups_of(pid_t pid) {
  std::map<std::string, std::uint64_t> result;
  for_each_thread_of(pid, [&](const std::string& task, const std::string& name) {
    const std::string count = status_of(task, "voluntary_ctxt_switches:");
    result[name] = count.empty() ? 0 : std::stoull(count);
  });
  return result;
}

bool is_asleep(pid_t pid) {
  bool asleep = true;
  for_each_thread_of(pid, [&](const std::string& task, const std::string&) {
    asleep = asleep && status_of(task, "State:").starts_with('S') && !waits_for_a_deadline(task);
  });
  return asleep;
}

bool has_pending_signals(pid_t pid) {
  return status_of("/proc/" + std::to_string(pid), "ShdPnd:").find_first_not_of('0') != std::string::npos;
}

}  // namespace aramid::e2e
