// SPDX-License-Identifier: Apache-2.0
#include "spec/trust.hpp"

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/json.hpp"
#include "spec/load.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::spec {
namespace {

std::string canonical_text(const fs::path& file) {
  std::error_code problem;
  const fs::path path = fs::weakly_canonical(fs::absolute(file), problem);
  return problem ? fs::absolute(file).lexically_normal().string() : path.string();
}

}  // namespace

Result<TrustList> TrustList::load(const fs::path& list) {
  TRY_ASSIGN(const auto text, base::read_file_if_exists(list, base::kMaxJsonBytes));
  TrustList result;
  if (!text) return result;
  const auto json = base::parse_json(*text);
  const bool readable = json && json->is_object() && json->contains("trusted") && json->at("trusted").is_object();
  if (!readable) {
    return fail(Errc::invalid, "the list of trusted projects " + list.string() + " is damaged",
                "remove it and trust your projects again");
  }
  for (const auto& [file, hash] : json->at("trusted").items()) {
    if (hash.is_string()) result.files_[file] = hash.get<std::string>();
  }
  return result;
}

bool TrustList::trusts(const fs::path& file, std::string_view content) const {
  const auto found = files_.find(canonical_text(file));
  return found != files_.end() && found->second == base::sha256_hex(content);
}

void TrustList::trust(const fs::path& file, std::string_view content) {
  files_[canonical_text(file)] = base::sha256_hex(content);
}

bool TrustList::revoke(const fs::path& file) {
  return files_.erase(canonical_text(file)) > 0;
}

Result<> TrustList::save(const fs::path& list) const {
  Json trusted = Json::object();
  for (const auto& [file, hash] : files_) trusted[file] = hash;
  TRY(base::make_directories(list.parent_path()));
  return base::write_file_durable(list, base::dump_json({{"trusted", std::move(trusted)}}) + "\n");
}

std::optional<fs::path> default_trust_list() {
  const auto config = default_user_config();
  if (!config) return std::nullopt;
  return config->parent_path() / "trusted.json";
}

}  // namespace trainctl::spec
