// SPDX-License-Identifier: Apache-2.0
#include "base/exit_code.hpp"

#include "trainctl/error.hpp"

namespace trainctl::base {

int exit_code_for(Errc code) {
  switch (code) {
    case Errc::invalid:
      return 2;
    case Errc::cannot_start:
      return 3;
    case Errc::not_found:
      return 4;
    case Errc::denied:
      return 5;
    case Errc::store:
    case Errc::io:
      return 6;
    case Errc::timeout:
      return 8;
    case Errc::unavailable:
      return 75;
    case Errc::canceled:
      return 130;
    case Errc::internal:
      break;
  }
  return 70;
}

}  // namespace trainctl::base
