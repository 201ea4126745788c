#include "pool/sqlite.h"

#include <cstdio>
#include <cstdlib>

namespace dedup {

Statement::~Statement() {
  if (x_raw == nullptr) return;
  sqlite3_reset(x_raw);
  sqlite3_clear_bindings(x_raw);
}

Result<bool> Statement::step() {
  const int status = sqlite3_step(x_raw);
  if (status == SQLITE_ROW) return true;
  if (status == SQLITE_DONE) return false;
  return x_database->error("index.db");
}

Result<void> Statement::run() {
  TRY(step());
  sqlite3_reset(x_raw);
  x_next = 1;
  return {};
}

std::string Statement::text(int column) const {
  const auto* bytes = reinterpret_cast<const char*>(sqlite3_column_text(x_raw, column));
  return bytes == nullptr
             ? std::string()
             : std::string(bytes, static_cast<size_t>(sqlite3_column_bytes(x_raw, column)));
}

Digest Statement::digest(int column) const {
  Digest value;
  if (sqlite3_column_bytes(x_raw, column) == static_cast<int>(value.bytes.size())) {
    std::memcpy(value.bytes.data(), sqlite3_column_blob(x_raw, column), value.bytes.size());
  }
  return value;
}

Result<std::unique_ptr<Database>> Database::open(const std::string& path) {
  std::unique_ptr<Database> database(new Database);
  database->x_path = path;
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
  if (sqlite3_open_v2(path.c_str(), &database->x_raw, flags, nullptr) != SQLITE_OK)
    return database->error("open");
  sqlite3_busy_timeout(database->x_raw,
                       10'000);  // an operator's sqlite3 shell may hold the file for a moment
  TRY(
      database->execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; "
                        "PRAGMA cache_size=-4096; PRAGMA wal_autocheckpoint=4000;"));
  return database;
}

Database::~Database() {
  for (auto& [sql, statement] : x_statements) sqlite3_finalize(statement);
  sqlite3_close(x_raw);
}

Result<void> Database::execute(const char* sql) {
  auto held = lock();
  if (sqlite3_exec(x_raw, sql, nullptr, nullptr, nullptr) != SQLITE_OK) return error("index.db");
  return {};
}

Statement Database::prepare(const char* sql) {
  sqlite3_stmt*& statement = x_statements[sql];
  if (statement == nullptr && sqlite3_prepare_v3(x_raw, sql, -1, SQLITE_PREPARE_PERSISTENT,
                                                 &statement, nullptr) != SQLITE_OK) {
    std::fprintf(stderr, "bug: SQL \"%s\": %s\n", sql, sqlite3_errmsg(x_raw));
    std::abort();
  }
  return {*this, statement};
}

Error Database::error(std::string_view what) const {
  const int status = sqlite3_errcode(x_raw);
  Errc code = Errc::kIo;
  if (status == SQLITE_FULL) code = Errc::kNoSpace;
  if (status == SQLITE_CORRUPT || status == SQLITE_NOTADB) code = Errc::kCorruption;
  if (status == SQLITE_BUSY || status == SQLITE_LOCKED) code = Errc::kUnavailable;
  return make_error(code, std::string(what) + " " + x_path + ": " + sqlite3_errmsg(x_raw));
}

Result<Database::Transaction> Database::begin() {
  Transaction transaction(*this);
  if (sqlite3_exec(x_raw, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr) != SQLITE_OK)
    return error("begin");
  transaction.x_open = true;
  return transaction;
}

Result<void> Database::Transaction::commit() {
  if (sqlite3_exec(x_database->x_raw, "COMMIT", nullptr, nullptr, nullptr) != SQLITE_OK) {
    return x_database->error("commit");
  }
  x_open = false;
  return {};
}

Database::Transaction::~Transaction() {
  // A moved-from transaction holds no lock and must not roll back its successor's work.
  if (x_open && x_lock.owns_lock())
    sqlite3_exec(x_database->x_raw, "ROLLBACK", nullptr, nullptr, nullptr);
}

}  // namespace dedup
