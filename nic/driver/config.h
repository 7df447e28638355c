// SPDX-License-Identifier: Apache-2.0
// Parameters of the modelled drivers.
#pragma once
#include <cstdint>

#include "nic/driver/rx_ring.h"
#include "nic/driver/tx_ring.h"

namespace nic {

struct DriverConfig {
  RxRingConfig rx;
  TxRingConfig tx;
  /// Interrupt moderation of the receive vector (EITR), microseconds; 0 = off.
  unsigned itr_us = 20;
  /// Receive queues of the PF (RSS), each with a ring, a vector, a NAPI instance and a page_pool. A VF has one.
  unsigned queues = 1;
  /// Core that takes the receive interrupt and runs the NAPI poll.
  unsigned rx_cpu = 0;
  /// pci_enable_sriov and pci_disable_sriov wait so long for the functions to come and to go.
  unsigned vf_enable_ms = 100;
  unsigned vf_disable_ms = 500;
  /// remove() stops the receive queue and clears bus mastering, as it must. False: it forgets both, and what the
  /// device prefetched it will still write to.
  bool quiesce = true;
};

}  // namespace nic
