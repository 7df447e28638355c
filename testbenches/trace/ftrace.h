// SPDX-License-Identifier: Apache-2.0
// A run as the text that Linux prints in /sys/kernel/tracing/trace, so that the same scripts read a model and
// a machine. Layout of a line: kernel/trace/trace_output.c; formats of the events: the TP_printk of
// Linux 6.12, and for what the kernel has no tracepoint of, the kprobes that `poolsim capture-script` sets
// (same names, same fields).
//
//   page_pool   state_hold, state_release, release, update_nid
//   iommu       map, unmap, io_page_fault, remove_device_from_group
//   kprobes     pp_create pp_destroy pp_retry pp_put pp_alloc dma_map dma_map_ret dma_unmap drv_probe
//   drv_remove
//               dev_release
//   sched irq   sched_switch, softirq_entry, softirq_exit, irq_handler_entry, irq_handler_exit
//   skb net     consume_skb, kfree_skb (the reason where the model has one), netif_receive_skb
//   napi        napi_poll ("for device" has the name of the NAPI instance)
//   marker      tracing_mark_write: MARK and the step of the scenario
//
// Pointers are made up, in the ranges of x86-64, and tell each object apart; page pointers are those of a
// vmemmap, so that (page - vmemmap) / 64 is the pfn. A function without a return address has the offset
// +0x0/0x0. Model calls this tells of at their end (softirqs, maps) are printed where they began: lines wait
// for 10 ms of simulated time before they are written, and memory is what happens in those.
#pragma once
#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <queue>
#include <string>
#include <vector>

#include "testbenches/trace/observed.h"

namespace trace {

class FtraceWriter {
 public:
  /// Listens from now on; `observed` must live as long as this. Before the run. Writes to PATH.part. Throws
  /// sim::Error if that cannot be written.
  FtraceWriter(const Observed& observed, const std::string& path);
  ~FtraceWriter();
  FtraceWriter(const FtraceWriter&) = delete;
  FtraceWriter& operator=(const FtraceWriter&) = delete;

  /// Writes what waits and the counts of the header, and gives the file its name. Outside a run. Throws
  /// sim::Error if it could not be written.
  void close();
  std::uint64_t events() const { return written_; }

 private:
  enum class Level : std::uint8_t { kTask, kSoftirq, kHardirq };
  /// Who prints: "TASK-PID [CPU] FLAGS".
  struct Context {
    std::string task;
    std::uint32_t pid = 0;
    unsigned cpu = 0;
    Level level = Level::kTask;
    bool irqs_off = false, bh_off = false;
    sim::Tick time = 0;
    std::uint64_t key() const {
      return std::uint64_t{cpu} << 40 | std::uint64_t{static_cast<unsigned>(level)} << 32 | pid;
    }
  };
  struct Line {
    sim::Tick time;
    std::uint64_t number;
    std::string text;
    bool operator>(const Line& other) const {
      return time != other.time ? time > other.time : number > other.number;
    }
  };
  /// A change of a page table whose caller has not told yet what it was for.
  struct Table {
    Context context;
    bool map = false;
    std::uint64_t iova = 0, end = 0;
    std::string text;
  };

  void listen_to_kernel();
  void listen_to_pools();
  void listen_to_stack();
  sim::Tick present(sim::Tick time) const;
  Context here(sim::Tick time) const;
  void print(const Context& context, const std::string& event);
  void event(sim::Tick time, const std::string& text);
  void flush_table(std::uint64_t key);
  std::optional<Table> take_table(std::uint64_t key, bool map, std::uint64_t iova);
  void mapped(const kernel::DmaMapped& e);
  void unmapped(const kernel::DmaUnmapped& e);
  void write_ready(sim::Tick newest);
  void write(const Line& line);
  void flush();
  bool closed() const;

  std::uint64_t bus_device(const kernel::Device* device);
  /// The made-up address of an skb or a NAPI instance; as in a slab, a later one may have that of an earlier
  /// one.
  std::uint64_t slab_object(const void* object);
  std::uint64_t struct_device(const kernel::Device* device) { return bus_device(device) + 0xc8; }

  Observed o_;
  std::string path_, part_;
  int fd_ = -1, error_ = 0;
  pid_t owner_;
  std::string buffer_;
  std::uint64_t numbered_ = 0, written_ = 0;
  sim::Tick newest_ = 0;
  std::priority_queue<Line, std::vector<Line>, std::greater<>> waiting_;
  std::map<std::uint64_t, Table> tables_;  // by context
  std::map<const kernel::Device*, std::uint64_t> devices_;
  std::map<const void*, std::uint64_t> slab_objects_;
};

}  // namespace trace
