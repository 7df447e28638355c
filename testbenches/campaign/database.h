// SPDX-License-Identifier: Apache-2.0
// Results of a campaign, or of one shard of it, in one SQLite file. Written by one process; read by any.
//
// meta(key, value) - what made it; experiment - one row an experiment, equal whoever ran it; cost - what that
// took here; bucket - failures by signature with the smallest example; view summary. docs/campaigns.md has
// the columns.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "testbenches/campaign/campaign.h"
#include "testbenches/campaign/record.h"

struct sqlite3;

namespace campaign {

/// The database says no: not one of ours, damaged, full. Its text is for people; exit code 2.
struct Refusal : sim::Error {
  using sim::Error::Error;
};
/// Made by another build or from another campaign file; exit code 4.
struct NotReproducible : sim::Error {
  using sim::Error::Error;
};

/// A row as it is kept.
struct Result {
  std::uint64_t id, fault;
  std::string variant, kind, entity, outcome, stop, detector, digest, signature, detail;
  sim::Tick injected, acted, first_divergence, detected, ended;  ///< kNever: NULL
  std::uint64_t weight;
  bool audited, audit_agrees;
};

class Database {
 public:
  /// Creates the file, or opens it and checks that it belongs to this campaign and build (NotReproducible).
  static Database open_for(const Campaign& campaign, const std::string& file, const std::string& build);
  /// Opens what is there, for reading (or for more rows). Refusal if it is none of ours.
  static Database open(const std::string& file, bool write = false);
  Database(Database&&) noexcept;
  ~Database();

  std::string meta(const std::string& key) const;  ///< "" if there is none
  void set_meta(const std::string& key, const std::string& value);
  /// The campaign as it was when this was made.
  Campaign campaign() const;

  void begin();
  void commit();
  void add(const Campaign& campaign, const Row& row);
  std::set<std::uint64_t> ids() const;
  std::uint64_t count() const;
  /// Experiments for which no moment came at which the campaign's schedule could take over (schedule.h).
  std::uint64_t unscheduled() const;
  std::optional<Result> find(std::uint64_t id) const;
  /// Every result below `limit`, by id.
  void each(const std::function<void(const Result&)>& visit, std::uint64_t limit = ~std::uint64_t{0}) const;
  /// Rows of `other`, whose experiments this does not have. Checks them first.
  std::uint64_t merge(const std::string& other);
  /// Refusal if the file is damaged: its structure, or rows that are not those of its digest.
  void verify() const;
  void drop_from(std::uint64_t id);
  /// Buckets anew, statistics of the planner, the digest of all rows into meta "rows_digest".
  void finish();
  /// Hash over all rows, by id.
  std::string rows_digest() const;
  void execute(const std::string& sql) const;

  struct Bucket {
    std::string signature;
    std::uint64_t count, first, smallest;
  };
  std::vector<Bucket> buckets() const;
  /// Numbers of the `n` smallest examples of a bucket: least time between fault and end, then lowest number.
  std::vector<std::uint64_t> smallest(const std::string& signature, unsigned n) const;
  /// CPU time of all experiments, in seconds.
  double cpu_seconds() const;
  const std::string& file() const { return file_; }

 private:
  struct Inserts;
  struct Close {
    void operator()(sqlite3* db) const;
  };
  Database();
  /// Opens; throws Refusal, named `file`.
  void connect(const std::string& path, int flags, const std::string& file);
  std::string file_;
  std::unique_ptr<sqlite3, Close> db_;
  std::unique_ptr<Inserts> inserts_;  // before the connection is closed
};

}  // namespace campaign
