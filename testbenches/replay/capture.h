// SPDX-License-Identifier: Apache-2.0
// A capture as typed events: what the tracepoints and kprobes of testbenches/data/captures/README.md say,
// with numbers instead of text, in the order of the file. Kinds that the replay has no use for (skb, napi,
// ...) are left out. Field names differ between kernels (page= / netmem=, iova= with or without iovahi=);
// here they do not.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "testbenches/replay/ftrace_reader.h"

namespace replay {

enum class EventKind : std::uint8_t {
  kMark,          ///< tracing_mark_write "MARK ...": a step of the scenario
  kPoolCreate,    ///< pp_create, on return: pool
  kPoolDestroy,   ///< pp_destroy: pool
  kReleaseRetry,  ///< pp_retry: work = address of pool->release_dw
  kPut,           ///< pp_put: pool, page, direct
  kAlloc,         ///< pp_alloc, on return: page (0 = none)
  kProbe,         ///< drv_probe: device
  kRemove,        ///< drv_remove: device
  kDeviceDel,     ///< dev_release = entry of device_del: device
  kNetdevFree,    ///< netdev_free
  kDmaMap,        ///< dma_map: device, page, offset, size, dir
  kDmaMapReturn,  ///< dma_map_ret: iova
  kDmaUnmap,      ///< dma_unmap: device, iova, driver, group
  kIommuMap,      ///< iommu:map: iova, size, paddr
  kIommuUnmap,    ///< iommu:unmap: iova, size
  kIommuFault,    ///< iommu:io_page_fault
  kGroupRemove,   ///< iommu:remove_device_from_group
  kHold,          ///< page_pool_state_hold: pool, page, pfn, count
  kStateRelease,  ///< page_pool_state_release: pool, page, pfn, count
  kRelease,       ///< page_pool_release: pool, inflight, hold, release, count = cnt
};

/// The kprobe or tracepoint as the capture names it.
const char* event_name(EventKind kind);

inline constexpr std::uint64_t kUnknown = ~std::uint64_t{0};

struct Event {
  EventKind kind = EventKind::kMark;
  CpuContext context = CpuContext::kThread;
  bool direct = false;
  std::uint32_t line = 0;
  std::uint32_t pid = 0;
  std::uint32_t cpu = 0;
  std::uint64_t time_ns = 0;
  std::uint64_t pool = 0;    ///< pool, work (kReleaseRetry) or netdev
  std::uint64_t page = 0;    ///< struct page or netmem
  std::uint64_t device = 0;  ///< device as printed
  std::uint64_t iova = kUnknown;
  std::uint64_t size = kUnknown;
  std::uint64_t paddr = kUnknown;
  std::uint64_t pfn = kUnknown;
  std::uint64_t driver = kUnknown;  ///< dma_map/dma_unmap drv=; 0 = unbound
  std::uint64_t group = kUnknown;   ///< dma_unmap grp=; 0 = no group
  std::uint32_t offset = 0;
  std::uint32_t count = 0;  ///< hold / release counter, destroy count
  std::int32_t inflight = 0;
  std::uint32_t direction = 0;
  std::uint32_t text = kNoText;  ///< index into Capture::texts

  static constexpr std::uint32_t kNoText = ~0u;
};

struct Capture {
  std::string path;
  TraceHeader header;
  std::vector<Event> events;
  std::vector<std::string> texts;  ///< MARK texts; the function that pp_put sits on
  std::uint64_t begin_ns = 0;      ///< time of the first line
  std::uint64_t end_ns = 0;        ///< time of the last line, of whatever kind
  unsigned pointer_bits = 64;      ///< of the recorded kernel, from the addresses it prints
  std::string put_function;        ///< e.g. "page_pool_put_unrefed_netmem"; "" = no pp_put seen
  std::string create_caller;       ///< e.g. "vmxnet3_activate_dev"; "" = without symbols
  bool netmem = false;             ///< the tracepoints speak of netmem (6.10 and later)
  bool has_dma_probe = false;      ///< dma_map/dma_unmap kprobes were on
  bool has_iommu = false;          ///< iommu:map or iommu:unmap was seen
  bool has_alloc_probe = false;

  double seconds(std::uint64_t time_ns) const { return static_cast<double>(time_ns) * 1e-9; }
};

/// Reads the whole capture. Throws sim::Error (file:line) for anything that is not a whole, well-formed
/// capture.
Capture read_capture(const std::string& path);

}  // namespace replay
