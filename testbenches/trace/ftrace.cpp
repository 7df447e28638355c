// SPDX-License-Identifier: Apache-2.0
#include "testbenches/trace/ftrace.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <iterator>

#include "sim/error.h"

namespace trace {
namespace {

constexpr std::size_t kBuffer = 256 * 1024;
/// A line that is told of late by more than this is printed late.
constexpr sim::Tick kWait = 10 * sim::kMillisecond;

constexpr std::uint64_t kPools = 0xff11'0000'0100'0000, kDevices = 0xff11'0000'0200'0000;
constexpr std::uint64_t kSlab = 0xff11'0000'0400'0000;
constexpr std::uint64_t kGroups = 0xff11'0000'0300'0000, kDrivers = 0xffff'ffff'c000'0000;
constexpr std::uint64_t kVmemmap = 0xffd4'0000'0000'0000;
constexpr std::uint64_t kReleaseWork = 0x60;  // of release_dw in struct page_pool

constexpr std::uint64_t pool_pointer(unsigned id) { return kPools + 0x1000 * std::uint64_t{id}; }
constexpr std::uint64_t page_pointer(std::uint64_t pfn) { return kVmemmap + 64 * pfn; }

/// The two counts of the header go here when they are known.
constexpr std::string_view kCounts = "# entries-in-buffer/entries-written: ";
constexpr std::size_t kCountsWidth = 42;

constexpr std::array kSoftirqs{"HI",       "TIMER",   "NET_TX", "NET_RX",  "BLOCK",
                               "IRQ_POLL", "TASKLET", "SCHED",  "HRTIMER", "RCU"};

/// "(page_pool_dma_map+0x0/0x0 <- dma_map_page_attrs)": who called `function`, as a kretprobe prints it.
std::string returned_to(kernel::CallChain chain, std::string_view function) {
  std::string_view caller = "0x0";
  for (std::size_t i = 0; i < chain.size(); ++i) {
    // The model's own split of a kernel function into several does not count.
    if (std::string_view(chain[i]).starts_with(function)) continue;
    caller = chain[i];
    break;
  }
  return fmt::format("({}+0x0/0x0 <- {})", caller, function);
}

std::string entered(std::string_view function) { return fmt::format("({}+0x0/0x0)", function); }

constexpr unsigned kFirstIfindex = 2;  // 1 is the loopback device

/// skb->protocol in host order.
unsigned ether_type(std::span<const std::uint8_t> frame) {
  return frame.size() < nic::kEthernetHeaderBytes ? 0 : unsigned{frame[12]} << 8 | frame[13];
}

/// skb->len behind the Ethernet header: what GRO has merged into it counts without headers.
std::uint64_t skb_len(const nic::Skb& skb) {
  std::uint64_t len = skb.length - std::min<std::uint64_t>(skb.length, nic::kEthernetHeaderBytes);
  for (const nic::Skb* s = skb.frag_list; s != nullptr; s = s->frag_list) len += s->tcp_bytes;
  return len;
}

}  // namespace

FtraceWriter::FtraceWriter(const Observed& observed, const std::string& path)
    : o_(observed), path_(path), part_(path + ".part"), owner_(::getpid()) {
  fd_ = ::open(part_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd_ < 0) throw sim::Error(part_, 0, std::strerror(errno));
  buffer_ = fmt::format(
      "# tracer: nop\n#\n{}{:<{}} #P:{}\n#\n"
      "#                                _-----=> irqs-off/BH-disabled\n"
      "#                               / _----=> need-resched\n"
      "#                              | / _---=> hardirq/softirq\n"
      "#                              || / _--=> preempt-depth\n"
      "#                              ||| / _-=> migrate-disable\n"
      "#                              |||| /     delay\n"
      "#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION\n"
      "#              | |         |   |||||     |         |\n",
      kCounts, "0/0", kCountsWidth, o_.kernel.cores());
  listen_to_kernel();
  listen_to_pools();
  if (o_.stack != nullptr) listen_to_stack();
}

FtraceWriter::~FtraceWriter() {
  try {
    close();
  } catch (const sim::Error&) {
  }
  if (fd_ >= 0) ::close(fd_);
}

bool FtraceWriter::closed() const { return fd_ < 0 || ::getpid() != owner_; }

std::uint64_t FtraceWriter::bus_device(const kernel::Device* device) {
  return devices_.try_emplace(device, kDevices + 0x1000 * devices_.size()).first->second;
}

std::uint64_t FtraceWriter::slab_object(const void* object) {
  return slab_objects_.try_emplace(object, kSlab + 0x100 * slab_objects_.size()).first->second;
}

// ---- lines

/// The time of a line that is printed now. Cores have clocks of their own and run ahead of each other by less
/// than a microsecond; the order in which they do things is the order of these calls, so time may not go
/// back.
sim::Tick FtraceWriter::present(sim::Tick time) const { return std::max(time, newest_); }

/// Who runs on this core now. Hardware speaks as the idle task of core 0.
FtraceWriter::Context FtraceWriter::here(sim::Tick time) const {
  Context c;
  c.task = "<idle>";
  c.time = time;
  if (!kernel::in_kernel_code()) return c;
  const kernel::Context& cpu = kernel::this_cpu();
  c.cpu = cpu.cpu();
  if (cpu.current().pid() != 0) {
    c.task = cpu.current().name().substr(0, 15);  // TASK_COMM_LEN
    c.pid = cpu.current().pid();
  }
  c.level = cpu.in_hardirq() ? Level::kHardirq : cpu.in_serving_softirq() ? Level::kSoftirq : Level::kTask;
  c.irqs_off = cpu.irqs_disabled();
  c.bh_off = !cpu.in_serving_softirq() && cpu.in_softirq();
  return c;
}

void FtraceWriter::print(const Context& c, const std::string& event) {
  const char flags[] = {c.irqs_off ? (c.bh_off ? 'D' : 'd') : (c.bh_off ? 'b' : '.'),
                        '.',
                        c.level == Level::kHardirq   ? 'h'
                        : c.level == Level::kSoftirq ? 's'
                                                     : '.',
                        '.',
                        '.',
                        '\0'};
  const std::uint64_t us = c.time / sim::kMicrosecond;
  waiting_.push({c.time, numbered_++,
                 fmt::format("{:>16}-{:<7} [{:03}] {} {:>5}.{:06}: {}\n", c.task, c.pid, c.cpu, flags,
                             us / 1'000'000, us % 1'000'000, event)});
  write_ready(c.time);
}

void FtraceWriter::event(sim::Tick time, const std::string& text) {
  if (closed()) return;
  const Context c = here(present(time));
  flush_table(c.key());
  print(c, text);
}

void FtraceWriter::write_ready(sim::Tick newest) {
  newest_ = present(newest);
  while (!waiting_.empty() && waiting_.top().time + kWait < newest_) {
    write(waiting_.top());
    waiting_.pop();
  }
}

void FtraceWriter::write(const Line& line) {
  buffer_ += line.text;
  ++written_;
  if (buffer_.size() >= kBuffer) flush();
}

void FtraceWriter::flush() {
  std::string_view rest = buffer_;
  while (!rest.empty() && error_ == 0 && !closed()) {
    const ssize_t n = ::write(fd_, rest.data(), rest.size());
    if (n >= 0) {
      rest.remove_prefix(static_cast<std::size_t>(n));
    } else if (errno != EINTR) {
      error_ = errno;
    }
  }
  buffer_.clear();
}

void FtraceWriter::close() {
  if (closed()) return;
  while (!tables_.empty()) flush_table(tables_.begin()->first);
  while (!waiting_.empty()) {
    write(waiting_.top());
    waiting_.pop();
  }
  flush();
  const std::string counts = fmt::format("{0}/{0}", written_);
  constexpr std::size_t kAt = std::string_view("# tracer: nop\n#\n").size() + kCounts.size();
  if (error_ == 0 &&
      ::pwrite(fd_, counts.data(), counts.size(), kAt) != static_cast<ssize_t>(counts.size())) {
    error_ = errno;
  }
  if (::close(fd_) != 0 && error_ == 0) error_ = errno;
  fd_ = -1;
  if (error_ == 0 && std::rename(part_.c_str(), path_.c_str()) != 0) error_ = errno;
  if (error_ != 0) throw sim::Error(path_, 0, std::strerror(error_));
}

// ---- DMA: the kernel says dma_map, iommu:map, dma_map_ret, and dma_unmap, iommu:unmap; the model says the
// page table first and the call at its end

void FtraceWriter::flush_table(std::uint64_t key) {
  const auto it = tables_.find(key);
  if (it == tables_.end()) return;
  const Table table = std::move(it->second);
  tables_.erase(it);
  Context context = table.context;
  context.time = present(context.time);
  print(context, table.text);
}

std::optional<FtraceWriter::Table> FtraceWriter::take_table(std::uint64_t key, bool map, std::uint64_t iova) {
  const auto it = tables_.find(key);
  if (it == tables_.end()) return std::nullopt;
  if (it->second.map != map || iova < it->second.iova || iova >= it->second.end) {
    flush_table(key);
    return std::nullopt;
  }
  Table table = std::move(it->second);
  tables_.erase(it);
  return table;
}

void FtraceWriter::mapped(const kernel::DmaMapped& e) {
  if (closed()) return;
  const Context c = here(present(e.time));
  const auto table = take_table(c.key(), true, e.iova.value);
  const std::uint64_t driver = e.driver_bound ? kDrivers + bus_device(e.device) - kDevices : 0;
  print(c, fmt::format("dma_map: {} dev={:#x} drv={:#x} page={:#x} off={:#x} size={:#x} dir={}",
                       entered("dma_map_page_attrs"), struct_device(e.device), driver,
                       page_pointer(e.phys.value / sim::kPageSize), e.phys.value % sim::kPageSize, e.size,
                       static_cast<unsigned>(e.direction)));
  if (table) print(c, table->text);
  print(c,
        fmt::format("dma_map_ret: {} iova={:#x}", returned_to(e.chain, "dma_map_page_attrs"), e.iova.value));
}

void FtraceWriter::unmapped(const kernel::DmaUnmapped& e) {
  if (closed()) return;
  const Context c = here(present(e.time));
  const auto table = take_table(c.key(), false, e.iova.value);
  const std::uint64_t driver = e.driver_bound ? kDrivers + bus_device(e.device) - kDevices : 0;
  const kernel::IommuGroup* group = e.device->iommu_group();
  print(c, fmt::format("dma_unmap: {} dev={:#x} drv={:#x} grp={:#x} iova={:#x} size={:#x} dir={}",
                       entered("dma_unmap_page_attrs"), struct_device(e.device), driver,
                       group != nullptr ? kGroups + 0x100 * std::uint64_t{group->id + 1} : 0, e.iova.value,
                       e.size, static_cast<unsigned>(e.direction)));
  if (table) print(c, table->text);
}

// ---- the kernel

void FtraceWriter::listen_to_kernel() {
  kernel::Trace& t = o_.kernel.trace();
  t.dma_mapped.subscribe([this](const kernel::DmaMapped& e) { mapped(e); });
  t.dma_unmapped.subscribe([this](const kernel::DmaUnmapped& e) { unmapped(e); });
  const auto table = [this](sim::Tick time, bool map, std::uint64_t iova, std::uint64_t size,
                            std::string text) {
    if (closed()) return;
    const Context c = here(time);
    flush_table(c.key());
    tables_[c.key()] = {c, map, iova, iova + size, std::move(text)};
  };
  t.iommu_mapped.subscribe([table](const kernel::IommuMapped& e) {
    table(e.time, true, e.iova.value, e.size,
          fmt::format("map: IOMMU: iova={:#018x} - {:#018x} paddr={:#018x} size={}", e.iova.value,
                      e.iova.value + e.size, e.phys.value, e.size));
  });
  t.iommu_unmapped.subscribe([table](const kernel::IommuUnmapped& e) {
    table(e.time, false, e.iova.value, e.size,
          fmt::format("unmap: IOMMU: iova={:#018x} - {:#018x} size={} unmapped_size={}", e.iova.value,
                      e.iova.value + e.size, e.size, e.unmapped_size));
  });
  t.iommu_fault.subscribe([this](const kernel::IommuFaultReported& e) {
    const std::uint32_t id = e.requester.value;
    event(e.time, fmt::format("io_page_fault: IOMMU:igb 0000:{:02x}:{:02x}.{} iova={:#018x} flags={:#06x}",
                              id >> 8 & 0xff, id >> 3 & 0x1f, id & 7, e.iova.value, e.cause));
  });
  t.device_binding.subscribe([this](const kernel::DeviceBinding& e) {
    event(e.time, fmt::format("drv_probe: {} dev={:#x}", entered("pci_device_probe"), bus_device(e.device)));
  });
  t.device_unbinding.subscribe([this](const kernel::DeviceUnbinding& e) {
    event(e.time,
          fmt::format("drv_remove: {} dev={:#x}", entered("pci_device_remove"), bus_device(e.device)));
  });
  t.device_removed.subscribe([this](const kernel::DeviceRemoved& e) {
    event(e.time, fmt::format("dev_release: {} dev={:#x}", entered("device_del"), struct_device(e.device)));
    event(e.time, fmt::format("remove_device_from_group: IOMMU: groupID={} device={}",
                              (bus_device(e.device) - kDevices) / 0x1000, e.device->name()));
  });
  t.log.subscribe([this](const kernel::LogLine& e) {
    if (e.text.starts_with("--- ")) event(e.time, "tracing_mark_write: MARK " + e.text.substr(4));
  });
  t.task_switched.subscribe([this](const kernel::TaskSwitched& e) {
    const auto name = [&](const kernel::Task* task) {
      return task != nullptr ? task->name().substr(0, 15) : fmt::format("swapper/{}", e.cpu);
    };
    event(
        e.time,
        fmt::format(
            "sched_switch: prev_comm={} prev_pid={} prev_prio=120 prev_state={} ==> next_comm={} next_pid={} "
            "next_prio=120",
            name(e.from), e.from != nullptr ? e.from->pid() : 0,
            e.from == nullptr || e.from->state() == kernel::TaskState::kRunnable ? "R"
            : e.from->dead()                                                     ? "X"
                                                                                 : "S",
            name(e.to), e.to != nullptr ? e.to->pid() : 0));
  });
  t.softirq_run.subscribe([this](const kernel::SoftirqRun& e) {
    const char* action = e.nr < kSoftirqs.size() ? kSoftirqs[e.nr] : "?";
    if (closed()) return;
    Context c = here(e.begin);
    c.level = Level::kSoftirq;
    print(c, fmt::format("softirq_entry: vec={} [action={}]", e.nr, action));
    event(e.end, fmt::format("softirq_exit: vec={} [action={}]", e.nr, action));
  });
  t.irq_handled.subscribe([this](const kernel::IrqHandled& e) {
    if (closed()) return;
    Context c = here(e.begin);
    c.level = Level::kHardirq;
    print(c, fmt::format("irq_handler_entry: irq={} name={}", e.vector, e.name));
    c.time = e.end;
    print(c, fmt::format("irq_handler_exit: irq={} ret=handled", e.vector));
  });
}

// ---- the pools

void FtraceWriter::listen_to_pools() {
  pagepool::Trace& t = o_.pools.trace();
  t.created.subscribe([this](const pagepool::PoolCreated& e) {
    event(e.where.time, fmt::format("pp_create: {} pool={:#x}",
                                    returned_to(e.where.chain, "page_pool_create"), pool_pointer(e.pool)));
  });
  t.destroying.subscribe([this](const pagepool::Destroying& e) {
    event(e.where.time,
          fmt::format("pp_destroy: {} pool={:#x}", entered("page_pool_destroy"), pool_pointer(e.pool)));
  });
  t.release_retrying.subscribe([this](const pagepool::ReleaseRetrying& e) {
    event(e.where.time, fmt::format("pp_retry: {} work={:#x}", entered("page_pool_release_retry"),
                                    pool_pointer(e.pool) + kReleaseWork));
  });
  t.released.subscribe([this](const pagepool::Released& e) {
    event(e.where.time, fmt::format("page_pool_release: page_pool={:x} inflight={} hold={} release={} cnt={}",
                                    pool_pointer(e.pool), e.inflight, e.hold, e.release, e.cnt));
  });
  t.state_hold.subscribe([this](const pagepool::StateHold& e) {
    event(
        e.where.time,
        fmt::format("page_pool_state_hold: page_pool={:x} netmem={:x} is_net_iov={}, pfn={:#x} hold={}",
                    pool_pointer(e.pool), page_pointer(e.pfn.value), int{e.is_net_iov}, e.pfn.value, e.hold));
  });
  t.state_release.subscribe([this](const pagepool::StateRelease& e) {
    event(e.where.time,
          fmt::format(
              "page_pool_state_release: page_pool={:x} netmem={:x} is_net_iov={} pfn={:#x} release={}",
              pool_pointer(e.pool), page_pointer(e.pfn.value), int{e.is_net_iov}, e.pfn.value, e.release));
  });
  t.allocated.subscribe([this](const pagepool::Allocated& e) {
    event(e.where.time,
          fmt::format("pp_alloc: {} page={:#x}", returned_to(e.where.chain, "page_pool_alloc_pages"),
                      page_pointer(e.pfn.value)));
  });
  // Told of when its fate is known and before a release: that the caller allowed the cache shows where it got
  // there.
  t.recycled.subscribe([this](const pagepool::Recycled& e) {
    event(e.where.time,
          fmt::format("pp_put: {} pool={:#x} netmem={:#x} sync=0xffffffff direct={}",
                      entered("page_pool_put_unrefed_netmem"), pool_pointer(e.pool),
                      page_pointer(e.pfn.value), int{e.outcome == pagepool::RecycleOutcome::cached}));
  });
  t.nid_updated.subscribe([this](const pagepool::NidUpdated& e) {
    event(e.where.time, fmt::format("page_pool_update_nid: page_pool={:x} pool_nid={} new_nid={}",
                                    pool_pointer(e.pool), e.pool_nid, e.new_nid));
  });
}

// ---- the receive path

void FtraceWriter::listen_to_stack() {
  nic::StackTrace& t = o_.stack->trace();
  t.skb_freed.subscribe([this](const nic::SkbFreed& e) {
    const std::string location = fmt::format("{}+0x0/0x0", e.chain.empty() ? "0x0" : e.chain.front());
    if (e.reason == nullptr) {
      event(e.time, fmt::format("consume_skb: skbaddr={:016x} location={}", slab_object(e.skb), location));
      return;
    }
    event(e.time,
          fmt::format("kfree_skb: skbaddr={:016x} rx_sk={:016x} protocol={} location={} reason: {}",
                      slab_object(e.skb), 0, ether_type(o_.stack->skbs().bytes(*e.skb)), location, e.reason));
  });
  t.netif_received.subscribe([this](const nic::NetifReceived& e) {
    event(e.time, fmt::format("netif_receive_skb: dev=eth{} skbaddr={:016x} len={}",
                              e.skb->ifindex - kFirstIfindex, slab_object(e.skb), skb_len(*e.skb)));
  });
  t.napi_polled.subscribe([this](const nic::NapiPolled& e) {
    event(e.time, fmt::format("napi_poll: napi poll on napi struct {:016x} for device {} work {} budget {}",
                              slab_object(e.napi), e.napi->name(), e.work, e.budget));
  });
}

}  // namespace trace
