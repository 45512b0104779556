// SPDX-License-Identifier: Apache-2.0
// The runner as the first process of a container. It opens the rank's log, which lies in the mounted run folder, starts
// the script, hands signals on to it and says on stdout, which is the way back to client.hpp:
//   {"running": true}, {"failed": message, "code": n}, {"code": n, "signal": n, "out_of_memory": bool}
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/json.hpp"
#include "host/container/inside_endpoint.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

/// What to do, on stdin as JSON: secrets must stand neither on a command line nor in the engine's records.
struct InsideOrder {
  std::vector<std::string> argv;
  std::vector<std::string> environment;  ///< "K=V", over what the image sets; PYTHONPATH goes in front of the image's
  std::string directory;
  std::string log;
  std::string via = "file";
  mode_t mask = 022;
  InsideMlflow mlflow = {};
};

Json to_json(const InsideOrder& order);
Result<InsideOrder> inside_order_from_json(const Json& json);

/// The image's variables with ours over them.
std::vector<std::string> inside_environment(const std::vector<std::string>& image,
                                            const std::vector<std::string>& ours);

/// The body of `trainctl-runner inside`; returns the script's exit code (128 + n for a signal).
int inside_main();

}  // namespace trainctl::host
