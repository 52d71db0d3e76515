// Copies a file. Reads and writes look as if they blocked; only this fiber waits for the disk.
//
//     copy_file FROM TO

#include <cstddef>
#include <exception>
#include <iostream>
#include <span>
#include <vector>

#include <aramid/aramid.hpp>

using namespace aramid;

namespace {

void copy(const char* from, const char* to) {
  io::file source = io::file::open(from);
  io::file target = io::file::open(to, {.read = false, .write = true, .create = true, .truncate = true});
  std::vector<std::byte> buffer(256 * 1024);
  while (const std::size_t count = source.read_some(buffer)) {
    target.write_all(std::span(buffer).first(count));
  }
  target.sync();  // the copy is on the disk, or we hear that it is not
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: copy_file FROM TO\n";
    return 2;
  }
  try {
    run([&] { copy(argv[1], argv[2]); });
  } catch (const std::exception& failure) {
    std::cerr << "copy_file: " << failure.what() << '\n';
    return 1;
  }
}
