// SPDX-License-Identifier: Apache-2.0
// The operation that tells a client what it has to send: missing.
#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "format/paths.hpp"
#include "host/data/input_tree.hpp"
#include "host/stdio/incoming_blob.hpp"
#include "host/stdio/operations.hpp"
#include "snapshot/manifest.hpp"
#include "snapshot/pack.hpp"
#include "snapshot/store.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

/// The hashes of a list that may be left out.
Result<std::vector<std::string>> hash_list(const Json& request, const char* key) {
  std::vector<std::string> names;
  const auto list = request.find(key);
  if (list == request.end()) return names;
  if (!list->is_array()) return fail(Errc::invalid, std::string("\"") + key + "\" is not a list");
  for (const Json& item : *list) {
    snapshot::Hash hash{};
    if (!item.is_string() || !snapshot::parse_hash(item.get<std::string>(), hash))
      return fail(Errc::invalid, "a blob is named by 64 lower-case hex digits");
    names.push_back(item.get<std::string>());
  }
  return names;
}

snapshot::Hash hash_of(const std::string& name) {
  snapshot::Hash hash{};
  snapshot::parse_hash(name, hash);
  return hash;
}

/// Manifests that are not here. One that is counts as used: it must not be removed before the run that needs it.
Json missing_manifests(const snapshot::Store& store, const std::vector<std::string>& digests) {
  Json names = Json::array();
  for (const std::string& digest : digests) {
    if (store.has(digest)) {
      store.touch(digest);
    } else {
      names.push_back(digest);
    }
  }
  return names;
}

}  // namespace

Result<Json> operate_missing(const StdioContext& context, const Json& request) {
  TRY_ASSIGN(const auto blobs, hash_list(request, "blobs"));
  TRY_ASSIGN(const auto snapshots, hash_list(request, "snapshots"));
  TRY_ASSIGN(const auto inputs, hash_list(request, "inputs"));
  TRY_ASSIGN(const auto store, snapshot::Store::open(context.store));
  snapshot::HashSet wanted;
  for (const std::string& name : blobs) wanted.insert(hash_of(name));
  TRY_ASSIGN(const auto missing, store.missing(std::move(wanted)));
  Json reply = {{"missing", Json::array()}, {"partial", Json::object()}};
  for (const snapshot::Hash& hash : missing) {
    const std::string name = snapshot::to_hex(hash);
    reply["missing"].push_back(name);
    if (const std::uint64_t have = partial_size(store, hash); have > 0) reply["partial"][name] = have;
  }
  reply["snapshots"] = missing_manifests(store, snapshots);
  reply["inputs"] = missing_manifests(store, inputs);
  for (const std::string& digest : inputs) {
    const bool listed =
        std::find(reply["inputs"].begin(), reply["inputs"].end(), Json(digest)) != reply["inputs"].end();
    if (!listed && !has_input_tree(format::StorePaths{context.store}, digest)) reply["inputs"].push_back(digest);
  }
  return reply;
}

}  // namespace trainctl::host
