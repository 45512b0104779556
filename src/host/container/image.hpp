// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "base/json.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "host/container/engine.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

/// The image that a run's ranks start from: there, and of this machine's architecture.
struct ContainerImage {
  ContainerEngine engine;
  std::string name;    ///< as written, or the Dockerfile
  std::string id;      ///< sha256:…
  std::string digest;  ///< of its registry; empty for one that was built here
};

struct ImageOptions {
  int log_fd = -1;                     ///< what the engine says while it builds or pulls
  std::string password = {};           ///< of the registry
  std::filesystem::path scratch = {};  ///< a folder of ours for files that exist for a moment
};

/// Builds it, finds it on this machine, or pulls it. Errc::cannot_start with the engine's own words.
Result<ContainerImage> ensure_image(const format::PlanContainer& container, const ImageOptions& options);

Json to_json(const ContainerImage& image);
Result<ContainerImage> container_image_from_json(const Json& json);

/// What the attempt's ranks were started from, as its events tell; empty when they do not.
std::optional<ContainerImage> recorded_image(const format::AttemptPaths& attempt);

}  // namespace trainctl::host
