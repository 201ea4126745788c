// A thin RAII layer over one SQLite connection: prepared statements, typed binds and columns,
// transactions that roll back when dropped. Any thread, one at a time: Database has a mutex that a
// Transaction holds from begin to end.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/digest.h"
#include "base/result.h"

namespace dedup {

class Database;

// A prepared statement in use. Bind in order, step, read columns; it is reset when dropped.
class Statement {
 public:
  Statement(Database& database, sqlite3_stmt* raw) : x_database(&database), x_raw(raw) {}
  Statement(Statement&& other) noexcept
      : x_database(other.x_database),
        x_raw(std::exchange(other.x_raw, nullptr)),
        x_next(other.x_next) {}
  ~Statement();

  template <typename... Values>
  Statement& bind(const Values&... values) {
    (bind_one(values), ...);
    return *this;
  }

  // true: a row is there; false: done. Errors: kNoSpace (disk full), kCorruption, kIo.
  Result<bool> step();
  // step() for statements without rows.
  Result<void> run();

  int64_t integer(int column) const { return sqlite3_column_int64(x_raw, column); }
  std::string text(int column) const;
  Digest digest(int column) const;  // zero digest when the blob has another length

 private:
  void bind_one(int64_t value) { sqlite3_bind_int64(x_raw, x_next++, value); }
  void bind_one(uint64_t value) { bind_one(static_cast<int64_t>(value)); }
  void bind_one(uint32_t value) { bind_one(static_cast<int64_t>(value)); }
  void bind_one(int value) { bind_one(static_cast<int64_t>(value)); }
  void bind_one(std::string_view value) {
    sqlite3_bind_text(x_raw, x_next++, value.data(), static_cast<int>(value.size()),
                      SQLITE_TRANSIENT);
  }
  void bind_one(const std::string& value) { bind_one(std::string_view(value)); }
  void bind_one(const char* value) { bind_one(std::string_view(value)); }
  void bind_one(const Digest& value) {
    sqlite3_bind_blob(x_raw, x_next++, value.bytes.data(), static_cast<int>(value.bytes.size()),
                      SQLITE_TRANSIENT);
  }

  Database* x_database;
  sqlite3_stmt* x_raw;
  int x_next = 1;
};

class Database {
 public:
  // Opens or creates `path` in WAL mode with synchronous=FULL: a commit is durable when it returns.
  static Result<std::unique_ptr<Database>> open(const std::string& path);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // Runs SQL without parameters, for schema.
  Result<void> execute(const char* sql);
  // The cached statement for `sql`, a string literal. Bad SQL is a bug and aborts.
  Statement prepare(const char* sql);
  int64_t last_insert_id() const { return sqlite3_last_insert_rowid(x_raw); }
  int64_t changes() const { return sqlite3_changes64(x_raw); }
  Error error(std::string_view what) const;

  // Holds the connection; everything between two transactions' begin and end is one caller's.
  class Transaction {
   public:
    Transaction(Transaction&&) noexcept = default;
    ~Transaction();
    Result<void> commit();

   private:
    friend class Database;
    explicit Transaction(Database& database) : x_database(&database), x_lock(database.x_mutex) {}
    Database* x_database;
    std::unique_lock<std::recursive_mutex> x_lock;
    bool x_open = false;
  };
  Result<Transaction> begin();
  // For single statements outside a transaction.
  std::unique_lock<std::recursive_mutex> lock() { return std::unique_lock(x_mutex); }

 private:
  Database() = default;
  sqlite3* x_raw = nullptr;
  std::string x_path;
  std::recursive_mutex x_mutex;
  std::unordered_map<const char*, sqlite3_stmt*> x_statements;
};

}  // namespace dedup
