// SPDX-License-Identifier: Apache-2.0
#include "target/host/upload.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "format/input_list.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "snapshot/manifest.hpp"
#include "snapshot/manifest_change.hpp"
#include "snapshot/pack.hpp"
#include "snapshot/store.hpp"
#include "target/cancel.hpp"
#include "target/host/runner_client.hpp"
#include "target/target.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::target {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kAskAtOnce = 10'000;
constexpr std::size_t kNotedAtOnce = 1'000;
constexpr std::uint64_t kBytesAtOnce = 4U << 20U;
constexpr std::uint64_t kBlock = 256U << 10U;
constexpr std::chrono::minutes kSlowDisk{10};  // the host syncs all of it before it answers
constexpr int kTries = 2;
constexpr std::size_t kRecent = 32;
constexpr std::size_t kCompared = 2;
constexpr std::size_t kAFew = 1'000;

/// A blob and where its bytes are.
struct Blob {
  snapshot::Hash hash = {};
  std::uint64_t size = 0;
  std::uint64_t offset = 0;  ///< so much the host has
  fs::path path;             ///< empty: in a pack
};

struct Manifest {
  const char* kind = "snapshot";
  std::string digest;
  std::string text;
  fs::path root;  ///< of an input: what the first component of its paths stands for
};

class Sending {
 public:
  Sending(RunnerClient& client, snapshot::Store store, const RunRef& ref, const Cancel& cancel)
      : client_(client), store_(std::move(store)), ref_(ref), cancel_(cancel), packs_(store_.packs()) {}

  Result<> add_source(const std::string& digest);
  void add_input(const format::SentInput& input);
  Result<> send();

 private:
  Result<> drop_known_manifests();
  Result<std::vector<snapshot::ManifestEntry>> new_entries(const Manifest& manifest);
  Result<> find_missing(const Manifest& manifest);
  Result<> ask(const std::vector<Blob>& some);
  Result<> send_blobs(RunnerStream& stream);
  Result<> send_noted(RunnerStream& stream, std::size_t first, std::size_t last);
  Result<> send_blob(RunnerStream& stream, const Blob& blob);
  Result<> send_file(RunnerStream& stream, const Blob& blob);
  Result<> send_manifests(RunnerStream& stream);
  Result<> send_bytes(RunnerStream& stream, std::string_view bytes);
  Result<> flush(RunnerStream& stream);
  void tell();

  RunnerClient& client_;
  snapshot::Store store_;
  const RunRef& ref_;
  const Cancel& cancel_;
  snapshot::PackReader packs_;
  snapshot::PlaceMap places_;
  std::vector<Manifest> manifests_;
  snapshot::HashSet seen_;
  std::vector<std::string> known_;  ///< snapshots that the host has as a whole, the newest first
  snapshot::HashSet there_;         ///< of these
  std::vector<Blob> blobs_;
  std::string buffer_;
  Transfer transfer_{.what = "source"};
};

Result<> Sending::add_source(const std::string& digest) {
  TRY_ASSIGN(std::string text, base::read_file(store_.manifest_path(digest)));
  manifests_.push_back({.kind = "snapshot", .digest = digest, .text = std::move(text), .root = {}});
  return {};
}

void Sending::add_input(const format::SentInput& input) {
  const bool known = std::any_of(manifests_.begin(), manifests_.end(),
                                 [&](const Manifest& manifest) { return manifest.digest == input.digest; });
  if (!known) manifests_.push_back({"input", input.digest, input.manifest, input.path});
}

void Sending::tell() {
  if (ref_.progress) ref_.progress(transfer_);
}

/// Is `digest` in the list that the reply has under `key`?
bool contains(const Json& reply, const char* key, const Json& digest) {
  const Json list = reply.value(key, Json::array());
  return std::find(list.begin(), list.end(), digest) != list.end();
}

Result<> Sending::drop_known_manifests() {
  // A tree that changed a little is like a snapshot before it, and where the host has that, nearly nothing is asked.
  Json snapshots = store_.recent_manifests(kRecent);
  Json inputs = Json::array();
  for (const Manifest& manifest : manifests_) (manifest.root.empty() ? snapshots : inputs).push_back(manifest.digest);
  TRY_ASSIGN(const Json reply,
             client_.request({{"op", "missing"}, {"snapshots", snapshots}, {"inputs", inputs}}, cancel_));
  std::erase_if(manifests_, [&](const Manifest& manifest) {
    return !contains(reply, manifest.root.empty() ? "snapshots" : "inputs", manifest.digest);
  });
  if (manifests_.empty()) return {};
  for (const Json& digest : snapshots) {
    if (known_.size() < kCompared && !contains(reply, "snapshots", digest)) known_.push_back(digest.get<std::string>());
  }
  return {};
}

/// What a manifest has besides the newest snapshot that the host has, or all of it.
Result<std::vector<snapshot::ManifestEntry>> Sending::new_entries(const Manifest& manifest) {
  if (manifest.root.empty() && !known_.empty()) {
    // One that is damaged here only saves less.
    const auto base = base::read_file(store_.manifest_path(known_.front()));
    TRY_ASSIGN(auto change, snapshot::parse_change(manifest.text, base ? *base : std::string()));
    if (change.added.size() <= kAFew) {
      transfer_.bytes_there += change.bytes_kept;
      return std::move(change.added);
    }
  }
  // Files may have moved: then they are told by their contents.
  for (const std::string& digest : std::exchange(known_, {})) {
    const auto entries = store_.manifest(digest);
    if (!entries) continue;
    for (const snapshot::ManifestEntry& entry : *entries) {
      if (entry.type == snapshot::EntryType::file) there_.insert(entry.hash);
    }
  }
  return snapshot::parse_manifest(manifest.text);
}

/// The path of an entry of an input on this machine.
fs::path path_below(const fs::path& root, const std::string& entry) {
  const std::size_t slash = entry.find('/');
  return slash == std::string::npos ? root : root / entry.substr(slash + 1);
}

Result<> Sending::find_missing(const Manifest& manifest) {
  TRY_ASSIGN(const auto entries, new_entries(manifest));
  std::vector<Blob> asked;
  for (const snapshot::ManifestEntry& entry : entries) {
    if (entry.type != snapshot::EntryType::file || !seen_.insert(entry.hash).second) continue;
    if (there_.contains(entry.hash)) {
      transfer_.bytes_there += entry.size;
      continue;
    }
    Blob blob{.hash = entry.hash, .size = entry.size, .offset = 0, .path = {}};
    if (!manifest.root.empty()) {
      blob.path = path_below(manifest.root, entry.path);
    } else if (entry.size > snapshot::kLooseAbove) {
      blob.path = store_.loose(entry.hash);
    }
    asked.push_back(std::move(blob));
    if (asked.size() < kAskAtOnce) continue;
    TRY(ask(asked));
    asked.clear();
  }
  return asked.empty() ? Result<>() : ask(asked);
}

Result<> Sending::ask(const std::vector<Blob>& some) {
  Json names = Json::array();
  for (const Blob& blob : some) names.push_back(snapshot::to_hex(blob.hash));
  TRY_ASSIGN(const Json reply, client_.request({{"op", "missing"}, {"blobs", std::move(names)}}, cancel_));
  snapshot::HashSet missing;
  for (const Json& name : reply.value("missing", Json::array())) {
    snapshot::Hash hash{};
    if (name.is_string() && snapshot::parse_hash(name.get<std::string>(), hash)) missing.insert(hash);
  }
  const Json partial = reply.value("partial", Json::object());
  for (const Blob& blob : some) {
    transfer_.bytes_there += missing.contains(blob.hash) ? 0 : blob.size;
    if (!missing.contains(blob.hash)) continue;
    Blob wanted = blob;
    wanted.offset = std::min(partial.value(snapshot::to_hex(blob.hash), std::uint64_t{0}), blob.size);
    transfer_.bytes_there += wanted.offset;
    transfer_.bytes += wanted.size - wanted.offset;
    ++transfer_.files;
    blobs_.push_back(std::move(wanted));
  }
  return {};
}

Result<> Sending::flush(RunnerStream& stream) {
  if (buffer_.empty()) return {};
  TRY(stream.send(buffer_, cancel_));
  transfer_.bytes_done += buffer_.size();
  buffer_.clear();
  tell();
  return {};
}

Result<> Sending::send_bytes(RunnerStream& stream, std::string_view bytes) {
  buffer_ += bytes;
  return buffer_.size() < kBlock ? Result<>() : flush(stream);
}

Result<> Sending::send_file(RunnerStream& stream, const Blob& blob) {
  for (std::uint64_t at = blob.offset; at < blob.size;) {
    TRY_ASSIGN(const std::string bytes, base::read_range(blob.path, at, std::min(kBlock, blob.size - at)));
    if (bytes.empty()) {
      Error error{.code = Errc::io, .message = blob.path.string() + " became shorter while it was sent"};
      error.hint = "try again when nothing writes to it";
      error.retryable = true;
      return fail(std::move(error));
    }
    at += bytes.size();
    TRY(send_bytes(stream, bytes));
  }
  return {};
}

Result<> Sending::send_blob(RunnerStream& stream, const Blob& blob) {
  if (!blob.path.empty()) return send_file(stream, blob);
  const auto place = places_.find(blob.hash);
  if (place == places_.end())
    return fail(Errc::store, "the store has lost a file of this run's source", "trainctl store check");
  TRY_ASSIGN(const std::string bytes, packs_.read(place->second, false));
  return send_bytes(stream, bytes);
}

/// Names the blobs [first, last), then sends them.
Result<> Sending::send_noted(RunnerStream& stream, std::size_t first, std::size_t last) {
  Json objects = Json::array();
  for (std::size_t i = first; i < last; ++i) {
    const Blob& blob = blobs_[i];
    objects.push_back({{"sha256", snapshot::to_hex(blob.hash)}, {"size", blob.size}});
    if (blob.offset > 0) objects.back()["offset"] = blob.offset;
  }
  TRY(flush(stream));
  TRY(stream.note({{"objects", std::move(objects)}}));
  for (std::size_t i = first; i < last; ++i) {
    TRY(send_blob(stream, blobs_[i]));
    ++transfer_.files_done;
  }
  return flush(stream);
}

Result<> Sending::send_blobs(RunnerStream& stream) {
  for (std::size_t first = 0; first < blobs_.size();) {
    std::size_t last = first + 1;
    std::uint64_t bytes = blobs_[first].size;
    // One that goes on begins a frame of its own: the host reads what it has before it takes more.
    const auto joins = [&](const Blob& blob) {
      return blobs_[first].offset == 0 && blob.offset == 0 && last - first < kNotedAtOnce && bytes < kBytesAtOnce;
    };
    while (last < blobs_.size() && joins(blobs_[last])) bytes += blobs_[last++].size;
    TRY(send_noted(stream, first, last));
    first = last;
  }
  return {};
}

Result<> Sending::send_manifests(RunnerStream& stream) {
  for (const Manifest& manifest : manifests_) {
    TRY(stream.note(
        {{"objects", {{{"sha256", manifest.digest}, {"size", manifest.text.size()}, {"kind", manifest.kind}}}}}));
    TRY(stream.send(manifest.text, cancel_));
  }
  return {};
}

Result<> Sending::send() {
  TRY(drop_known_manifests());
  if (manifests_.empty()) return {};
  const bool inputs = std::any_of(manifests_.begin(), manifests_.end(),
                                  [](const Manifest& manifest) { return !manifest.root.empty(); });
  if (inputs) transfer_.what = "inputs";
  for (const Manifest& manifest : manifests_) TRY(find_missing(manifest));
  snapshot::HashSet packed;
  for (const Blob& blob : blobs_) {
    if (blob.path.empty()) packed.insert(blob.hash);
  }
  TRY_ASSIGN(places_, store_.places(packed));
  TRY_ASSIGN(auto stream, client_.open({{"op", "put"}, {"bytes", transfer_.bytes}}));
  tell();
  auto sent = send_blobs(stream);
  if (sent) sent = send_manifests(stream);
  // When the host refused meanwhile, its own words say why.
  if (!sent && (sent.error().code != Errc::canceled || cancel_.requested())) return sent;
  if (sent) TRY(stream.finish(Json::object()));
  TRY(stream.next(cancel_, kSlowDisk));
  tell();
  return {};
}

Result<> send_once(RunnerClient& client, const RunRef& ref, const format::Plan& plan, const Cancel& cancel) {
  const format::RunPaths run{ref.folder};
  TRY_ASSIGN(auto store, snapshot::Store::open(run.store()));
  TRY_ASSIGN(const base::UniqueFd use, store.use());
  Sending sending(client, std::move(store), ref, cancel);
  if (plan.source.value("kind", "") == "snapshot") TRY(sending.add_source(plan.source.value("digest", "")));
  TRY_ASSIGN(const auto inputs, format::read_sent_inputs(run.sent_inputs()));
  for (const format::SentInput& input : inputs) sending.add_input(input);
  return sending.send();
}

}  // namespace

Result<Json> needed_files(const RunRef& ref) {
  const format::RunPaths run{ref.folder};
  TRY_ASSIGN(const format::Plan plan, format::read_plan(run.plan()));
  Json needed = {{"snapshots", Json::array()}, {"inputs", Json::array()}};
  if (plan.source.value("kind", "") == "snapshot") needed["snapshots"].push_back(plan.source.value("digest", ""));
  TRY_ASSIGN(const auto inputs, format::read_sent_inputs(run.sent_inputs()));
  for (const format::SentInput& input : inputs) needed["inputs"].push_back(input.digest);
  return needed;
}

Result<> send_files(RunnerClient& client, const RunRef& ref, const Cancel& cancel) {
  TRY_ASSIGN(const format::Plan plan, format::read_plan(format::RunPaths{ref.folder}.plan()));
  for (int tried = 1;; ++tried) {
    auto sent = send_once(client, ref, plan, cancel);
    // Blobs may be removed there between the question and the answer, and a part of a file may be damaged: once more.
    if (sent || !sent.error().retryable || tried == kTries || client.broken()) return sent;
  }
}

}  // namespace trainctl::target
