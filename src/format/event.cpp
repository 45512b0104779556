// SPDX-License-Identifier: Apache-2.0
#include "format/event.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::format {

Result<EventWriter> EventWriter::open(const std::filesystem::path& path, int node) {
  TRY_ASSIGN(auto fd, base::open_file(path, O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW));
  EventWriter writer(std::move(fd), path, node);
  writer.boot_ = base::boot_id();
  TRY_ASSIGN(const std::string text, base::read_file(path));
  if (text.empty()) return writer;
  if (text.back() != '\n') TRY(base::write_all(writer.fd_.get(), "\n"));
  for (const Json& line : parse_lines(text)) {
    const auto seq = line.find("seq");
    if (seq != line.end() && seq->is_number_unsigned())
      writer.seq_ = std::max(writer.seq_, seq->get<std::uint64_t>() + 1);
  }
  return writer;
}

Result<EventWriter> EventWriter::create(const std::filesystem::path& path, int node) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0 && errno == EEXIST) return fail(Errc::store, path.string() + " exists");
  if (fd < 0) return fail_errno("create " + path.string(), errno);
  EventWriter writer(base::UniqueFd(fd), path, node);
  writer.boot_ = base::boot_id();
  return writer;
}

Result<> EventWriter::append(std::string_view type, const Json& fields) {
  Json line = {{"v", 1},
               {"seq", seq_},
               {"t", base::format_utc(base::wall_now())},
               {"mono_ns", base::mono_ns()},
               {"boot", boot_},
               {"node", node_},
               {"type", type}};
  if (fields.is_object()) {
    for (const auto& item : fields.items()) line.emplace(item.key(), Json(item.value()));
  }
  const std::string text = base::dump_json(line) + "\n";
  auto written = base::write_all(fd_.get(), text);
  if (!written) return fail(std::move(written).error().with_context("write " + path_.string()));
  ++seq_;
  return {};
}

Result<> EventWriter::append_durable(std::string_view type, const Json& fields) {
  TRY(append(type, fields));
  return sync();
}

void EventWriter::reserve(std::uint64_t bytes) {
  struct stat status{};
  if (::fstat(fd_.get(), &status) != 0) return;
  // Best effort by contract: file systems without fallocate just cannot promise the space.
  (void)::fallocate(fd_.get(), FALLOC_FL_KEEP_SIZE, status.st_size, static_cast<off_t>(bytes));
}

Result<> EventWriter::sync() {
  return base::sync_file(fd_.get());
}

std::vector<Json> parse_lines(std::string_view text, std::size_t* consumed) {
  std::vector<Json> lines;
  std::size_t begin = 0;
  for (std::size_t end = text.find('\n'); end != std::string_view::npos; end = text.find('\n', begin)) {
    const std::string_view line = text.substr(begin, end - begin);
    begin = end + 1;
    if (line.empty()) continue;
    auto parsed = base::parse_json(line);
    if (parsed && parsed->is_object()) lines.push_back(std::move(*parsed));
  }
  if (consumed != nullptr) *consumed = begin;
  return lines;
}

Result<std::vector<Json>> read_lines(const std::filesystem::path& path) {
  TRY_ASSIGN(const std::optional<std::string> text, base::read_file_if_exists(path));
  if (!text) return std::vector<Json>{};
  return parse_lines(*text);
}

Json last_end(const std::filesystem::path& events) {
  const auto lines = read_lines(events);
  if (!lines) return nullptr;
  const auto end = std::find_if(lines->rbegin(), lines->rend(),
                                [](const Json& line) { return line.value("type", Json()) == "end"; });
  return end == lines->rend() ? Json(nullptr) : *end;
}

}  // namespace trainctl::format
