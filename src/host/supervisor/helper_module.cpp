// SPDX-License-Identifier: Apache-2.0
#include "host/supervisor/helper_module.hpp"

#include <trainctl_embedded/trainctl_py.hpp>

#include "base/file.hpp"
#include "base/hash.hpp"

namespace trainctl::host {

Result<std::filesystem::path> provide_helper_module(const format::StorePaths& store) {
  const std::string digest = base::sha256_hex(embedded::trainctl_py).substr(0, 16);
  const auto folder = store.root / "helper" / digest;
  if (base::exists(folder / "trainctl.py")) return folder;
  TRY(base::make_directories(folder));
  TRY(base::write_file_atomic(folder / "trainctl.py", embedded::trainctl_py, 0600));
  return folder;
}

}  // namespace trainctl::host
