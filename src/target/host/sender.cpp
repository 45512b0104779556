// SPDX-License-Identifier: Apache-2.0
#include "target/host/sender.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "base/text.hpp"
#include "snapshot/store.hpp"

namespace trainctl::target {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kAskedAtOnce = 15'000;  // blobs in a frame
constexpr std::size_t kNamedAtOnce = 1'000;   // objects in a note
constexpr std::size_t kBlock = 256U << 10U;
constexpr std::chrono::minutes kSlowDisk{10};  // the host syncs all of it before it answers

std::string_view to_string(Parcel::Kind kind) {
  return kind == Parcel::Kind::snapshot ? "snapshot" : "input";
}

struct Blob {
  snapshot::Hash hash = {};
  std::uint64_t size = 0;
  std::uint64_t offset = 0;  ///< so much of it is there
};

class Sender {
 public:
  Sender(RunnerClient& client, const snapshot::Store& store, const Cancel& cancel,
         const std::function<void(const SendProgress&)>& progress)
      : client_(client), store_(store), packs_(store.packs()), cancel_(cancel), progress_(progress) {}

  Result<SendProgress> send(std::span<const Parcel> parcels) {
    TRY(ask_for_manifests(parcels));
    if (manifests_.empty()) return state_;
    TRY(list_blobs());
    TRY(ask_for_blobs());
    TRY_ASSIGN(auto stream, client_.open({{"op", "put"}, {"bytes", state_.bytes}}));
    auto sent = send_all(stream);
    // The runner's own words say why it did not want more.
    if (!sent && (sent.error().code != Errc::canceled || cancel_.requested())) return fail(std::move(sent).error());
    if (sent) TRY(stream.finish(Json::object()));
    TRY(stream.next(cancel_, kSlowDisk));
    return state_;
  }

 private:
  Result<> ask_for_manifests(std::span<const Parcel> parcels) {
    Json snapshots = Json::array();
    Json inputs = Json::array();
    for (const Parcel& parcel : parcels)
      (parcel.kind == Parcel::Kind::snapshot ? snapshots : inputs).push_back(parcel.digest);
    const Json request = {{"op", "missing"}, {"snapshots", std::move(snapshots)}, {"inputs", std::move(inputs)}};
    TRY_ASSIGN(const Json answer, client_.request(request, cancel_));
    for (const Parcel& parcel : parcels) {
      const Json there = answer.value(parcel.kind == Parcel::Kind::snapshot ? "snapshots" : "inputs", Json::array());
      if (std::find(there.begin(), there.end(), Json(parcel.digest)) != there.end()) manifests_.push_back(parcel);
    }
    return {};
  }

  Result<> list_blobs() {
    for (const Parcel& parcel : manifests_) {
      TRY_ASSIGN(const auto entries, store_.manifest(parcel.digest));
      for (const auto& entry : entries) {
        if (entry.type == snapshot::EntryType::file) blobs_[snapshot::to_hex(entry.hash)] = {entry.hash, entry.size};
      }
    }
    return {};
  }

  /// Leaves those that the host lacks.
  Result<> ask_for_blobs() {
    std::map<std::string, Blob> wanted;
    for (auto from = blobs_.begin(); from != blobs_.end();) {
      Json names = Json::array();
      for (; from != blobs_.end() && names.size() < kAskedAtOnce; ++from) names.push_back(from->first);
      TRY_ASSIGN(const Json answer, client_.request({{"op", "missing"}, {"blobs", std::move(names)}}, cancel_));
      const Json partial = answer.value("partial", Json::object());
      for (const Json& name : answer.value("missing", Json::array())) {
        const auto blob = blobs_.find(name.get<std::string>());
        if (blob == blobs_.end()) return fail(Errc::internal, "the runner lacks a blob that nobody asked for");
        blob->second.offset = std::min(blob->second.size, partial.value(blob->first, std::uint64_t{0}));
        wanted.insert(*blob);
      }
    }
    for (const auto& [name, blob] : blobs_) {
      const std::uint64_t there = wanted.contains(name) ? wanted[name].offset : blob.size;
      state_.skipped += there;
      state_.bytes += blob.size - there;
    }
    blobs_ = std::move(wanted);
    state_.objects = blobs_.size() + manifests_.size();
    return {};
  }

  Result<> send_all(RunnerStream& stream) {
    snapshot::HashSet small;
    for (const auto& [name, blob] : blobs_) {
      if (blob.size <= snapshot::kLooseAbove) small.insert(blob.hash);
    }
    TRY_ASSIGN(const auto places, store_.places(small));
    std::vector<const Blob*> order;
    for (const auto& [name, blob] : blobs_) order.push_back(&blob);
    for (std::size_t from = 0; from < order.size(); from += kNamedAtOnce) {
      const auto some = std::span(order).subspan(from, std::min(kNamedAtOnce, order.size() - from));
      TRY(announce(stream, some));
      for (const Blob* blob : some) TRY(send_blob(stream, *blob, places));
    }
    for (const Parcel& parcel : manifests_) TRY(send_manifest(stream, parcel));
    return flush(stream);
  }

  Result<> announce(RunnerStream& stream, std::span<const Blob* const> blobs) {
    Json objects = Json::array();
    for (const Blob* blob : blobs) {
      Json object = {{"sha256", snapshot::to_hex(blob->hash)}, {"size", blob->size}};
      if (blob->offset > 0) object["offset"] = blob->offset;
      objects.push_back(std::move(object));
    }
    TRY(flush(stream));
    return stream.note({{"objects", std::move(objects)}});
  }

  Result<> send_blob(RunnerStream& stream, const Blob& blob, const snapshot::PlaceMap& places) {
    if (const auto place = places.find(blob.hash); place != places.end()) {
      TRY_ASSIGN(const std::string bytes, packs_.read(place->second, false));  // the host verifies
      return add(stream, bytes);
    }
    if (blob.offset > 0) TRY(flush(stream));  // what goes on in the middle begins with a frame of its own
    TRY_ASSIGN(const auto file, base::open_file(store_.loose(blob.hash), O_RDONLY | O_NOFOLLOW));
    std::string block(kBlock, '\0');
    for (std::uint64_t at = blob.offset; at < blob.size;) {
      const ssize_t got = ::pread(file.get(), block.data(), block.size(), static_cast<off_t>(at));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return fail_errno("read " + store_.loose(blob.hash).string(), errno);
      if (got == 0)
        return fail(Errc::store, "the stored file " + store_.loose(blob.hash).string() + " is shorter than recorded",
                    "trainctl store check lists what is affected");
      TRY(add(stream, std::string_view(block).substr(0, static_cast<std::size_t>(got))));
      at += static_cast<std::uint64_t>(got);
    }
    return {};
  }

  Result<> send_manifest(RunnerStream& stream, const Parcel& parcel) {
    TRY_ASSIGN(const std::string text, base::read_file(store_.manifest_path(parcel.digest)));
    TRY(flush(stream));
    TRY(stream.note(
        {{"objects", {{{"sha256", parcel.digest}, {"size", text.size()}, {"kind", to_string(parcel.kind)}}}}}));
    return stream.send(text, cancel_);
  }

  /// Many small files share a frame.
  Result<> add(RunnerStream& stream, std::string_view bytes) {
    buffer_ += bytes;
    return buffer_.size() >= kBlock ? flush(stream) : Result<>{};
  }

  Result<> flush(RunnerStream& stream) {
    if (buffer_.empty()) return {};
    TRY(stream.send(buffer_, cancel_));
    state_.sent += buffer_.size();
    buffer_.clear();
    if (progress_) progress_(state_);
    return {};
  }

  RunnerClient& client_;
  const snapshot::Store& store_;
  snapshot::PackReader packs_;
  const Cancel& cancel_;
  const std::function<void(const SendProgress&)>& progress_;
  std::vector<Parcel> manifests_;
  std::map<std::string, Blob> blobs_;
  std::string buffer_;
  SendProgress state_;
};

}  // namespace

Result<SendProgress> send_parcels(RunnerClient& client, const fs::path& store, std::span<const Parcel> parcels,
                                  const Cancel& cancel, const std::function<void(const SendProgress&)>& progress) {
  if (parcels.empty()) return SendProgress{};
  TRY_ASSIGN(const auto snapshots, snapshot::Store::open(store));
  TRY_ASSIGN(const auto in_use, snapshots.use());
  return Sender(client, snapshots, cancel, progress).send(parcels);
}

}  // namespace trainctl::target
