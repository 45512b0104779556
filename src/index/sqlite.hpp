// SPDX-License-Identifier: Apache-2.0
// A thin owner of SQLite's handles: values in, values out, errors as Result. Nothing else includes sqlite3.h.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "trainctl/result.hpp"

struct sqlite3;
struct sqlite3_stmt;

namespace trainctl::index {

/// What a column holds or a parameter is bound to. NaN is stored as NULL: SQLite has none.
using Value = std::variant<std::monostate, std::int64_t, double, std::string>;

/// SQL text with the values of its question marks, in order. Values never become part of the text.
struct Sql {
  std::string text;
  std::vector<Value> values;

  Sql& add(std::string_view more) {
    text += more;
    return *this;
  }
  Sql& add(const Sql& more) {
    text += more.text;
    values.insert(values.end(), more.values.begin(), more.values.end());
    return *this;
  }
  Sql& bind(Value value) {
    text += '?';
    values.push_back(std::move(value));
    return *this;
  }
};

class Database;

class Statement {
 public:
  /// Binds parameter `at` (from 1). The text must live until the next reset.
  Statement& bind(int at, std::int64_t value);
  Statement& bind(int at, double value);
  Statement& bind(int at, std::string_view value);
  Statement& bind(int at, const Value& value);
  Statement& bind_null(int at);
  Statement& bind_all(const std::vector<Value>& values);

  /// True when there is a row to read.
  Result<bool> step();
  /// step to the end, then reset: for statements without rows.
  Result<> run();
  void reset();

  [[nodiscard]] bool is_null(int column) const;
  [[nodiscard]] std::int64_t integer(int column) const;
  [[nodiscard]] double real(int column) const;
  [[nodiscard]] std::string_view text(int column) const;  ///< valid until the next step or reset
  [[nodiscard]] Value value(int column) const;

 private:
  friend class Database;
  struct Finalizer {
    void operator()(sqlite3_stmt* statement) const;
  };
  Statement(sqlite3_stmt* statement, Database* database) : statement_(statement), database_(database) {}
  std::unique_ptr<sqlite3_stmt, Finalizer> statement_;
  Database* database_;
};

enum class Access {
  read,   ///< never writes, recovers or checkpoints; sees the last committed state
  write,  ///< creates the file; only for the holder of the index's lock
};

/// One connection. Not movable: statements point to it.
class Database {
 public:
  static Result<std::unique_ptr<Database>> open(const std::filesystem::path& path, Access access);
  /// An empty database in memory.
  static Result<std::unique_ptr<Database>> open_in_memory();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;
  ~Database();

  Result<> execute(const char* sql);
  /// Becomes a copy of `other`, whatever it held.
  Result<> copy_from(Database& other);
  Result<Statement> prepare(std::string_view sql);
  Result<Statement> prepare(const Sql& sql);  ///< with its values bound
  /// The first column of the first row; NULL when there is no row.
  Result<Value> scalar(const Sql& sql);
  Result<std::int64_t> integer(std::string_view sql);

  /// True once SQLite said that the file is damaged or no database.
  [[nodiscard]] bool damaged() const { return damaged_; }
  /// Statements end with an error once `stop` says so; it is asked often. Empty = never.
  void interrupt_when(std::function<bool()> stop);
  [[nodiscard]] bool interrupted() const { return interrupted_; }

 private:
  friend class Statement;
  Database(sqlite3* handle, std::filesystem::path path) : handle_(handle), path_(std::move(path)) {}
  Error error(int code, std::string_view doing);

  sqlite3* handle_;
  std::filesystem::path path_;
  std::function<bool()> stop_;
  bool damaged_ = false;
  bool interrupted_ = false;
};

}  // namespace trainctl::index
