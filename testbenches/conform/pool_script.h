// SPDX-License-Identifier: Apache-2.0
// The parser of pool scripts: one op per line, words separated by blanks, `#` starts a comment. Several
// scripts may stand in one text, each after a line `=== NAME`. Errors are sim::Error with file, line and the
// word.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace conform {

enum class PoolOp : std::uint8_t {
  softirq,
  cpu,
  local_node,
  need_sync,
  dma_align,
  adv,
  inj_nid,
  inj_pfm,
  inj_fail,
  inj_bulk,
  inj_map,
  inj_track,
  inj_kmem,
  work,
  create,
  alloc,
  alloc_n,
  frag,
  var,
  update_nid,
  nid_changed,
  disable_direct,
  enable_direct,
  xdp_attach,
  napi_owner,
  napi_sched,
  netdev_gone,
  stats,
  destroy,
  put,
  put_bulk,
  put_bulk_mixed,
  ref,
  get,
  unget,
  sync_cpu,
};

struct HandleRange {
  std::int64_t first = 0, last = 0;  // both included; descending allowed
  std::int64_t count() const { return (first <= last ? last - first : first - last) + 1; }
  std::int64_t at(std::int64_t i) const { return first <= last ? first + i : first - i; }
};

/// The parameters of `create`, as in the script.
struct CreateWords {
  std::int64_t size = 0, order = 0, nid = -1, max_len = 0, offset = 0, napi = 0, cpuid = -1, netdev = 0,
               cb = 0;
  std::uint32_t flags = 0;
  unsigned dir = 2;  // as DmaDirection
};

struct PoolScriptOp {
  PoolOp op;
  std::size_t line = 0;
  std::string_view word;             // the op's name
  std::int64_t a = 0, b = 0, c = 0;  // numbers in order; missing = 0 unless the op says otherwise
  std::vector<HandleRange> handles;  // put, put_bulk, ref, ...
  CreateWords create;
};

struct PoolScriptText {
  std::string name;  // after "=== "; empty when there is no such line
  std::vector<PoolScriptOp> ops;
};

/// All scripts of `text`, which came from `file`.
std::vector<PoolScriptText> parse_pool_scripts(std::string_view file, std::string_view text);

}  // namespace conform
