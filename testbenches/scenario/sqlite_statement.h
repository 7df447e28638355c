// SPDX-License-Identifier: Apache-2.0
// A prepared statement of SQLite that goes at the end of its scope. What SQLite refuses is thrown as
// `Failure`, an exception that takes "FILE: what is wrong" - each database has its own.
#pragma once
#include <fmt/format.h>
#include <sqlite3.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "sim/types.h"

namespace scenario {

/// What SQLite says is wrong, and the system below it.
inline std::string sqlite_error(sqlite3* db) {
  std::string text = sqlite3_errmsg(db);
  const int code = sqlite3_errcode(db);
  if (code != SQLITE_IOERR && code != SQLITE_FULL && code != SQLITE_CANTOPEN && code != SQLITE_READONLY)
    return text;
  if (const int error = sqlite3_system_errno(db); error != 0)
    text += fmt::format(" ({})", std::strerror(error));
  return text;
}

template <class Failure>
class SqliteStatement {
 public:
  /// `file` is for messages.
  SqliteStatement(sqlite3* db, const std::string& sql, std::string file) : db_(db), file_(std::move(file)) {
    if (sqlite3_prepare_v2(db, sql.c_str(), -1, &s_, nullptr) != SQLITE_OK) fail();
  }
  ~SqliteStatement() { sqlite3_finalize(s_); }
  SqliteStatement(const SqliteStatement&) = delete;
  SqliteStatement& operator=(const SqliteStatement&) = delete;

  // Parameters, from 1.
  SqliteStatement& bind(int i, std::string_view text) {
    sqlite3_bind_text(s_, i, text.data(), static_cast<int>(text.size()), SQLITE_TRANSIENT);
    return *this;
  }
  SqliteStatement& bind(int i, std::uint64_t n) {
    sqlite3_bind_int64(s_, i, static_cast<sqlite3_int64>(n));
    return *this;
  }
  SqliteStatement& bind(int i, double d) {
    sqlite3_bind_double(s_, i, d);
    return *this;
  }
  SqliteStatement& bind_null(int i) {
    sqlite3_bind_null(s_, i);
    return *this;
  }
  /// kNever is NULL.
  SqliteStatement& bind_time(int i, sim::Tick t) { return t == sim::kNever ? bind_null(i) : bind(i, t); }

  /// True: there is a row.
  bool step() {
    const int code = sqlite3_step(s_);
    if (code == SQLITE_ROW) return true;
    if (code != SQLITE_DONE) fail();
    return false;
  }
  /// One step of a statement without rows, which can then be bound again.
  void run() {
    const int code = sqlite3_step(s_);
    sqlite3_reset(s_);
    if (code != SQLITE_DONE) fail();
  }

  // Columns of the row, from 0.
  std::string text(int i) const {
    const auto* t = reinterpret_cast<const char*>(sqlite3_column_text(s_, i));
    return t == nullptr ? std::string()
                        : std::string(t, static_cast<std::size_t>(sqlite3_column_bytes(s_, i)));
  }
  std::uint64_t number(int i) const { return static_cast<std::uint64_t>(sqlite3_column_int64(s_, i)); }
  double real(int i) const { return sqlite3_column_double(s_, i); }
  sim::Tick time(int i) const { return sqlite3_column_type(s_, i) == SQLITE_NULL ? sim::kNever : number(i); }

 private:
  [[noreturn]] void fail() const { throw Failure(fmt::format("{}: {}", file_, sqlite_error(db_))); }
  sqlite3* db_;
  std::string file_;
  sqlite3_stmt* s_ = nullptr;
};

}  // namespace scenario
