// SPDX-License-Identifier: Apache-2.0
#include "index/sqlite.hpp"

#include <sqlite3.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::index {
namespace {

constexpr int kBusyMs = 2'000;
constexpr int kProgressSteps = 2'000;

/// file:… for sqlite3_open_v2, with what would end the path escaped.
std::string file_uri(const std::filesystem::path& path, std::string_view options) {
  std::string uri = "file:";
  for (const char c : path.string()) {
    if (c == '%' || c == '?' || c == '#') {
      std::array<char, 4> hex{};
      (void)std::snprintf(hex.data(), hex.size(), "%%%02X", static_cast<unsigned>(static_cast<unsigned char>(c)));
      uri += hex.data();
    } else {
      uri += c;
    }
  }
  return uri.append("?").append(options);
}

void configure(sqlite3* handle) {
  sqlite3_extended_result_codes(handle, 1);
  sqlite3_busy_timeout(handle, kBusyMs);
  sqlite3_db_config(handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  sqlite3_db_config(handle, SQLITE_DBCONFIG_DQS_DDL, 0, nullptr);
  sqlite3_db_config(handle, SQLITE_DBCONFIG_DQS_DML, 0, nullptr);
}

}  // namespace

void Statement::Finalizer::operator()(sqlite3_stmt* statement) const {
  sqlite3_finalize(statement);
}

Statement& Statement::bind(int at, std::int64_t value) {
  sqlite3_bind_int64(statement_.get(), at, value);
  return *this;
}
Statement& Statement::bind(int at, double value) {
  sqlite3_bind_double(statement_.get(), at, value);
  return *this;
}
Statement& Statement::bind(int at, std::string_view value) {
  sqlite3_bind_text64(statement_.get(), at, value.data() == nullptr ? "" : value.data(), value.size(), SQLITE_STATIC,
                      SQLITE_UTF8);
  return *this;
}
Statement& Statement::bind_null(int at) {
  sqlite3_bind_null(statement_.get(), at);
  return *this;
}
Statement& Statement::bind(int at, const Value& value) {
  if (const auto* number = std::get_if<std::int64_t>(&value)) return bind(at, *number);
  if (const auto* real = std::get_if<double>(&value)) return bind(at, *real);
  if (const auto* text = std::get_if<std::string>(&value)) {
    sqlite3_bind_text64(statement_.get(), at, text->data(), text->size(), SQLITE_TRANSIENT, SQLITE_UTF8);
    return *this;
  }
  return bind_null(at);
}
Statement& Statement::bind_all(const std::vector<Value>& values) {
  int at = 0;
  for (const Value& value : values) bind(++at, value);
  return *this;
}

Result<bool> Statement::step() {
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return fail(database_->error(code, "read or write"));
}

Result<> Statement::run() {
  for (;;) {
    auto row = step();
    if (!row || !*row) {
      reset();
      if (!row) return tl::make_unexpected(std::move(row).error());
      return {};
    }
  }
}

void Statement::reset() {
  sqlite3_reset(statement_.get());
}

bool Statement::is_null(int column) const {
  return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL;
}
std::int64_t Statement::integer(int column) const {
  return sqlite3_column_int64(statement_.get(), column);
}
double Statement::real(int column) const {
  return is_null(column) ? std::numeric_limits<double>::quiet_NaN() : sqlite3_column_double(statement_.get(), column);
}
std::string_view Statement::text(int column) const {
  const auto* begin = sqlite3_column_text(statement_.get(), column);
  if (begin == nullptr) return {};
  const auto size = static_cast<std::size_t>(sqlite3_column_bytes(statement_.get(), column));
  return {reinterpret_cast<const char*>(begin), size};
}
Value Statement::value(int column) const {
  switch (sqlite3_column_type(statement_.get(), column)) {
    case SQLITE_INTEGER:
      return integer(column);
    case SQLITE_FLOAT:
      return real(column);
    case SQLITE_NULL:
      return {};
    default:
      return std::string(text(column));
  }
}

Result<std::unique_ptr<Database>> Database::open(const std::filesystem::path& path, Access access) {
  sqlite3* handle = nullptr;
  const bool write = access == Access::write;
  // A reader maps the wal-index without writing to it, so it can neither recover nor move a checkpoint.
  const std::string uri = file_uri(path, write ? "mode=rwc" : "mode=ro&readonly_shm=1");
  const int flags = SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE |
                    (write ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY);
  const int code = sqlite3_open_v2(uri.c_str(), &handle, flags, nullptr);
  std::unique_ptr<Database> database(new Database(handle, path));
  if (code != SQLITE_OK) return fail(database->error(code, "open"));
  configure(handle);
  return database;
}

Result<std::unique_ptr<Database>> Database::open_in_memory() {
  sqlite3* handle = nullptr;
  const int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
  const int code = sqlite3_open_v2(":memory:", &handle, flags, nullptr);
  std::unique_ptr<Database> database(new Database(handle, ":memory:"));
  if (code != SQLITE_OK) return fail(database->error(code, "open"));
  configure(handle);
  return database;
}

Result<> Database::copy_from(Database& other) {
  sqlite3_backup* copying = sqlite3_backup_init(handle_, "main", other.handle_, "main");
  if (copying == nullptr) return fail(error(sqlite3_errcode(handle_), "copy"));
  (void)sqlite3_backup_step(copying, -1);  // its result is that of finish
  const int code = sqlite3_backup_finish(copying);
  if (code != SQLITE_OK) return fail(error(code, "copy"));
  return {};
}

Database::~Database() {
  sqlite3_close_v2(handle_);
}

Error Database::error(int code, std::string_view doing) {
  const int primary = code & 0xff;
  if (primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB) damaged_ = true;
  Error error{.code = Errc::store, .message = {}};
  const char* why = handle_ == nullptr ? sqlite3_errstr(code) : sqlite3_errmsg(handle_);
  error.message = "cannot " + std::string(doing) + " the index " + path_.string() + ": " + why;
  error.hint = primary == SQLITE_FULL ? "free some space, then repeat the command"
                                      : "trainctl store rebuild makes it anew from the run folders";
  error.retryable = primary == SQLITE_BUSY;
  return error;
}

Result<> Database::execute(const char* sql) {
  const int code = sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) return fail(error(code, "write"));
  return {};
}

Result<Statement> Database::prepare(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  const int code = sqlite3_prepare_v2(handle_, sql.data(), static_cast<int>(sql.size()), &statement, nullptr);
  if (code != SQLITE_OK) return fail(error(code, "query"));
  return Statement(statement, this);
}

Result<Statement> Database::prepare(const Sql& sql) {
  TRY_ASSIGN(Statement statement, prepare(std::string_view(sql.text)));
  statement.bind_all(sql.values);
  return statement;
}

Result<Value> Database::scalar(const Sql& sql) {
  TRY_ASSIGN(Statement statement, prepare(sql));
  TRY_ASSIGN(const bool row, statement.step());
  return row ? statement.value(0) : Value{};
}

Result<std::int64_t> Database::integer(std::string_view sql) {
  TRY_ASSIGN(const Value value, scalar(Sql{std::string(sql), {}}));
  const auto* number = std::get_if<std::int64_t>(&value);
  return number == nullptr ? 0 : *number;
}

void Database::interrupt_when(std::function<bool()> stop) {
  stop_ = std::move(stop);
  interrupted_ = false;
  const auto ask = [](void* self) {
    auto* database = static_cast<Database*>(self);
    database->interrupted_ = database->stop_ && database->stop_();
    return database->interrupted_ ? 1 : 0;
  };
  sqlite3_progress_handler(handle_, stop_ ? kProgressSteps : 0, stop_ ? +ask : nullptr, this);
}

}  // namespace trainctl::index
