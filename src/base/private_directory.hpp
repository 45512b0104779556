// SPDX-License-Identifier: Apache-2.0
// Folders of ours where strangers may write beside them: /tmp, /var/tmp.
#pragma once

#include <filesystem>

namespace trainctl::base {

/// Makes the folder (0700) unless it is there. False when it cannot be made, is no folder (a link is none), belongs to
/// somebody else, or is open to others.
bool make_private_directory(const std::filesystem::path& folder);

}  // namespace trainctl::base
