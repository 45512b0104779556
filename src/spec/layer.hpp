// SPDX-License-Identifier: Apache-2.0
// One source of settings in canonical spelling, and how sources are laid over each other (RFC 7396).
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.hpp"
#include "trainctl/error.hpp"

namespace trainctl::spec {

/// Where a value came from; later kinds win over earlier ones.
struct Origin {
  enum class Kind { built_in, target, user, project, extends, file, on_target, profile, flag };
  Kind kind = Kind::built_in;
  std::string label = {};                 ///< "profile smoke", "on gpubox", "--set limits.timeout=2h"; may be empty
  std::optional<SourcePosition> at = {};  ///< of the value
  bool replaces = false;                  ///< a shorthand: takes the place of an object instead of merging into it
};

/// "digits.run.json:5:3", "profile smoke (digits.run.json:9:4)", "--target gpubox", "built in".
std::string to_string(const Origin& origin);

using Origins = std::map<std::string, Origin, std::less<>>;  ///< by JSON pointer

struct Layer {
  Json value = Json::object();
  Origins origins;
};

/// Lays `patch` over `base`: objects merge by key, null removes, everything else replaces; origins follow.
void merge(Layer& base, const Layer& patch);

/// The part of a layer under `pointer` as a layer of its own; its origins become `kind` and `label` and keep their
/// positions.
std::optional<Layer> extract(const Layer& layer, const std::string& pointer, Origin::Kind kind,
                             const std::string& label);

/// Removes a key of the root with its origins.
void remove_key(Layer& layer, const std::string& key);

/// Where the value at `pointer` came from, or the nearest object around it; null when nothing is known.
const Origin* find_origin(const Origins& origins, std::string pointer);

}  // namespace trainctl::spec
