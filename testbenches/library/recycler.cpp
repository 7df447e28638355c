// SPDX-License-Identifier: Apache-2.0
// The page_pool of the model as a page recycler on real threads: header only, no SystemC.
#include <cstdio>

#include "pagepool/native_env.h"

int main() {
  pagepool::NativeEnv env(1024);
  using Pool = pagepool::NativePool<pagepool::V618>;
  pagepool::NativeEnv::enter_cpu(0, true);
  int error = 0;
  typename Pool::Params params;
  params.pool_size = 64;
  Pool* pool = Pool::create(env, params, -1, error);
  if (pool == nullptr) return 1;
  const auto first = pool->alloc_netmems();
  pool->put_full_netmem(first, true);
  const bool recycled = pool->alloc_netmems() == first;
  pool->put_full_netmem(first, true);
  pool->destroy();
  std::printf("a page that was given back is %s\n", recycled ? "used again" : "LOST");
  return recycled ? 0 : 1;
}
