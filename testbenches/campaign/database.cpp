// SPDX-License-Identifier: Apache-2.0
#include "testbenches/campaign/database.h"

#include <sqlite3.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <utility>

#include "sim/digest.h"

namespace campaign {
namespace {

constexpr const char* kVersion = "1";

constexpr const char* kTables = R"sql(
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE experiment(
  id INTEGER PRIMARY KEY, fault INTEGER NOT NULL, variant TEXT NOT NULL, kind TEXT NOT NULL, entity TEXT NOT NULL,
  injected_fs INTEGER, acted_fs INTEGER, first_divergence_fs INTEGER, detected_fs INTEGER, ended_fs INTEGER,
  outcome TEXT NOT NULL, stop TEXT NOT NULL, detector TEXT, weight INTEGER NOT NULL,
  audited INTEGER NOT NULL, audit_agrees INTEGER NOT NULL,
  digest TEXT NOT NULL, signature TEXT NOT NULL, detail TEXT NOT NULL) STRICT;
CREATE TABLE cost(id INTEGER PRIMARY KEY, cpu_us INTEGER NOT NULL, minor_faults INTEGER NOT NULL) STRICT;
CREATE TABLE bucket(signature TEXT PRIMARY KEY, count INTEGER NOT NULL, first_id INTEGER NOT NULL,
  smallest_id INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE VIEW summary AS SELECT variant, kind, outcome, count(*) AS n, sum(weight) AS weight
  FROM experiment WHERE stop <> 'exhausted' GROUP BY variant, kind, outcome;
)sql";

/// What SQLite says is wrong, and the system below it.
std::string why(sqlite3* db) {
  std::string text = sqlite3_errmsg(db);
  const int code = sqlite3_errcode(db);
  if (code != SQLITE_IOERR && code != SQLITE_FULL && code != SQLITE_CANTOPEN && code != SQLITE_READONLY)
    return text;
  if (const int error = sqlite3_system_errno(db); error != 0)
    text += fmt::format(" ({})", std::strerror(error));
  return text;
}

/// A prepared statement that goes at the end of its scope.
class Statement {
 public:
  Statement(sqlite3* db, const std::string& sql, const std::string& file) : db_(db), file_(file) {
    if (sqlite3_prepare_v2(db, sql.c_str(), -1, &s_, nullptr) != SQLITE_OK) fail();
  }
  ~Statement() { sqlite3_finalize(s_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;
  bool step() {
    const int code = sqlite3_step(s_);
    if (code == SQLITE_ROW) return true;
    if (code != SQLITE_DONE) fail();
    return false;
  }
  std::string text(int i) const {
    const auto* t = reinterpret_cast<const char*>(sqlite3_column_text(s_, i));
    return t == nullptr ? std::string()
                        : std::string(t, static_cast<std::size_t>(sqlite3_column_bytes(s_, i)));
  }
  std::uint64_t number(int i) const { return static_cast<std::uint64_t>(sqlite3_column_int64(s_, i)); }
  sim::Tick time(int i) const { return sqlite3_column_type(s_, i) == SQLITE_NULL ? sim::kNever : number(i); }
  sqlite3_stmt* get() { return s_; }

 private:
  [[noreturn]] void fail() { throw Refusal(fmt::format("{}: {}", file_, why(db_))); }
  sqlite3* db_;
  const std::string& file_;
  sqlite3_stmt* s_ = nullptr;
};

void bind_text(sqlite3_stmt* s, int i, std::string_view text) {
  sqlite3_bind_text(s, i, text.data(), static_cast<int>(text.size()), SQLITE_TRANSIENT);
}
void bind_number(sqlite3_stmt* s, int i, std::uint64_t n) {
  sqlite3_bind_int64(s, i, static_cast<sqlite3_int64>(n));
}
void bind_time(sqlite3_stmt* s, int i, sim::Tick t) {
  if (t == sim::kNever) {
    sqlite3_bind_null(s, i);
  } else {
    bind_number(s, i, t);
  }
}

constexpr const char* kColumns =
    "id, fault, variant, kind, entity, injected_fs, acted_fs, first_divergence_fs, detected_fs, ended_fs, "
    "outcome, "
    "stop, detector, weight, audited, audit_agrees, digest, signature, detail";

Result read_result(const Statement& s) {
  Result r;
  r.id = s.number(0), r.fault = s.number(1);
  r.variant = s.text(2), r.kind = s.text(3), r.entity = s.text(4);
  r.injected = s.time(5), r.acted = s.time(6), r.first_divergence = s.time(7), r.detected = s.time(8);
  r.ended = s.time(9);
  r.outcome = s.text(10), r.stop = s.text(11), r.detector = s.text(12);
  r.weight = s.number(13), r.audited = s.number(14) != 0, r.audit_agrees = s.number(15) != 0;
  r.digest = s.text(16), r.signature = s.text(17), r.detail = s.text(18);
  return r;
}

}  // namespace

Database::Database(Database&& other) noexcept
    : file_(std::move(other.file_)),
      db_(std::exchange(other.db_, nullptr)),
      insert_(std::exchange(other.insert_, nullptr)),
      insert_cost_(std::exchange(other.insert_cost_, nullptr)) {}

Database::~Database() {
  sqlite3_finalize(insert_);
  sqlite3_finalize(insert_cost_);
  sqlite3_close(db_);
}

void Database::execute(const std::string& sql) const {
  char* message = nullptr;
  if (sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, &message) == SQLITE_OK) return;
  sqlite3_free(message);
  throw Refusal(fmt::format("{}: {}", file_, why(db_)));
}

sqlite3_stmt* Database::prepare(const std::string& sql) const {
  sqlite3_stmt* s = nullptr;
  if (sqlite3_prepare_v2(db_, sql.c_str(), -1, &s, nullptr) != SQLITE_OK) {
    throw Refusal(fmt::format("{}: {}", file_, why(db_)));
  }
  return s;
}

Database Database::open(const std::string& file, bool write) {
  if (!std::filesystem::exists(file)) throw Refusal(fmt::format("{}: no such database", file));
  Database d;
  d.file_ = file;
  if (sqlite3_open_v2(file.c_str(), &d.db_, write ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY, nullptr) !=
      SQLITE_OK) {
    throw Refusal(fmt::format("{}: {}", file, why(d.db_)));
  }
  sqlite3_busy_timeout(d.db_, 10'000);
  if (const std::string v = d.meta("schema"); v != kVersion) {
    throw Refusal(fmt::format("{}: no campaign database of version {}", file, kVersion));
  }
  if (write) d.execute("PRAGMA synchronous=NORMAL");
  return d;
}

Database Database::open_for(const Campaign& campaign, const std::string& file, const std::string& build) {
  if (!std::filesystem::exists(file)) {
    // Whole or not at all: killed half-way, nothing is left that looks like a database.
    const std::string part = fmt::format("{}.new", file);
    const auto clear = [&part] {
      std::error_code ignored;
      for (const char* end : {"", "-wal", "-shm", "-journal"}) std::filesystem::remove(part + end, ignored);
    };
    clear();
    try {
      Database d;
      d.file_ = part;
      if (sqlite3_open_v2(part.c_str(), &d.db_, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr) !=
          SQLITE_OK) {
        throw Refusal(fmt::format("{}: {}", file, why(d.db_)));
      }
      d.file_ = file;
      d.execute("PRAGMA journal_mode=WAL");
      d.execute("BEGIN");
      d.execute(kTables);
      d.set_meta("schema", kVersion);
      d.set_meta("campaign", campaign.name);
      d.set_meta("build", build);
      d.set_meta("config_digest", campaign.config_digest());
      d.set_meta("campaign_file", campaign.file);
      d.set_meta("campaign_text", campaign.text);
      d.set_meta("base_file", campaign.base_file);
      d.set_meta("base_text", campaign.base_text);
      d.execute("COMMIT");
    } catch (const Refusal&) {
      clear();
      throw;
    }
    std::filesystem::rename(part, file);
  }
  Database d = open(file, true);
  d.verify();
  if (d.meta("build") != build) {
    throw NotReproducible(
        fmt::format("{}: was made by build {}, this is {}; take another --db, or that build", file,
                    d.meta("build"), build));
  }
  if (d.meta("config_digest") != campaign.config_digest()) {
    throw NotReproducible(fmt::format(
        "{}: holds another campaign: the file, its scenario or POOLSIM_* have changed since", file));
  }
  return d;
}

std::string Database::meta(const std::string& key) const {
  Statement s(db_, "SELECT value FROM meta WHERE key = ?", file_);
  bind_text(s.get(), 1, key);
  return s.step() ? s.text(0) : "";
}

void Database::set_meta(const std::string& key, const std::string& value) {
  Statement s(db_, "INSERT OR REPLACE INTO meta VALUES(?, ?)", file_);
  bind_text(s.get(), 1, key);
  bind_text(s.get(), 2, value);
  s.step();
}

Campaign Database::campaign() const {
  return parse_campaign(meta("campaign_file"), meta("campaign_text"), meta("base_file"), meta("base_text"));
}

void Database::begin() { execute("BEGIN IMMEDIATE"); }
void Database::commit() { execute("COMMIT"); }

void Database::add(const Campaign& campaign, const Row& row) {
  if (insert_ == nullptr) {
    insert_ = prepare(
        fmt::format("INSERT INTO experiment({}) VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", kColumns));
    insert_cost_ = prepare("INSERT INTO cost VALUES(?,?,?)");
  }
  sqlite3_stmt* s = insert_;
  const std::uint64_t fault = row.id / campaign.variants.size();
  bind_number(s, 1, row.id);
  bind_number(s, 2, fault);
  bind_text(s, 3, campaign.variants[row.id % campaign.variants.size()].name);
  bind_text(s, 4, campaign.faults[campaign.pick(fault).spec].label);
  bind_text(s, 5, row.entity);
  bind_time(s, 6, row.injected);
  bind_time(s, 7, row.acted);
  bind_time(s, 8, row.first_divergence);
  bind_time(s, 9, row.detected);
  bind_time(s, 10, row.ended);
  bind_text(s, 11, to_string(row.outcome));
  bind_text(s, 12, to_string(row.stop));
  if (row.detector == Detector::kCount) {
    sqlite3_bind_null(s, 13);
  } else {
    bind_text(s, 13, to_string(row.detector));
  }
  bind_number(s, 14, row.weight);
  bind_number(s, 15, row.audited);
  bind_number(s, 16, row.audit_agrees);
  bind_text(s, 17, row.digest);
  bind_text(s, 18, row.signature);
  bind_text(s, 19, row.detail);
  const auto run = [this](sqlite3_stmt* statement) {
    const int code = sqlite3_step(statement);
    sqlite3_reset(statement);
    if (code != SQLITE_DONE) throw Refusal(fmt::format("{}: {}", file_, why(db_)));
  };
  run(s);
  bind_number(insert_cost_, 1, row.id);
  bind_number(insert_cost_, 2, row.cpu_us);
  bind_number(insert_cost_, 3, row.minor_faults);
  run(insert_cost_);
}

std::set<std::uint64_t> Database::ids() const {
  std::set<std::uint64_t> all;
  Statement s(db_, "SELECT id FROM experiment ORDER BY id", file_);
  while (s.step()) all.insert(all.end(), s.number(0));
  return all;
}

std::uint64_t Database::count() const {
  Statement s(db_, "SELECT count(*) FROM experiment", file_);
  return s.step() ? s.number(0) : 0;
}

std::optional<Result> Database::find(std::uint64_t id) const {
  Statement s(db_, fmt::format("SELECT {} FROM experiment WHERE id = ?", kColumns), file_);
  bind_number(s.get(), 1, id);
  if (!s.step()) return {};
  return read_result(s);
}

void Database::each(const std::function<void(const Result&)>& visit, std::uint64_t limit) const {
  Statement s(db_, fmt::format("SELECT {} FROM experiment WHERE id < ? ORDER BY id", kColumns), file_);
  bind_number(s.get(), 1, std::min<std::uint64_t>(limit, ~std::uint64_t{0} >> 1));
  while (s.step()) visit(read_result(s));
}

std::uint64_t Database::merge(const std::string& other) {
  {
    const Database shard = open(other);
    shard.verify();
    for (const char* key : {"build", "config_digest"}) {
      if (shard.meta(key) != meta(key)) {
        throw NotReproducible(
            fmt::format("{}: {} is {}, that of {} is {}", other, key, shard.meta(key), file_, meta(key)));
      }
    }
    // Shards of one campaign have seen the same golden run, or they do not belong together.
    Statement golden(shard.db_, "SELECT key, value FROM meta WHERE key LIKE 'golden_%'", shard.file_);
    while (golden.step()) {
      const std::string mine = meta(golden.text(0));
      if (mine.empty())
        set_meta(golden.text(0), golden.text(1));
      else if (mine != golden.text(1)) {
        throw NotReproducible(fmt::format("{}: {} is {}, that of {} is {}", other, golden.text(0),
                                          golden.text(1), file_, mine));
      }
    }
  }
  {
    Statement attach(db_, "ATTACH ? AS shard", file_);
    bind_text(attach.get(), 1, other);
    attach.step();
  }
  const std::uint64_t before = count();
  begin();
  execute("DELETE FROM main.meta WHERE key = 'rows_digest'");
  execute("INSERT OR IGNORE INTO cost SELECT * FROM shard.cost");
  execute("INSERT OR IGNORE INTO experiment SELECT * FROM shard.experiment");
  commit();
  execute("DETACH shard");
  return count() - before;
}

void Database::verify() const {
  Statement check(db_, "PRAGMA integrity_check", file_);
  if (!check.step() || check.text(0) != "ok")
    throw Refusal(fmt::format("{}: damaged: {}", file_, check.text(0)));
  // Absent while rows are being added: what was killed then is checked by SQLite alone.
  const std::string digest = meta("rows_digest");
  if (!digest.empty() && digest != rows_digest())
    throw Refusal(fmt::format("{}: damaged: the rows are not those that were stored", file_));
}

void Database::drop_from(std::uint64_t id) {
  begin();
  execute("DELETE FROM meta WHERE key = 'rows_digest'");
  execute(fmt::format("DELETE FROM experiment WHERE id >= {}", id));
  execute(fmt::format("DELETE FROM cost WHERE id >= {}", id));
  commit();
}

std::string Database::rows_digest() const {
  sim::Digest digest;
  Statement s(db_, fmt::format("SELECT {} FROM experiment ORDER BY id", kColumns), file_);
  while (s.step()) {
    std::string row;
    for (int i = 0; i < 19; ++i) row += s.text(i) + '\x1f';
    digest.add(s.number(0), 0, sim::hash64(row.data(), row.size()));
  }
  return digest.hex();
}

void Database::finish() {
  begin();
  execute("CREATE INDEX IF NOT EXISTS experiment_signature ON experiment(signature)");
  execute("DELETE FROM bucket");
  // The smallest example: the one in which the least time passed between fault and end; then the lowest
  // number.
  execute(
      "INSERT INTO bucket SELECT signature, count(*), min(id), (SELECT e.id FROM experiment e WHERE "
      "e.signature = o.signature ORDER BY coalesce(e.ended_fs - e.injected_fs, 9e18), e.id LIMIT 1) "
      "FROM experiment o WHERE stop <> 'exhausted' GROUP BY signature");
  set_meta("rows_digest", rows_digest());
  commit();
  execute("PRAGMA optimize");
  execute("PRAGMA wal_checkpoint(TRUNCATE)");
}

std::vector<Database::Bucket> Database::buckets() const {
  std::vector<Bucket> all;
  Statement s(db_,
              "SELECT signature, count, first_id, smallest_id FROM bucket ORDER BY count DESC, signature",
              file_);
  while (s.step()) all.push_back({s.text(0), s.number(1), s.number(2), s.number(3)});
  return all;
}

double Database::cpu_seconds() const {
  Statement s(db_, "SELECT sum(cpu_us) FROM cost", file_);
  return s.step() ? static_cast<double>(s.number(0)) * 1e-6 : 0;
}

}  // namespace campaign
