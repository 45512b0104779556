// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <trainctl_embedded/estimator_preset_schema_json.hpp>
#include <trainctl_embedded/estimator_schema_json.hpp>
#include <trainctl_embedded/run_schema_json.hpp>
#include <trainctl_embedded/target_schema_json.hpp>
#include <utility>
#include <vector>

#include "cli/command.hpp"
#include "cli/commands.hpp"
#include "cli/options.hpp"
#include "cli/output.hpp"

namespace trainctl::cli {
namespace {

/// The kinds of files there is a schema of; the first one is printed when none is named.
std::array<std::pair<const char*, std::string_view>, 4> schemas() {
  return {{{"run", embedded::run_schema_json},
           {"estimator", embedded::estimator_schema_json},
           {"target", embedded::target_schema_json},
           {"estimator-preset", embedded::estimator_preset_schema_json}}};
}

Action configure(Options& app) {
  const auto kind = std::make_shared<std::string>("run");
  std::vector<std::string> names;
  std::string help;
  for (const auto& [name, text] : schemas()) {
    names.emplace_back(name);
    help += (help.empty() ? "" : ", ") + names.back();
  }
  app.add_option("kind", *kind, help)->type_name("KIND")->one_of(names);
  return [kind](Context& context) {
    for (const auto& [name, text] : schemas()) {
      if (*kind == name) context.out.write(text);
    }
    return 0;
  };
}

}  // namespace

Command schema_command() {
  return {"schema",
          "Writing",
          "Print the JSON Schema of a kind of file, for editors",
          false,
          configure,
          Completes::nothing,
          "In an editor: \"$schema\": \"run.schema.json\" after trainctl schema run > run.schema.json"};
}

}  // namespace trainctl::cli
