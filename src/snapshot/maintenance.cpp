// SPDX-License-Identifier: Apache-2.0
#include "snapshot/maintenance.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "snapshot/manifest.hpp"
#include "snapshot/pack.hpp"
#include "snapshot/spare.hpp"
#include "snapshot/store.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::snapshot {
namespace {

namespace fs = std::filesystem;

struct LooseBlob {
  Hash hash = {};
  fs::path path;
};

Result<std::vector<LooseBlob>> loose_blobs(const Store& store) {
  std::vector<LooseBlob> blobs;
  TRY_ASSIGN(const auto folders, base::list_directory(store.root() / "objects"));
  for (const std::string& folder : folders) {
    TRY_ASSIGN(const auto names, base::list_directory(store.root() / "objects" / folder));
    for (const std::string& name : names) {
      LooseBlob blob{.path = store.root() / "objects" / folder / name};
      if (parse_hash(folder + name, blob.hash)) blobs.push_back(std::move(blob));
    }
  }
  return blobs;
}

bool is_whole(const LooseBlob& blob) {
  const auto hash = base::sha256_file_hex(blob.path);
  return hash && *hash == to_hex(blob.hash);
}

Result<PlaceMap> all_places(const Store& store) {
  PlaceMap places;
  TRY_ASSIGN(const std::string data, read_index(store.index(), 0));
  for (std::size_t at = 0; at < data.size(); at += kIndexRecord) {
    if (const auto place = decode_index_record(std::string_view(data).substr(at, kIndexRecord))) {
      places.insert_or_assign(place->hash, *place);
    }
  }
  return places;
}

Result<std::map<std::uint32_t, fs::path>> pack_files(const Store& store) {
  std::map<std::uint32_t, fs::path> packs;
  TRY_ASSIGN(const auto names, base::list_directory(store.packs()));
  for (const std::string& name : names) {
    if (!name.ends_with(".pack") || name.find_first_not_of("0123456789") != name.size() - 5 || name.size() > 14)
      continue;
    packs.emplace(static_cast<std::uint32_t>(std::strtoul(name.c_str(), nullptr, 10)), store.packs() / name);
  }
  return packs;
}

Result<> check_manifests(const Store& store, const HashSet& whole, const HashSet& damaged, CheckReport& report) {
  TRY_ASSIGN(const auto digests, store.digests());
  for (const std::string& digest : digests) {
    ++report.manifests;
    const auto entries = store.manifest(digest);
    if (!entries) {
      report.problems.push_back(entries.error().message);
      continue;
    }
    for (const ManifestEntry& entry : *entries) {
      if (entry.type != EntryType::file || whole.contains(entry.hash)) continue;
      report.problems.push_back("snapshot " + digest + ": the content of " + entry.path + " is " +
                                (damaged.contains(entry.hash) ? "damaged" : "missing"));
    }
  }
  return {};
}

}  // namespace

Result<CheckReport> check(const Store& store, const MaintenanceProgress& progress) {
  CheckReport report;
  TRY_ASSIGN(const base::UniqueFd in_use, store.use());
  TRY_ASSIGN(const PlaceMap places, all_places(store));
  TRY_ASSIGN(const auto blobs, loose_blobs(store));
  const std::uint64_t total = places.size() + blobs.size();
  HashSet whole;
  HashSet damaged;
  PackReader packs(store.packs());
  for (const auto& [hash, place] : places) {
    if (progress) progress(report.blobs, total);
    ++report.blobs;
    report.bytes += place.size;
    const auto data = packs.read(place, true);
    if (!data) report.problems.push_back(data.error().message);
    (data ? whole : damaged).insert(hash);
  }
  for (const LooseBlob& blob : blobs) {
    if (progress) progress(report.blobs, total);
    ++report.blobs;
    report.bytes += base::file_size(blob.path).value_or(0);
    const bool good = is_whole(blob);
    if (!good) report.problems.push_back("blob " + blob.path.string() + " is damaged: its hash differs");
    (good ? whole : damaged).insert(blob.hash);
  }
  TRY(check_manifests(store, whole, damaged, report));
  return report;
}

namespace {

/// The whole, undamaged records of a pack; what lies between them is passed over.
void visit_pack(std::string_view data, std::uint32_t number, std::string& records, std::uint64_t& count) {
  for (std::size_t at = 0; at + kPackHead <= data.size();) {
    auto place = decode_pack_head(data.substr(at));
    const bool whole = place && place->stored <= data.size() - at - kPackHead;
    if (whole) {
      place->pack = number;
      place->offset = at + kPackHead;
      const auto blob = unpack_data(data.substr(place->offset, place->stored), *place);
      if (blob && hash_bytes(*blob) == place->hash) {
        records += encode_index_record(*place);
        ++count;
        at = place->offset + place->stored;
        continue;
      }
    }
    at = data.find("TCBLOB1\n", at + 1);
    if (at == std::string_view::npos) break;
  }
}

/// The manifests that stay, and everything they name.
Result<HashSet> sweep_manifests(const Store& store, const std::set<std::string>& referenced, std::chrono::seconds grace,
                                GarbageReport& report) {
  HashSet live;
  TRY_ASSIGN(const auto digests, store.digests());
  const std::int64_t now = std::time(nullptr);
  std::vector<std::string> unneeded;
  for (const std::string& digest : digests) {
    struct stat info{};
    const bool known = ::stat(store.manifest_path(digest).c_str(), &info) == 0;
    if (!referenced.contains(digest) && known && info.st_mtim.tv_sec + grace.count() <= now) {
      unneeded.push_back(digest);
      continue;
    }
    TRY_ASSIGN(const auto entries, store.manifest(digest));  // a damaged one: better stop than lose its blobs
    for (const ManifestEntry& entry : entries) {
      if (entry.type == EntryType::file) live.insert(entry.hash);
    }
  }
  for (const std::string& digest : unneeded) {
    if (::unlink(store.manifest_path(digest).c_str()) == 0) ++report.manifests;
  }
  TRY(base::sync_directory(store.root() / "manifests"));
  return live;
}

/// Beginnings of blobs whose rest did not come within `grace`.
Result<> sweep_partial(const Store& store, std::chrono::seconds grace, GarbageReport& report) {
  TRY_ASSIGN(const auto names, base::list_directory(store.root() / "partial"));
  const std::int64_t now = std::time(nullptr);
  for (const std::string& name : names) {
    const fs::path path = store.root() / "partial" / name;
    struct stat info{};
    if (::lstat(path.c_str(), &info) != 0 || info.st_mtim.tv_sec + grace.count() > now) continue;
    if (::unlink(path.c_str()) == 0) report.bytes += static_cast<std::uint64_t>(info.st_size);
  }
  return {};
}

/// Moves the needed blobs of mostly unneeded packs behind the last pack, then drops those packs.
class Repacking {
 public:
  Repacking(const Store& store, const HashSet& live, GarbageReport& report)
      : store_(store), live_(live), report_(report) {}
  Result<> run();

 private:
  Result<> move(const BlobPlace& place);
  Result<> write_out();

  const Store& store_;
  const HashSet& live_;
  GarbageReport& report_;
  std::uint32_t next_ = 1;
  std::string data_;
  std::string records_;
};

Result<> Repacking::write_out() {
  if (data_.empty()) return {};
  TRY(base::write_file_durable(pack_path(store_.packs(), next_), data_));
  ++next_;
  data_.clear();
  return {};
}

Result<> Repacking::move(const BlobPlace& place) {
  TRY_ASSIGN(const std::string stored,
             base::read_range(pack_path(store_.packs(), place.pack), place.offset, place.stored));
  if (stored.size() != place.stored)
    return fail(Errc::store, "blob " + to_hex(place.hash) + " is cut off", "trainctl store check");
  if (data_.size() + kPackHead + stored.size() > kPackLimit) TRY(write_out());
  BlobPlace moved = place;
  moved.pack = next_;
  moved.offset = data_.size() + kPackHead;
  data_ += encode_pack_head(moved);
  data_ += stored;
  records_ += encode_index_record(moved);
  return {};
}

Result<> Repacking::run() {
  TRY_ASSIGN(const PlaceMap places, all_places(store_));
  TRY_ASSIGN(const auto packs, pack_files(store_));
  std::map<std::uint32_t, std::uint64_t> needed;
  for (const auto& [hash, place] : places) {
    if (live_.contains(hash)) needed[place.pack] += kPackHead + place.stored;
  }
  std::set<std::uint32_t> rewritten;
  for (const auto& [number, path] : packs) {
    const std::uint64_t size = base::file_size(path).value_or(0);
    if (needed[number] * 2 < size || needed[number] == 0) rewritten.insert(number);
    next_ = std::max(next_, number + 1);
  }
  if (rewritten.empty()) return {};
  std::uint64_t kept = 0;
  for (const auto& [hash, place] : places) {
    if (!rewritten.contains(place.pack)) {
      records_ += encode_index_record(place);
    } else if (live_.contains(hash)) {
      kept += place.stored;
      TRY(move(place));
    } else {
      ++report_.blobs;
    }
  }
  TRY(write_out());
  TRY(base::write_file_durable(store_.index(), records_));
  for (const std::uint32_t number : rewritten) {
    report_.bytes += base::file_size(packs.at(number)).value_or(0);
    ::unlink(packs.at(number).c_str());
  }
  report_.bytes -= std::min(report_.bytes, kept);
  return {};
}

}  // namespace

Result<std::uint64_t> rebuild_index(const Store& store, const MaintenanceProgress& progress) {
  TRY_ASSIGN(const base::FileLock gc, base::FileLock::acquire(store.root() / "gc.lock", 10'000));
  TRY_ASSIGN(const base::FileLock lock, base::FileLock::acquire(store.root() / "lock", 10'000));
  std::string records;
  std::uint64_t count = 0;
  TRY_ASSIGN(const auto packs, pack_files(store));
  std::uint64_t done = 0;
  for (const auto& [number, path] : packs) {
    if (progress) progress(done++, packs.size());
    TRY_ASSIGN(const std::string data, base::read_file(path));
    visit_pack(data, number, records, count);
  }
  TRY(base::write_file_durable(store.index(), records));
  return count;
}

Result<MendReport> mend(const Store& store, const MaintenanceProgress& progress) {
  MendReport report;
  TRY_ASSIGN(const PlaceMap before, all_places(store));
  TRY_ASSIGN(report.blobs, rebuild_index(store, progress));
  TRY_ASSIGN(const base::FileLock gc, base::FileLock::acquire(store.root() / "gc.lock", 10'000));
  TRY_ASSIGN(const PlaceMap places, all_places(store));
  for (const auto& [hash, place] : before) report.damaged_blobs += places.contains(hash) ? 0U : 1U;
  HashSet loose;
  TRY_ASSIGN(const auto blobs, loose_blobs(store));
  for (const LooseBlob& blob : blobs) {
    if (is_whole(blob)) {
      loose.insert(blob.hash);
    } else if (::unlink(blob.path.c_str()) == 0) {
      ++report.damaged_blobs;
    }
  }
  TRY_ASSIGN(const auto digests, store.digests());
  for (const std::string& digest : digests) {
    const auto entries = store.manifest(digest);
    const auto has = [&](const ManifestEntry& entry) {
      return entry.type != EntryType::file || places.contains(entry.hash) || loose.contains(entry.hash);
    };
    // A manifest promises that its blobs are there; without it the next take looks for each of them.
    if (entries && std::all_of(entries->begin(), entries->end(), has)) continue;
    if (::unlink(store.manifest_path(digest).c_str()) == 0) ++report.damaged_manifests;
  }
  TRY(base::sync_directory(store.root() / "manifests"));
  return report;
}

Result<GarbageReport> collect_garbage(const Store& store, const std::set<std::string>& referenced,
                                      std::chrono::seconds grace, std::chrono::milliseconds wait) {
  GarbageReport report;
  const auto timeout = static_cast<int>(wait.count());
  TRY_ASSIGN(const base::FileLock no_spares, remove_spares(store));
  TRY_ASSIGN(const base::FileLock gc, base::FileLock::acquire(store.root() / "gc.lock", timeout));
  TRY_ASSIGN(const base::FileLock lock, base::FileLock::acquire(store.root() / "lock", timeout));
  TRY_ASSIGN(const HashSet live, sweep_manifests(store, referenced, grace, report));
  TRY_ASSIGN(const auto blobs, loose_blobs(store));
  for (const LooseBlob& blob : blobs) {
    if (live.contains(blob.hash)) continue;
    report.bytes += base::file_size(blob.path).value_or(0);
    if (::unlink(blob.path.c_str()) == 0) ++report.blobs;
  }
  TRY_ASSIGN(const auto leftovers, base::list_directory(store.root() / "tmp"));  // nobody is at work: we hold gc.lock
  for (const std::string& name : leftovers) ::unlink((store.root() / "tmp" / name).c_str());
  TRY(sweep_partial(store, grace, report));
  TRY(Repacking(store, live, report).run());
  return report;
}

}  // namespace trainctl::snapshot
