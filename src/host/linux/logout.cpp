// SPDX-License-Identifier: Apache-2.0
#include "host/linux/logout.hpp"

#include <algorithm>
#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/process.hpp"
#include "base/text.hpp"

namespace trainctl::host {

std::optional<bool> kills_at_logout(std::string_view properties, std::string_view user) {
  std::map<std::string, std::string> values;
  for (const std::string& line : base::split(properties, '\n')) {
    const auto equals = line.find('=');
    if (equals != std::string::npos) values[line.substr(0, equals)] = base::trim(line.substr(equals + 1));
  }
  if (!values.contains("KillUserProcesses")) return std::nullopt;
  if (values["KillUserProcesses"] != "yes") return false;
  const auto names_us = [user](const std::string& list) {
    const auto names = base::split(list, ' ');
    return std::find(names.begin(), names.end(), user) != names.end();
  };
  if (names_us(values["KillExcludeUsers"])) return false;
  return values["KillOnlyUsers"].empty() || names_us(values["KillOnlyUsers"]);
}

std::optional<bool> logout_kills(std::string_view user) {
  base::Command command;
  command.argv = {"loginctl", "show-user", "--property=KillUserProcesses", "--property=KillOnlyUsers",
                  "--property=KillExcludeUsers"};
  command.deadline = std::chrono::seconds(3);
  command.max_output = 65536;
  const auto output = base::run_command(command);
  if (!output || output->exit_code != 0) return std::nullopt;
  return kills_at_logout(output->out, user);
}

}  // namespace trainctl::host
