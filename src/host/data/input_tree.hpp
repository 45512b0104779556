// SPDX-License-Identifier: Apache-2.0
// Inputs that were sent to this host: STORE/inputs/<digest>/<name>, read-only. The digest is that of a manifest in the
// snapshot store, whose first path component is the name; the bytes are the snapshot store's.
#pragma once

#include <set>
#include <string>
#include <string_view>

#include "format/paths.hpp"
#include "snapshot/store.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

/// Is the whole tree there?
bool has_input_tree(const format::StorePaths& store, std::string_view digest);

/// Makes the tree of a manifest that the snapshot store has; one that is there stays. Durable when it returns.
Result<> make_input_tree(const format::StorePaths& store, const snapshot::Store& snapshots, const std::string& digest);

/// Removes the trees that are not `needed`, and what interrupted makers left.
Result<> remove_input_trees(const format::StorePaths& store, const std::set<std::string>& needed);

}  // namespace trainctl::host
