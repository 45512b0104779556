// SPDX-License-Identifier: Apache-2.0
#include "spec/layer.hpp"

#include <cstddef>
#include <optional>
#include <string>
#include <utility>

#include "base/json.hpp"

namespace trainctl::spec {
namespace {

/// Calls `visit` for the origins at and below `pointer`; it returns the iterator to go on from.
template <class Map, class Visit>
void for_subtree(Map& origins, const std::string& pointer, Visit visit) {
  if (auto exact = origins.find(pointer); exact != origins.end()) visit(exact);
  const std::string prefix = pointer + "/";
  for (auto it = origins.lower_bound(prefix); it != origins.end() && it->first.starts_with(prefix);) {
    it = visit(it);
  }
}

void erase_subtree(Origins& origins, const std::string& pointer) {
  for_subtree(origins, pointer, [&](auto it) { return origins.erase(it); });
}

void copy_subtree(const Origins& from, const std::string& pointer, Origins& to) {
  for_subtree(from, pointer, [&](auto it) {
    to.insert_or_assign(it->first, it->second);
    return std::next(it);
  });
}

void strip_nulls(Json& value) {
  if (!value.is_object()) return;
  for (auto it = value.begin(); it != value.end();) {
    if (it->is_null()) {
      it = value.erase(it);
    } else {
      strip_nulls(*it);
      ++it;
    }
  }
}

void merge_value(Json& base, Origins& base_origins, const Json& patch, const Origins& patch_origins,
                 const std::string& pointer) {
  const auto origin = patch_origins.find(pointer);
  const bool replaces = origin != patch_origins.end() && origin->second.replaces;
  if (!patch.is_object() || !base.is_object() || replaces) {
    erase_subtree(base_origins, pointer);
    copy_subtree(patch_origins, pointer, base_origins);
    base = patch;
    strip_nulls(base);
    return;
  }
  if (origin != patch_origins.end()) base_origins.insert_or_assign(pointer, origin->second);
  for (const auto& [key, value] : patch.items()) {
    const std::string inner = base::pointer_append(pointer, key);
    if (value.is_null()) {
      base.erase(key);
      erase_subtree(base_origins, inner);
    } else {
      merge_value(base[key], base_origins, value, patch_origins, inner);
    }
  }
}

}  // namespace

std::string to_string(const Origin& origin) {
  std::string place;
  if (origin.at) {
    place = origin.at->file + ":" + std::to_string(origin.at->line) + ":" + std::to_string(origin.at->column);
  }
  if (origin.label.empty()) return place.empty() ? "built in" : place;
  return place.empty() ? origin.label : origin.label + " (" + place + ")";
}

void merge(Layer& base, const Layer& patch) {
  merge_value(base.value, base.origins, patch.value, patch.origins, "");
}

std::optional<Layer> extract(const Layer& layer, const std::string& pointer, Origin::Kind kind,
                             const std::string& label) {
  const Json::json_pointer path(pointer);
  if (!layer.value.contains(path)) return std::nullopt;
  Layer part{.value = layer.value.at(path), .origins = {}};
  for_subtree(layer.origins, pointer, [&](auto it) {
    Origin origin = it->second;
    origin.kind = kind;
    origin.label = label;
    part.origins.emplace(it->first.substr(pointer.size()), std::move(origin));
    return std::next(it);
  });
  return part;
}

void remove_key(Layer& layer, const std::string& key) {
  layer.value.erase(key);
  erase_subtree(layer.origins, base::pointer_append("", key));
}

const Origin* find_origin(const Origins& origins, std::string pointer) {
  while (true) {
    if (const auto found = origins.find(pointer); found != origins.end()) return &found->second;
    const std::size_t slash = pointer.rfind('/');
    if (slash == std::string::npos) return nullptr;
    pointer.resize(slash);
  }
}

}  // namespace trainctl::spec
