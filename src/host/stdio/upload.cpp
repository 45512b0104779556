// SPDX-License-Identifier: Apache-2.0
#include "host/stdio/upload.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "format/paths.hpp"
#include "host/data/input_tree.hpp"
#include "host/stdio/incoming_blob.hpp"
#include "host/stdio/operations.hpp"
#include "snapshot/manifest.hpp"
#include "snapshot/manifest_change.hpp"
#include "snapshot/pack.hpp"
#include "snapshot/store.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

constexpr auto kLockPatience = std::chrono::seconds(10);
constexpr std::uint64_t kMaxManifest = 256U << 20U;

Result<std::uint64_t> count_member(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end()) return std::uint64_t{0};
  if (!found->is_number_unsigned() || found->get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX))
    return fail(Errc::invalid, std::string("\"") + key + "\" is not a number of bytes");
  return found->get<std::uint64_t>();
}

}  // namespace

Upload::Upload(std::filesystem::path root, snapshot::Store store, base::UniqueFd use)
    : root_(std::move(root)), store_(std::move(store)), use_(std::move(use)), blobs_(store_, kLockPatience) {}

Result<std::unique_ptr<Upload>> Upload::open(const StdioContext& context, const Json& request) {
  TRY_ASSIGN(const std::uint64_t bytes, count_member(request, "bytes"));
  TRY_ASSIGN(auto store, snapshot::Store::open(context.store));
  TRY(check_room(store.root(), bytes));
  TRY_ASSIGN(base::UniqueFd use, store.use());
  return std::unique_ptr<Upload>(new Upload(context.store, std::move(store), std::move(use)));
}

Result<Upload::Object> Upload::read_object(const Json& item) {
  Object object;
  TRY_ASSIGN(const std::string name, text_member(item, "sha256"));
  if (!snapshot::parse_hash(name, object.hash))
    return fail(Errc::invalid, "an object is named by 64 lower-case hex digits");
  TRY_ASSIGN(object.size, count_member(item, "size"));
  TRY_ASSIGN(object.offset, count_member(item, "offset"));
  const std::string kind = item.contains("kind") && item["kind"].is_string() ? item["kind"].get<std::string>() : "blob";
  if (kind == "snapshot" || kind == "input") {
    object.kind = kind == "snapshot" ? Kind::snapshot : Kind::input;
    if (object.size > kMaxManifest || object.offset > 0) return fail(Errc::invalid, "a manifest comes whole");
  } else if (kind != "blob") {
    return fail(Errc::invalid, "an object is a blob, a snapshot or an input, not \"" + kind + "\"");
  }
  return object;
}

Result<> Upload::announce(const Json& note) {
  const auto objects = note.is_object() ? note.find("objects") : note.end();
  if (!note.is_object() || objects == note.end() || !objects->is_array())
    return fail(Errc::invalid, "the note has no list \"objects\"");
  for (const Json& item : *objects) {
    TRY_ASSIGN(const Object object, read_object(item));
    announced_.push_back(object);
  }
  return begin();
}

Result<> Upload::begin() {
  while (!announced_.empty() && !begun_) {
    const Object& object = announced_.front();
    begun_ = true;
    if (object.kind == Kind::blob && object.size > snapshot::kLooseAbove) {
      TRY_ASSIGN(file_, IncomingBlob::open(store_, blobs_, object.hash, object.size, object.offset));
      if (file_->behind() || file_->left() > 0) return {};
    } else if (object.offset > 0) {
      return fail(Errc::invalid, "no part of blob " + snapshot::to_hex(object.hash) + " is kept");
    } else if (object.size > 0) {
      return {};
    }
    TRY(complete());
  }
  return {};
}

Result<> Upload::receive(std::string_view bytes) {
  bytes_ += bytes.size();
  while (!bytes.empty()) {
    if (announced_.empty()) return fail(Errc::invalid, "data came that no note announced");
    const std::uint64_t left = file_ ? file_->left() : announced_.front().size - buffer_.size();
    const std::string_view part =
        bytes.substr(0, static_cast<std::size_t>(std::min<std::uint64_t>(left, bytes.size())));
    bytes.remove_prefix(part.size());
    if (file_) {
      TRY(file_->write(part));
    } else {
      buffer_ += part;
    }
    if (part.size() < left) return {};
    TRY(complete());
    TRY(begin());
    // A part that has to be read first cannot be followed by data of the same frame: its note came in between.
    if (busy() && !bytes.empty()) return fail(Errc::invalid, "a resumed object needs a note of its own");
  }
  return {};
}

Result<> Upload::complete() {
  const Object object = announced_.front();
  if (file_) {
    auto kept = file_->keep();
    file_.reset();
    TRY(std::move(kept));
  } else if (snapshot::hash_bytes(buffer_) != object.hash) {
    Error error{.code = Errc::io,
                .message = "what came of object " + snapshot::to_hex(object.hash) + " has another hash"};
    error.hint = "it was damaged on the way, or the file changed while it was sent: try again";
    error.retryable = true;
    return fail(std::move(error));
  } else if (object.kind == Kind::blob) {
    TRY(blobs_.add(object.hash, buffer_));
  } else {
    manifests_.push_back({object.kind, std::move(buffer_)});
  }
  buffer_.clear();
  begun_ = false;
  announced_.pop_front();
  ++objects_;
  return {};
}

Result<> Upload::keep_manifest(const Manifest& manifest) {
  // The blobs of a manifest that is here are here.
  const auto recent = store_.recent_manifests(1);
  const auto base = recent.empty() ? std::string() : base::read_file(store_.manifest_path(recent.front())).value_or("");
  TRY_ASSIGN(const auto change, snapshot::parse_change(manifest.text, base));
  snapshot::HashSet wanted;
  for (const snapshot::ManifestEntry& entry : change.added) {
    if (entry.type == snapshot::EntryType::file) wanted.insert(entry.hash);
  }
  TRY_ASSIGN(const auto missing, store_.missing(std::move(wanted)));
  if (!missing.empty()) {
    Error error{.code = Errc::not_found,
                .message = std::to_string(missing.size()) + " blobs of a manifest are not here, " +
                           snapshot::to_hex(*missing.begin()) + " among them"};
    error.retryable = true;  // they were removed since the client asked
    return fail(std::move(error));
  }
  TRY_ASSIGN(const std::string digest, store_.add_manifest(manifest.text));
  return manifest.kind == Kind::input ? make_input_tree(format::StorePaths{root_}, store_, digest) : Result<>();
}

Result<Json> Upload::finish() {
  if (!announced_.empty())
    return fail(Errc::invalid, "the upload ends before object " + snapshot::to_hex(announced_.front().hash));
  TRY(blobs_.finish());
  for (const Manifest& manifest : manifests_) TRY(keep_manifest(manifest));
  return Json{{"objects", objects_}, {"bytes", bytes_}};
}

}  // namespace trainctl::host
