// SPDX-License-Identifier: Apache-2.0
// From a member of a struct to its schema type and to the code that stores a checked value in it. Only for table files.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "spec/run_configuration.hpp"
#include "spec/schema.hpp"

namespace trainctl::spec {

/// Each described struct has its table: `template <> const Table& table_of<Limits>();`
template <class Struct>
const Table& table_of();

void read(const Json& value, std::string& out);
void read(const Json& value, bool& out);
void read(const Json& value, std::int64_t& out);
void read(const Json& value, double& out);
void read(const Json& value, Duration& out);
void read(const Json& value, ByteSize& out);
void read(const Json& value, CommandLine& out);
void read(const Json& value, TextMap& out);
void read(const Json& value, std::vector<Parameter>& out);

template <class Struct>
void read_struct(const Json& value, Struct& out) {
  for (const Field& field : table_of<Struct>().fields) {
    const auto found = value.find(field.name);
    if (field.store && found != value.end() && !found->is_null()) field.store(&out, *found);
  }
}

template <class T>
TypeRef type_of();

namespace detail {
template <class T>
struct Bind {  // a described struct
  static TypeRef type() { return std::make_shared<Type>(Type{.kind = Type::Kind::object, .table = &table_of<T>}); }
  static void store(const Json& value, T& out) { read_struct(value, out); }
};
template <class T, Type::Kind kKind>
struct BindPlain {
  static TypeRef type() { return std::make_shared<Type>(Type{.kind = kKind}); }
  static void store(const Json& value, T& out) { read(value, out); }
};
template <>
struct Bind<std::string> : BindPlain<std::string, Type::Kind::text> {};
template <>
struct Bind<bool> : BindPlain<bool, Type::Kind::boolean> {};
template <>
struct Bind<std::int64_t> : BindPlain<std::int64_t, Type::Kind::integer> {};
template <>
struct Bind<double> : BindPlain<double, Type::Kind::number> {};
template <>
struct Bind<Duration> : BindPlain<Duration, Type::Kind::duration> {};
template <>
struct Bind<ByteSize> : BindPlain<ByteSize, Type::Kind::size> {};
template <>
struct Bind<CommandLine> : BindPlain<CommandLine, Type::Kind::command> {};
template <>
struct Bind<std::vector<Parameter>> {
  static TypeRef type() {
    static const TypeRef element = std::make_shared<Type>(Type{.kind = Type::Kind::parameter});
    return std::make_shared<Type>(Type{.kind = Type::Kind::map, .element = element});
  }
  static void store(const Json& value, std::vector<Parameter>& out) { read(value, out); }
};
template <>
struct Bind<TextMap> {
  static TypeRef type() {
    static const TypeRef element = std::make_shared<Type>(Type{.kind = Type::Kind::text, .from_integer = true});
    return std::make_shared<Type>(Type{.kind = Type::Kind::map, .element = element});
  }
  static void store(const Json& value, TextMap& out) { read(value, out); }
};
template <class T>
struct Bind<std::optional<T>> {
  static TypeRef type() { return Bind<T>::type(); }
  static void store(const Json& value, std::optional<T>& out) { Bind<T>::store(value, out.emplace()); }
};
template <class T>
struct Bind<std::vector<T>> {
  static TypeRef type() { return std::make_shared<Type>(Type{.kind = Type::Kind::list, .element = Bind<T>::type()}); }
  static void store(const Json& value, std::vector<T>& out) {
    out.clear();
    for (const Json& item : value) Bind<T>::store(item, out.emplace_back());
  }
};
}  // namespace detail

/// A member whose type says everything.
template <class Struct, class Member>
Field field(std::string_view name, Member Struct::* member, std::string_view doc) {
  return {.name = name,
          .type = detail::Bind<Member>::type(),
          .doc = doc,
          .store = [member](void* object, const Json& value) {
            detail::Bind<Member>::store(value, static_cast<Struct*>(object)->*member);
          }};
}

/// The same, with a narrower type, e.g. `text{.path = true}`; it must be of the member's kind.
template <class Struct, class Member, class Change>
Field field(std::string_view name, Member Struct::* member, std::string_view doc, Change change) {
  Field made = field(name, member, doc);
  Type narrowed = *made.type;
  change(narrowed);
  made.type = std::make_shared<Type>(std::move(narrowed));
  return made;
}

/// One of a few words, stored as an enumerator: the n-th word is the n-th value.
template <class Struct, class Enum>
Field word_field(std::string_view name, Enum Struct::* member,
                 std::vector<std::pair<std::string_view, std::type_identity_t<Enum>>> words, std::string_view doc) {
  Type type{.kind = Type::Kind::word};
  for (const auto& entry : words) type.words.push_back(entry.first);
  return {.name = name,
          .type = std::make_shared<Type>(std::move(type)),
          .doc = doc,
          .store = [member, words = std::move(words)](void* object, const Json& value) {
            std::string text;
            read(value, text);
            for (const auto& [word, meaning] : words) {
              if (word == text) static_cast<Struct*>(object)->*member = meaning;
            }
          }};
}

/// An object whose keys are names and whose values are `Item`, stored in order with the key in `Item::name`.
template <class Struct, class Item>
Field named_items(std::string_view name, std::vector<Item> Struct::* member, std::string_view doc) {
  Type type{.kind = Type::Kind::map, .element = detail::Bind<Item>::type(), .names = true};
  return {.name = name,
          .type = std::make_shared<Type>(std::move(type)),
          .doc = doc,
          .store = [member](void* object, const Json& value) {
            auto& items = static_cast<Struct*>(object)->*member;
            items.clear();
            for (const auto& [key, item] : value.items()) {
              if (item.is_null()) continue;
              detail::Bind<Item>::store(item, items.emplace_back());
              items.back().name = key;
            }
          }};
}

/// In the schema, but used by composition and not part of the struct.
inline Field bare_field(std::string_view name, Type type, std::string_view doc) {
  return {.name = name, .type = std::make_shared<Type>(std::move(type)), .doc = doc, .store = nullptr};
}

}  // namespace trainctl::spec
