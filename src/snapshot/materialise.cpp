// SPDX-License-Identifier: Apache-2.0
#include "snapshot/materialise.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/text.hpp"
#include "snapshot/clone.hpp"
#include "snapshot/folder_cursor.hpp"
#include "snapshot/manifest.hpp"
#include "snapshot/pack.hpp"
#include "snapshot/store.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::snapshot {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kBlock = 1U << 20U;
constexpr std::size_t kAskEvery = 64;
constexpr std::string_view kCheckHint =
    "trainctl store check lists what is affected; taking the snapshot again mends it";

Result<base::UniqueFd> open_destination(const fs::path& destination) {
  TRY_ASSIGN(const bool fresh, base::make_directory(destination));
  TRY_ASSIGN(base::UniqueFd fd, base::open_file(destination, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  if (fresh) return fd;
  TRY_ASSIGN(const auto names, base::list_directory(destination));
  if (!names.empty())
    return fail(Errc::invalid, "cannot copy a snapshot into " + destination.string() + ": it is not empty");
  return fd;
}

class Copying {
 public:
  Copying(const Store& store, int destination, const MaterialiseOptions& options, PlaceMap places)
      : store_(store),
        options_(options),
        places_(std::move(places)),
        packs_(store.packs()),
        cursor_(destination, FolderCursor::Missing::make) {}

  Result<> make(const ManifestEntry& entry);
  [[nodiscard]] const Materialised& done() const { return done_; }

 private:
  Result<> make_file(int folder, const std::string& name, const ManifestEntry& entry);
  Result<bool> share_loose(int to, const ManifestEntry& entry, base::UniqueFd& from);
  Result<> link_loose(int folder, const std::string& name, const ManifestEntry& entry, int from);
  Result<> copy_bytes(int to, int from, const ManifestEntry& entry);
  Result<> copy_by_hand(int to, int from, std::uint64_t left, const ManifestEntry& entry);
  Result<> verify_loose(int from, const ManifestEntry& entry);

  const Store& store_;
  const MaterialiseOptions& options_;
  PlaceMap places_;
  PackReader packs_;
  FolderCursor cursor_;
  Materialised done_;
};

tl::unexpected<Error> damaged(const ManifestEntry& entry, const std::string& how) {
  return fail(Errc::store, "the stored content of " + base::to_utf8(entry.path) + " " + how, std::string(kCheckHint));
}

Result<> Copying::verify_loose(int from, const ManifestEntry& entry) {
  base::Sha256 sha;
  std::string block(kBlock, '\0');
  for (std::uint64_t at = 0;;) {
    const ssize_t count = ::pread(from, block.data(), block.size(), static_cast<off_t>(at));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_errno("read " + store_.loose(entry.hash).string(), errno);
    if (count == 0) break;
    sha.update(std::string_view(block).substr(0, static_cast<std::size_t>(count)));
    at += static_cast<std::uint64_t>(count);
  }
  if (sha.finish() != entry.hash) return damaged(entry, "is damaged: its hash differs");
  return {};
}

Result<> Copying::copy_bytes(int to, int from, const ManifestEntry& entry) {
  std::uint64_t left = entry.size;
  while (left > 0) {
    const std::int64_t count = copy_in_kernel(to, from, left);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && (errno == ENOSPC || errno == EDQUOT || errno == EIO))
      return fail_errno("write " + entry.path, errno);
    if (count <= 0) break;
    left -= static_cast<std::uint64_t>(count);
  }
  return left == 0 ? Result<>{} : copy_by_hand(to, from, left, entry);
}

Result<> Copying::copy_by_hand(int to, int from, std::uint64_t left, const ManifestEntry& entry) {
  std::string block(kBlock, '\0');
  while (left > 0) {
    const ssize_t count = ::read(from, block.data(), block.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_errno("read " + store_.loose(entry.hash).string(), errno);
    if (count == 0 || static_cast<std::uint64_t>(count) > left)
      return damaged(entry, "has another length than recorded");
    TRY(base::write_all(to, std::string_view(block).substr(0, static_cast<std::size_t>(count))));
    left -= static_cast<std::uint64_t>(count);
  }
  return {};
}

/// Opens the blob in `from` and lets `to` share its bytes; false where the file system cannot.
Result<bool> Copying::share_loose(int to, const ManifestEntry& entry, base::UniqueFd& from) {
  auto opened = base::open_file(store_.loose(entry.hash), O_RDONLY | O_NOFOLLOW);
  if (!opened && opened.error().code == Errc::not_found) return damaged(entry, "is missing from the store");
  if (!opened) return fail(std::move(opened).error());
  from = std::move(*opened);
  struct stat info{};
  if (::fstat(from.get(), &info) != 0) return fail_errno("read " + store_.loose(entry.hash).string(), errno);
  if (static_cast<std::uint64_t>(info.st_size) != entry.size) return damaged(entry, "has another length than recorded");
  if (options_.verify) TRY(verify_loose(from.get(), entry));
  if (!clone_file(to, from.get())) return false;
  ++done_.cloned;
  return true;
}

/// Puts a link to the blob in the file's place.
Result<> Copying::link_loose(int folder, const std::string& name, const ManifestEntry& entry, int from) {
  std::string target;
  for (const char c : entry.path) target += c == '/' ? "../" : "";
  const std::filesystem::path blob = store_.loose(entry.hash);
  target += *options_.objects + "/" + blob.parent_path().filename().string() + "/" + blob.filename().string();
  // Whoever writes through the link would change the blob.
  if (::fchmod(from, 0400) != 0 || ::unlinkat(folder, name.c_str(), 0) != 0 ||
      ::symlinkat(target.c_str(), folder, name.c_str()) != 0) {
    return fail_errno("make the link " + base::to_utf8(entry.path), errno);
  }
  return {};
}

Result<> Copying::make_file(int folder, const std::string& name, const ManifestEntry& entry) {
  const base::UniqueFd file(
      ::openat(folder, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, static_cast<mode_t>(0600)));
  if (!file) return fail_errno("write " + base::to_utf8(entry.path), errno);
  ++done_.files;
  done_.bytes += entry.size;
  const auto place = places_.find(entry.hash);
  if (place == places_.end()) {
    base::UniqueFd from;
    TRY_ASSIGN(const bool shared, share_loose(file.get(), entry, from));
    const bool executable = (entry.mode & 0111U) != 0;  // a blob is not
    if (!shared && options_.objects && !executable) return link_loose(folder, name, entry, from.get());
    if (!shared) TRY(copy_bytes(file.get(), from.get(), entry));
  } else if (place->second.size != entry.size) {
    return damaged(entry, "has another length than recorded");
  } else {
    TRY_ASSIGN(const std::string data, packs_.read(place->second, options_.verify));
    TRY(base::write_all(file.get(), data));
  }
  if (::fchmod(file.get(), entry.mode & (options_.objects ? 0555U : 0777U)) != 0)
    return fail_errno("set the mode of " + base::to_utf8(entry.path), errno);
  return {};
}

Result<> Copying::make(const ManifestEntry& entry) {
  std::string name;
  TRY_ASSIGN(const int folder, cursor_.parent_of(entry.path, name));
  switch (entry.type) {
    case EntryType::file:
      return make_file(folder, name, entry);
    case EntryType::link:
      if (::symlinkat(entry.target.c_str(), folder, name.c_str()) != 0) {
        return fail_errno("make the link " + base::to_utf8(entry.path), errno);
      }
      return {};
    case EntryType::directory:
      if (::mkdirat(folder, name.c_str(), 0700) != 0 || ::fchmodat(folder, name.c_str(), entry.mode & 0777U, 0) != 0) {
        return fail_errno("make the directory " + base::to_utf8(entry.path), errno);
      }
      return {};
  }
  return {};
}

}  // namespace

Result<Materialised> make_entries(const Store& store, const std::vector<ManifestEntry>& entries, int root,
                                  const MaterialiseOptions& options) {
  HashSet wanted;
  for (const ManifestEntry& entry : entries) {
    if (entry.type == EntryType::file && entry.size <= kLooseAbove) wanted.insert(entry.hash);
  }
  TRY_ASSIGN(PlaceMap places, store.places(wanted));
  Copying copying(store, root, options, std::move(places));
  // Links last: until then there is none in the destination that anything could go through.
  for (const bool links : {false, true}) {
    for (std::size_t i = 0; i < entries.size(); ++i) {
      if ((entries[i].type == EntryType::link) != links) continue;
      if (options.go_on && i % kAskEvery == 0 && !options.go_on())
        return fail(Errc::canceled, "copying a snapshot was stopped");
      TRY(copying.make(entries[i]));
    }
  }
  return copying.done();
}

Result<Materialised> materialise(const Store& store, std::string_view digest, const fs::path& destination,
                                 const MaterialiseOptions& options) {
  TRY_ASSIGN(const base::UniqueFd in_use, store.use());
  TRY_ASSIGN(const std::vector<ManifestEntry> entries, store.manifest(digest));
  for (const ManifestEntry& entry : entries) {
    if (options.make_outputs && (entry.path == "outputs" || entry.path.starts_with("outputs/"))) {
      return fail(Errc::store, "the manifest names outputs/, which no snapshot has");
    }
  }
  TRY_ASSIGN(const base::UniqueFd root, open_destination(destination));
  auto made = make_entries(store, entries, root.get(), options);
  if (!made) return fail(std::move(made).error().with_context("copying the snapshot to " + destination.string()));
  if (options.make_outputs && ::mkdirat(root.get(), "outputs", 0777) != 0) {
    return fail_errno("make " + (destination / "outputs").string(), errno);
  }
  return made;
}

}  // namespace trainctl::snapshot
