// SPDX-License-Identifier: Apache-2.0
#include "archive/mirror.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/clock.hpp"
#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "base/ulid.hpp"
#include "format/event.hpp"
#include "format/paths.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::archive {
namespace {

constexpr std::uint64_t kTail = 64U << 10U;  // bytes that are compared before a copy goes on
constexpr std::uint64_t kStep = 64U << 10U;  // grain of the search for the common prefix

bool is_number(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

Result<std::string> hash_prefix(const std::filesystem::path& path, std::uint64_t count) {
  TRY_ASSIGN(const base::UniqueFd fd, base::open_file(path, O_RDONLY));
  base::Sha256 hash;
  std::string buffer;
  for (std::uint64_t done = 0; done < count;) {
    buffer.resize(std::min<std::uint64_t>(1U << 20U, count - done));
    const ssize_t got = ::pread(fd.get(), buffer.data(), buffer.size(), static_cast<off_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return fail(Errc::io, path.string() + " became shorter while it was read");
    hash.update(std::string_view(buffer).substr(0, static_cast<std::size_t>(got)));
    done += static_cast<std::uint64_t>(got);
  }
  return hash.finish_hex();
}

/// The longest n <= limit, a multiple of kStep or the limit itself, whose first n bytes are the same on both sides.
Result<std::uint64_t> common_prefix(const std::filesystem::path& copy, std::uint64_t limit,
                                    const Mirror::SourceHash& source) {
  std::uint64_t low = 0;                             // known to be common, in steps
  std::uint64_t high = (limit + kStep - 1) / kStep;  // the last step is cut at the limit
  while (low < high) {
    const std::uint64_t middle = (low + high + 1) / 2;
    const std::uint64_t count = std::min(middle * kStep, limit);
    TRY_ASSIGN(const std::string ours, hash_prefix(copy, count));
    TRY_ASSIGN(const std::string theirs, source(count));
    if (ours == theirs) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return std::min(low * kStep, limit);
}

}  // namespace

bool is_mirrored(std::string_view file) {
  const auto parts = base::split(file, '/');
  if (parts.size() < 3 || parts[0] != "attempts" || !is_number(parts[1])) return false;
  for (const std::string& part : parts) {
    if (part.empty() || part.front() == '.' || part.find('\0') != std::string::npos) return false;
  }
  if (parts.size() == 3) return parts[2] == "events.jsonl" || parts[2] == "outputs.jsonl";
  return parts[2] == "nodes" || parts[2] == "logs" || parts[2] == "metrics";
}

Result<std::optional<Mirror>> Mirror::open(const format::RunPaths& run) {
  TRY(base::make_directories(run.clients()));
  TRY_ASSIGN(auto lock, base::FileLock::try_acquire(run.mirror_lock()));
  if (!lock) return std::nullopt;
  Mirror mirror(run, std::move(*lock));
  TRY(mirror.read_back());
  return std::optional<Mirror>(std::move(mirror));
}

Result<> Mirror::read_back() {
  TRY_ASSIGN(const auto lines, format::read_lines(run_.mirror_cursors()));
  std::string boot;
  for (const Json& line : lines) {
    boot = line.value("boot", "");
    if (line.value("type", "") != "cursor") continue;
    const std::string name = line.value("file", "");
    const MirrorCursor cursor = {
        .have = line.value("length", std::uint64_t{0}), .tail = {}, .token = line.value("token", "")};
    // A cursor that outlived the bytes before it (the machine crashed) leads behind them.
    const auto path = run_.root / copy_name(name, line.value("epoch", 1));
    if (cursor.have <= base::file_size(path).value_or(0)) tokens_[name] = cursor;
  }
  rebooted_ = !boot.empty() && boot != base::boot_id();
  TRY_ASSIGN(token_writer_, format::EventWriter::open(run_.mirror_cursors()));
  return token_writer_->append("mirror", Json::object());
}

std::string Mirror::copy_name(std::string_view file, int epoch) const {
  return epoch == 1 ? std::string(file) : std::string(file) + "." + std::to_string(epoch);
}

int Mirror::last_epoch(std::string_view file) const {
  int epoch = 1;
  while (base::exists(run_.root / copy_name(file, epoch + 1))) ++epoch;
  return epoch;
}

Result<Mirror::File*> Mirror::file(std::string_view name) {
  if (const auto found = files_.find(name); found != files_.end()) return &found->second;
  if (!is_mirrored(name)) return fail(Errc::invalid, "\"" + std::string(name) + "\" is no file that is mirrored");
  File opened;
  opened.epoch = last_epoch(name);
  const auto path = run_.root / copy_name(name, opened.epoch);
  TRY(base::make_directories(path.parent_path()));
  TRY_ASSIGN(opened.fd, base::open_file(path, O_RDWR | O_CREAT | O_NOFOLLOW));
  opened.size = base::file_size(path).value_or(0);
  return &files_.emplace(std::string(name), std::move(opened)).first->second;
}

Result<std::map<std::string, MirrorCursor>> Mirror::cursors() const {
  std::map<std::string, MirrorCursor> cursors;
  for (const auto& [name, token] : tokens_) cursors[name] = token;
  std::error_code ignored;
  for (std::filesystem::recursive_directory_iterator it(run_.attempts(), ignored), end; it != end;
       it.increment(ignored)) {
    if (ignored) break;
    if (!it->is_regular_file(ignored)) continue;
    const std::string name = it->path().lexically_relative(run_.root).generic_string();
    // "std.log.2" is an epoch of "std.log" and told with it.
    const auto dot = name.rfind('.');
    const bool is_epoch = dot != std::string::npos && is_number(std::string_view(name).substr(dot + 1)) &&
                          base::exists(run_.root / name.substr(0, dot));
    if (is_epoch || !is_mirrored(name) || tokens_.contains(name)) continue;
    const auto path = run_.root / copy_name(name, last_epoch(name));
    MirrorCursor cursor{.have = base::file_size(path).value_or(0)};
    const std::uint64_t count = std::min(cursor.have, kTail);
    TRY_ASSIGN(const std::string tail, base::read_range(path, cursor.have - count, count));
    cursor.tail = base::sha256_hex(tail);
    cursors[name] = std::move(cursor);
  }
  return cursors;
}

Result<> Mirror::write(std::string_view name, std::uint64_t offset, std::string_view bytes, std::string_view token) {
  TRY_ASSIGN(File * file, this->file(name));
  if (offset > file->size) {
    return fail(Errc::invalid, std::string(name) + ": bytes at " + std::to_string(offset) + " but the copy ends at " +
                                   std::to_string(file->size));
  }
  // Bytes whose cursor did not follow any more are asked for again, and stand at the same place: the first ones too.
  if (!token.empty() && !tokens_.contains(name)) TRY(keep_cursor(name, file->epoch, {.have = offset}));
  if (auto written = base::pwrite_all(file->fd.get(), bytes, offset); !written)
    return fail(written.error().with_context("writing " + (run_.root / copy_name(name, file->epoch)).string()));
  file->size = std::max(file->size, offset + bytes.size());
  if (token.empty()) return {};
  return keep_cursor(name, file->epoch, {.have = offset + bytes.size(), .token = std::string(token)});
}

Result<> Mirror::keep_cursor(std::string_view name, int epoch, const MirrorCursor& cursor) {
  tokens_[std::string(name)] = cursor;
  return token_writer_->append("cursor",
                               {{"file", name}, {"epoch", epoch}, {"length", cursor.have}, {"token", cursor.token}});
}

Result<MirrorCursor> Mirror::reconcile(std::string_view name, std::uint64_t size, const SourceHash& hash) {
  TRY_ASSIGN(File * file, this->file(name));
  const auto path = run_.root / copy_name(name, file->epoch);
  TRY_ASSIGN(const std::uint64_t common, common_prefix(path, std::min(file->size, size), hash));
  if (rebooted_) {
    if (::ftruncate(file->fd.get(), static_cast<off_t>(common)) != 0) return fail_errno("cut " + path.string(), errno);
    file->size = common;
    return MirrorCursor{.have = common};
  }
  const int epoch = file->epoch + 1;
  TRY_ASSIGN(file->fd, base::open_file(run_.root / copy_name(name, epoch), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW));
  file->epoch = epoch;
  file->size = 0;
  TRY(token_writer_->append("epoch", {{"file", name}, {"epoch", epoch}, {"common", common}, {"size", size}}));
  return MirrorCursor{};
}

Result<> Mirror::journal(std::string_view type, const Json& fields) {
  if (!journal_) {
    TRY_ASSIGN(journal_, format::EventWriter::create(run_.client(base::new_ulid())));
  }
  return journal_->append(type, fields);
}

Result<> Mirror::observe(const Json& observation) {
  if (observation == last_observed_) return {};
  last_observed_ = observation;
  return journal("observed", observation);
}

Result<> Mirror::note_gap(std::string_view file, std::uint64_t lines) {
  return journal("gap", {{"file", file}, {"lines", lines}});
}

}  // namespace trainctl::archive
