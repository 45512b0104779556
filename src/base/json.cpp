// SPDX-License-Identifier: Apache-2.0
#include "base/json.hpp"

#include <algorithm>
#include <cstddef>
#include <exception>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::base {

namespace {

/// Builds the document on an explicit stack, so that neither parsing nor a refusal recurses. The document is .
class Builder : public nlohmann::json_sax<Json> {
 public:
  bool null() override { return add(Json(nullptr)) != nullptr; }
  bool boolean(bool value) override { return add(Json(value)) != nullptr; }
  bool number_integer(number_integer_t value) override { return add(Json(value)) != nullptr; }
  bool number_unsigned(number_unsigned_t value) override { return add(Json(value)) != nullptr; }
  bool number_float(number_float_t value, const string_t&) override { return add(Json(value)) != nullptr; }
  bool string(string_t& value) override { return add(Json(std::move(value))) != nullptr; }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& value) override {
    slot_ = find_or_add(stack_.back(), std::move(value));
    return true;
  }

  bool parse_error(std::size_t position, const std::string& last_token,
                   const nlohmann::json::exception& error) override {
    position_ = position;
    token_ = last_token;
    reason_ = error.what();
    return false;
  }

  Json& root() { return root_; }
  [[nodiscard]] bool too_deep() const { return too_deep_; }
  [[nodiscard]] std::size_t position() const { return position_; }
  [[nodiscard]] const std::string& reason() const { return reason_; }

 private:
  struct Level {
    Json* value = nullptr;
    std::unordered_map<std::string, std::size_t> index;  ///< key -> place, for objects with more than kFew keys
  };
  static constexpr std::size_t kFew = 32;

  /// The value of `key`, so that the last duplicate wins. The library's ordered object looks through all keys for each
  /// one it adds: a machine's reply of some megabytes would take hours, so large objects get an index here.
  static Json* find_or_add(Level& level, std::string key) {
    Json& object = *level.value;
    auto& entries = object.get_ref<Json::object_t&>();
    if (entries.size() < kFew) return &object[std::move(key)];
    if (level.index.empty()) {
      for (std::size_t i = 0; i < entries.size(); ++i)
        level.index.emplace(entries.begin()[static_cast<std::ptrdiff_t>(i)].first, i);
    }
    const auto [known, is_new] = level.index.emplace(key, entries.size());
    if (is_new) entries.emplace_back(std::move(key), Json());
    return &entries.begin()[static_cast<std::ptrdiff_t>(known->second)].second;
  }

  Json* add(Json value) {
    if (stack_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Json& parent = *stack_.back().value;
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    *slot_ = std::move(value);
    return slot_;
  }

  bool open(Json container) {
    too_deep_ = stack_.size() >= kMaxJsonDepth;
    if (too_deep_) return false;
    stack_.push_back({.value = add(std::move(container)), .index = {}});
    return true;
  }

  bool close() {
    stack_.pop_back();
    return true;
  }

  Json root_;
  std::vector<Level> stack_;  // pointers stay valid: a container is not grown while one of its children is open
  Json* slot_ = nullptr;
  bool too_deep_ = false;
  std::size_t position_ = 0;
  std::string token_;
  std::string reason_;
};

/// Line and column (code points) of the byte that is the `position`-th, counted from 1 as nlohmann does.
SourcePosition position_at(std::string_view text, std::size_t position) {
  const std::size_t offset = std::min(position == 0 ? 0 : position - 1, text.size());
  SourcePosition at{.file = {}, .line = 1, .column = 1};
  for (const char c : text.substr(0, offset)) {
    if (c == '\n') {
      ++at.line;
      at.column = 1;
    } else if ((static_cast<unsigned char>(c) & 0xC0U) != 0x80U) {
      ++at.column;
    }
  }
  return at;
}

/// The library says "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error while parsing …".
std::string plain_reason(const std::string& reason) {
  const std::size_t at = reason.find("column ");
  const std::size_t colon = at == std::string::npos ? std::string::npos : reason.find(": ", at);
  if (colon != std::string::npos) return reason.substr(colon + 2);
  const std::size_t bracket = reason.find("] ");
  return bracket == std::string::npos ? reason : reason.substr(bracket + 2);
}

tl::unexpected<Error> fail_at(std::string_view text, std::size_t position, std::string_view reason) {
  const SourcePosition at = position_at(text, position);
  Error error{.code = Errc::invalid,
              .message = "not valid JSON at line " + std::to_string(at.line) + ", column " + std::to_string(at.column) +
                         ": " + std::string(reason)};
  error.at = at;
  return fail(std::move(error));
}

}  // namespace

Result<Json> parse_json(std::string_view text) {
  if (text.size() > kMaxJsonBytes) {
    return fail(Errc::invalid, "the JSON text has " + std::to_string(text.size()) + " bytes, more than the " +
                                   std::to_string(kMaxJsonBytes) + " allowed");
  }
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);  // before positions are counted
  Builder builder;
  try {
    if (Json::sax_parse(text.begin(), text.end(), &builder)) return std::move(builder.root());
  } catch (const std::exception& error) {
    return fail(Errc::invalid, std::string("not valid JSON: ") + error.what());
  }
  if (builder.too_deep()) {
    return fail(Errc::invalid, "the JSON text is nested deeper than " + std::to_string(kMaxJsonDepth) + " levels");
  }
  return fail_at(text, builder.position(), plain_reason(builder.reason()));
}

std::string dump_json(const Json& value) {
  try {
    return value.dump(-1, ' ', false, Json::error_handler_t::replace);
  } catch (const std::exception&) {
    return "null";  // out of memory only: the error handler replaces everything else
  }
}

std::string pretty_json(const Json& value) {
  try {
    return value.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
  } catch (const std::exception&) {
    return "null\n";
  }
}

std::string element_of(std::string_view field, std::size_t index) {
  std::string text(field);
  return text.append("[").append(std::to_string(index)).append("]");
}

std::string pointer_append(std::string_view pointer, std::string_view token) {
  std::string result(pointer);
  result += '/';
  for (const char c : token) {
    if (c == '~') {
      result += "~0";
    } else if (c == '/') {
      result += "~1";
    } else {
      result += c;
    }
  }
  return result;
}

}  // namespace trainctl::base
