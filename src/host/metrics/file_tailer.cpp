// SPDX-License-Identifier: Apache-2.0
#include "host/metrics/file_tailer.hpp"

#include <poll.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "host/metrics/file_finder.hpp"
#include "host/metrics/source_points.hpp"
#include "host/metrics/table_files.hpp"
#include "host/tensorboard/event_file.hpp"
#include "host/tensorboard/naming.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

constexpr std::uint64_t kMaxTable = std::uint64_t{32} << 20U;
constexpr std::uint64_t kLongestPauseNs = 30'000'000'000;

/// One source: its points, and the files they come from.
class Source {
 public:
  Source(const FileTailerOptions& options, std::string name) : points_(options.metrics_directory, std::move(name)) {}
  virtual ~Source() = default;
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;

  Result<> recover() {
    if (recovered_) return {};
    TRY_ASSIGN(done_, points_.recover());
    recovered_ = true;
    return {};
  }
  [[nodiscard]] const std::string& first_file() const { return points_.tail_file(); }
  virtual void adopt(const FoundFile& file) = 0;
  /// All files to their present ends.
  virtual Result<> advance(const std::function<void(const std::string&)>& warn) = 0;

 protected:
  SourcePoints points_;
  std::map<std::string, SourcePoints::Done> done_ = {};

 private:
  bool recovered_ = false;
};

class Tensorboard final : public Source {
 public:
  explicit Tensorboard(const FileTailerOptions& options) : Source(options, "tensorboard") {}

  void adopt(const FoundFile& file) override {
    const std::string folder = std::filesystem::path(file.name).parent_path().string();
    std::uint64_t offset = 0;
    std::string prefix;
    if (const auto known = done_.find(file.name); known != done_.end()) {
      offset = known->second.offset;
      prefix = known->second.prefix;
      prefixes_.try_emplace(prefix, folder);
    } else {
      prefix = prefix_of(folder);
    }
    files_.emplace_back(file.path, file.name, std::move(prefix), offset);
  }

  Result<> advance(const std::function<void(const std::string&)>& warn) override {
    for (EventFile& file : files_) {
      TRY(file.advance(points_));
      for (const std::string& warning : file.take_warnings()) warn(warning);
    }
    return points_.flush();
  }

 private:
  /// Two folders with the same prefix (version_0 and version_1) are told apart by the name of the later one.
  std::string prefix_of(const std::string& folder) {
    std::string prefix = tag_prefix(folder);
    if (prefixes_.try_emplace(prefix, folder).first->second == folder) return prefix;
    const std::string last = std::filesystem::path(folder).filename().string();
    std::string other = prefix.empty() || prefix.ends_with(last) ? folder : prefix + "/" + last;
    if (prefix.empty() && !last.empty()) other = last;
    if (prefixes_.try_emplace(other, folder).first->second == folder) return other;
    return prefixes_.try_emplace(folder, folder).first->first;
  }

  std::vector<EventFile> files_ = {};
  std::map<std::string, std::string> prefixes_ = {};
};

/// Files that are read whole when they change; the offset counts their rows.
class Tables final : public Source {
 public:
  using Parser = std::vector<TableRow> (*)(std::string_view);
  Tables(const FileTailerOptions& options, const char* name, Parser parser) : Source(options, name), parser_(parser) {}

  void adopt(const FoundFile& file) override {
    std::uint64_t rows = 0;
    if (const auto known = done_.find(file.name); known != done_.end()) rows = known->second.offset;
    files_.push_back({.path = file.path, .name = file.name, .rows = rows});
  }

  Result<> advance(const std::function<void(const std::string&)>& warn) override {
    for (File& file : files_) {
      std::error_code error;
      const auto changed = std::filesystem::last_write_time(file.path, error);
      const auto size = base::file_size(file.path);
      if (error || !size || (changed == file.changed && *size == file.size)) continue;
      if (*size > kMaxTable) {
        warn("the metric file " + file.name + " is larger than 32 MiB and is not read any more");
        continue;
      }
      const auto text = base::read_file(file.path, kMaxTable);
      if (!text) continue;  // replaced this moment
      add_rows(file, parser_(*text));
      TRY(points_.flush());
      file.changed = changed;
      file.size = *size;
    }
    return {};
  }

 private:
  struct File {
    std::filesystem::path path;
    std::string name;
    std::uint64_t rows = 0;
    std::filesystem::file_time_type changed = {};
    std::uint64_t size = 0;
  };

  void add_rows(File& file, const std::vector<TableRow>& rows) {
    if (rows.size() <= file.rows) return;
    points_.begin(file.name, {.offset = file.rows});
    for (; file.rows < rows.size(); ++file.rows) {
      const TableRow& row = rows[file.rows];
      for (const auto& [name, value] : row.values)
        points_.add({.t = base::wall_now(), .step = row.step, .name = name, .value = value});
      points_.reach(file.rows + 1);
    }
  }

  Parser parser_;
  std::vector<File> files_ = {};
};

class FileTailer {
 public:
  explicit FileTailer(const FileTailerOptions& options)
      : options_(options),
        finder_(options.roots, options.since, options.wanted),
        tensorboard_(options),
        chainer_(options, "chainer", &parse_chainer_log),
        lightning_(options, "lightning", &parse_metrics_csv) {}

  Result<> run() {
    bool stop = options_.control_fd < 0;
    while (true) {
      const std::uint64_t began = base::mono_ns();
      const Result<> outcome = look();
      if (!outcome) say("metric files: " + outcome.error().message);
      if (stop) return outcome;
      stop = wait((base::mono_ns() - began) * 200);
    }
  }

 private:
  Result<> look() {
    for (Source* source :
         {static_cast<Source*>(&tensorboard_), static_cast<Source*>(&chainer_), static_cast<Source*>(&lightning_)})
      TRY(source->recover());
    auto found = finder_.look();
    std::stable_partition(found.begin(), found.end(),
                          [this](const FoundFile& file) { return source_of(file.kind).first_file() == file.name; });
    for (const FoundFile& file : found) source_of(file.kind).adopt(file);
    if (finder_.overflown()) say("the working directory has very many folders: not all are searched for metric files");
    const auto warn = [this](const std::string& text) { say(text); };
    TRY(tensorboard_.advance(warn));
    TRY(chainer_.advance(warn));
    return lightning_.advance(warn);
  }

  Source& source_of(FoundKind kind) {
    if (kind == FoundKind::tensorboard) return tensorboard_;
    if (kind == FoundKind::chainer) return chainer_;
    return lightning_;
  }

  bool wait(std::uint64_t least_ns) {
    const auto usual = static_cast<std::uint64_t>(options_.interval.count()) * 1'000'000;
    const std::uint64_t pause = std::min(std::max(least_ns, usual), std::max(kLongestPauseNs, usual));
    pollfd control{.fd = options_.control_fd, .events = POLLIN, .revents = 0};
    (void)::poll(&control, 1, static_cast<int>(pause / 1'000'000));
    return control.revents != 0;
  }

  void say(const std::string& text) {
    if (options_.warn && said_.insert(text).second) options_.warn(text);
  }

  const FileTailerOptions& options_;
  FileFinder finder_;
  Tensorboard tensorboard_;
  Tables chainer_;
  Tables lightning_;
  std::set<std::string> said_ = {};
};

}  // namespace

Result<> run_file_tailer(const FileTailerOptions& options) {
  return FileTailer(options).run();
}

}  // namespace trainctl::host
