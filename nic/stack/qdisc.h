// SPDX-License-Identifier: Apache-2.0
// The sending side of the stack as far as received packets go there: a device that transmits, and the queue
// in front of it (dev_queue_xmit, sch_generic.c; Linux 6.12, in its steps). A packet that is forwarded keeps
// its page of the receiving device's page_pool until the sending device has completed it.
#pragma once
#include <cstdint>
#include <string>

#include "nic/stack/packet.h"
#include "nic/stack/skb.h"

namespace nic {

/// struct net_device with one transmit queue, as its driver implements it. All calls in softirq context.
class Transmitter {
 public:
  virtual ~Transmitter() = default;
  virtual unsigned ifindex() const = 0;
  virtual const std::string& name() const = 0;
  virtual MacAddress mac() const = 0;
  /// netif_xmit_stopped(): no room.
  virtual bool stopped() const = 0;
  /// ndo_start_xmit: takes the skb; not when stopped(). False: it could not be mapped, and is still the
  /// caller's.
  virtual bool ndo_start_xmit(Skb* skb) = 0;
  /// ndo_xdp_xmit: takes the page; flush() rings the doorbell. False: no room or no mapping, the page is the
  /// caller's.
  virtual bool ndo_xdp_xmit(sim::Pfn page, unsigned offset, unsigned length) = 0;
  virtual void flush() = 0;
  /// Frames that the device has and has not completed.
  virtual unsigned in_use() const = 0;
};

/// pfifo in front of a transmitter: what finds the device stopped waits here.
class Qdisc {
 public:
  static constexpr unsigned kTxQueueLen = 1000;
  Qdisc(SkbAllocator& skbs, Transmitter& device, unsigned limit = kTxQueueLen)
      : skbs_(skbs), device_(device), limit_(limit) {}

  Transmitter& device() const { return device_; }
  /// Takes the skb: sent at once if nothing waits and there is room (TCQ_F_CAN_BYPASS), else queued; full:
  /// dropped.
  void dev_queue_xmit(Skb* skb);
  /// The device has room again (netif_wake_queue).
  void qdisc_run();
  /// qdisc_reset: the device goes down.
  void reset();

  std::size_t length() const { return queue_.size(); }
  struct Counters {
    std::uint64_t sent = 0, dropped = 0;
    std::uint64_t queued = 0;  ///< most that waited
  };
  const Counters& counters() const { return counters_; }

 private:
  SkbAllocator& skbs_;
  Transmitter& device_;
  unsigned limit_;
  kernel::SpinLock lock_{"qdisc_lock"};
  SkbQueue queue_;
  bool running_ = false;
  Counters counters_;
};

}  // namespace nic
