// SPDX-License-Identifier: Apache-2.0
#include "snapshot/spare.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/background.hpp"
#include "base/clock.hpp"
#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/ulid.hpp"
#include "snapshot/materialise.hpp"
#include "snapshot/store.hpp"
#include "snapshot/tree_change.hpp"
#include "snapshot/tree_stamp.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::snapshot {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kDraft = ".draft-";
constexpr std::string_view kGone = "spare.gone-";
constexpr const char* kLock = "spare.lock";
constexpr std::chrono::milliseconds kAgain{500};  ///< a maker is asked to end so often
constexpr std::size_t kKeyDigits = 32;
/// Two changes within one tick of the kernel's clock have the same time: the stamp is taken when the last has passed.
constexpr long kTickNs = 20'000'000;
/// Above this part of the entries a new copy costs no more than changing the old one.
constexpr std::size_t kMostOfEntries = 4;

fs::path folder_of(const Store& store) {
  return store.root() / "spare";
}

fs::path new_draft(const Store& store) {
  return folder_of(store) / (std::string(kDraft) + base::random_hex(8));
}

fs::path tree_of(const fs::path& spare) {
  return spare / "tree";
}

fs::path stamp_of(const fs::path& spare) {
  return spare / "stamp";
}

Result<base::UniqueFd> open_tree(const fs::path& spare) {
  return base::open_file(tree_of(spare), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

/// Removes what died makers left, and the oldest spares until there is room for one more.
Result<> sweep(const Store& store) {
  TRY_ASSIGN(const auto names, base::list_directory(folder_of(store)));
  std::vector<std::pair<std::int64_t, fs::path>> spares;
  for (const std::string& name : names) {
    const fs::path path = folder_of(store) / name;
    struct stat info{};
    if (name.starts_with(kDraft)) {
      TRY(base::remove_tree(path));
    } else if (::lstat(path.c_str(), &info) == 0) {
      spares.emplace_back(info.st_mtim.tv_sec, path);
    }
  }
  std::sort(spares.begin(), spares.end());
  for (std::size_t i = 0; i + kMostSpares <= spares.size(); ++i) TRY(base::remove_tree(spares[i].second));
  return {};
}

Result<> fill(const Store& store, std::string_view digest, const fs::path& draft) {
  MaterialiseOptions options;
  options.go_on = [&draft] { return base::exists(draft); };
  TRY(materialise(store, digest, tree_of(draft), options));
  const timespec tick{0, kTickNs};
  ::nanosleep(&tick, nullptr);
  TRY_ASSIGN(const auto entries, store.manifest(digest));
  TRY_ASSIGN(const base::UniqueFd root, open_tree(draft));
  TRY_ASSIGN(auto seen, look_at(root.get(), entries));
  const TreeStamp stamp{.digest = std::string(digest), .boot = base::boot_id(), .seen = std::move(seen)};
  return base::write_file_atomic(stamp_of(draft), encode_stamp(stamp));
}

/// Makes the taken spare a copy of `digest`; false when it does not serve.
Result<bool> turn_into(const Store& store, std::string_view digest, const fs::path& spare) {
  TRY_ASSIGN(const base::UniqueFd in_use, store.use());
  TRY_ASSIGN(const std::string data, base::read_file(stamp_of(spare)));
  const auto stamp = decode_stamp(data);
  if (!stamp || stamp->boot != base::boot_id()) return false;
  auto later = base::in_background([&store, digest] { return store.manifest(digest); });
  TRY_ASSIGN(const auto have, store.manifest(stamp->digest));
  TRY_ASSIGN(const auto wanted, later.get());
  const TreeChange change = difference(have, wanted);
  if ((change.removed.size() + change.added.size()) * kMostOfEntries > wanted.size()) return false;
  TRY_ASSIGN(const base::UniqueFd root, open_tree(spare));
  TRY_ASSIGN(const auto seen, look_at(root.get(), have));
  if (seen != stamp->seen) return false;
  TRY(apply(store, change, wanted, root.get()));
  return true;
}

/// A maker sees that its draft is no longer there, and ends.
Result<> put_aside(const Store& store) {
  const fs::path gone = store.root() / (std::string(kGone) + base::random_hex(8));
  if (::rename(folder_of(store).c_str(), gone.c_str()) != 0 && errno != ENOENT)
    return fail_errno("remove " + folder_of(store).string(), errno);
  return {};
}

Result<> remove_what_is_aside(const Store& store) {
  TRY_ASSIGN(const auto names, base::list_directory(store.root()));
  for (const std::string& name : names) {
    if (name == "spare" || name.starts_with(kGone)) TRY(base::remove_tree(store.root() / name));
  }
  return {};
}

}  // namespace

std::string spare_key(std::string_view source) {
  return base::sha256_hex(source).substr(0, kKeyDigits);
}

bool is_worth_a_spare(const Store& store, std::uint64_t files, std::uint64_t bytes) {
  return files > kSpareAboveFiles && bytes <= kSpareUpToBytes &&
         bytes <= base::free_bytes(store.root()) / kSpareShareOfDisk && !base::is_network_file_system(store.root());
}

Result<std::optional<base::FileLock>> lock_spares(const Store& store) {
  return base::FileLock::try_acquire(store.root() / kLock);
}

Result<> make_spare(const Store& store, std::string_view key, std::string_view digest) {
  TRY(base::make_directories(folder_of(store)));
  const fs::path spare = folder_of(store) / key;
  if (base::exists(spare)) return {};
  TRY(sweep(store));
  const fs::path draft = new_draft(store);
  TRY(base::make_directories(draft));
  auto made = fill(store, digest, draft);
  if (made && ::rename(draft.c_str(), spare.c_str()) != 0) made = fail_errno("make " + spare.string(), errno);
  if (!made) (void)base::remove_tree(draft);
  return made;
}

bool take_spare(const Store& store, std::string_view key, std::string_view digest, const fs::path& destination) {
  const fs::path spare = folder_of(store) / key;
  fs::path taken = destination;
  taken += ".spare";
  if (::rename(spare.c_str(), taken.c_str()) != 0) return false;
  const auto turned = turn_into(store, digest, taken);
  const bool served = turned && *turned && ::rename(tree_of(taken).c_str(), destination.c_str()) == 0;
  // What did not serve may be large: whoever makes the next spare removes it, and nobody waits.
  if (served || ::rename(taken.c_str(), new_draft(store).c_str()) != 0) (void)base::remove_tree(taken);
  return served;
}

Result<base::FileLock> remove_spares(const Store& store, std::chrono::milliseconds wait) {
  for (auto left = wait;; left -= kAgain) {
    TRY(put_aside(store));
    auto lock = base::FileLock::acquire(store.root() / kLock, static_cast<int>(std::min(left, kAgain).count()));
    // One that began just behind that, in a folder of its own: another time, or we would wait for all it makes.
    if (!lock && lock.error().code == Errc::timeout && left > kAgain) continue;
    if (lock) TRY(remove_what_is_aside(store));
    return lock;
  }
}

}  // namespace trainctl::snapshot
