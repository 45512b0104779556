// SPDX-License-Identifier: Apache-2.0
#include "host/metrics/patterns.hpp"

#include <pcre2.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/number.hpp"
#include "base/text.hpp"
#include "format/metric.hpp"
#include "host/metrics/presets.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

// A match may take this many steps of the matcher, which is some milliseconds; its memory is bounded likewise.
constexpr std::uint32_t kMatchLimit = 200'000;
constexpr std::uint32_t kDepthLimit = 2'000;
constexpr std::uint32_t kHeapLimitKib = 4096;
constexpr std::size_t kJitStackMin = std::size_t{32} << 10U;
constexpr std::size_t kJitStackMax = std::size_t{512} << 10U;

constexpr std::string_view kNumber =
    "[+-]?(?:(?:[0-9]+\\.?[0-9]*|\\.[0-9]+)(?:[eE][+-]?[0-9]+)?|(?i:nan|inf(?:inity)?))%?";

template <auto Free>
struct Freer {
  template <class T>
  void operator()(T* pointer) const {
    Free(pointer);
  }
};
using Code = std::unique_ptr<pcre2_code, Freer<pcre2_code_free>>;
using MatchData = std::unique_ptr<pcre2_match_data, Freer<pcre2_match_data_free>>;
using MatchContext = std::unique_ptr<pcre2_match_context, Freer<pcre2_match_context_free>>;
using JitStack = std::unique_ptr<pcre2_jit_stack, Freer<pcre2_jit_stack_free>>;

struct Group {
  std::size_t number;
  std::string name;
};

struct Expression {
  std::string regex;
  std::vector<Group> groups;  ///< of a text with places; an expression's own names are asked from PCRE2
};

bool is_alpha(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool is_word(char c) {
  return is_alpha(c) || (c >= '0' && c <= '9') || c == '_';
}
bool is_space(char c) {
  return c == ' ' || c == '\t';
}

std::size_t column_of(std::string_view text, std::size_t offset) {
  std::size_t column = 1;
  for (const char c : text.substr(0, std::min(offset, text.size())))
    if ((static_cast<unsigned char>(c) & 0xc0U) != 0x80U) ++column;
  return column;
}

tl::unexpected<Error> mistake(std::string_view pattern, std::size_t offset, const std::string& what) {
  return fail(Errc::invalid, what + " at column " + std::to_string(column_of(pattern, offset)) + " of the pattern",
              "write a text with places like \"epoch {step}: loss {loss}\", or an expression with named groups like "
              "\"loss=(?P<loss>[0-9.]+)\"");
}

/// "{name}" at `at`: the name, which may hold what metric names commonly do. Empty when it is no place.
std::string_view place_at(std::string_view text, std::size_t at) {
  const std::size_t end = text.find('}', at);
  if (end == std::string_view::npos || end == at + 1) return {};
  const std::string_view name = text.substr(at + 1, end - at - 1);
  if (!is_alpha(name.front()) && name.front() != '_') return {};
  const bool fine = std::all_of(name.begin(), name.end(), [](char c) {
    return is_word(c) || c == '/' || c == '.' || c == '-' || c == '@' || static_cast<unsigned char>(c) >= 0x80;
  });
  return fine ? name : std::string_view();
}

bool has_named_group(std::string_view text) {
  for (std::size_t at = text.find("(?"); at != std::string_view::npos; at = text.find("(?", at + 2)) {
    const std::string_view rest = text.substr(at + 2);
    if (rest.starts_with("P<") || rest.starts_with("'")) return true;
    if (rest.starts_with("<") && rest.size() > 1 && rest[1] != '=' && rest[1] != '!') return true;
  }
  return false;
}

bool has_place(std::string_view text) {
  for (std::size_t at = text.find('{'); at != std::string_view::npos; at = text.find('{', at + 1)) {
    if (at + 1 < text.size() && text[at + 1] == '{')
      ++at;
    else if (!place_at(text, at).empty())
      return true;
  }
  return false;
}

void append_literal(char c, std::string& regex) {
  if (!is_word(c) && static_cast<unsigned char>(c) < 0x80) regex += '\\';
  regex += c;
}

/// A text with places as an expression.
Result<Expression> translate_places(std::string_view text) {
  Expression out;
  // "loss {loss}" must not find "val_loss 0.3" or "val/loss 0.3".
  if (is_word(text.front())) out.regex = "(?<![\\w/.-])";
  for (std::size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (is_space(c)) {
      if (!out.regex.ends_with("\\s+")) out.regex += "\\s+";
    } else if ((c == '{' || c == '}') && at + 1 < text.size() && text[at + 1] == c) {
      append_literal(c, out.regex);
      ++at;
    } else if (c == '{') {
      const std::string_view name = place_at(text, at);
      if (name.empty()) return mistake(text, at, "a { that begins no {name} (write {{ for the character)");
      out.groups.push_back({out.groups.size() + 1, std::string(name)});
      out.regex += "(";
      out.regex += kNumber;
      out.regex += ")";
      at += name.size() + 1;
    } else {
      append_literal(c, out.regex);
    }
  }
  return out;
}

std::vector<Group> named_groups(const pcre2_code* code) {
  std::uint32_t count = 0;
  std::uint32_t width = 0;
  PCRE2_SPTR table = nullptr;
  pcre2_pattern_info(code, PCRE2_INFO_NAMECOUNT, &count);
  pcre2_pattern_info(code, PCRE2_INFO_NAMEENTRYSIZE, &width);
  pcre2_pattern_info(code, PCRE2_INFO_NAMETABLE, static_cast<void*>(&table));
  std::vector<Group> groups;
  for (std::uint32_t i = 0; i < count; ++i, table += width)
    groups.push_back({(std::size_t{table[0]} << 8U) | table[1], reinterpret_cast<const char*>(table + 2)});
  std::sort(groups.begin(), groups.end(), [](const Group& a, const Group& b) { return a.number < b.number; });
  return groups;
}

}  // namespace

struct Pattern::Impl {
  std::string text;
  const Preset* preset = nullptr;
  std::vector<Group> groups;
  Code code;
  JitStack stack;  // before the context that refers to it
  MatchContext context;
  MatchData data;

  Result<> build(const Expression& expression);
};

Result<> Pattern::Impl::build(const Expression& expression) {
  int number = 0;
  PCRE2_SIZE offset = 0;
  // Lines need not be UTF-8; \C could split a character and has no place here.
  constexpr std::uint32_t kOptions = PCRE2_UTF | PCRE2_MATCH_INVALID_UTF | PCRE2_NEVER_BACKSLASH_C | PCRE2_DUPNAMES;
  code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expression.regex.data()), expression.regex.size(), kOptions,
                           &number, &offset, nullptr));
  if (!code) {
    PCRE2_UCHAR message[256] = {};
    pcre2_get_error_message(number, message, sizeof message);
    return mistake(text, expression.groups.empty() ? offset : 0, reinterpret_cast<const char*>(message));
  }
  groups = expression.groups.empty() ? named_groups(code.get()) : expression.groups;
  std::erase_if(groups, [](const Group& group) { return group.name == "_"; });
  if (groups.empty()) return mistake(text, 0, "a pattern without any name");
  data.reset(pcre2_match_data_create_from_pattern(code.get(), nullptr));
  context.reset(pcre2_match_context_create(nullptr));
  if (!data || !context) return fail(Errc::internal, "out of memory while compiling metrics.patterns");
  pcre2_set_match_limit(context.get(), kMatchLimit);
  pcre2_set_depth_limit(context.get(), kDepthLimit);
  pcre2_set_heap_limit(context.get(), kHeapLimitKib);
  // Without JIT (not built in, or memory may not be made executable here) the interpreter does the same more slowly.
  if (pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE) == 0) {
    stack.reset(pcre2_jit_stack_create(kJitStackMin, kJitStackMax, nullptr));
    if (stack) pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
  }
  return {};
}

Pattern::Pattern(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Pattern::~Pattern() = default;
Pattern::Pattern(Pattern&&) noexcept = default;
Pattern& Pattern::operator=(Pattern&&) noexcept = default;

const std::string& Pattern::text() const {
  return impl_->text;
}

const Preset* Pattern::preset() const {
  return impl_->preset;
}

Result<Pattern> Pattern::compile_preset(std::string_view text) {
  const std::string_view name = text.substr(kPresetMark.size());
  auto impl = std::make_unique<Impl>();
  impl->text = text;
  impl->preset = find_preset(name);
  if (impl->preset != nullptr) return Pattern(std::move(impl));
  const auto names = preset_names();
  std::string message = "there is no preset \"" + std::string(name) + "\"";
  if (const auto near = base::suggest(name, names)) message += ", did you mean \"" + *near + "\"?";
  std::string all;
  for (const std::string_view one : names) all += (all.empty() ? "" : ", ") + std::string(one);
  return fail(Errc::invalid, message, "presets: " + all);
}

Result<Pattern> Pattern::compile(std::string_view text) {
  if (text.empty()) return mistake(text, 0, "an empty pattern");
  if (text.size() > kMaxPatternBytes) return mistake(text, kMaxPatternBytes, "a pattern of more than 4,096 bytes");
  if (!base::is_utf8(text)) return mistake(text, 0, "malformed UTF-8");
  if (text.starts_with(kPresetMark)) return compile_preset(text);
  Expression expression{.regex = std::string(text), .groups = {}};
  if (!has_named_group(text)) {
    if (!has_place(text)) return mistake(text, 0, "no {name} and no named group");
    TRY_ASSIGN(expression, translate_places(text));
  }
  auto impl = std::make_unique<Impl>();
  impl->text = text;
  TRY(impl->build(expression));
  return Pattern(std::move(impl));
}

MatchOutcome Pattern::match(std::string_view line, PatternMatch& match, std::string_view previous) const {
  match.clear();
  if (impl_->preset != nullptr)
    return impl_->preset->find(line, previous, match) ? MatchOutcome::found : MatchOutcome::none;
  const int count = pcre2_match(impl_->code.get(), reinterpret_cast<PCRE2_SPTR>(line.data()), line.size(), 0, 0,
                                impl_->data.get(), impl_->context.get());
  if (count == PCRE2_ERROR_NOMATCH) return MatchOutcome::none;
  if (count < 0) return MatchOutcome::limit;
  const PCRE2_SIZE* const bounds = pcre2_get_ovector_pointer(impl_->data.get());
  for (const Group& group : impl_->groups) {
    if (group.number >= static_cast<std::size_t>(count)) continue;  // the last groups took no part
    const PCRE2_SIZE begin = bounds[2 * group.number];
    const PCRE2_SIZE end = bounds[2 * group.number + 1];
    if (begin == PCRE2_UNSET || end < begin || end > line.size()) continue;
    match.emplace_back(group.name, line.substr(begin, end - begin));
  }
  return MatchOutcome::found;
}

namespace {

Error at_index(Error error, std::size_t index) {
  error.field = "metrics.patterns[" + std::to_string(index) + "]";
  return error;
}

Error too_many() {
  Error error{.code = Errc::invalid, .message = "more than " + std::to_string(kMaxPatterns) + " patterns"};
  error.field = "metrics.patterns";
  return error;
}

}  // namespace

Result<PatternSet> compile_patterns(std::span<const std::string> patterns) {
  if (patterns.size() > kMaxPatterns) return fail(too_many());
  PatternSet set;
  for (std::size_t i = 0; i < patterns.size(); ++i) {
    auto pattern = Pattern::compile(patterns[i]);
    if (!pattern) return fail(at_index(std::move(pattern).error(), i));
    set.push_back(std::move(*pattern));
  }
  return set;
}

Errors check_patterns(std::span<const std::string> patterns) {
  Errors errors;
  if (patterns.size() > kMaxPatterns) errors.push_back(too_many());
  for (std::size_t i = 0; i < std::min(patterns.size(), kMaxPatterns); ++i) {
    auto pattern = Pattern::compile(patterns[i]);
    if (!pattern) errors.push_back(at_index(std::move(pattern).error(), i));
  }
  return errors;
}

std::optional<double> parse_captured_number(std::string_view text) {
  text = base::trim(text);
  const bool percent = text.ends_with('%');
  if (percent) text.remove_suffix(1);
  if (const auto special = format::parse_special_number(text)) return special;
  const auto value = base::parse_number(text);
  return value && percent ? *value / 100 : value;
}

}  // namespace trainctl::host
