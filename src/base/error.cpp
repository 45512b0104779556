// SPDX-License-Identifier: Apache-2.0
#include "trainctl/error.hpp"

#include <cerrno>
#include <string>
#include <system_error>

#include "trainctl/result.hpp"

namespace trainctl {

namespace {

Errc code_of(int number) {
  switch (number) {
    case ENOSPC:
    case EDQUOT:
      return Errc::store;
    case EACCES:
    case EPERM:
      return Errc::denied;
    case ENOENT:
      return Errc::not_found;
    default:
      return Errc::io;
  }
}

}  // namespace

const char* to_string(Errc code) {
  switch (code) {
    case Errc::invalid:
      return "invalid";
    case Errc::cannot_start:
      return "cannot_start";
    case Errc::not_found:
      return "not_found";
    case Errc::denied:
      return "denied";
    case Errc::store:
      return "store";
    case Errc::timeout:
      return "timeout";
    case Errc::unavailable:
      return "unavailable";
    case Errc::io:
      return "io";
    case Errc::canceled:
      return "canceled";
    case Errc::internal:
      return "internal";
  }
  return "internal";
}

std::string errno_text(int number) {
  return std::generic_category().message(number);
}

Error system_error(const std::string& what, int number) {
  Error error{.code = code_of(number), .message = "cannot " + what + ": " + errno_text(number)};
  if (number == ENOSPC || number == EDQUOT) error.hint = "free some disk space (or quota) and try again";
  return error;
}

}  // namespace trainctl
