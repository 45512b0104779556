// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "trainctl/result.hpp"

namespace trainctl::target {

struct SshEnd {
  std::string host;              ///< as the person wrote it
  std::optional<int> exit_code;  ///< of ssh; unset = it still runs
  std::string errors;            ///< its stderr, and that of the host
  std::string printed = {};      ///< before anything of ours began, at the end of what the host printed
  bool began = false;            ///< the runner had begun
};

/// Why an ssh ended, in words: Errc::unavailable (retryable) for trouble on the way, denied and cannot_start for what
/// stays so until somebody changes something.
Error explain_ssh(const SshEnd& end);

}  // namespace trainctl::target
