// SPDX-License-Identifier: Apache-2.0
#include "snapshot/scan.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "base/text.hpp"
#include "snapshot/ignore.hpp"
#include "snapshot/manifest.hpp"
#include "snapshot/stat_ahead.hpp"
#include "snapshot/tree_rules.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::snapshot {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxDepth = 200;
constexpr std::size_t kShownPaths = 5;
constexpr std::size_t kShownWarnings = 20;

struct Name {
  std::string name;
  unsigned char type = DT_UNKNOWN;
};

unsigned char type_of(mode_t mode) {
  if (S_ISREG(mode)) return DT_REG;
  if (S_ISDIR(mode)) return DT_DIR;
  if (S_ISLNK(mode)) return DT_LNK;
  return S_ISFIFO(mode) ? DT_FIFO : S_ISSOCK(mode) ? DT_SOCK : DT_CHR;
}

const char* kind_of(unsigned char type) {
  return type == DT_FIFO ? "a named pipe" : type == DT_SOCK ? "a socket" : "a device";
}

/// All names but "." and "..", in manifest order; the type is looked up where the file system does not tell it.
Result<std::vector<Name>> read_names(DIR* directory) {
  std::vector<Name> names;
  while (true) {
    errno = 0;
    const dirent* entry = ::readdir(directory);  // NOLINT(concurrency-mt-unsafe): a stream of its own
    if (entry == nullptr) break;
    if (std::strcmp(entry->d_name, ".") == 0 || std::strcmp(entry->d_name, "..") == 0) continue;
    names.push_back({.name = entry->d_name, .type = entry->d_type});
  }
  if (errno != 0) return fail_errno("read a directory", errno);
  for (Name& name : names) {
    if (name.type != DT_UNKNOWN) continue;
    struct stat info{};
    if (::fstatat(::dirfd(directory), name.name.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0)
      name.type = type_of(info.st_mode);
  }
  std::sort(names.begin(), names.end(), [](const Name& a, const Name& b) {
    const std::size_t common = std::min(a.name.size(), b.name.size());
    const int order = std::memcmp(a.name.data(), b.name.data(), common);
    if (order != 0) return order < 0;
    const auto at_end = [common](const Name& name) -> unsigned {
      if (name.name.size() > common) return static_cast<unsigned char>(name.name[common]);
      return name.type == DT_DIR ? '/' : 0;
    };
    return at_end(a) < at_end(b);
  });
  return names;
}

bool has(const std::vector<Name>& names, std::string_view wanted) {
  return std::any_of(names.begin(), names.end(), [&](const Name& name) { return name.name == wanted; });
}

/// Whether a link at `path` with this target stays inside the tree, judged by the names alone.
bool stays_inside(std::string_view path, std::string_view target) {
  if (target.starts_with('/')) return false;
  auto depth = std::count(path.begin(), path.end(), '/');
  for (const std::string& part : base::split(target, '/')) {
    if (part == "..") --depth;
    if (part != ".." && part != "." && !part.empty()) ++depth;
    if (depth < 0) return false;
  }
  return true;
}

class Walker {
 public:
  Walker(Scan& out, TreeRules& rules, const ScanOptions& options)
      : out_(out), rules_(rules), path_(rules.prefix()), budget_(options.count_limit) {
    std::error_code error;
    const fs::path store = fs::weakly_canonical(options.store, error);
    if (!error && !options.store.empty()) store_ = rules.prefix() + store.lexically_relative(out.root).string();
    for (const fs::path& file : options.secrets) {
      const fs::path secret = fs::weakly_canonical(file, error);
      if (!error) secrets_.insert(rules.prefix() + secret.lexically_relative(out.root).string());
    }
  }

  Result<> walk(Directory directory, int depth, const IgnoreMatch& inherited);
  Result<> finish();
  void add_left_out(const Decision& decision, int parent, const Name& name);

 private:
  struct Found {
    std::uint64_t files = 0;
    std::uint64_t bytes = 0;
    bool cut = false;
  };

  [[nodiscard]] std::string shown() const { return path_.substr(rules_.prefix().size()); }
  Result<> visit(LookupBatch& here, const Name& name, int depth, const IgnoreMatch& inherited);
  Result<> visit_directory(int parent, const Name& name, int depth, const Decision& decision);
  void add(LookupBatch& here, const Name& name);
  bool fill(LookupBatch& batch, const Lookup& lookup);
  void settle();
  void fill_link(ScanEntry& entry, std::string target);
  void add_directory(int directory);
  void count(int parent, const std::string& name, unsigned char type, int depth, Found& found);
  void warn(std::string text);

  Scan& out_;
  TreeRules& rules_;
  std::string path_;  // relative to the top of the rules; directories with a final slash
  std::uint64_t budget_;
  StatAhead ahead_;
  std::set<std::string> secrets_;
  std::string store_;  // the store, where it lies in the source; else something that is no path of it
  std::map<std::pair<std::string, std::size_t>, std::size_t> left_out_;  // (source + rule, line) -> position
  std::vector<std::string> unreadable_;
  int unreadable_errno_ = 0;
  std::size_t hidden_warnings_ = 0;
  std::uint64_t odd_names_ = 0;
};

void Walker::warn(std::string text) {
  if (out_.warnings.size() < kShownWarnings) {
    out_.warnings.push_back(std::move(text));
  } else {
    ++hidden_warnings_;
  }
}

void Walker::count(int parent, const std::string& name, unsigned char type, int depth, Found& found) {
  if (budget_ == 0 || depth > kMaxDepth) {
    found.cut = true;
    return;
  }
  --budget_;
  if (type != DT_DIR) {
    struct stat info{};
    if (::fstatat(parent, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) return;
    ++found.files;
    if (S_ISREG(info.st_mode)) found.bytes += static_cast<std::uint64_t>(info.st_size);
    return;
  }
  base::UniqueFd fd(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return;
  const Directory directory(::fdopendir(fd.get()));
  if (!directory) return;
  const int raw = fd.release();
  const auto names = read_names(directory.get());
  if (!names) return;
  for (const Name& child : *names) count(raw, child.name, child.type, depth + 1, found);
}

void Walker::add_left_out(const Decision& decision, int parent, const Name& name) {
  const bool built_in = !decision.built_in.empty();
  const std::string source = built_in ? "built-in" : decision.match.file->name();
  const std::string rule = built_in ? std::string(decision.built_in) : decision.match.rule->text;
  const std::size_t line = built_in ? 0 : decision.match.rule->line;
  const auto [at, fresh] = left_out_.try_emplace({source + '\n' + rule, line}, out_.left_out.size());
  if (fresh) out_.left_out.push_back({.source = source, .line = line, .rule = rule});
  LeftOut& left_out = out_.left_out[at->second];
  ++left_out.count;
  if (left_out.paths.size() < kShownPaths)
    left_out.paths.push_back(shown() + name.name + (name.type == DT_DIR ? "/" : ""));
  if (built_in) return;
  Found found;
  count(parent, name.name, name.type, 0, found);
  left_out.files += found.files;
  left_out.bytes += found.bytes;
  left_out.at_least = left_out.at_least || found.cut;
}

void Walker::fill_link(ScanEntry& entry, std::string target) {
  entry.entry.type = EntryType::link;
  entry.entry.mode = 0;
  entry.entry.target = std::move(target);
  if (stays_inside(entry.entry.path, entry.entry.target)) return;
  warn("the link " + base::to_utf8(entry.entry.path) + " leads outside the source directory, to " +
       base::to_utf8(entry.entry.target) + ": it is kept as a link, what it leads to is not copied");
}

/// An entry whose look-up comes later, in settle().
void Walker::add(LookupBatch& here, const Name& name) {
  ScanEntry& entry = out_.entries.emplace_back();
  entry.entry.path.reserve(path_.size() - rules_.prefix().size() + name.name.size());
  entry.entry.path.append(path_, rules_.prefix().size());
  entry.entry.path += name.name;
  here.add(name.name, out_.entries.size() - 1);
}

/// False when it is none that a snapshot holds.
bool Walker::fill(LookupBatch& batch, const Lookup& lookup) {
  ScanEntry& entry = out_.entries[lookup.entry];
  if (lookup.mode == 0) return false;  // gone meanwhile: as if it had never been
  entry.entry.mode = lookup.mode & 0777U;
  entry.mtime_ns = lookup.mtime_ns;
  entry.ctime_ns = lookup.ctime_ns;
  entry.inode = lookup.inode;
  if (S_ISLNK(lookup.mode)) {
    fill_link(entry, std::move(batch.targets[lookup.entry]));
    return true;
  }
  if (S_ISREG(lookup.mode)) {
    entry.entry.size = lookup.size;
    ++out_.files;
    out_.bytes += lookup.size;
    return true;
  }
  warn(base::to_utf8(entry.entry.path) + " is " + kind_of(type_of(lookup.mode)) + " and was left out");
  return false;
}

/// What was found by the look-ups into the entries; entries that are none any more go.
void Walker::settle() {
  std::vector<std::size_t> gone;
  for (LookupBatch& batch : ahead_.finish()) {
    for (const Lookup& lookup : batch.lookups) {
      if (!fill(batch, lookup)) gone.push_back(lookup.entry);
    }
  }
  if (gone.empty()) return;
  std::sort(gone.begin(), gone.end());
  std::size_t kept = gone.front();
  auto next = gone.begin();
  for (std::size_t i = kept; i < out_.entries.size(); ++i) {
    if (next != gone.end() && *next == i) {
      ++next;
    } else {
      out_.entries[kept++] = std::move(out_.entries[i]);
    }
  }
  out_.entries.erase(out_.entries.begin() + static_cast<std::ptrdiff_t>(kept), out_.entries.end());
}

void Walker::add_directory(int directory) {
  struct stat info{};
  if (::fstat(directory, &info) != 0) return;
  ScanEntry entry;
  entry.entry.type = EntryType::directory;
  entry.entry.mode = info.st_mode & 0777U;
  entry.entry.path = shown();
  entry.entry.path.pop_back();
  out_.entries.push_back(std::move(entry));
}

Result<> Walker::visit_directory(int parent, const Name& name, int depth, const Decision& decision) {
  base::UniqueFd fd(::openat(parent, name.name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) {
    if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP) return {};  // replaced meanwhile
    if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) return fail_errno("open " + shown() + name.name, errno);
    unreadable_errno_ = errno;
    unreadable_.push_back(shown() + name.name + "/");
    return {};
  }
  Directory directory(::fdopendir(fd.get()));
  if (!directory) return fail_errno("open " + shown() + name.name, errno);
  static_cast<void>(fd.release());
  const std::size_t before = path_.size();
  path_ += name.name;
  path_ += '/';
  auto walked = walk(std::move(directory), depth + 1, decision.left_out ? decision.match : IgnoreMatch{});
  path_.resize(before);
  return walked;
}

Result<> Walker::visit(LookupBatch& here, const Name& name, int depth, const IgnoreMatch& inherited) {
  const int parent = ::dirfd(here.directory.get());
  const bool is_directory = name.type == DT_DIR;
  const std::size_t before = path_.size();
  path_ += name.name;
  Decision decision = rules_.decide(path_, is_directory, inherited);
  if (path_ == store_) decision = {.left_out = true, .built_in = "trainctl's store", .match = {}};
  if (secrets_.contains(path_)) decision = {.left_out = true, .built_in = kSecretRule, .match = {}};
  path_.resize(before);
  if (decision.left_out && !decision.descend) {
    add_left_out(decision, parent, name);
    return {};
  }
  if (is_directory) return visit_directory(parent, name, depth, decision);
  if (!base::is_utf8(name.name)) ++odd_names_;
  if (name.type != DT_REG && name.type != DT_LNK && name.type != DT_UNKNOWN) {
    warn(base::to_utf8(shown() + name.name) + " is " + kind_of(name.type) + " and was left out");
    return {};
  }
  add(here, name);
  return {};
}

Result<> Walker::walk(Directory directory, int depth, const IgnoreMatch& inherited) {
  if (depth > kMaxDepth) {
    return fail(Errc::invalid, "the source directory is nested deeper than 200 levels at " + name_list({shown()}, 1));
  }
  const int fd = ::dirfd(directory.get());
  auto names = read_names(directory.get());
  if (!names) return fail(std::move(names).error().with_context("reading " + out_.root.string() + "/" + shown()));
  if (depth > 0 && has(*names, "pyvenv.cfg")) {
    Decision decision;
    decision.left_out = true;
    decision.built_in = "virtual environment";
    const std::string kept = std::exchange(path_, path_.substr(0, path_.size() - 1));
    const std::string name = path_.substr(path_.rfind('/') + 1);
    path_.resize(path_.size() - name.size());
    add_left_out(decision, fd, {.name = name, .type = DT_DIR});
    path_ = kept;
    return {};
  }
  const std::size_t entries = out_.entries.size();
  TRY(rules_.enter(fd, path_, has(*names, rules_.base_name()), has(*names, TreeRules::kOwnName)));
  LookupBatch here{.directory = std::move(directory)};
  here.lookups.reserve(names->size());
  for (const Name& name : *names) TRY(visit(here, name, depth, inherited));
  rules_.leave();
  if (depth > 0 && !inherited.decided() && out_.entries.size() == entries) add_directory(fd);
  ahead_.add(std::move(here));
  return {};
}

Result<> Walker::finish() {
  settle();
  if (!unreadable_.empty()) {
    Error error = system_error("read " + name_list(unreadable_, 50), unreadable_errno_);
    error.hint = "change the permissions, or leave them out with a line in .trainctlignore";
    return fail(std::move(error));
  }
  if (odd_names_ > 0) warn(base::format_count(odd_names_) + " file names are not UTF-8; they are kept byte for byte");
  if (hidden_warnings_ > 0)
    out_.warnings.push_back("and " + base::format_count(hidden_warnings_) + " more warnings of this kind");
  return {};
}

}  // namespace

std::string name_list(const std::vector<std::string>& names, std::size_t shown) {
  std::string text;
  for (std::size_t i = 0; i < names.size() && i < shown; ++i) text += (i == 0 ? "" : ", ") + base::to_utf8(names[i]);
  if (names.size() > shown) text += " and " + base::format_count(names.size() - shown) + " more";
  return text;
}

std::string note(const LeftOut& left_out) {
  const std::string what = left_out.count == 1 && !left_out.paths.empty() ? left_out.paths.front() : left_out.rule;
  if (left_out.source == "built-in") {
    if (left_out.rule == kSecretRule) return "left out: " + base::to_utf8(what) + " (it holds a secret)";
    if (left_out.rule == "outputs/") return "left out: outputs/ (a run has an empty one of its own)";
    return "always left out: " + base::to_utf8(what) +
           (left_out.count > 1 ? " (" + base::format_count(left_out.count) + " times)" : "");
  }
  return "left out by " + base::to_utf8(left_out.source) + ": " + base::to_utf8(what) + " (" +
         (left_out.at_least ? "at least " : "") + base::format_size(left_out.bytes) + ", " +
         base::format_count(left_out.files) + (left_out.files == 1 ? " file)" : " files)");
}

std::vector<Sized> largest_files(const Scan& scan, std::size_t count) {
  std::vector<const ScanEntry*> files;
  for (const ScanEntry& entry : scan.entries) {
    if (entry.entry.type == EntryType::file) files.push_back(&entry);
  }
  const std::size_t wanted = std::min(count, files.size());
  std::partial_sort(files.begin(), files.begin() + static_cast<std::ptrdiff_t>(wanted), files.end(),
                    [](const ScanEntry* a, const ScanEntry* b) {
                      return a->entry.size != b->entry.size ? a->entry.size > b->entry.size
                                                            : a->entry.path < b->entry.path;
                    });
  std::vector<Sized> largest;
  largest.reserve(wanted);
  for (std::size_t i = 0; i < wanted; ++i)
    largest.push_back({.path = files[i]->entry.path, .size = files[i]->entry.size});
  return largest;
}

Result<Scan> scan(const ScanOptions& options) {
  std::error_code error;
  Scan result;
  result.root = fs::canonical(options.source, error);
  if (error) return fail_errno("find the source directory " + options.source.string(), error.value());
  result.directory.reset(::open(result.root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!result.directory) return fail_errno("read the source directory " + result.root.string(), errno);
  TRY_ASSIGN(TreeRules rules, TreeRules::open(result.root, result.directory.get()));
  base::UniqueFd fd(::openat(result.directory.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  Directory directory(::fdopendir(fd.get()));
  if (!directory) return fail_errno("read the source directory " + result.root.string(), errno);
  static_cast<void>(fd.release());
  result.entries.reserve(options.expected + options.expected / 8);
  Walker walker(result, rules, options);
  TRY(walker.walk(std::move(directory), 0, {}));
  TRY(walker.finish());
  return result;
}

}  // namespace trainctl::snapshot
