// SPDX-License-Identifier: Apache-2.0
#include "host/gang/membership.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/hex.hpp"
#include "base/json.hpp"
#include "base/random.hpp"
#include "format/paths.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

constexpr std::uint64_t kMaxFile = 1U << 20U;
constexpr std::size_t kKeyBytes = 32;
constexpr int kMostNodes = 10'000;

std::filesystem::path file_of(const format::RunPaths& run, int node) {
  return run.gang() / (std::to_string(node) + ".json");
}

Result<std::string> read_key(const std::string& text) {
  auto bytes = base::from_hex(text);
  if (!bytes || bytes->size() != kKeyBytes) return fail(Errc::invalid, "\"key\" of a gang is not 64 hex digits");
  return std::move(*bytes);
}

Result<std::vector<std::string>> texts(const Json& json, const char* name) {
  std::vector<std::string> made;
  const auto found = json.find(name);
  if (found == json.end() || found->is_null()) return made;
  if (!found->is_array()) return fail(Errc::invalid, std::string("\"") + name + "\" of a gang is not a list");
  for (const Json& item : *found) {
    if (!item.is_string()) return fail(Errc::invalid, std::string("\"") + name + "\" of a gang has no texts");
    made.push_back(item.get<std::string>());
  }
  return made;
}

Result<int> number(const Json& json, const char* name, int low, int high, int fallback) {
  const auto found = json.find(name);
  if (found == json.end() || found->is_null()) return fallback;
  const std::int64_t value = found->is_number_integer() ? found->get<std::int64_t>() : std::int64_t{-1};
  if (value < low || value > high)
    return fail(Errc::invalid, std::string("\"") + name + "\" of a gang is out of range");
  return static_cast<int>(value);
}

bool flag(const Json& json, const char* name) {
  const auto found = json.find(name);
  return found != json.end() && found->is_boolean() && found->get<bool>();
}

Result<std::optional<Json>> read_object(const std::filesystem::path& path) {
  TRY_ASSIGN(const auto text, base::read_file_if_exists(path, kMaxFile));
  if (!text) return std::nullopt;
  TRY_ASSIGN(auto json, base::parse_json(*text));
  if (!json.is_object()) return fail(Errc::store, path.string() + " is damaged");
  return std::optional(std::move(json));
}

}  // namespace

Json to_json(const Membership& member) {
  return {{"node", member.node},
          {"nodes", member.nodes},
          {"key", base::to_hex(member.key)},
          {"addresses", member.addresses},
          {"lead_addresses", member.lead_addresses},
          {"lead_port", member.lead_port},
          {"shared", member.shared},
          {"needs_go", member.needs_go},
          {"silence_ms", member.silence.count()}};
}

Result<Membership> membership_from_json(const Json& json) {
  if (!json.is_object()) return fail(Errc::invalid, "a gang is an object");
  Membership member;
  TRY_ASSIGN(member.nodes, number(json, "nodes", 1, kMostNodes, 1));
  TRY_ASSIGN(member.node, number(json, "node", 0, member.nodes - 1, 0));
  const auto key = json.find("key");
  TRY_ASSIGN(member.key, read_key(key != json.end() && key->is_string() ? key->get<std::string>() : std::string()));
  TRY_ASSIGN(member.addresses, texts(json, "addresses"));
  TRY_ASSIGN(member.lead_addresses, texts(json, "lead_addresses"));
  TRY_ASSIGN(member.lead_port, number(json, "lead_port", 0, 65535, 0));
  member.shared = flag(json, "shared");
  member.needs_go = flag(json, "needs_go");
  TRY_ASSIGN(const int silence, number(json, "silence_ms", 100, 86'400'000, static_cast<int>(kGangSilence.count())));
  member.silence = std::chrono::milliseconds(silence);
  return member;
}

Result<std::optional<Membership>> read_membership(const format::RunPaths& run) {
  TRY_ASSIGN(auto json, read_object(file_of(run, run.own_node)));
  if (json) {
    TRY_ASSIGN(auto member, membership_from_json(*json));
    return std::optional(std::move(member));
  }
  if (run.own_node == 0) return std::nullopt;
  TRY_ASSIGN(json, read_object(file_of(run, 0)));
  if (!json) return std::nullopt;
  TRY_ASSIGN(auto member, membership_from_json(*json));
  if (run.own_node >= member.nodes)
    return fail(Errc::invalid, "the run has " + std::to_string(member.nodes) + " nodes, there is no node " +
                                   std::to_string(run.own_node));
  member.node = run.own_node;
  member.lead_port = 0;
  member.shared = true;
  return std::optional(std::move(member));
}

Result<> write_membership(const format::RunPaths& run, const Membership& member) {
  TRY(base::make_directories(run.gang()));
  return base::write_file_durable(file_of(run, member.node), base::dump_json(to_json(member)) + "\n", 0600);
}

Result<> found_gang(const format::RunPaths& run, int nodes) {
  if (base::exists(file_of(run, 0))) return {};
  Membership lead{.node = 0, .nodes = nodes, .key = std::string(kKeyBytes, '\0')};
  base::fill_random(lead.key.data(), lead.key.size());
  return write_membership(run, lead);
}

int node_of(const std::filesystem::path& run_root) {
  const auto names = base::list_directory(run_root / "gang");
  int lowest = kMostNodes;
  if (!names) return 0;
  for (const std::string& name : *names) {
    int node = 0;
    const auto [end, problem] = std::from_chars(name.data(), name.data() + name.size(), node);
    if (problem == std::errc() && std::string_view(end, name.data() + name.size()) == ".json")
      lowest = std::min(lowest, node);
  }
  return lowest == kMostNodes ? 0 : lowest;
}

format::RunPaths run_here(const std::filesystem::path& store, const std::string& id) {
  format::RunPaths run = format::StorePaths{store}.run(id);
  run.own_node = node_of(run.root);
  return run;
}

Result<> publish_lead(const format::RunPaths& run, const LeadPlace& place) {
  const Json json = {{"addresses", place.addresses}, {"port", place.port}};
  return base::write_file_durable(run.gang() / "lead.json", base::dump_json(json) + "\n", 0600);
}

Result<std::optional<LeadPlace>> read_lead(const format::RunPaths& run) {
  TRY_ASSIGN(const auto json, read_object(run.gang() / "lead.json"));
  if (!json) return std::nullopt;
  LeadPlace place;
  TRY_ASSIGN(place.addresses, texts(*json, "addresses"));
  TRY_ASSIGN(place.port, number(*json, "port", 1, 65535, 0));
  return std::optional(std::move(place));
}

Result<> permit_start(const format::RunPaths& run) {
  TRY(base::make_directories(run.gang()));
  return base::write_file_durable(run.gang() / "go", "");
}

bool start_permitted(const format::RunPaths& run) {
  return base::exists(run.gang() / "go");
}

}  // namespace trainctl::host
