// SPDX-License-Identifier: Apache-2.0
#include "testbenches/campaign/database.h"

#include <sqlite3.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "sim/digest.h"
#include "testbenches/scenario/sqlite_statement.h"

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

using Statement = scenario::SqliteStatement<Refusal>;
using scenario::sqlite_error;

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

/// Statements that add rows, prepared once.
struct Database::Inserts {
  Statement experiment, cost;
};

void Database::Close::operator()(sqlite3* db) const { sqlite3_close(db); }
Database::Database() = default;
Database::Database(Database&&) noexcept = default;
Database::~Database() = default;

void Database::execute(const std::string& sql) const {
  char* message = nullptr;
  if (sqlite3_exec(db_.get(), sql.c_str(), nullptr, nullptr, &message) == SQLITE_OK) return;
  sqlite3_free(message);
  throw Refusal(fmt::format("{}: {}", file_, sqlite_error(db_.get())));
}

void Database::connect(const std::string& path, int flags, const std::string& file) {
  sqlite3* db = nullptr;
  const int code = sqlite3_open_v2(path.c_str(), &db, flags, nullptr);
  db_.reset(db);  // there is one to be closed even when it could not be opened
  if (code != SQLITE_OK) throw Refusal(fmt::format("{}: {}", file, sqlite_error(db)));
}

Database Database::open(const std::string& file, bool write) {
  if (!std::filesystem::exists(file)) throw Refusal(fmt::format("{}: no such database", file));
  Database d;
  d.file_ = file;
  d.connect(file, write ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY, file);
  sqlite3_busy_timeout(d.db_.get(), 10'000);
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
      d.connect(part, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, file);
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
  Statement s(db_.get(), "SELECT value FROM meta WHERE key = ?", file_);
  s.bind(1, key);
  return s.step() ? s.text(0) : "";
}

void Database::set_meta(const std::string& key, const std::string& value) {
  Statement s(db_.get(), "INSERT OR REPLACE INTO meta VALUES(?, ?)", file_);
  s.bind(1, key);
  s.bind(2, value);
  s.step();
}

Campaign Database::campaign() const {
  return parse_campaign(meta("campaign_file"), meta("campaign_text"), meta("base_file"), meta("base_text"));
}

void Database::begin() { execute("BEGIN IMMEDIATE"); }
void Database::commit() { execute("COMMIT"); }

void Database::add(const Campaign& campaign, const Row& row) {
  if (inserts_ == nullptr) {
    const std::string sql =
        fmt::format("INSERT INTO experiment({}) VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", kColumns);
    inserts_.reset(
        new Inserts{{db_.get(), sql, file_}, {db_.get(), "INSERT INTO cost VALUES(?,?,?)", file_}});
  }
  Statement& s = inserts_->experiment;
  const std::uint64_t fault = row.id / campaign.variants.size();
  s.bind(1, row.id).bind(2, fault);
  s.bind(3, campaign.variants[row.id % campaign.variants.size()].name);
  s.bind(4, campaign.faults[campaign.pick(fault).spec].label).bind(5, std::string_view(row.entity));
  s.bind_time(6, row.injected).bind_time(7, row.acted).bind_time(8, row.first_divergence);
  s.bind_time(9, row.detected).bind_time(10, row.ended);
  s.bind(11, std::string_view(to_string(row.outcome))).bind(12, std::string_view(to_string(row.stop)));
  row.detector == Detector::kCount ? s.bind_null(13) : s.bind(13, std::string_view(to_string(row.detector)));
  s.bind(14, row.weight).bind(15, std::uint64_t{row.audited}).bind(16, std::uint64_t{row.audit_agrees});
  s.bind(17, std::string_view(row.digest)).bind(18, std::string_view(row.signature));
  s.bind(19, std::string_view(row.detail));
  s.run();
  inserts_->cost.bind(1, row.id).bind(2, row.cpu_us).bind(3, row.minor_faults).run();
}

std::set<std::uint64_t> Database::ids() const {
  std::set<std::uint64_t> all;
  Statement s(db_.get(), "SELECT id FROM experiment ORDER BY id", file_);
  while (s.step()) all.insert(all.end(), s.number(0));
  return all;
}

std::uint64_t Database::count() const {
  Statement s(db_.get(), "SELECT count(*) FROM experiment", file_);
  return s.step() ? s.number(0) : 0;
}

std::uint64_t Database::unscheduled() const {
  Statement s(db_.get(), "SELECT count(*) FROM experiment WHERE instr(detail, ?) = 1", file_);
  s.bind(1, std::string(kUnscheduled));
  return s.step() ? s.number(0) : 0;
}

std::optional<Result> Database::find(std::uint64_t id) const {
  Statement s(db_.get(), fmt::format("SELECT {} FROM experiment WHERE id = ?", kColumns), file_);
  s.bind(1, id);
  if (!s.step()) return {};
  return read_result(s);
}

void Database::each(const std::function<void(const Result&)>& visit, std::uint64_t limit) const {
  Statement s(db_.get(), fmt::format("SELECT {} FROM experiment WHERE id < ? ORDER BY id", kColumns), file_);
  s.bind(1, std::min<std::uint64_t>(limit, ~std::uint64_t{0} >> 1));
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
    Statement golden(shard.db_.get(), "SELECT key, value FROM meta WHERE key LIKE 'golden_%'", shard.file_);
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
    Statement attach(db_.get(), "ATTACH ? AS shard", file_);
    attach.bind(1, other);
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
  Statement check(db_.get(), "PRAGMA integrity_check", file_);
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
  Statement s(db_.get(), fmt::format("SELECT {} FROM experiment ORDER BY id", kColumns), file_);
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
  Statement s(db_.get(),
              "SELECT signature, count, first_id, smallest_id FROM bucket ORDER BY count DESC, signature",
              file_);
  while (s.step()) all.push_back({s.text(0), s.number(1), s.number(2), s.number(3)});
  return all;
}

std::vector<std::uint64_t> Database::smallest(const std::string& signature, unsigned n) const {
  Statement s(
      db_.get(),
      "SELECT id FROM experiment WHERE signature = ? ORDER BY coalesce(ended_fs - injected_fs, 9e18), id "
      "LIMIT ?",
      file_);
  s.bind(1, signature);
  s.bind(2, std::uint64_t{n});
  std::vector<std::uint64_t> all;
  while (s.step()) all.push_back(s.number(0));
  return all;
}

double Database::cpu_seconds() const {
  Statement s(db_.get(), "SELECT sum(cpu_us) FROM cost", file_);
  return s.step() ? static_cast<double>(s.number(0)) * 1e-6 : 0;
}

}  // namespace campaign
