// SPDX-License-Identifier: Apache-2.0
#include "target/host/collect.hpp"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "format/output_list.hpp"
#include "format/paths.hpp"
#include "host/stdio/frame.hpp"
#include "snapshot/folder_cursor.hpp"
#include "snapshot/glob.hpp"
#include "snapshot/manifest.hpp"
#include "target/cancel.hpp"
#include "target/host/runner_client.hpp"
#include "target/target.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::target {
namespace {

namespace fs = std::filesystem;
using format::OutputEntry;
using host::Frame;
using host::FrameType;

constexpr int kTries = 2;

/// What the note before a file's data says of it.
struct Origin {
  std::int64_t mtime_ns = 0;
};

/// Copies a file of the run's folder there into `to`, from its end on; the SHA-256 of the whole.
Result<std::string> fetch_into(RunnerClient& client, const std::string& run, const std::string& file,
                               const base::UniqueFd& to, const Cancel& cancel, Origin& origin,
                               const std::function<void(std::uint64_t)>& got) {
  base::Sha256 hash;
  std::uint64_t at = 0;
  for (std::string block(1U << 20U, '\0');;) {
    const ssize_t count = ::pread(to.get(), block.data(), block.size(), static_cast<off_t>(at));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_errno("read the beginning of " + base::to_utf8(file), errno);
    if (count == 0) break;
    hash.update(std::string_view(block).substr(0, static_cast<std::size_t>(count)));
    at += static_cast<std::uint64_t>(count);
  }
  TRY_ASSIGN(auto stream, client.open({{"op", "fetch"}, {"run", run}, {"file", file}, {"offset", at}}));
  for (;;) {
    TRY_ASSIGN(const Frame frame, stream.next(cancel));
    if (frame.type == FrameType::end) return hash.finish_hex();
    if (frame.type == FrameType::note) {
      TRY_ASSIGN(const Json note, base::parse_json(frame.payload));
      origin.mtime_ns = note.value("mtime_ns", std::int64_t{0});
      continue;
    }
    TRY(base::pwrite_all(to.get(), frame.payload, at));
    at += frame.payload.size();
    hash.update(frame.payload);
    stream.consumed(frame.payload.size());
    got(frame.payload.size());
  }
}

bool is_wanted(const std::vector<std::string>& patterns, const std::string& path) {
  if (patterns.empty()) return true;
  return std::any_of(patterns.begin(), patterns.end(), [&path](const std::string& pattern) {
    return path.starts_with(pattern + "/") || snapshot::Glob::compile(pattern, false).matches(path);
  });
}

/// Does the link stay inside the outputs, whatever its target is?
bool stays_inside(const OutputEntry& entry) {
  const fs::path target(*entry.link);
  if (target.is_absolute()) return false;
  const fs::path place = (fs::path(entry.path).parent_path() / target).lexically_normal();
  return place.empty() || *place.begin() != "..";
}

class Collecting {
 public:
  Collecting(RunnerClient& client, const RunRef& ref, const CollectPlan& plan, int node, const Cancel& cancel)
      : client_(client),
        ref_(ref),
        plan_(plan),
        cancel_(cancel),
        attempt_(format::RunPaths{ref.folder, node}.attempt(plan.attempt)),
        outputs_(attempt_.collected_outputs()) {}

  Result<Collected> run();

 private:
  Result<bool> fetch_list();
  Result<> leave_out_what_node_0_has(std::vector<OutputEntry>& entries) const;
  void choose(const std::vector<OutputEntry>& entries);
  Result<> make(snapshot::FolderCursor& folders, const OutputEntry& entry);
  Result<> make_file(int folder, const std::string& name, const OutputEntry& entry);
  Result<> make_link(int folder, const std::string& name, const OutputEntry& entry);
  [[nodiscard]] bool is_here(int folder, const std::string& name, const OutputEntry& entry) const;
  Result<bool> fetch(const OutputEntry& entry, const fs::path& part, Origin& origin);
  [[nodiscard]] std::string remote(const std::string& below) const {
    return "attempts/" + std::to_string(plan_.attempt) + "/" + below;
  }
  void tell() const {
    if (ref_.progress) ref_.progress(transfer_);
  }

  RunnerClient& client_;
  const RunRef& ref_;
  const CollectPlan& plan_;
  const Cancel& cancel_;
  format::AttemptPaths attempt_;
  fs::path outputs_;
  std::vector<OutputEntry> chosen_;
  Collected collected_;
  Transfer transfer_{.what = "outputs"};
};

/// The list that the run's end left there. False: it left none.
Result<bool> Collecting::fetch_list() {
  const fs::path part = attempt_.root / ".outputs.jsonl.part";
  TRY(base::make_directories(attempt_.output_list().parent_path()));
  TRY_ASSIGN(const auto fd, base::open_file(part, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW));
  Origin origin;
  const auto fetched = fetch_into(client_, ref_.run, remote(attempt_.output_list().lexically_relative(attempt_.root)),
                                  fd, cancel_, origin, [](std::uint64_t) {});
  if (!fetched) {
    ::unlink(part.c_str());
    if (fetched.error().code == Errc::not_found) return false;
    return fail(fetched.error());
  }
  if (::rename(part.c_str(), attempt_.output_list().c_str()) != 0)
    return fail_errno("write " + attempt_.output_list().string(), errno);
  return true;
}

/// Several machines often write the same files; one copy is enough.
Result<> Collecting::leave_out_what_node_0_has(std::vector<OutputEntry>& entries) const {
  if (attempt_.own_node == 0) return {};
  TRY_ASSIGN(const auto first, format::read_output_list(format::AttemptPaths{attempt_.root}.output_list()));
  std::map<std::string, std::string> there;
  for (const OutputEntry& entry : first.value_or(std::vector<OutputEntry>{})) {
    if (entry.sha256) there[entry.path] = *entry.sha256;
  }
  std::erase_if(entries, [&](const OutputEntry& entry) {
    const auto same = there.find(entry.path);
    return entry.sha256 && same != there.end() && same->second == *entry.sha256;
  });
  return {};
}

void Collecting::choose(const std::vector<OutputEntry>& entries) {
  std::uint64_t bytes = 0;
  for (const OutputEntry& entry : entries) {
    const bool safe =
        snapshot::is_safe_path(entry.path) && entry.special.empty() && (!entry.link || stays_inside(entry));
    const bool wanted = is_wanted(plan_.patterns, entry.path);
    if (!safe && wanted) collected_.refused.push_back(entry.path);
    if (!safe) continue;
    const bool came_before = !wanted && base::file_size(outputs_ / entry.path) == entry.size;
    if (came_before) continue;
    if (!wanted || (plan_.max_bytes && bytes + entry.size > *plan_.max_bytes)) {
      collected_.left.push_back(entry.path);
      collected_.left_bytes += entry.size;
      continue;
    }
    bytes += entry.size;
    transfer_.bytes += entry.size;
    ++transfer_.files;
    chosen_.push_back(entry);
  }
}

/// Is the file whole here? Its bytes decide, not its times.
bool Collecting::is_here(int folder, const std::string& name, const OutputEntry& entry) const {
  struct stat status{};
  if (::fstatat(folder, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(status.st_mode)) return false;
  if (static_cast<std::uint64_t>(status.st_size) != entry.size || !entry.sha256) return false;
  const auto hash = base::sha256_file_hex(outputs_ / entry.path);
  return hash && *hash == *entry.sha256;
}

/// False: what came has another hash than the end recorded.
Result<bool> Collecting::fetch(const OutputEntry& entry, const fs::path& part, Origin& origin) {
  TRY_ASSIGN(const auto fd, base::open_file(part, O_RDWR | O_CREAT | O_NOFOLLOW));
  const std::uint64_t before = base::file_size(part).value_or(0);
  if (before > entry.size && ::ftruncate(fd.get(), 0) != 0) return fail_errno("write " + part.string(), errno);
  transfer_.bytes_there += std::min(before, entry.size);
  transfer_.bytes -= std::min(before, entry.size);
  TRY_ASSIGN(const std::string hash, fetch_into(client_, ref_.run, remote("work/outputs/" + entry.path), fd, cancel_,
                                                origin, [this](std::uint64_t bytes) {
                                                  transfer_.bytes_done += bytes;
                                                  tell();
                                                }));
  TRY(base::sync_file(fd.get()));
  return !entry.sha256 || hash == *entry.sha256;
}

Result<> Collecting::make_file(int folder, const std::string& name, const OutputEntry& entry) {
  if (is_here(folder, name, entry)) {
    transfer_.bytes -= entry.size;
    transfer_.bytes_there += entry.size;
    return {};
  }
  // Named by the content: another attempt of this command finds the part and goes on with it.
  const fs::path part = attempt_.root / ".collect" / base::sha256_hex(entry.path + "/" + entry.sha256.value_or(""));
  TRY(base::make_directories(part.parent_path()));
  Origin origin;
  TRY_ASSIGN(bool good, fetch(entry, part, origin));
  for (int tried = 1; !good && tried < kTries; ++tried) {
    ::unlink(part.c_str());
    TRY_ASSIGN(good, fetch(entry, part, origin));
  }
  if (!good) {
    ::unlink(part.c_str());
    return fail(Errc::io, "the output " + base::to_utf8(entry.path) + " is not what it was when the run ended",
                "it was changed there afterwards, or its disk is damaged");
  }
  const std::int64_t seconds = origin.mtime_ns / 1'000'000'000;
  const timespec times[2] = {{0, UTIME_OMIT}, {seconds, origin.mtime_ns % 1'000'000'000}};
  if (::chmod(part.c_str(), entry.mode & 0777U) != 0 || ::utimensat(AT_FDCWD, part.c_str(), times, 0) != 0 ||
      ::renameat(AT_FDCWD, part.c_str(), folder, name.c_str()) != 0) {
    return fail_errno("write the output " + base::to_utf8(entry.path), errno);
  }
  return {};
}

Result<> Collecting::make_link(int folder, const std::string& name, const OutputEntry& entry) {
  if (::unlinkat(folder, name.c_str(), 0) != 0 && errno != ENOENT)
    return fail_errno("replace " + base::to_utf8(entry.path), errno);
  if (::symlinkat(entry.link->c_str(), folder, name.c_str()) != 0)
    return fail_errno("make the link " + base::to_utf8(entry.path), errno);
  return {};
}

Result<> Collecting::make(snapshot::FolderCursor& folders, const OutputEntry& entry) {
  std::string name;
  TRY_ASSIGN(const int folder, folders.parent_of(entry.path, name));
  TRY(entry.link ? make_link(folder, name, entry) : make_file(folder, name, entry));
  ++collected_.files;
  collected_.bytes += entry.size;
  ++transfer_.files_done;
  tell();
  return {};
}

Result<Collected> Collecting::run() {
  TRY_ASSIGN(const bool listed, fetch_list());
  if (!listed) return Collected{};
  TRY_ASSIGN(auto entries, format::read_output_list(attempt_.output_list()));
  if (!entries) return Collected{};
  TRY(leave_out_what_node_0_has(*entries));
  choose(*entries);
  if (attempt_.own_node > 0 && chosen_.empty()) return std::move(collected_);
  TRY(base::make_directories(outputs_));
  TRY_ASSIGN(const auto root, base::open_file(outputs_, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  snapshot::FolderCursor folders(root.get(), snapshot::FolderCursor::Missing::make);
  // Links last: until then there is none that a file could be written through.
  for (const bool links : {false, true}) {
    for (const OutputEntry& entry : chosen_) {
      if (entry.link.has_value() == links) TRY(make(folders, entry));
    }
  }
  (void)base::remove_tree(attempt_.root / ".collect");
  return std::move(collected_);
}

}  // namespace

Result<Collected> collect_outputs(RunnerClient& client, const RunRef& ref, const CollectPlan& plan,
                                  const Cancel& cancel, int node) {
  return Collecting(client, ref, plan, node, cancel).run();
}

}  // namespace trainctl::target
