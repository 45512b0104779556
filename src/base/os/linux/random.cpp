// SPDX-License-Identifier: Apache-2.0
#include "base/random.hpp"

#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "base/fd.hpp"

namespace trainctl::base {

namespace {

void fill_from_device(char* data, std::size_t size) {
  const UniqueFd fd(::open("/dev/urandom", O_RDONLY | O_CLOEXEC));
  if (!fd) std::abort();
  while (size > 0) {
    const ssize_t got = ::read(fd.get(), data, size);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) std::abort();
    data += got;
    size -= static_cast<std::size_t>(got);
  }
}

}  // namespace

void fill_random(void* data, std::size_t size) {
  char* at = static_cast<char*>(data);
  while (size > 0) {
    const ssize_t got = ::getrandom(at, size, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fill_from_device(at, size);  // ENOSYS before Linux 3.17, EPERM in some sandboxes
    at += got;
    size -= static_cast<std::size_t>(got);
  }
}

}  // namespace trainctl::base
