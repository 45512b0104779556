// SPDX-License-Identifier: Apache-2.0
// The shared folder of the slots: opened so that no other user can plant or redirect anything in it.
#pragma once

#include <filesystem>

#include "base/fd.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

/// TRAINCTL_SLOTS, else /var/tmp/trainctl-$UID/slots-<boot id>.
std::filesystem::path slot_folder();

/// The folder's descriptor, flock'ed shared against cleaners of /var/tmp. Made 0700 when `create`; must be a real
/// directory of ours (Errc::denied names what it is instead). Errc::not_found when missing and not `create`.
Result<base::UniqueFd> open_slot_folder(const std::filesystem::path& folder, bool create);

/// The folder's exclusive lock, held while the returned descriptor is open. Errc::timeout names the holder when a
/// stopped process keeps it for longer than 200 ms.
Result<base::UniqueFd> lock_slot_folder(int folder_fd, const std::filesystem::path& folder);

/// Takes away the slots of this boot and of earlier ones, and the folder around them when it is empty then. What a run
/// of whichever store holds, or waits in, stays.
void remove_slot_folders();

}  // namespace trainctl::host
