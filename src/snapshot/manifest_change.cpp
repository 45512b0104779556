// SPDX-License-Identifier: Apache-2.0
#include "snapshot/manifest_change.hpp"

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "snapshot/manifest.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::snapshot {
namespace {

constexpr std::size_t kHashAndSpace = 65;

/// The lines of a text, one after the other; without their ends.
class Lines {
 public:
  explicit Lines(std::string_view text) : rest_(text) { next(); }

  [[nodiscard]] bool over() const { return over_; }
  [[nodiscard]] bool cut() const { return cut_; }  ///< the last one has no end
  [[nodiscard]] std::string_view line() const { return line_; }
  void next() {
    over_ = rest_.empty();
    const std::size_t end = rest_.find('\n');
    cut_ = !over_ && end == std::string_view::npos;
    line_ = rest_.substr(0, end);
    rest_.remove_prefix(cut_ || over_ ? rest_.size() : end + 1);
  }

 private:
  std::string_view rest_, line_;
  bool over_ = false;
  bool cut_ = false;
};

std::string_view behind_space(std::string_view text) {
  const std::size_t space = text.find(' ');
  return space == std::string_view::npos ? std::string_view() : text.substr(space + 1);
}

/// Of a line that may be anything: where in the order it belongs.
std::string_view path_of(std::string_view line) {
  const std::string_view rest = behind_space(line);
  if (line.starts_with('l')) return rest.substr(0, rest.find('\t'));
  if (line.starts_with('d')) return behind_space(rest);
  const std::string_view hash = behind_space(behind_space(rest));
  return hash.size() < kHashAndSpace ? std::string_view() : hash.substr(kHashAndSpace);
}

/// The next byte of a path as it is in the manifest, and -1 behind the last.
int take_byte(std::string_view& path) {
  if (path.empty()) return -1;
  constexpr std::size_t kEscape = 4;  // \xHH
  unsigned value = static_cast<unsigned char>(path.front());
  std::size_t length = 1;
  if (path.size() >= kEscape && path.starts_with("\\x")) {
    std::from_chars(path.data() + 2, path.data() + kEscape, value, 16);
    length = kEscape;
  }
  path.remove_prefix(length);
  return static_cast<int>(value);
}

bool is_before(std::string_view a, std::string_view b) {
  for (;;) {
    const int left = take_byte(a);
    const int right = take_byte(b);
    if (left != right || left < 0) return left < right;
  }
}

std::uint64_t size_of(std::string_view line) {
  std::uint64_t size = 0;
  if (!line.starts_with('f')) return size;
  const std::string_view text = behind_space(behind_space(line));
  std::from_chars(text.data(), text.data() + text.size(), size);
  return size;
}

class Comparison {
 public:
  explicit Comparison(std::string_view base) : base_(base) {}

  /// The next line of the text. False when it is damaged, unsafe or out of order.
  bool take(std::string_view line) {
    if (!base_.over() && base_.line() != line) skip_to(path_of(line));
    const bool known = !base_.over() && base_.line() == line;
    // Two lines of the base are in order, and one of them was looked at in the base before the other.
    const bool good = known && before_is_known_ ? true : is_in_order(line);
    if (known) {
      change_.bytes_kept += size_of(line);
      base_.next();
    } else if (entry_) {
      change_.added.push_back(*entry_);
    }
    before_ = line;
    before_is_known_ = known;
    return good;
  }

  ManifestChange result() { return std::move(change_); }

 private:
  void skip_to(std::string_view path) {
    while (!base_.over() && is_before(path_of(base_.line()), path)) base_.next();
  }

  /// Reads the line, and looks at the one before it.
  bool is_in_order(std::string_view line) {
    entry_ = parse_line(line);
    if (!entry_) return false;
    if (before_.empty()) return true;
    const auto before = parse_line(before_);
    return before && comes_before(*before, *entry_);
  }

  Lines base_;
  ManifestChange change_;
  std::optional<ManifestEntry> entry_;
  std::string_view before_;
  bool before_is_known_ = true;  ///< before the first line there is nothing that could be wrong
};

}  // namespace

Result<ManifestChange> parse_change(std::string_view text, std::string_view base) {
  if (!text.starts_with(kManifestHeader)) return fail(parse_manifest(text).error());
  base.remove_prefix(base.starts_with(kManifestHeader) ? kManifestHeader.size() : base.size());
  Comparison comparison(base);
  std::size_t number = 2;
  for (Lines lines(text.substr(kManifestHeader.size())); !lines.over(); lines.next(), ++number) {
    if (lines.cut()) return fail(Errc::store, "snapshot manifest: the last line is cut off");
    if (!comparison.take(lines.line()))
      return fail(Errc::store,
                  "snapshot manifest: line " + std::to_string(number) + " is damaged, unsafe or out of order");
  }
  return comparison.result();
}

}  // namespace trainctl::snapshot
