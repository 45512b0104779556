// SPDX-License-Identifier: Apache-2.0
// Reading a document of another tool so that nothing of it can be forgotten: what nobody took is reported.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json_locate.hpp"

namespace trainctl::spec::import {

/// What became of one field of the file.
struct Item {
  enum class Fate {
    mapped,   ///< means the same in the run configuration
    changed,  ///< has a counterpart that differs, or needs a look
    dropped,  ///< is not in the run configuration
    unset     ///< is what the other tool writes into every file; it says nothing
  };
  Fate fate = Fate::mapped;
  std::string field;                      ///< as written, dotted: environment.python.condaDependencies
  std::optional<SourcePosition> at = {};  ///< of the value
  std::string to = {};                    ///< where it went: environment.python.packages
  std::string note = {};                  ///< what changed, why it was dropped, what to do
};
const char* to_string(Item::Fate fate);

/// A value of the document; false when it is not there. Keys are found in any spelling: nodeCount, node_count.
class Value {
 public:
  Value() = default;
  Value(const Json* json, std::string pointer) : json_(json), pointer_(std::move(pointer)) {}
  explicit operator bool() const { return json_ != nullptr; }
  [[nodiscard]] const Json& json() const { return *json_; }
  [[nodiscard]] const std::string& pointer() const { return pointer_; }

  [[nodiscard]] Value get(std::string_view key) const;
  [[nodiscard]] Value at(std::string_view dotted) const;
  [[nodiscard]] bool is_set() const;                        ///< neither missing, null nor an empty text, list or object
  [[nodiscard]] std::string text() const;                   ///< a text, or a scalar as it would be typed; else empty
  [[nodiscard]] bool truth() const;                         ///< true or a text that says so
  [[nodiscard]] std::optional<std::int64_t> whole() const;  ///< a number or a text with one
  [[nodiscard]] std::vector<Value> items() const;           ///< of a list
  [[nodiscard]] std::vector<std::pair<std::string, Value>> fields() const;  ///< of an object, in order

 private:
  const Json* json_ = nullptr;
  std::string pointer_;
};

/// A field that has no meaning here: left alone while it has its default, else reported with the reason.
struct Meaningless {
  std::string_view field;     ///< dotted, as the other tool writes it
  std::string_view standard;  ///< its default as JSON; empty: none
  std::string_view why;
};

class Report {
 public:
  explicit Report(const base::LocatedJson& document) : document_(document) {}

  [[nodiscard]] Value root() const { return {&document_.value, ""}; }
  void mapped(const Value& from, std::string to) { add(Item::Fate::mapped, from, std::move(to), {}); }
  void changed(const Value& from, std::string to, std::string note);
  /// Replaces what was said of it before.
  void again(const Value& from, std::string to, std::string note);
  void dropped(const Value& from, std::string note) { add(Item::Fate::dropped, from, {}, std::move(note)); }
  void unset(const Value& from) { add(Item::Fate::unset, from, {}, {}); }
  /// It was looked at as a part of something that is reported.
  void taken(const Value& from) { taken_.insert(from.pointer()); }

  /// Reports everything that was not taken: by the table, else as unknown to `tool`. To be called last.
  void rest(std::span<const Meaningless> table, std::string_view tool);
  [[nodiscard]] std::vector<Item> items() &&;  ///< in the order of the file

  /// A number keeps its digits: 0.10 is "0.10".
  [[nodiscard]] std::string text_of(const Value& value) const;

 private:
  void add(Item::Fate fate, const Value& from, std::string to, std::string note);
  void walk(const Value& value, std::span<const Meaningless> table, std::string_view tool);

  const base::LocatedJson& document_;
  std::set<std::string> taken_;
  std::vector<Item> items_;
};

/// "environment.python" of "/environment/python".
std::string dotted(std::string_view pointer);
/// "nodecount" of "nodeCount" and "node_count".
std::string folded(std::string_view key);

}  // namespace trainctl::spec::import
