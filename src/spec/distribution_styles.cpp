// SPDX-License-Identifier: Apache-2.0
#include "spec/distribution_styles.hpp"

#include <array>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "base/text.hpp"

namespace trainctl::spec {
namespace {

constexpr std::array kStyles = {
    DistributionStyle{"mpi", "mpi"},
    DistributionStyle{"gloo", "pytorch", "gloo"},
    DistributionStyle{"nccl", "pytorch", "nccl"},
    DistributionStyle{"pytorch", "pytorch"},
    DistributionStyle{"parameter_server", "tensorflow"},
    DistributionStyle{"multi_worker", "tensorflow"},
    DistributionStyle{"processes", "processes"},
    DistributionStyle{"none", ""},
};

/// Spellings without case, blanks, "_" and "-".
constexpr std::array<std::pair<std::string_view, std::string_view>, 17> kSpellings = {{
    {"intelmpi", "mpi"},
    {"openmpi", "mpi"},
    {"mpich", "mpi"},
    {"horovod", "mpi"},
    {"ps", "parameter_server"},
    {"parameterserver", "parameter_server"},
    {"parameterserverstrategy", "parameter_server"},
    {"multiworker", "multi_worker"},
    {"multiworkermirrored", "multi_worker"},
    {"multiworkermirroredstrategy", "multi_worker"},
    {"tensorflow", "multi_worker"},
    {"tf", "multi_worker"},
    {"torch", "pytorch"},
    {"ddp", "pytorch"},
    {"torchrun", "pytorch"},
    {"distributeddataparallel", "pytorch"},
    {"process", "processes"},
}};

std::string plain(std::string_view written) {
  std::string text = base::to_lower(written);
  std::erase_if(text, [](char c) { return c == '_' || c == '-' || c == ' '; });
  const std::string_view ending = "configuration";  // PyTorchConfiguration
  if (text.size() > ending.size() && text.ends_with(ending)) text.resize(text.size() - ending.size());
  return text;
}

}  // namespace

std::optional<DistributionStyle> find_style(std::string_view written) {
  std::string name = plain(written);
  for (const auto& [spelling, meaning] : kSpellings) {
    if (spelling == name) name = meaning;
  }
  for (const DistributionStyle& style : kStyles) {
    if (style.name == name) return style;
  }
  return std::nullopt;
}

std::optional<std::string> suggest_style(std::string_view written) {
  std::vector<std::string_view> candidates;
  candidates.reserve(std::size(kStyles) + std::size(kSpellings));
  for (const DistributionStyle& style : kStyles) candidates.push_back(style.name);
  for (const auto& entry : kSpellings) candidates.push_back(entry.first);
  const auto near = base::suggest(plain(written), candidates);
  if (!near) return std::nullopt;
  const auto style = find_style(*near);
  return style ? std::optional<std::string>(style->name) : std::nullopt;
}

std::string style_names() {
  std::string text;
  for (const DistributionStyle& style : kStyles) text += (text.empty() ? "" : ", ") + std::string(style.name);
  return text;
}

Json to_json(const DistributionBlock& block) {
  Json json = Json::object();
  json["type"] = block.style.type;
  if (block.processes_per_node) json["processes_per_node"] = *block.processes_per_node;
  const std::string backend = block.backend.empty() ? std::string(block.style.backend) : block.backend;
  if (!backend.empty()) json["backend"] = backend;
  if (block.worker_count) json["worker_count"] = *block.worker_count;
  if (block.parameter_server_count) json["parameter_server_count"] = *block.parameter_server_count;
  return json;
}

}  // namespace trainctl::spec
