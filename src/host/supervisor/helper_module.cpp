// SPDX-License-Identifier: Apache-2.0
#include "host/supervisor/helper_module.hpp"

#include <string>
#include <string_view>
#include <trainctl_embedded/azureml_core_py.hpp>
#include <trainctl_embedded/azureml_py.hpp>
#include <trainctl_embedded/azureml_run_py.hpp>
#include <trainctl_embedded/trainctl_py.hpp>

#include "base/file.hpp"
#include "base/hash.hpp"
#include "format/paths.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

struct HelperFile {
  const char* path;
  std::string_view content;
};

}  // namespace

Result<HelperModules> provide_helper_modules(const format::StorePaths& store) {
  // trainctl.py comes last: where it is, all are.
  const HelperFile files[] = {{"shared/azureml/core/run.py", embedded::azureml_run_py},
                              {"shared/azureml/core/__init__.py", embedded::azureml_core_py},
                              {"shared/azureml/__init__.py", embedded::azureml_py},
                              {"trainctl.py", embedded::trainctl_py}};
  base::Sha256 hash;
  for (const HelperFile& file : files) hash.update(file.content);
  const auto folder = store.root / "helper" / hash.finish_hex().substr(0, 16);
  HelperModules modules{.own = folder, .shared = folder / "shared"};
  if (base::exists(folder / "trainctl.py")) return modules;
  TRY(base::make_directories(folder / "shared" / "azureml" / "core"));
  for (const HelperFile& file : files) TRY(base::write_file_atomic(folder / file.path, file.content, 0600));
  return modules;
}

std::string_view own_module() {
  return embedded::trainctl_py;
}

}  // namespace trainctl::host
