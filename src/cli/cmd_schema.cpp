// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <string>
#include <trainctl_embedded/run_schema_json.hpp>

#include "cli/commands.hpp"

namespace trainctl::cli {
namespace {

Action configure(Options& app) {
  const auto kind = std::make_shared<std::string>("run");
  app.add_option("kind", *kind, "run")->type_name("KIND")->one_of({"run"});
  return [kind](Context& context) {
    context.out.write(embedded::run_schema_json);
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
