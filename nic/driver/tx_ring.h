// SPDX-License-Identifier: Apache-2.0
// One transmit ring as igb runs it (igb_xmit_frame_ring, igb_xdp_xmit, igb_clean_tx_irq, igb_clean_tx_ring;
// Linux 6.12) for packets that were received: one descriptor each, mapped for the sending device, and held -
// page and all - until the device has written the descriptor back.
#pragma once
#include <string>
#include <vector>

#include "kernel/kernel.h"
#include "nic/device/registers.h"
#include "nic/stack/net_stack.h"
#include "nic/stack/qdisc.h"

namespace nic {

struct TxRingConfig {
  unsigned descriptors = 256;                      ///< multiple of 8, 8..4096
  unsigned pthresh = 8, hthresh = 1, wthresh = 1;  ///< TXDCTL thresholds
  void validate() const;
};

class TxRing final : public Transmitter {
 public:
  TxRing(kernel::Kernel& kernel, NetStack& stack, const mm::Trace& trace, std::string name, unsigned ifindex,
         const TxRingConfig& config);

  /// igb_setup_tx_resources, igb_configure_tx_ring. Task context. False: out of memory.
  bool open(kernel::Device& device, sim::PhysAddr registers, const MacAddress& mac);
  /// NAPI poll: what the device has completed is unmapped and freed, and the queue in front of it goes on.
  /// Softirq.
  int clean_tx_irq();
  /// igb_clean_tx_ring and the rest: what is left goes unsent. The queue must be off. Task context.
  void free_resources();
  bool is_open() const { return open_; }
  Qdisc& qdisc() { return qdisc_; }

  unsigned ifindex() const override { return ifindex_; }
  const std::string& name() const override { return name_; }
  MacAddress mac() const override { return mac_; }
  bool stopped() const override { return !open_ || unused() < kWakeThreshold; }
  bool ndo_start_xmit(Skb* skb) override;
  bool ndo_xdp_xmit(sim::Pfn page, unsigned offset, unsigned length) override;
  void flush() override;
  unsigned in_use() const override { return config_.descriptors - 1 - unused(); }

  struct Counters {
    std::uint64_t packets = 0, bytes = 0, xdp = 0, busy = 0, map_errors = 0;
  };
  const Counters& counters() const { return counters_; }

 private:
  static constexpr unsigned kWakeThreshold = 2;
  struct Buffer {
    Skb* skb = nullptr;  ///< null with `used`: an XDP frame
    bool used = false;
    sim::Pfn page{0};
    unsigned length = 0;
    sim::Iova iova{0};
  };
  unsigned unused() const {
    return (next_to_clean_ > next_to_use_ ? 0 : config_.descriptors) + next_to_clean_ - next_to_use_ - 1;
  }
  sim::PhysAddr descriptor(unsigned i) const { return descriptors_.phys + 16u * i; }
  bool put(Skb* skb, sim::Pfn page, unsigned offset, unsigned length);
  void release(Buffer& buffer);

  kernel::Kernel& kernel_;
  NetStack& stack_;
  const mm::Trace& trace_;
  std::string name_;
  unsigned ifindex_;
  TxRingConfig config_;
  Qdisc qdisc_;
  MacAddress mac_{};
  kernel::SpinLock lock_{"_xmit_lock"};
  kernel::Device* device_ = nullptr;
  sim::PhysAddr registers_{0};
  kernel::CoherentBuffer descriptors_;
  std::vector<Buffer> buffers_;
  unsigned next_to_use_ = 0, next_to_clean_ = 0, announced_ = 0;
  bool open_ = false;
  Counters counters_;
};

}  // namespace nic
