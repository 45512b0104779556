// SPDX-License-Identifier: Apache-2.0
#include "trainctl/version.hpp"

#include <string_view>

namespace trainctl {

std::string_view version() {
  return TRAINCTL_VERSION;
}

}  // namespace trainctl
