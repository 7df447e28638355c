// SPDX-License-Identifier: Apache-2.0
// One receive ring as igb and igbvf run it (igb_alloc_rx_buffers, igb_clean_rx_irq, igb_clean_rx_ring; Linux 6.12),
// with its buffers from a page_pool: descriptors in coherent memory, one page a buffer, doorbell by MMIO.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "kernel/kernel.h"
#include "nic/device/registers.h"
#include "nic/stack/net_stack.h"
#include "pagepool/pool.h"

namespace nic {

struct RxRingConfig {
  unsigned descriptors = 256;  ///< multiple of 8, 8..4096
  unsigned buffer_bytes = 2048;  ///< 1024..4096 in steps of 1024
  /// RXDCTL thresholds.
  unsigned pthresh = 8, hthresh = 8, wthresh = 1;
  /// Buffers are pieces of pages (page_pool_dev_alloc_frag), as many to a page as fit: several skbs hold one page.
  bool page_fragments = false;
  bool drop_enable = true;  ///< SRRCTL.DROP_EN: no descriptor = drop instead of holding up the packet buffer
  /// Page pool ring entries; 0 = as many as descriptors.
  unsigned pool_size = 0;
  /// A bug to look for: pages that open() maps and nobody ever unmaps.
  unsigned leak_mappings = 0;
  void validate() const;
};

class RxRing {
 public:
  /// `registers`: physical address of the queue's register block (RDBAL at +0x00 ... RXDCTL at +0x28).
  RxRing(kernel::Kernel& kernel, NetStack& stack, const mm::Trace& trace, std::string name,
         const RxRingConfig& config, unsigned number = 0);

  /// igb_setup_rx_resources, igb_configure_rx_ring: pool, descriptors, registers, enable, first fill. Task context.
  /// False: out of memory; nothing is left behind.
  bool open(kernel::Device& device, sim::PhysAddr registers, Napi& napi, const pagepool::PoolFactory& make_pool);
  /// NAPI poll: up to `budget` packets into the stack; refills. How many.
  int clean_rx_irq(int budget);
  /// RXDCTL.ENABLE := 0 and wait until the device agrees (at most 10 ms).
  void disable();
  /// igb_clean_rx_ring and the rest: buffers back to the pool, pool destroyed, descriptors freed. The device must not
  /// use the ring any more - nobody checks. Task context.
  void free_resources();
  /// NETDEV_UNREGISTER: the hook of the strategies; after it, a pool that still waits for pages has lost its net
  /// device.
  void netdev_unregistered();

  pagepool::Pool* pool() { return pool_.get(); }
  bool is_open() const { return open_; }
  /// The descriptors in memory; `bytes` 0: none.
  const kernel::CoherentBuffer& descriptors() const { return descriptors_; }
  kernel::Device* device() const { return device_; }
  struct Counters {
    std::uint64_t packets = 0, bytes = 0, alloc_failed = 0, errors = 0;
    kernel::Cycle poll_cycles = 0;  ///< core cycles spent in clean_rx_irq, the stack above included
  };
  const Counters& counters() const { return counters_; }

 private:
  struct Buffer {
    sim::Pfn page{0};
    unsigned offset = 0;
    bool valid = false;
  };
  void alloc_rx_buffers(unsigned count);
  void leak_mappings(kernel::Device& device);
  std::optional<pagepool::PageFragment> alloc_buffer();
  unsigned unused() const {
    return (next_to_clean_ > next_to_use_ ? 0 : config_.descriptors) + next_to_clean_ - next_to_use_ - 1;
  }
  sim::PhysAddr descriptor(unsigned i) const { return descriptors_.phys + 16u * i; }

  kernel::Kernel& kernel_;
  NetStack& stack_;
  const mm::Trace& trace_;
  std::string name_;
  pagepool::Netdev netdev_;
  RxRingConfig config_;
  unsigned number_;  // of the queue, in the driver's count
  kernel::Device* device_ = nullptr;
  Napi* napi_ = nullptr;
  sim::PhysAddr registers_{0};
  kernel::CoherentBuffer descriptors_;
  std::shared_ptr<pagepool::Pool> pool_;
  std::vector<Buffer> buffers_;
  unsigned next_to_use_ = 0, next_to_clean_ = 0;
  bool open_ = false;
  Counters counters_;
};

}  // namespace nic
