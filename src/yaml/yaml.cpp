// SPDX-License-Identifier: Apache-2.0
#include "yaml/yaml.hpp"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <initializer_list>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "base/json_locate.hpp"
#include "base/text.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::yaml {
namespace {

constexpr std::size_t kMaxBytes = 4U << 20U;
constexpr std::size_t kMaxValues = 100000;

bool is_one_of(const std::string& text, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), text) != words.end();
}

/// What a plain scalar means by the core schema; the text itself when nothing fits.
Json plain_value(const std::string& text) {
  if (is_one_of(text, {"", "~", "null", "Null", "NULL"})) return nullptr;
  if (is_one_of(text, {"true", "True", "TRUE"})) return true;
  if (is_one_of(text, {"false", "False", "FALSE"})) return false;
  const char* begin = text.data() + (text[0] == '+' ? 1 : 0);
  const char* end = text.data() + text.size();
  if (text.find_first_not_of("0123456789+-.eE") != std::string::npos) return text;
  std::int64_t whole = 0;
  if (const auto read = std::from_chars(begin, end, whole); read.ec == std::errc() && read.ptr == end) return whole;
  double real = 0;
  const auto read = std::from_chars(begin, end, real);
  if (read.ec == std::errc() && read.ptr == end && std::isfinite(real)) return real;
  return text;
}

/// Carries a mistake out of the recursion; caught in parse().
struct Refused {
  YAML::Mark mark;
  std::string message;
};

class Converter {
 public:
  Converter(std::string_view text, const std::string& file) : file_(file) {
    for (std::size_t at = 0; at != std::string_view::npos;) {
      const std::size_t end = text.find('\n', at);
      lines_.push_back(text.substr(at, end == std::string_view::npos ? end : end - at));
      at = end == std::string_view::npos ? end : end + 1;
    }
  }

  [[nodiscard]] SourcePosition position(const YAML::Mark& mark) const {
    if (mark.is_null()) return {file_, 1, 1};
    const auto line = static_cast<std::size_t>(std::max(mark.line, 0));
    const std::string_view text = line < lines_.size() ? lines_[line] : std::string_view();
    const std::string_view before = text.substr(0, static_cast<std::size_t>(std::max(mark.column, 0)));
    const auto points = std::count_if(before.begin(), before.end(), [](char c) { return (c & 0xC0) != 0x80; });
    return {file_, line + 1, static_cast<std::size_t>(points) + 1};
  }

  Json convert(const YAML::Node& node, const std::string& pointer, std::size_t depth) {
    if (depth > base::kMaxJsonDepth) throw Refused{node.Mark(), "there are too many levels"};
    if (++values_ > kMaxValues) throw Refused{node.Mark(), "there are too many values"};
    document.positions.values.emplace(pointer, position(node.Mark()));
    switch (node.Type()) {
      case YAML::NodeType::Map:
        return map(node, pointer, depth);
      case YAML::NodeType::Sequence:
        return sequence(node, pointer, depth);
      case YAML::NodeType::Scalar:
        return scalar(node, pointer);
      default:
        return nullptr;
    }
  }

  base::LocatedJson document = {};

 private:
  Json map(const YAML::Node& node, const std::string& pointer, std::size_t depth) {
    Json made = Json::object();
    for (const auto& entry : node) {
      if (!entry.first.IsScalar()) throw Refused{entry.first.Mark(), "a key must be a text"};
      const std::string& key = entry.first.Scalar();
      if (made.contains(key)) throw Refused{entry.first.Mark(), "the key \"" + key + "\" is there twice"};
      const std::string below = base::pointer_append(pointer, key);
      document.positions.keys.emplace(below, position(entry.first.Mark()));
      made[key] = convert(entry.second, below, depth + 1);
    }
    return made;
  }

  Json sequence(const YAML::Node& node, const std::string& pointer, std::size_t depth) {
    Json made = Json::array();
    for (const auto& item : node) {
      made.push_back(convert(item, pointer + "/" + std::to_string(made.size()), depth + 1));
    }
    return made;
  }

  /// A quoted or tagged text ("!" or "!!str") is a text; "?" is what the parser says of a plain one.
  Json scalar(const YAML::Node& node, const std::string& pointer) {
    const std::string& text = node.Scalar();
    if (node.Tag() != "?" && !node.Tag().empty()) return text;
    Json value = plain_value(text);
    if (value.is_number_float()) document.number_texts.emplace(pointer, text);
    return value;
  }

  const std::string& file_;
  std::vector<std::string_view> lines_;
  std::size_t values_ = 0;
};

/// Only sees where a document begins.
class Beginning : public YAML::EventHandler {
 public:
  std::optional<YAML::Mark> mark = {};
  void OnDocumentStart(const YAML::Mark& at) override { mark = at; }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t, const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {}
  void OnMapEnd() override {}
};

tl::unexpected<Error> refused(SourcePosition at, std::string message) {
  return fail(Error{.code = Errc::invalid, .message = std::move(message), .at = std::move(at)});
}

}  // namespace

Result<base::LocatedJson> parse(std::string_view text, const std::string& file_name) {
  if (text.size() > kMaxBytes) return refused({file_name, 1, 1}, "the file is larger than 4 MiB");
  if (!base::is_utf8(text)) return refused({file_name, 1, 1}, "the file is not UTF-8 text");
  if (text.find('\0') != std::string_view::npos) return refused({file_name, 1, 1}, "the file is no text");
  Converter converter(text, file_name);
  try {
    // Not LoadAll: a stray comma after the first document makes it find empty ones for ever.
    std::istringstream input{std::string(text)};
    YAML::Parser parser(input);
    Beginning first;
    if (!parser.HandleNextDocument(first)) return refused({file_name, 1, 1}, "the file is empty");
    Beginning second;
    if (parser.HandleNextDocument(second))
      return refused(converter.position(second.mark.value_or(YAML::Mark())),
                     "there is more than one document in the file");
    converter.document.value = converter.convert(YAML::Load(std::string(text)), "", 0);
  } catch (const Refused& mistake) {
    return refused(converter.position(mistake.mark), mistake.message);
  } catch (const YAML::Exception& mistake) {
    return refused(converter.position(mistake.mark), "this is not YAML: " + mistake.msg);
  } catch (const std::exception& mistake) {
    return refused({file_name, 1, 1}, std::string("this is not YAML: ") + mistake.what());
  }
  return std::move(converter.document);
}

}  // namespace trainctl::yaml
