// SPDX-License-Identifier: Apache-2.0
// One pool as netlink shows it (page-pool-get and page-pool-stats-get of the netdev family,
// net/core/page_pool_user.c, Linux 6.12): sizes in bytes, times in seconds since boot, all statistics. Asks
// only, on or off a fiber.
#pragma once
#include <string>

#include "pagepool/pool.h"

namespace pagepool {

/// Several lines. napi-id is there while the pool may recycle for that NAPI instance: until destroy.
std::string dump_pool(const Pool& pool);

}  // namespace pagepool
