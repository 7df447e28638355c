// SPDX-License-Identifier: Apache-2.0
// A capture turned into what was done to the kernel: driver calls with their time, CPU and context. What came
// of them
// - which page was handed out, recycled or released, which IOVA, which unmap - is not in the plan: the model
// says so.
//
// The recorded kernel calls of a driver that the probes cannot see are put in where the recorded pages prove
// them, and counted in Plan::notes:
//   bulk returns   a page is allocated again, or drained, that nobody was seen to put
//   (page_pool_put_page_bulk) allocations    a page is put that nobody was seen to allocate
//   (page_pool_alloc_pages inlined) references     5.15 probes every put of a fragmented page; only the last
//   one gives the page back another user   a put released the page although the ring had room: somebody held
//   a reference to the page page shortage  the page allocator gave fewer pages than the bulk request asked
//   for
// Times of the release work are in the plan as well: how late a worker gets to run is the machine's doing,
// not the pool's. The worker never runs before its delay has passed.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "testbenches/replay/join.h"

namespace replay {

enum class StepKind : std::uint8_t {
  kProbe,          ///< device: its driver is bound
  kRemove,         ///< device: driver->remove() begins; the steps of its task up to kRemoveDone run inside it
  kRemoveDone,     ///< device
  kDeviceDel,      ///< device: gone, and its IOMMU group with it
  kCreatePool,     ///< pool
  kDestroyPool,    ///< pool: page_pool_destroy(), which drops one user
  kAlloc,          ///< pool, handle
  kPut,            ///< pool, handle, direct
  kMap,            ///< device, handle, offset, size, direction: a mapping of the driver's own
  kUnmap,          ///< device, handle
  kMapCoherent,    ///< device, handle, size
  kUnmapCoherent,  ///< device, handle
  kMark,           ///< text of the scenario
};

struct Step {
  StepKind kind = StepKind::kMark;
  CpuContext context = CpuContext::kThread;
  bool direct = false;           ///< kPut: allow_direct as passed by the caller
  bool extra_reference = false;  ///< kPut: somebody else still holds the page
  std::uint32_t line = 0;        ///< of the capture
  std::uint32_t pid = 0;
  std::uint32_t cpu = 0;
  std::uint64_t time_ns = 0;  ///< since the begin of the capture
  std::size_t pool = kNone;
  std::size_t device = kNone;
  std::size_t handle = kNone;  ///< number of the allocation (kAlloc, kPut) or of the mapping (the others)
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
  std::uint32_t direction = 0;
  std::uint32_t granted =
      0;  ///< kAlloc: pages the page allocator had for the bulk request; 0 = as many as asked
  std::uint32_t text = 0;  ///< kMark: index into Capture::texts
};

/// A device of the recorded machine, from its first appearance to its device_del.
struct PlannedDevice {
  std::uint64_t address = 0;  ///< struct device as recorded; 0 = none of its mappings was recorded
  std::size_t space = 0;      ///< IOVA space (see join.h): equal for a device and its successor
  bool bound_at_start = false;
};

struct WorkTime {
  std::uint64_t time_ns = 0;  ///< since the begin of the capture
  std::uint32_t cpu = 0;
};

struct PlannedPool {
  std::uint64_t address = 0;
  std::size_t device = kNone;  ///< kNone: no device known
  bool dma_map = false;
  unsigned order = 0;
  unsigned users = 1;                ///< page_pool_destroy() calls until it is destroyed
  std::uint32_t direction = 0;       ///< enum dma_data_direction
  std::size_t removal_step = kNone;  ///< kRemove of its device
  std::vector<WorkTime> work;        ///< when and where page_pool_release_retry() ran
  bool work_ended = false;           ///< the work ran to its end, or died: not merely the capture ended
};

/// What became of one allocation in the capture. Only for inferring what the recorded kernel was (infer.h);
/// the model is not told.
struct Outcome {
  std::uint64_t page = 0;
  bool released = false;  ///< its put gave the page back to the page allocator
};

struct Plan {
  std::vector<PlannedDevice> devices;
  std::vector<PlannedPool> pools;  ///< as Joined::pools
  std::vector<Step> steps;         ///< in order of time
  std::vector<Outcome> outcomes;   ///< per allocation handle
  std::uint64_t end_ns = 0;        ///< length of the capture
  unsigned cpus = 1;
  std::vector<std::string> notes;
};

Plan make_plan(const Capture& capture, const Joined& joined);

/// What came of the put at event `i`: its page went back to the page allocator at once.
bool released_at_put(const Capture& capture, const Joined& joined, std::size_t i);

}  // namespace replay
