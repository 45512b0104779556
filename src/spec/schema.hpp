// SPDX-License-Identifier: Apache-2.0
// What a spec may contain, as data. One table per struct; the decoder, the JSON Schema and the reference page all read
// it, so they cannot say different things.
#pragma once

#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.hpp"

namespace trainctl::spec {

struct Table;

/// Another spelling of one of a type's words, compared without case, "-" and "_". It may say something about a
/// neighbour, too: the type "nccl" is "pytorch" with the backend "nccl".
struct WordAlias {
  std::string_view name;
  std::string_view word;
  std::string_view field = {};  ///< the neighbour, in the same object
  std::string_view value = {};  ///< its value as JSON
  bool only = false;            ///< another value of the neighbour contradicts; else it is a default
};

struct Type {
  enum class Kind { text, integer, number, boolean, duration, size, word, list, map, object, command, parameter, any };
  Kind kind = Kind::text;
  std::vector<std::string_view> words = {};  ///< word: what is accepted
  std::shared_ptr<const Type> element = {};  ///< list, map
  /// object: its fields; a function, because run configurations nest in profiles. text: an object is fine, too.
  const Table& (*table)() = nullptr;
  std::int64_t minimum = std::numeric_limits<std::int64_t>::min();  ///< integer and number
  std::int64_t maximum = std::numeric_limits<std::int64_t>::max();
  bool names = false;         ///< map: keys are names ([A-Za-z][A-Za-z0-9_]{0,62}, unique after upper-casing)
  bool path = false;          ///< text: a local path that counts from the folder of the file it is written in
  bool needs_slash = false;   ///< with path: a word without a slash is a name, not a path ("python3")
  bool from_integer = false;  ///< text: an integer is taken as its digits
  bool not_empty = false;     ///< text, list
  std::vector<WordAlias> word_aliases = {};  ///< word
};
using TypeRef = std::shared_ptr<const Type>;

/// One field. `store` writes a checked value into the struct the table describes.
struct Field {
  std::string_view name;
  TypeRef type;
  std::string_view doc;
  std::function<void(void* object, const Json& value)> store;
  bool required = false;
};

enum class Conversion { none, seconds, script_params };

/// Another spelling, e.g. of the Azure SDK: `name` in this table means `path` (dots descend) of this table.
struct Alias {
  std::string_view name;
  std::string_view path;
  Conversion conversion = Conversion::none;
};

struct Table {
  std::string_view name;  ///< in schema and documentation, e.g. "limits"
  std::string_view doc;
  std::vector<Field> fields;
  std::vector<Alias> aliases = {};
  /// A value that is not an object means an object with this field alone: "container": "image:tag". Empty: none.
  std::string_view shorthand = {};
};

const Field* find_field(const Table& table, std::string_view name);
const Alias* find_alias(const Table& table, std::string_view name);

/// The type at a dotted path ("limits.timeout", aliases allowed), and that path in canonical words. Null when there is
/// none.
struct FoundType {
  TypeRef type;
  std::vector<std::string> path;
  Conversion conversion = Conversion::none;
};
Result<FoundType> find_type(const Table& table, std::string_view dotted_path);

/// The alias `given` is, for a type with words. Null when it is none.
const WordAlias* find_word_alias(const Type& type, std::string_view given);

/// What a person should have written there: "text", "a duration such as \"90s\" or \"2h\"", "one of \"bash\", \"sh\"".
std::string expectation(const Type& type);

}  // namespace trainctl::spec
